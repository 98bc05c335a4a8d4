//! Checkpoints as files: safetensors, and what `torch.save` writes.

use bytes::Bytes;
use relief_core::{TensorError, TensorMap};
use safetensors::tensor::SafeTensorError;

use crate::pytorch::{self, PytorchError};
use crate::safetensor::decode_checkpoint;

/// How a checkpoint's file is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointFormat {
    /// safetensors.
    Safetensors,
    /// A zip archive of PyTorch 1.6 or later.
    PytorchZip,
    /// A stream of pickles of PyTorch before 1.6.
    PytorchLegacy,
}

impl CheckpointFormat {
    /// What people call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::PytorchZip => "PyTorch (zip)",
            Self::PytorchLegacy => "PyTorch (legacy)",
        }
    }
}

/// What a checkpoint's file has under a name that is no tensor of floating-point numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SkippedTensor {
    /// The name.
    pub name: String,
    /// The type, in the file's words.
    pub dtype: String,
}

/// A checkpoint as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedCheckpoint {
    /// The floating-point tensors, as float32.
    pub tensors: TensorMap,
    /// What is left out: integer and boolean tensors, as of step counters, and what is no tensor.
    pub skipped: Vec<SkippedTensor>,
    /// How the file is made.
    pub format: CheckpointFormat,
    /// The names of the tensors in the order in which their modules were made; empty of a format without an order.
    pub order: Vec<String>,
    /// The key under which the tensors lie, where they are not at the top.
    pub key: Option<String>,
}

impl DecodedCheckpoint {
    pub(crate) fn new(format: CheckpointFormat) -> Self {
        Self { tensors: TensorMap::new(), skipped: Vec::new(), format, order: Vec::new(), key: None }
    }
}

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Not a safetensors file, or a damaged one.
    #[error("not a whole safetensors file")]
    Format(#[source] SafeTensorError),
    /// Not a PyTorch file, or a damaged one, or one that holds something else.
    #[error("not a PyTorch file of named tensors (it is read by its content; safetensors is read as well)")]
    Pytorch(#[source] PytorchError),
    /// Neither of the two.
    #[error("neither safetensors nor a PyTorch file: {0}")]
    Unknown(String),
    /// A floating-point type that has no exact place in float32.
    #[error("tensor `{name}` has the type {dtype}; only F64, F32, F16 and BF16 are read")]
    Type {
        /// The tensor.
        name: String,
        /// Its type in the file's words.
        dtype: String,
    },
    /// A finite float64 that float32 cannot hold.
    #[error("tensor `{name}` holds {value:e}, which is beyond the range of float32")]
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
    /// Two tensors of one name in a safetensors file.
    #[error("the file has the tensor `{0}` twice")]
    Repeated(String),
    /// The file cannot be made.
    #[error("cannot be written as safetensors")]
    Encode(#[source] SafeTensorError),
    /// The one name that the format keeps for itself.
    #[error("a tensor cannot be called `__metadata__`")]
    Name,
}

/// Reads a checkpoint of any format, which is found by its content. Nothing that a file holds is executed. float16 and
/// bfloat16 are widened exactly, float64 is rounded to the nearest float32; integers and truth values are left out.
///
/// What is read takes memory in proportion to the file, whatever its headers state.
///
/// # Errors
/// When the file is of no known format, is damaged, or holds a floating-point type or value that does not fit.
pub fn read_checkpoint(file: &Bytes) -> Result<DecodedCheckpoint, CheckpointError> {
    if pytorch::is_archive(file) {
        return pytorch::decode_archive(file);
    }
    if pytorch::is_legacy(file) {
        return pytorch::decode_legacy(file);
    }
    // The length of a header in JSON, and the header.
    if file.get(8) == Some(&b'{') {
        return decode_checkpoint(file);
    }
    let known = match file.get(..4) {
        None => format!("it has only {} bytes", file.len()),
        Some(b"\x89HDF") => "it is HDF5; save the weights as safetensors".to_owned(),
        Some(_) if file.get(257..262) == Some(b"ustar") => {
            "it is a tar archive, as of PyTorch before 0.1.10; load it there and save it again".to_owned()
        }
        Some([0x80, ..]) => "it is a pickle that torch.save did not write".to_owned(),
        Some(start) => format!("it starts with the bytes {start:02x?}"),
    };
    Err(CheckpointError::Unknown(known))
}

/// The float32 nearest to a value.
pub(crate) fn narrow(name: &str, value: f64) -> Result<f32, CheckpointError> {
    let narrow = value as f32;
    if value.is_finite() && !narrow.is_finite() {
        return Err(CheckpointError::Range { name: name.to_owned(), value });
    }
    Ok(narrow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_refused_by_what_they_are() {
        for (file, word) in [
            (&b""[..], "0 bytes"),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (b"\x80\x04\x95\x00", "pickle"),
            (b"\x89PNG\r\n", "89, 50, 4e, 47"),
            (&[&[0; 257][..], b"ustar\0"].concat(), "tar"),
        ] {
            let error = read_checkpoint(&Bytes::copy_from_slice(file)).expect_err("no checkpoint");
            assert!(matches!(&error, CheckpointError::Unknown(_)) && error.to_string().contains(word), "{error}");
        }
    }
}
