//! Samples that are taken as they are, as they are stored.

use std::borrow::Cow;

use bytes::Bytes;
use safetensors::tensor::{Dtype, SafeTensors, View};

struct Float32 {
    shape: [usize; 4],
    data: Bytes,
}

impl View for &Float32 {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

pub(super) fn encode_values(data: Bytes, n_samples: u32, shape: [u32; 3]) -> Result<Bytes, String> {
    let [channels, height, width] = shape.map(|dim| dim as usize);
    let inputs = Float32 { shape: [n_samples as usize, channels, height, width], data };
    safetensors::serialize([("inputs", &inputs)], None).map(Bytes::from).map_err(|error| error.to_string())
}

/// Reads the inputs that were stored as values: the shape, and little-endian float32.
pub(crate) fn decode_values(file: &Bytes) -> Result<(Vec<usize>, Bytes), String> {
    let tensors = SafeTensors::deserialize(file).map_err(|error| error.to_string())?;
    let inputs = tensors.tensor("inputs").map_err(|error| error.to_string())?;
    if inputs.dtype() != Dtype::F32 {
        return Err(format!("the inputs have the type {}, not F32", inputs.dtype()));
    }
    Ok((inputs.shape().to_vec(), file.slice_ref(inputs.data())))
}
