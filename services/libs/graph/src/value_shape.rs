//! The shapes of a network's tensors.

use std::fmt;

/// The shape of a tensor inside a network. A value that depends on the input has a batch in front of its dimensions; a
/// parameter, a constant and what is computed from them alone have none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ValueShape {
    /// Whether there is a batch, as axis 0.
    pub is_batched: bool,
    /// The dimensions of a sample, or of the tensor where there is no batch.
    pub dims: Vec<usize>,
}

/// The most axes of a tensor, the batch included.
pub(crate) const MAX_RANK: usize = 6;

impl ValueShape {
    /// The shape of a batch of samples of `dims`.
    #[must_use]
    pub fn batched(dims: impl Into<Vec<usize>>) -> Self {
        Self { is_batched: true, dims: dims.into() }
    }

    /// The shape `dims`, without a batch.
    #[must_use]
    pub fn fixed(dims: impl Into<Vec<usize>>) -> Self {
        Self { is_batched: false, dims: dims.into() }
    }

    /// The number of axes, the batch included.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.dims.len() + usize::from(self.is_batched)
    }

    /// The size of every axis; none for the batch.
    #[must_use]
    pub fn axes(&self) -> Vec<Option<usize>> {
        let batch = self.is_batched.then_some(None);
        batch.into_iter().chain(self.dims.iter().copied().map(Some)).collect()
    }

    /// The shape with these sizes of its axes; none when the batch is not the first or there are two.
    pub(crate) fn from_axes(axes: &[Option<usize>]) -> Option<Self> {
        let (is_batched, rest) = match axes {
            [None, rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        rest.iter().copied().collect::<Option<Vec<_>>>().map(|dims| Self { is_batched, dims })
    }

    /// The shape with the size of `axis` changed; none when the axis is the batch or there is none such.
    pub(crate) fn with(&self, axis: usize, size: usize) -> Option<Self> {
        let idx = axis.checked_sub(usize::from(self.is_batched))?;
        let mut changed = self.clone();
        *changed.dims.get_mut(idx)? = size;
        Some(changed)
    }

    /// The size of `axis`; none when the axis is the batch or there is none such.
    pub(crate) fn size(&self, axis: usize) -> Option<usize> {
        self.dims.get(axis.checked_sub(usize::from(self.is_batched))?).copied()
    }

    /// The shape that ONNX broadcasts two shapes to: aligned at the last axis, a size of 1 is repeated.
    pub(crate) fn broadcast(&self, other: &Self) -> Option<Self> {
        Self::from_axes(&broadcast_axes(&self.axes(), &other.axes())?)
    }
}

/// Broadcasts two lists of sizes aligned at their ends; the batch goes with itself and with 1.
pub(crate) fn broadcast_axes(first: &[Option<usize>], second: &[Option<usize>]) -> Option<Vec<Option<usize>>> {
    let rank = first.len().max(second.len());
    let at = |axes: &[Option<usize>], idx: usize| (idx + axes.len()).checked_sub(rank).map_or(Some(1), |idx| axes[idx]);
    let size = |idx| match (at(first, idx), at(second, idx)) {
        (a, b) if a == b => Some(a),
        (Some(1), other) | (other, Some(1)) => Some(other),
        _ => None,
    };
    (0..rank).map(size).collect()
}

impl fmt::Display for ValueShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.axes().into_iter().map(|size| size.map_or("batch".to_owned(), |size| size.to_string()));
        write!(f, "({})", sizes.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_broadcast_from_the_last_axis() {
        let image = ValueShape::batched([4, 3, 3]);
        for other in [vec![], vec![1], vec![3], vec![4, 1, 1], vec![1, 4, 3, 3]] {
            assert_eq!(image.broadcast(&ValueShape::fixed(other.as_slice())), Some(image.clone()), "{other:?}");
        }
        assert_eq!(ValueShape::fixed([2, 1]).broadcast(&ValueShape::fixed([3])), Some(ValueShape::fixed([2, 3])));
        assert_eq!(image.broadcast(&ValueShape::batched([4, 1, 1])), Some(image.clone()));
    }

    #[test]
    fn the_batch_is_never_broadcast_against_anything_but_itself() {
        let image = ValueShape::batched([4, 3, 3]);
        for other in [ValueShape::fixed([2, 4, 3, 3]), ValueShape::fixed([1, 1, 4, 3, 3]), ValueShape::batched([3, 3])]
        {
            assert_eq!(image.broadcast(&other), None, "{other}");
        }
        assert_eq!(ValueShape::batched([1]).broadcast(&ValueShape::batched([1, 1])), None);
    }
}
