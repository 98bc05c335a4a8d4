//! Arithmetic on the dimensions of constants.

use super::super::tensor::MAX_AXES;

pub(in crate::onnx) fn product(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1_usize, |n, dim| n.checked_mul(*dim))
}

pub(super) fn to_dims(sizes: &[i64]) -> Option<Vec<usize>> {
    let dims = sizes.iter().map(|size| usize::try_from(*size).ok());
    (sizes.len() <= MAX_AXES).then(|| dims.collect()).flatten()
}

pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], idx: usize| (idx + dims.len()).checked_sub(rank).map_or(1, |idx| dims[idx]);
    let size = |idx| match (at(a, idx), at(b, idx)) {
        (a, b) if a == b || b == 1 => Some(a),
        (1, b) => Some(b),
        _ => None,
    };
    (0..rank).map(size).collect()
}

pub(super) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; dims.len()];
    for idx in (1..dims.len()).rev() {
        strides[idx - 1] = strides[idx].saturating_mul(dims[idx]);
    }
    strides
}

/// The step in the entries of a tensor of `from` for each axis of `to`, 0 where it is repeated.
pub(super) fn broadcast_strides(from: &[usize], to: &[usize]) -> Vec<usize> {
    let own = strides(from).into_iter().zip(from).map(|(stride, size)| if *size == 1 { 0 } else { stride });
    std::iter::repeat_n(0, to.len().saturating_sub(from.len())).chain(own).collect()
}

/// The dimensions that Reshape gives a tensor of `dims`: -1 is what is left, 0 the dimension itself.
pub(in crate::onnx) fn reshaped(dims: &[usize], target: &[i64]) -> Option<Vec<usize>> {
    if target.len() > MAX_AXES {
        return None;
    }
    let n_entries = product(dims)?;
    let size = |(idx, size): (usize, &i64)| match size {
        -1 => Some(1),
        0 => dims.get(idx).copied(),
        size => usize::try_from(*size).ok(),
    };
    let mut found: Vec<usize> = target.iter().enumerate().map(size).collect::<Option<_>>()?;
    let product = product(&found)?;
    let mut unknown = target.iter().enumerate().filter(|(_, size)| **size == -1).map(|(idx, _)| idx);
    if let Some(idx) = unknown.next() {
        found[idx] = n_entries.checked_div(product)?;
    }
    let fits = found.iter().try_fold(1_usize, |n, dim| n.checked_mul(*dim)) == Some(n_entries);
    (unknown.next().is_none() && fits).then_some(found)
}

pub(super) fn squeezed(dims: &[usize], axes: Option<&[i64]>) -> Option<Vec<usize>> {
    let axes: Option<Vec<usize>> = axes.map(|axes| places(axes, dims.len())).unwrap_or(Some(Vec::new()));
    let axes = axes?;
    let is_kept = |idx: usize, size: usize| if axes.is_empty() { size != 1 } else { !axes.contains(&idx) };
    if axes.iter().any(|axis| dims[*axis] != 1) {
        return None;
    }
    Some(dims.iter().enumerate().filter(|(idx, size)| is_kept(*idx, **size)).map(|(_, size)| *size).collect())
}

pub(super) fn unsqueezed(dims: &[usize], axes: &[i64]) -> Option<Vec<usize>> {
    let axes = places(axes, dims.len().checked_add(axes.len()).filter(|rank| *rank <= MAX_AXES)?)?;
    let mut rest = dims.iter().copied();
    (0..dims.len() + axes.len()).map(|idx| if axes.contains(&idx) { Some(1) } else { rest.next() }).collect()
}

/// Axes that may be counted from the end, as places below `rank`.
pub(in crate::onnx) fn places(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let place = |axis: &i64| {
        let counted = if *axis < 0 { axis.checked_add(rank as i64)? } else { *axis };
        usize::try_from(counted).ok().filter(|place| *place < rank)
    };
    axes.iter().map(place).collect()
}
