//! Shapes of what reorders, joins, cuts and averages entries.

use super::GraphError;
use super::site::Site;
use crate::op::Range;
use crate::value_shape::ValueShape;

impl Site<'_> {
    pub(super) fn reshape(&self, dims: &[usize]) -> Result<ValueShape, GraphError> {
        let value = self.input(0);
        let n_entries: usize = value.dims.iter().product();
        if dims.iter().try_fold(1_usize, |n, dim| n.checked_mul(*dim)) != Some(n_entries) {
            return Err(self.misfit(value, format!("as many entries per sample as {dims:?}")));
        }
        Ok(ValueShape { is_batched: value.is_batched, dims: dims.to_vec() })
    }

    pub(super) fn transpose(&self, order: &[usize]) -> Result<ValueShape, GraphError> {
        let value = self.input(0);
        let axes = value.axes();
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        let is_order = sorted.iter().copied().eq(0..axes.len());
        let refuse = || self.misfit(value, format!("a value whose axes {order:?} orders, the batch first"));
        if !is_order {
            return Err(refuse());
        }
        let moved: Vec<_> = order.iter().map(|axis| axes[*axis]).collect();
        ValueShape::from_axes(&moved).ok_or_else(refuse)
    }

    pub(super) fn concat(&self, axis: usize) -> Result<ValueShape, GraphError> {
        let first = self.input(0);
        let mut size = 0_usize;
        for idx in 0..self.n_inputs() {
            let shape = self.input(idx);
            let refuse =
                || self.misfit(shape, format!("the dimensions of the first input, {first}, but on axis {axis}"));
            let part = shape.size(axis).ok_or_else(refuse)?;
            let same = first.size(axis).and_then(|size| shape.with(axis, size));
            if same.as_ref() != Some(first) {
                return Err(refuse());
            }
            size = size.checked_add(part).ok_or_else(refuse)?;
        }
        first.with(axis, size).ok_or_else(|| self.misfit(first, format!("a value that has an axis {axis}")))
    }

    pub(super) fn slice(&self, ranges: &[Range]) -> Result<ValueShape, GraphError> {
        let mut shape = self.input(0).clone();
        for (idx, range) in ranges.iter().enumerate() {
            let size = self.size(range.axis)?;
            let is_again = ranges[..idx].iter().any(|earlier| earlier.axis == range.axis);
            if is_again || range.step == 0 || range.is_empty() || range.end > size {
                return Err(self.attribute("range", "one per axis, within it and not empty", format!("{range:?}")));
            }
            shape = shape.with(range.axis, range.len()).unwrap_or(shape);
        }
        Ok(shape)
    }

    pub(super) fn pad(&self, before: &[usize], after: &[usize], value: f32) -> Result<ValueShape, GraphError> {
        let shape = self.input(0);
        let refuse = || {
            let found = format!("{before:?} before and {after:?} after");
            self.attribute("padding", "two sizes for every axis, 0 for the batch", found)
        };
        if value.is_nan() {
            return Err(self.attribute("value", "a number", value.to_string()));
        }
        if before.len() != shape.rank() || after.len() != shape.rank() {
            return Err(refuse());
        }
        let sizes = shape.axes().into_iter().zip(before.iter().zip(after)).map(|(size, (before, after))| match size {
            None => (*before == 0 && *after == 0).then_some(None),
            Some(size) => size.checked_add(*before)?.checked_add(*after).map(Some),
        });
        sizes.collect::<Option<Vec<_>>>().and_then(|sizes| ValueShape::from_axes(&sizes)).ok_or_else(refuse)
    }

    pub(super) fn reduce(&self, axes: &[usize], keeps_axes: bool) -> Result<ValueShape, GraphError> {
        let value = self.input(0);
        if axes.is_empty() || !axes.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(self.attribute("axes", "ascending, at least one", format!("{axes:?}")));
        }
        for axis in axes {
            self.size(*axis)?;
        }
        let sizes = value.axes().into_iter().enumerate();
        let left: Vec<_> = sizes
            .filter_map(|(axis, size)| match axes.contains(&axis) {
                true => keeps_axes.then_some(Some(1)),
                false => Some(size),
            })
            .collect();
        ValueShape::from_axes(&left).ok_or_else(|| self.misfit(value, "a value with the batch first".to_owned()))
    }
}
