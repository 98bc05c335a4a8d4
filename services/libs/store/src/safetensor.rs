//! Checkpoints as safetensors files.

use std::borrow::Cow;

use bytes::Bytes;
use relief_core::{Tensor, TensorError, TensorMap};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView, View};

use crate::half;

/// A checkpoint as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedCheckpoint {
    /// The floating-point tensors, as float32.
    pub tensors: TensorMap,
    /// The names of the integer and boolean tensors, as of step counters, which are left out.
    pub skipped: Vec<String>,
}

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Not a safetensors file, or a damaged one.
    #[error("not a whole safetensors file")]
    Format(#[source] SafeTensorError),
    /// A floating-point type that has no exact place in float32.
    #[error("tensor `{name}` has the type {dtype}; only F64, F32, F16 and BF16 are read")]
    Type {
        /// The tensor.
        name: String,
        /// Its type in safetensors' words.
        dtype: String,
    },
    /// A finite float64 that float32 cannot hold.
    #[error("tensor `{name}` holds {value}, which is beyond the range of float32")]
    Range {
        /// The tensor.
        name: String,
        /// The first such value.
        value: f64,
    },
    /// A tensor whose shape does not hold its values.
    #[error("tensor `{name}` is not whole")]
    Shape {
        /// The tensor.
        name: String,
        /// What does not match.
        source: TensorError,
    },
    /// The file cannot be made.
    #[error("cannot be written as safetensors")]
    Encode(#[source] SafeTensorError),
    /// The one name that the format keeps for itself.
    #[error("a tensor cannot be called `__metadata__`")]
    Name,
}

struct Float32<'a>(&'a Tensor);

impl View for Float32<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0.data().iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.0.data())
    }
}

/// Returns the safetensors file of `tensors`, in the order of their names: equal tensors make equal bytes.
///
/// # Errors
/// When a tensor has the name that the format reserves, or the header would be too large.
pub fn encode_checkpoint(tensors: &TensorMap) -> Result<Bytes, CheckpointError> {
    if tensors.contains_key("__metadata__") {
        return Err(CheckpointError::Name);
    }
    let views = tensors.iter().map(|(name, tensor)| (name, Float32(tensor)));
    safetensors::serialize(views, None).map(Bytes::from).map_err(CheckpointError::Encode)
}

/// Reads a safetensors file. F16 and BF16 are widened exactly, F64 is rounded to the nearest float32.
///
/// # Errors
/// When the file is damaged, has gaps or overlaps, or holds a floating-point type or value that does not fit.
pub fn decode_checkpoint(bytes: &[u8]) -> Result<DecodedCheckpoint, CheckpointError> {
    let file = SafeTensors::deserialize(bytes).map_err(CheckpointError::Format)?;
    let mut decoded = DecodedCheckpoint { tensors: TensorMap::new(), skipped: Vec::new() };
    for (name, view) in file.iter() {
        match values(name, &view)? {
            Some(data) => {
                let tensor = Tensor::new(view.shape(), data);
                let tensor = tensor.map_err(|source| CheckpointError::Shape { name: name.to_owned(), source })?;
                decoded.tensors.insert(name.to_owned(), tensor);
            }
            None => decoded.skipped.push(name.to_owned()),
        }
    }
    decoded.skipped.sort_unstable();
    Ok(decoded)
}

