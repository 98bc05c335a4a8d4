//! The values of a tensor, taken from its storage.

use super::Fault;
use crate::checkpoint_file::{CheckpointError, narrow};
use crate::half;
use crate::pickle::TensorRef;

/// The number of values of a tensor that lies within its storage.
pub(super) fn n_values(tensor: &TensorRef) -> Option<u64> {
    let n_values = tensor.shape.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim))?;
    if n_values == 0 {
        return Some(0);
    }
    let steps = tensor.shape.iter().zip(&tensor.strides).map(|(dim, stride)| (dim - 1).checked_mul(*stride));
    let last = steps.into_iter().try_fold(tensor.offset, |last, step| last.checked_add(step?))?;
    let n_stored = match tensor.storage.element.is_untyped() {
        true => tensor.storage.n_values / tensor.element.n_bytes()?,
        false => tensor.storage.n_values,
    };
    (last < n_stored).then_some(n_values)
}

/// The values of a tensor, row-major, of a storage that was found to hold them by its own account.
pub(super) fn gather(name: &str, tensor: &TensorRef, bytes: &[u8]) -> Result<Vec<f32>, CheckpointError> {
    let storage = &tensor.storage;
    let width = tensor.element.n_bytes().unwrap_or(1);
    let unit = storage.element.n_bytes().unwrap_or(width);
    let expected = storage.first.checked_add(storage.n_values).and_then(|n| n.checked_mul(unit)).unwrap_or(u64::MAX);
    if expected > bytes.len() as u64 || (unit != width && !storage.element.is_untyped()) {
        let (key, found) = (storage.key.to_string(), bytes.len() as u64);
        return Err(CheckpointError::Pytorch(Fault::Storage { key, expected, found }.into()));
    }
    let seen = &bytes[(storage.first * unit) as usize..expected as usize];
    match tensor.element.name() {
        "float64" => collect(tensor, seen, |bytes| narrow(name, f64::from_le_bytes(*bytes))),
        "float16" => collect(tensor, seen, |bytes| Ok(half::from_f16(u16::from_le_bytes(*bytes)))),
        "bfloat16" => collect(tensor, seen, |bytes| Ok(half::from_bf16(u16::from_le_bytes(*bytes)))),
        _ => collect(tensor, seen, |bytes| Ok(f32::from_le_bytes(*bytes))),
    }
}

fn collect<const N: usize>(
    tensor: &TensorRef,
    bytes: &[u8],
    value: impl Fn(&[u8; N]) -> Result<f32, CheckpointError>,
) -> Result<Vec<f32>, CheckpointError> {
    let elements = bytes.as_chunks::<N>().0;
    let n_values = tensor.shape.iter().product::<u64>() as usize;
    let mut values = Vec::with_capacity(n_values);
    let mut index = vec![0_u64; tensor.shape.len()];
    let mut place = tensor.offset;
    for _ in 0..n_values {
        values.push(value(&elements[place as usize])?);
        for (axis, (dim, stride)) in tensor.shape.iter().zip(&tensor.strides).enumerate().rev() {
            // Along an axis of one entry the stride is never taken, and may be any.
            if *dim == 1 {
                continue;
            }
            index[axis] += 1;
            place += stride;
            if index[axis] < *dim {
                break;
            }
            place -= stride * dim;
            index[axis] = 0;
        }
    }
    Ok(values)
}
