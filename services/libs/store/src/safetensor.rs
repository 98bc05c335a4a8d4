//! Checkpoints as safetensors files.

use std::borrow::Cow;

use bytes::Bytes;
use relief_core::{Tensor, TensorMap};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};

use crate::checkpoint_file::{CheckpointError, CheckpointFormat, DecodedCheckpoint, SkippedTensor, narrow};
use crate::half;
use crate::header::repeated_name;

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
    if let Some(name) = repeated_name(bytes) {
        return Err(CheckpointError::Repeated(name));
    }
    let file = SafeTensors::deserialize(bytes).map_err(CheckpointError::Format)?;
    let mut decoded = DecodedCheckpoint::new(CheckpointFormat::Safetensors);
    for (name, view) in file.iter() {
        match values(name, &view)? {
            Some(data) => {
                let tensor = Tensor::new(view.shape(), data);
                let tensor = tensor.map_err(|source| CheckpointError::Shape { name: name.to_owned(), source })?;
                decoded.tensors.insert(name.to_owned(), tensor);
            }
            None => {
                decoded.skipped.push(SkippedTensor { name: name.to_owned(), dtype: view.dtype().to_string() });
            }
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
            let narrow = |bytes: &[u8; 8]| narrow(name, f64::from_le_bytes(*bytes));
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
            decode_checkpoint(&file(dtype, &[1], [0, n_bytes], data)).map(|decoded| {
                let skipped: Vec<_> =
                    decoded.skipped.into_iter().map(|skipped| (skipped.name, skipped.dtype)).collect();
                (decoded.tensors.get("t").map(|tensor| tensor.data().to_vec()), skipped)
            })
        };
        let value = |value: f32| (Some(vec![value]), vec![]);
        assert_eq!(decode("F16", 2, &[0x00, 0x3c]).expect("read"), value(1.0));
        assert_eq!(decode("BF16", 2, &[0x40, 0xc0]).expect("read"), value(-3.0));
        assert_eq!(decode("F64", 8, &0.1_f64.to_le_bytes()).expect("read"), value(0.1));
        assert_eq!(decode("I64", 8, &[0; 8]).expect("read"), (None, vec![("t".to_owned(), "I64".to_owned())]));
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
}