/// The values of a floating-point tensor, or none of one of another kind.
fn values(name: &str, view: &TensorView<'_>) -> Result<Option<Vec<f32>>, CheckpointError> {
    let data = view.data();
    let values = match view.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|bytes| half::from_f16(u16::from_le_bytes(*bytes))).collect(),
        Dtype::BF16 => data.as_chunks().0.iter().map(|bytes| half::from_bf16(u16::from_le_bytes(*bytes))).collect(),
        Dtype::F64 => {
            let narrow = |bytes: &[u8; 8]| {
                let value = f64::from_le_bytes(*bytes);
                let narrow = value as f32;
                if value.is_finite() && !narrow.is_finite() {
                    return Err(CheckpointError::Range { name: name.to_owned(), value });
                }
                Ok(narrow)
            };
            data.as_chunks().0.iter().map(narrow).collect::<Result<_, _>>()?
        }
        Dtype::BOOL
        | Dtype::U8
        | Dtype::I8
        | Dtype::U16
        | Dtype::I16
        | Dtype::U32
        | Dtype::I32
        | Dtype::U64
        | Dtype::I64 => return Ok(None),
        dtype => return Err(CheckpointError::Type { name: name.to_owned(), dtype: dtype.to_string() }),
    };
    Ok(Some(values))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tensors() -> TensorMap {
        let tensor = |shape: &[usize], data: &[f32]| Tensor::new(shape, data.to_vec()).expect("a tensor");
        TensorMap::from([
            ("fc.weight".to_owned(), tensor(&[2, 3], &[0.0, -0.0, 1.5, f32::NAN, f32::INFINITY, 1e-40])),
            ("fc.bias".to_owned(), tensor(&[2], &[1.0, 2.0])),
            ("scale".to_owned(), tensor(&[], &[7.0])),
            ("empty".to_owned(), tensor(&[0, 4], &[])),
        ])
    }

    /// A file with one tensor of `dtype`, its offsets as given.
    fn file(dtype: &str, shape: &[usize], offsets: [u64; 2], data: &[u8]) -> Vec<u8> {
        let header = format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":{offsets:?}}}}}"#);
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn bits(tensors: &TensorMap) -> Vec<(&String, &[usize], Vec<u32>)> {
        let bits = |tensor: &Tensor| tensor.data().iter().map(|value| value.to_bits()).collect();
        tensors.iter().map(|(name, tensor)| (name, tensor.shape(), bits(tensor))).collect()
    }

    #[test]
    fn tensors_come_back_bit_for_bit() {
        let bytes = encode_checkpoint(&tensors()).expect("a file");
        let decoded = decode_checkpoint(&bytes).expect("a checkpoint");
        assert_eq!(bits(&decoded.tensors), bits(&tensors()));
        assert!(decoded.skipped.is_empty());
        assert_eq!(encode_checkpoint(&decoded.tensors).expect("a file"), bytes);
    }

    #[test]
    fn other_floats_become_float32_and_integers_are_left_out() {
        let decode = |dtype, n_bytes: u64, data: &[u8]| {
            decode_checkpoint(&file(dtype, &[1], [0, n_bytes], data))
                .map(|decoded| (decoded.tensors.get("t").map(|tensor| tensor.data().to_vec()), decoded.skipped))
        };
        let value = |value: f32| (Some(vec![value]), vec![]);
        assert_eq!(decode("F16", 2, &[0x00, 0x3c]).expect("read"), value(1.0));
        assert_eq!(decode("BF16", 2, &[0x40, 0xc0]).expect("read"), value(-3.0));
        assert_eq!(decode("F64", 8, &0.1_f64.to_le_bytes()).expect("read"), value(0.1));
        assert_eq!(decode("I64", 8, &[0; 8]).expect("read"), (None, vec!["t".to_owned()]));
        assert!(matches!(decode("F64", 8, &1e300_f64.to_le_bytes()), Err(CheckpointError::Range { .. })));
        assert!(matches!(decode("F8_E4M3", 1, &[0]), Err(CheckpointError::Type { .. })));
    }

    #[test]
    fn hostile_files_are_errors() {
        assert!(decode_checkpoint(&file("F32", &[2], [0, 8], &[0; 8])).is_ok());
        for hostile in [
            file("F32", &[2], [0, 8], &[0; 7]),
            file("F32", &[2], [0, 8], &[0; 9]),
            file("F32", &[3], [0, 8], &[0; 8]),
            file("F32", &[2], [8, 0], &[0; 8]),
            file("F32", &[2], [4, 12], &[0; 12]),
            file("F32", &[usize::MAX, 2], [0, 8], &[0; 8]),
            file("F32", &[1 << 40, 1 << 22], [0, u64::MAX], &[0; 8]),
            [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
            [&(1_u64 << 40).to_le_bytes()[..], b"{}"].concat(),
            [&8_u64.to_le_bytes()[..], b"[[[[[[[["].concat(),
        ] {
            assert!(matches!(decode_checkpoint(&hostile), Err(CheckpointError::Format(_))));
        }
        let overlap = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let overlap = [&(overlap.len() as u64).to_le_bytes()[..], overlap, &[0; 4]].concat();
        assert!(matches!(decode_checkpoint(&overlap), Err(CheckpointError::Format(_))));
    }

    #[test]
    fn a_truncated_file_is_an_error_wherever_it_ends() {
        let bytes = encode_checkpoint(&tensors()).expect("a file");
        for end in 0..bytes.len() {
            assert!(decode_checkpoint(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn the_reserved_name_is_refused() {
        let tensors = TensorMap::from([("__metadata__".to_owned(), Tensor::filled([1], 0.0))]);
        assert!(matches!(encode_checkpoint(&tensors), Err(CheckpointError::Name)));
    }

    proptest! {
        #[test]
        fn damage_never_panics(idx in 0..400_usize, byte in any::<u8>()) {
            let mut bytes = encode_checkpoint(&tensors()).expect("a file").to_vec();
            let idx = idx % bytes.len();
            bytes[idx] = byte;
            let _ = decode_checkpoint(&bytes);
        }
    }
}
