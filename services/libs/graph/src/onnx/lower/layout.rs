//! What reorders, joins and cuts entries.

use super::super::attribute::{Attributes, NodeProblem, node_name};
use super::super::constant::Size;
use super::super::fold::{places, product, reshaped};
use super::super::reader::Reader;
use super::super::wire::NodeProto;
use crate::op::{Op, Range};
use crate::value_shape::ValueShape;

impl Reader<'_> {
    pub(super) fn lower_flatten(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let shape = self.shape(node, 0)?;
        let axis = attributes.int("axis", 1)?;
        if shape.is_batched && (axis == 1 || axis == 1 - shape.rank() as i64) {
            let inputs = self.operands(node)?;
            return self.emit(node, Op::Flatten, inputs);
        }
        let counted = if axis < 0 { axis.saturating_add(shape.rank() as i64) } else { axis };
        let cut = usize::try_from(counted).ok().and_then(|cut| cut.checked_sub(usize::from(shape.is_batched)));
        let dims = cut.filter(|cut| *cut <= shape.dims.len()).map(|cut| {
            let (rows, columns) = shape.dims.split_at(cut);
            Some([product(rows)?, product(columns)?])
        });
        let dims = dims.flatten();
        match (dims, shape.is_batched) {
            (Some(dims), false) => self.emit_reshape(node, &shape, dims.to_vec()),
            (Some([1, columns]), true) => self.emit_reshape(node, &shape, vec![columns]),
            _ => Err(attributes.unsupported(format!("axis {axis} of {shape}, which mixes the samples of the batch"))),
        }
    }

    pub(super) fn lower_reshape(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let allows_zero = attributes.flag("allowzero", false)?;
        let shape = self.shape(node, 0)?;
        let Some(target) = self.constant(node, 1)? else {
            return Err(attributes.invalid("shape", "absent".to_owned(), "given"));
        };
        let Some(sizes) = target.sizes() else {
            return Err(attributes.unsupported("a shape that is no list of integers"));
        };
        match resolve(&shape, sizes, allows_zero, self.fixed_batch) {
            Some(dims) => self.emit_reshape(node, &shape, dims),
            None => Err(attributes
                .unsupported(format!("{shape} to {}, which is not one sample after the other", Target(sizes)))),
        }
    }

    pub(super) fn lower_unit_axes(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let shape = self.shape(node, 0)?;
        let listed = match self.integers(node, 1)? {
            Some(axes) => Some(axes),
            None => attributes.ints("axes")?.map(<[i64]>::to_vec),
        };
        let sizes = shape.axes();
        let kept = match (node.op_type.as_str(), listed) {
            ("Squeeze", None) => Some(sizes.into_iter().filter(|size| *size != Some(1)).collect()),
            ("Squeeze", Some(listed)) => places(&listed, sizes.len()).and_then(|axes| {
                let is_unit = axes.iter().all(|axis| sizes[*axis] == Some(1));
                let rest = sizes.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
                is_unit.then(|| rest.map(|(_, size)| *size).collect::<Vec<_>>())
            }),
            (_, Some(listed)) if listed.len() <= 16 => {
                let rank = sizes.len() + listed.len();
                places(&listed, rank).and_then(|axes| {
                    let mut rest = sizes.iter().copied();
                    let size = |axis| if axes.contains(&axis) { Some(Some(1)) } else { rest.next() };
                    (0..rank).map(size).collect::<Option<Vec<_>>>()
                })
            }
            _ => None,
        };
        match kept.and_then(|kept| ValueShape::from_axes(&kept)).filter(|kept| kept.is_batched == shape.is_batched) {
            Some(kept) => self.emit_reshape(node, &shape, kept.dims),
            None => Err(attributes.unsupported(format!("axes that {shape} does not have or that move the batch"))),
        }
    }

    /// Adds a node that gives the first input, of `shape`, other dimensions; none where they are the same.
    fn emit_reshape(&mut self, node: &NodeProto, shape: &ValueShape, dims: Vec<usize>) -> Result<(), NodeProblem> {
        if dims == shape.dims {
            let known = self.required(node, 0)?;
            return self.alias(node, known);
        }
        let input = self.operand(node, 0)?;
        self.emit(node, Op::Reshape { dims }, input.into_iter().collect())
    }

    pub(super) fn lower_transpose(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let shape = self.shape(node, 0)?;
        let order = match attributes.ints("perm")? {
            Some(order) => places(order, shape.rank()),
            None => Some((0..shape.rank()).rev().collect()),
        };
        let order = order.filter(|order| !shape.is_batched || order.first() == Some(&0));
        let order = order.ok_or_else(|| attributes.unsupported("an order that moves the batch"))?;
        let inputs = self.operands(node)?;
        self.emit(node, Op::Transpose { order }, inputs)
    }

    pub(super) fn lower_concat(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let shape = self.shape(node, 0)?;
        let axis = attributes.axis("axis", attributes.int("axis", 0)?, shape.rank())?;
        let inputs = self.operands(node)?;
        self.emit(node, Op::Concat { axis }, inputs)
    }

    pub(super) fn lower_split(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let shape = self.shape(node, 0)?;
        let axis = attributes.axis("axis", attributes.int("axis", 0)?, shape.rank())?;
        let Some(size) = shape.size(axis) else {
            return Err(attributes.unsupported("the batch as its axis"));
        };
        let listed = match self.integers(node, 1)? {
            Some(sizes) => Some(sizes),
            None => attributes.ints("split")?.map(<[i64]>::to_vec),
        };
        let n_parts = node.output.len();
        let parts: Option<Vec<usize>> = match &listed {
            Some(sizes) => sizes.iter().map(|size| usize::try_from(*size).ok()).collect(),
            None => {
                let part = size.div_ceil(n_parts.max(1));
                Some((0..n_parts).map(|idx| part.min(size.saturating_sub(idx * part))).collect())
            }
        };
        let is_whole = |parts: &Vec<usize>| {
            parts.len() == n_parts && parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(*part)) == Some(size)
        };
        let parts = parts.filter(is_whole).ok_or_else(|| {
            attributes.invalid("split", format!("{listed:?}"), &format!("{n_parts} sizes of together {size}"))
        })?;
        let input: Vec<String> = self.operand(node, 0)?.into_iter().collect();
        let mut start = 0;
        for (output, part) in node.output.iter().zip(parts) {
            let range = Range { axis, start, end: start + part, step: 1 };
            start += part;
            if !output.is_empty() && self.read.contains(output.as_str()) {
                self.emit_as(output.clone(), Op::Slice { ranges: vec![range] }, input.clone(), output.clone())?;
            }
        }
        Ok(())
    }

    pub(super) fn lower_slice(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let shape = self.shape(node, 0)?;
        let mut ranges = Vec::new();
        for cut in self.cuts(node, shape.rank())?.unwrap_or_default() {
            let axis = cut.axis;
            let Some(size) = shape.size(axis) else {
                if cut.range(i64::MAX) == Some((0, i64::MAX as usize, 1)) {
                    continue;
                }
                return Err(attributes.unsupported("a part of the batch"));
            };
            let Some((start, end, step)) = cut.range(size as i64) else {
                return Err(attributes.unsupported("steps that are negative"));
            };
            if (start, end, step) != (0, size, 1) {
                ranges.push(Range { axis, start, end, step });
            }
        }
        if ranges.is_empty() {
            let known = self.required(node, 0)?;
            return self.alias(node, known);
        }
        let input = self.operand(node, 0)?;
        self.emit(node, Op::Slice { ranges }, input.into_iter().collect())
    }

    /// One entry of an axis, or several in a row.
    pub(super) fn lower_gather(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let shape = self.shape(node, 0)?;
        let axis = attributes.axis("axis", attributes.int("axis", 0)?, shape.rank())?;
        let Some(size) = shape.size(axis) else {
            return Err(attributes.unsupported("samples of the batch"));
        };
        let unsupported = || attributes.unsupported("indices that are not constant and in a row");
        let indices = self.constant(node, 1)?.ok_or_else(unsupported)?;
        let taken = indices.integers().and_then(|list| places(&list, size)).ok_or_else(unsupported)?;
        let Some(first) = taken.first().copied() else { return Err(unsupported()) };
        if !taken.iter().copied().eq(first..first + taken.len()) {
            return Err(unsupported());
        }
        let range = Range { axis, start: first, end: first + taken.len(), step: 1 };
        let input: Vec<String> = self.operand(node, 0)?.into_iter().collect();
        let op = Op::Slice { ranges: vec![range] };
        if !indices.dims.is_empty() {
            return self.emit(node, op, input);
        }
        let mut dims = shape.dims.clone();
        dims.remove(axis - usize::from(shape.is_batched));
        let part = self.fresh(&format!("{}.entry", node_name(node)));
        self.emit_as(part.clone(), op, input, part.clone())?;
        self.emit(node, Op::Reshape { dims }, vec![part])
    }

    pub(super) fn lower_pad(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let attributes = Attributes { node };
        let mode = attributes.word("mode", "constant")?;
        if mode != "constant" {
            return Err(attributes.unsupported(format!("mode {mode}, only constant is")));
        }
        let shape = self.shape(node, 0)?;
        let (sizes, value) = match self.opset {
            ..11 => (attributes.ints("pads")?.map(<[i64]>::to_vec), attributes.float("value")?),
            _ => (self.integers(node, 1)?, self.number(node, 2)?),
        };
        let axes = match self.integers(node, 3)? {
            Some(axes) => places(&axes, shape.rank()),
            None => Some((0..shape.rank()).collect()),
        };
        let sizes = sizes.unwrap_or_default();
        let (Some(axes), true) = (axes, sizes.iter().all(|size| (0..=i64::from(u32::MAX)).contains(size))) else {
            return Err(attributes.unsupported(format!("pads {sizes:?}, only sizes that are not negative are")));
        };
        if sizes.len() != 2 * axes.len() {
            return Err(attributes.invalid("pads", format!("{sizes:?}"), "two sizes for each axis"));
        }
        let (mut before, mut after) = (vec![0; shape.rank()], vec![0; shape.rank()]);
        for (idx, axis) in axes.iter().enumerate() {
            before[*axis] = sizes[idx] as usize;
            after[*axis] = sizes[idx + axes.len()] as usize;
        }
        let input = self.operand(node, 0)?;
        self.emit(node, Op::Pad { before, after, value: value.unwrap_or(0.0) }, input.into_iter().collect())
    }

    /// Expand is supported where it changes nothing.
    pub(super) fn lower_expand(&mut self, node: &NodeProto) -> Result<(), NodeProblem> {
        let shape = self.shape(node, 0)?;
        let target = self.constant(node, 1)?;
        let sizes = target.as_ref().and_then(|target| target.sizes()).unwrap_or_default();
        let is_same = |(own, target): (Option<usize>, Size)| {
            target == own.map_or(Size::BATCH, |own| Size::known(own as i64)) || target == Size::known(1)
        };
        let axes = shape.axes();
        if sizes.len() <= axes.len() && axes.into_iter().rev().zip(sizes.iter().rev().copied()).all(is_same) {
            let known = self.required(node, 0)?;
            return self.alias(node, known);
        }
        Err(Attributes { node }.unsupported("of what is not constant"))
    }
}

