//! How values lie in tensors, and what reorders and cuts them.

use burn::tensor::{Slice, Tensor};
use relief_graph::{Range, ValueShape};

/// The number of axes of every tensor in a run; a valid graph has no value of more.
pub(super) const N_AXES: usize = 6;

/// A value, a parameter or a constant. Its axes are the last ones and those before them have size 1, so that operators
/// broadcast as in ONNX.
pub(super) type Value = Tensor<N_AXES>;

/// The sizes of all axes of a tensor of `shape`.
pub(super) fn full(shape: &ValueShape, n_samples: usize) -> [usize; N_AXES] {
    let mut sizes = [1; N_AXES];
    for (size, axis) in sizes.iter_mut().rev().zip(shape.axes().into_iter().rev()) {
        *size = axis.unwrap_or(n_samples);
    }
    sizes
}

pub(super) fn transpose(x: Value, order: &[usize]) -> Value {
    let offset = N_AXES - order.len();
    let mut axes: [usize; N_AXES] = std::array::from_fn(|axis| axis);
    for (axis, from) in axes[offset..].iter_mut().zip(order) {
        *axis = offset + from;
    }
    x.permute(axes)
}

pub(super) fn slice(x: Value, axis: usize, range: &Range) -> Value {
    x.slice_dim(axis, Slice::new(range.start as isize, Some(range.end as isize), range.step as isize))
}

pub(super) fn pad(x: Value, before: &[usize], after: &[usize], value: f32) -> Value {
    let sizes: Vec<(usize, usize)> = before.iter().copied().zip(after.iter().copied()).collect();
    x.pad(sizes, value)
}
