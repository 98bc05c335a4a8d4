//! Slice nodes.

use super::super::attribute::{Attributes, NodeProblem};
use super::super::constant::{Constant, Size};
use super::super::reader::{Known, Reader};
use super::super::wire::NodeProto;
use super::select;

/// One axis of a Slice node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::onnx) struct Cut {
    pub(in crate::onnx) axis: usize,
    start: i64,
    end: i64,
    step: i64,
}

impl Cut {
    /// The first place, one more than the last that may be taken, and the step, over an axis of `size`; none when the
    /// step is not positive.
    pub(in crate::onnx) fn range(self, size: i64) -> Option<(usize, usize, usize)> {
        let place = |value: i64| (if value < 0 { value.saturating_add(size) } else { value }).clamp(0, size) as usize;
        usize::try_from(self.step).ok().filter(|step| *step > 0).map(|step| (place(self.start), place(self.end), step))
    }

    fn places(self, size: i64) -> Vec<usize> {
        if let Some((start, end, step)) = self.range(size) {
            return (start..end).step_by(step).collect();
        }
        let shifted = |value: i64| if value < 0 { value.saturating_add(size) } else { value };
        let (mut place, end) = (shifted(self.start).clamp(-1, size - 1), shifted(self.end).clamp(-1, size - 1));
        let mut places = Vec::new();
        while place > end && self.step < 0 {
            places.push(place as usize);
            place = place.saturating_add(self.step);
        }
        places
    }
}

impl Reader<'_> {
    pub(super) fn fold_slice(&mut self, node: &NodeProto, value: &Constant) -> Result<Option<Constant>, NodeProblem> {
        if value.len() == 0 {
            return Ok(None);
        }
        let Some(cuts) = self.cuts(node, value.dims.len())? else { return Ok(None) };
        let mut places: Vec<Vec<usize>> = value.dims.iter().map(|size| (0..*size).collect()).collect();
        for cut in cuts {
            let size = value.dims[cut.axis] as i64;
            places[cut.axis] = cut.places(size);
        }
        Ok(select(value, &places))
    }

    /// What a Slice node takes of a tensor of `rank` axes; none when it is not known.
    pub(in crate::onnx) fn cuts(&mut self, node: &NodeProto, rank: usize) -> Result<Option<Vec<Cut>>, NodeProblem> {
        let attributes = Attributes { node };
        let from_attributes = self.opset < 10;
        let mut list = |name: &str, idx: usize| match from_attributes {
            true => Ok(attributes.ints(name)?.map(<[i64]>::to_vec)),
            false => match self.input(node, idx)? {
                Some(Known::Value(_)) => Err(attributes.unsupported(format!("{name} that are not constant"))),
                // An end that depends on the batch takes all of it: that is how a whole axis is written.
                _ => Ok(self.constant(node, idx)?.and_then(|constant| {
                    let whole = |size: &Size| size.value().unwrap_or(i64::MAX);
                    constant.sizes().map(|sizes| sizes.iter().map(whole).collect::<Vec<_>>())
                })),
            },
        };
        let (starts, ends) = (list("starts", 1)?, list("ends", 2)?);
        let (axes, steps) = (list("axes", 3)?, list("steps", 4)?);
        let (Some(starts), Some(ends)) = (starts, ends) else {
            return Err(attributes.unsupported("without starts and ends"));
        };
        let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
        if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
            return Err(attributes.invalid("starts", format!("{starts:?}"), "as many as ends, axes and steps"));
        }
        let mut cuts: Vec<Cut> = Vec::new();
        for (idx, axis) in axes.iter().enumerate() {
            let axis = attributes.axis("axes", *axis, rank)?;
            if steps[idx] == 0 || cuts.iter().any(|cut| cut.axis == axis) {
                return Err(attributes.invalid("steps", format!("{steps:?}"), "not 0, one for each axis"));
            }
            cuts.push(Cut { axis, start: starts[idx], end: ends[idx], step: steps[idx] });
        }
        Ok(Some(cuts))
    }
}