/// The dimensions that Reshape gives a tensor of `shape`; none when it does not keep the samples of the batch apart.
fn resolve(shape: &ValueShape, target: &[Size], allows_zero: bool, fixed_batch: Option<i64>) -> Option<Vec<usize>> {
    let known = |sizes: &[Size]| -> Option<Vec<i64>> {
        let values = sizes.iter().map(|size| size.value().filter(|value| !(allows_zero && *value == 0)));
        values.collect()
    };
    if !shape.is_batched {
        return reshaped(&shape.dims, &known(target)?);
    }
    let (first, rest) = target.split_first()?;
    let rest = known(rest)?;
    // The sizes named 0 stand one place further to the left among the dimensions of a sample, as `rest` does.
    let dims = reshaped(&shape.dims, &rest)?;
    let keeps_batch = match first.value() {
        None => *first == Size::BATCH,
        Some(0) => !allows_zero,
        Some(-1) => !rest.contains(&-1) && product(&dims) == product(&shape.dims),
        Some(size) => Some(size) == fixed_batch,
    };
    keeps_batch.then_some(dims)
}

/// A list of sizes, for messages.
struct Target<'a>(&'a [Size]);

impl std::fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |size: &Size| size.value().map_or("batch".to_owned(), |value| value.to_string());
        write!(f, "({})", self.0.iter().map(text).collect::<Vec<_>>().join(", "))
    }
}
