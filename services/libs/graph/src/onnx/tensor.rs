//! The tensors of ONNX files.

use super::wire::TensorProto;
use super::wire::tensor_proto::{DataLocation, DataType};

/// The most axes of a tensor of a file: more than any that is computed with, so that errors name what is wrong.
pub(super) const MAX_AXES: usize = 8;

/// The dimensions of a tensor.
pub(super) fn dims(tensor: &TensorProto) -> Result<Vec<usize>, String> {
    if tensor.dims.len() > MAX_AXES {
        return Err(format!("has {} dimensions; at most {MAX_AXES} are read", tensor.dims.len()));
    }
    let dims = tensor.dims.iter().map(|dim| u32::try_from(*dim).map(|dim| dim as usize));
    dims.collect::<Result<_, _>>().map_err(|_| format!("has the impossible shape {:?}", tensor.dims))
}

/// The float32 values that a tensor of the file itself holds; none when it holds none.
pub(super) fn floats(tensor: &TensorProto) -> Result<Option<Vec<f32>>, String> {
    if is_external(tensor) {
        return Ok(None);
    }
    let values = if tensor.raw_data.is_empty() {
        tensor.float_data.clone()
    } else {
        words::<4>(&tensor.raw_data)?.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    Ok((!values.is_empty()).then_some(values))
}

/// Whether the values lie in another file.
pub(super) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location() == DataLocation::External
}

/// The bytes of values of N bytes each.
pub(super) fn words<const N: usize>(bytes: &[u8]) -> Result<&[[u8; N]], String> {
    match bytes.as_chunks::<N>() {
        (words, []) => Ok(words),
        _ => Err(format!("has {} bytes of data, no multiple of {N}", bytes.len())),
    }
}

/// The name of an element type.
pub(super) fn type_name(data_type: i32) -> String {
    DataType::try_from(data_type).map_or_else(|_| data_type.to_string(), |known| known.as_str_name().to_owned())
}
