//! Nodes whose result is known while a file is read: arithmetic on shapes and constants.

use std::sync::Arc;

use super::OnnxError;
use super::attribute::{Attributes, NodeProblem};
use super::constant::{Constant, Entries, Size};
use super::reader::{Known, Reader};
use super::wire::NodeProto;
use super::wire::tensor_proto::DataType;

impl Reader<'_> {
    /// The result of `node`, when it is known.
    pub(super) fn fold(&mut self, node: &NodeProto) -> Result<Option<Constant>, NodeProblem> {
        match node.op_type.as_str() {
            "Constant" => self.fold_constant(node).map(Some),
            "Shape" => self.fold_shape(node).map(Some),
            "ConstantOfShape" => self.fold_constant_of_shape(node).map(Some),
            _ => match self.all_constant(node)? {
                Some(inputs) => self.fold_operator(node, &inputs),
                None => Ok(None),
            },
        }
    }

    /// The inputs, when all that count are constants.
    fn all_constant(&mut self, node: &NodeProto) -> Result<Option<Vec<Arc<Constant>>>, NodeProblem> {
        // Of what CastLike is like, only the type counts.
        let n_inputs = if node.op_type == "CastLike" { 1 } else { node.input.len() };
        let mut inputs = Vec::with_capacity(n_inputs);
        for idx in 0..n_inputs {
            match self.input(node, idx)? {
                Some(Known::Constant(_, constant)) => inputs.push(constant),
                _ => return Ok(None),
            }
        }
        Ok((!inputs.is_empty()).then_some(inputs))
    }

    fn fold_operator(&mut self, node: &NodeProto, inputs: &[Arc<Constant>]) -> Result<Option<Constant>, NodeProblem> {
        let attributes = Attributes { node };
        let n_entries: usize = inputs.iter().map(|input| input.len()).sum();
        self.reserve(node, Some(n_entries))?;
        match (node.op_type.as_str(), inputs) {
            ("Add", [a, b]) => self.fold_arithmetic(node, a, b, Size::add, |a, b| a + b),
            ("Sub", [a, b]) => self.fold_arithmetic(node, a, b, Size::sub, |a, b| a - b),
            ("Mul", [a, b]) => self.fold_arithmetic(node, a, b, Size::mul, |a, b| a * b),
            ("Div", [a, b]) => self.fold_arithmetic(node, a, b, Size::div, |a, b| a / b),
            ("Equal", [a, b]) => {
                let equal = |a, b| Some(Size::known(i64::from(a == b)));
                self.fold_arithmetic(node, a, b, equal, |a, b| f32::from(u8::from(a == b)))
            }
            ("Where", [condition, a, b]) => self.fold_where(node, condition, a, b),
            ("Expand", [value, shape]) => {
                let target = shape.integers().and_then(|sizes| to_dims(&sizes));
                let dims = target.and_then(|target| broadcast(&value.dims, &target));
                dims.map(|dims| self.repeat(node, value, dims)).transpose()
            }
            ("Cast", [value]) => cast(&attributes, value, attributes.int("to", 0)?),
            ("CastLike", [value]) => {
                let like = match self.required(node, 1)? {
                    Known::Constant(_, like) if matches!(like.entries, Entries::Ints(_)) => DataType::Int64,
                    _ => DataType::Float,
                };
                cast(&attributes, value, like as i64)
            }
            ("Concat", inputs) if inputs.iter().all(|input| input.dims.len() == 1) => Ok(concat(inputs)),
            ("Gather", [value, indices]) => fold_gather(&attributes, value, indices),
            ("Slice", [value, ..]) => self.fold_slice(node, value),
            ("Reshape", [value, shape]) => {
                let dims = shape.integers().and_then(|target| reshaped(&value.dims, &target));
                Ok(dims.map(|dims| Constant { dims, entries: value.entries.clone() }))
            }
            ("Squeeze" | "Unsqueeze", [value, ..]) => {
                let axes = match inputs.get(1) {
                    Some(axes) => axes.integers(),
                    None => attributes.ints("axes")?.map(<[i64]>::to_vec),
                };
                let dims = match node.op_type.as_str() {
                    "Squeeze" => squeezed(&value.dims, axes.as_deref()),
                    _ => axes.and_then(|axes| unsqueezed(&value.dims, &axes)),
                };
                Ok(dims.map(|dims| Constant { dims, entries: value.entries.clone() }))
            }
            _ => Ok(None),
        }
    }

    fn fold_constant(&mut self, node: &NodeProto) -> Result<Constant, NodeProblem> {
        let attributes = Attributes { node };
        if let Some(proto) = attributes.tensor("value")? {
            let name = node.output.first().cloned().unwrap_or_default();
            let refuse = |problem| NodeProblem::Invalid(OnnxError::Initializer { name, problem });
            let constant = Constant::read(proto).map_err(refuse)?;
            return constant.ok_or_else(|| attributes.unsupported("a value in another file"));
        }
        if let Some(value) = attributes.float("value_float")? {
            return Ok(Constant { dims: Vec::new(), entries: Entries::Floats(vec![value]) });
        }
        if let Some(values) = attributes.floats("value_floats")? {
            return Ok(Constant { dims: vec![values.len()], entries: Entries::Floats(values.to_vec()) });
        }
        if let Some(values) = attributes.ints("value_ints")? {
            return Ok(Constant::ints(values.iter().copied().map(Size::known).collect()));
        }
        if node.attribute.iter().any(|attribute| attribute.name == "value_int") {
            let value = Size::known(attributes.int("value_int", 0)?);
            return Ok(Constant { dims: Vec::new(), entries: Entries::Ints(vec![value]) });
        }
        Err(attributes.unsupported("neither value, value_float(s) nor value_int(s)"))
    }

    fn fold_shape(&mut self, node: &NodeProto) -> Result<Constant, NodeProblem> {
        let attributes = Attributes { node };
        let axes = self.shape(node, 0)?.axes();
        let sizes: Vec<Size> =
            axes.into_iter().map(|size| size.map_or(Size::BATCH, |size| Size::known(size as i64))).collect();
        let rank = sizes.len() as i64;
        let place = |value: i64| (if value < 0 { value.saturating_add(rank) } else { value }).clamp(0, rank) as usize;
        let (start, end) = (place(attributes.int("start", 0)?), place(attributes.int("end", rank)?));
        Ok(Constant::ints(sizes.get(start..end).unwrap_or_default().to_vec()))
    }

    fn fold_constant_of_shape(&mut self, node: &NodeProto) -> Result<Constant, NodeProblem> {
        let attributes = Attributes { node };
        let sizes = self.integers(node, 0)?.unwrap_or_default();
        let dims = to_dims(&sizes).ok_or_else(|| attributes.unsupported(format!("the shape {sizes:?}")))?;
        let n = product(&dims);
        self.reserve(node, n)?;
        let value = match attributes.tensor("value")? {
            None => Constant { dims: vec![1], entries: Entries::Floats(vec![0.0]) },
            Some(_) => self.fold_constant(node)?,
        };
        let filled = value.pick(dims, std::iter::repeat_n(0, n.unwrap_or(0)));
        filled.ok_or_else(|| attributes.unsupported("a value without entries"))
    }

    fn fold_arithmetic(
        &mut self,
        node: &NodeProto,
        a: &Constant,
        b: &Constant,
        on_sizes: impl Fn(Size, Size) -> Option<Size>,
        on_floats: impl Fn(f32, f32) -> f32,
    ) -> Result<Option<Constant>, NodeProblem> {
        let attributes = Attributes { node };
        let Some(dims) = broadcast(&a.dims, &b.dims) else { return Ok(None) };
        let (a, b) = (self.repeat(node, a, dims.clone())?, self.repeat(node, b, dims.clone())?);
        let entries = match (a.entries, b.entries) {
            (Entries::Ints(a), Entries::Ints(b)) => {
                let sizes = a.into_iter().zip(b).map(|(a, b)| on_sizes(a, b)).collect::<Option<_>>();
                Entries::Ints(sizes.ok_or_else(|| attributes.unsupported("arithmetic on the size of the batch"))?)
            }
            (Entries::Floats(a), Entries::Floats(b)) => {
                Entries::Floats(a.into_iter().zip(b).map(|(a, b)| on_floats(a, b)).collect())
            }
            _ => return Err(attributes.unsupported("arithmetic between integers and numbers")),
        };
        Ok(Some(Constant { dims, entries }))
    }

    fn fold_where(
        &mut self,
        node: &NodeProto,
        condition: &Constant,
        a: &Constant,
        b: &Constant,
    ) -> Result<Option<Constant>, NodeProblem> {
        let dims = broadcast(&a.dims, &b.dims).and_then(|dims| broadcast(&dims, &condition.dims));
        let Some(dims) = dims else { return Ok(None) };
        let condition = self.repeat(node, condition, dims.clone())?;
        let (a, b) = (self.repeat(node, a, dims.clone())?, self.repeat(node, b, dims.clone())?);
        let Some(chosen) = condition.integers_of_any_rank() else { return Ok(None) };
        let entries = match (a.entries, b.entries) {
            (Entries::Ints(a), Entries::Ints(b)) => Entries::Ints(choose(&chosen, a, b)),
            (Entries::Floats(a), Entries::Floats(b)) => Entries::Floats(choose(&chosen, a, b)),
            _ => return Ok(None),
        };
        Ok(Some(Constant { dims, entries }))
    }

    fn fold_slice(&mut self, node: &NodeProto, value: &Constant) -> Result<Option<Constant>, NodeProblem> {
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

    /// `value` broadcast to `dims`.
    fn repeat(&mut self, node: &NodeProto, value: &Constant, dims: Vec<usize>) -> Result<Constant, NodeProblem> {
        let n = product(&dims);
        self.reserve(node, n)?;
        let strides = broadcast_strides(&value.dims, &dims);
        let indices = (0..n.unwrap_or(0)).map(|place| {
            let mut rest = place;
            let steps = dims.iter().zip(&strides).rev().map(|(size, stride)| {
                let at = rest % size;
                rest /= size;
                at * stride
            });
            steps.sum()
        });
        let unsupported = || Attributes { node }.unsupported("a shape it cannot be broadcast to");
        value.pick(dims.clone(), indices).ok_or_else(unsupported)
    }
}

impl Constant {
    fn integers_of_any_rank(&self) -> Option<Vec<i64>> {
        match &self.entries {
            Entries::Ints(values) => values.iter().map(|size| size.value()).collect(),
            Entries::Floats(_) => None,
        }
    }
}

/// One axis of a Slice node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) axis: usize,
    start: i64,
    end: i64,
    step: i64,
}

impl Cut {
    /// The first place, one more than the last that may be taken, and the step, over an axis of `size`; none when the
    /// step is not positive.
    pub(super) fn range(self, size: i64) -> Option<(usize, usize, usize)> {
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
    /// What a Slice node takes of a tensor of `rank` axes; none when it is not known.
    pub(super) fn cuts(&mut self, node: &NodeProto, rank: usize) -> Result<Option<Vec<Cut>>, NodeProblem> {
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

impl Attributes<'_> {
    /// An axis of a tensor of `rank` axes, which may be counted from the end.
    pub(super) fn axis(&self, name: &str, axis: i64, rank: usize) -> Result<usize, NodeProblem> {
        let counted = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        let place = usize::try_from(counted).ok().filter(|place| *place < rank);
        place.ok_or_else(|| self.invalid(name, axis.to_string(), &format!("within the {rank} axes of its input")))
    }
}

fn cast(attributes: &Attributes<'_>, value: &Constant, to: i64) -> Result<Option<Constant>, NodeProblem> {
    let to = i32::try_from(to).ok().and_then(|to| DataType::try_from(to).ok());
    let entries = match (&value.entries, to) {
        (Entries::Floats(_), Some(DataType::Float | DataType::Double)) => value.entries.clone(),
        (Entries::Ints(_), Some(DataType::Int64 | DataType::Int32)) => value.entries.clone(),
        (Entries::Floats(values), Some(DataType::Int64 | DataType::Int32)) => {
            Entries::Ints(values.iter().map(|value| Size::known(*value as i64)).collect())
        }
        (Entries::Floats(values), Some(DataType::Bool)) => {
            Entries::Ints(values.iter().map(|value| Size::known(i64::from(*value != 0.0))).collect())
        }
        (Entries::Ints(values), Some(DataType::Bool)) => {
            let is_true = |size: &Size| Size::known(i64::from(*size != Size::known(0)));
            Entries::Ints(values.iter().map(is_true).collect())
        }
        (Entries::Ints(_), Some(DataType::Float | DataType::Double)) => match value.integers_of_any_rank() {
            Some(values) => Entries::Floats(values.into_iter().map(|value| value as f32).collect()),
            None => return Err(attributes.unsupported("the size of the batch as a number")),
        },
        _ => return Err(attributes.unsupported("a type other than FLOAT, DOUBLE, INT64, INT32 and BOOL")),
    };
    Ok(Some(Constant { dims: value.dims.clone(), entries }))
}

fn concat(inputs: &[Arc<Constant>]) -> Option<Constant> {
    let n = inputs.iter().map(|input| input.len()).sum();
    let entries = match &inputs.first()?.entries {
        Entries::Ints(_) => {
            let lists = inputs.iter().map(|input| input.sizes());
            Entries::Ints(lists.collect::<Option<Vec<_>>>()?.concat())
        }
        Entries::Floats(_) => {
            let lists = inputs.iter().map(|input| match &input.entries {
                Entries::Floats(values) => Some(values.as_slice()),
                Entries::Ints(_) => None,
            });
            Entries::Floats(lists.collect::<Option<Vec<_>>>()?.concat())
        }
    };
    Some(Constant { dims: vec![n], entries })
}

fn fold_gather(
    attributes: &Attributes<'_>,
    value: &Constant,
    indices: &Constant,
) -> Result<Option<Constant>, NodeProblem> {
    let axis = attributes.axis("axis", attributes.int("axis", 0)?, value.dims.len())?;
    if value.len() == 0 {
        return Ok(None);
    }
    let size = value.dims[axis] as i64;
    let Some(integers) = indices.integers_of_any_rank().filter(|_| indices.dims.len() <= 1) else { return Ok(None) };
    let at = |idx: i64| usize::try_from(if idx < 0 { idx.saturating_add(size) } else { idx }).ok();
    let Some(taken) = integers.into_iter().map(at).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let mut places: Vec<Vec<usize>> = value.dims.iter().map(|size| (0..*size).collect()).collect();
    // With several axes an index beyond its own would reach into the next row.
    if taken.iter().any(|place| *place as i64 >= size) {
        return Err(attributes.invalid("indices", format!("{taken:?}"), &format!("below {size}")));
    }
    places[axis] = taken;
    Ok(select(value, &places).map(|mut picked| {
        if indices.dims.is_empty() {
            picked.dims.remove(axis);
        }
        picked
    }))
}

/// The entries of `value` at the given places of each axis; none when they are more than the value has.
fn select(value: &Constant, places: &[Vec<usize>]) -> Option<Constant> {
    let dims: Vec<usize> = places.iter().map(Vec::len).collect();
    let n = product(&dims).filter(|n| *n <= value.len())?;
    let strides = strides(&value.dims);
    let indices = (0..n).map(|entry| {
        let mut rest = entry;
        let steps = places.iter().zip(&strides).rev().map(|(places, stride)| {
            let at = places[rest % places.len()];
            rest /= places.len();
            at * stride
        });
        steps.sum()
    });
    value.pick(dims.clone(), indices)
}

fn choose<T>(chosen: &[i64], a: Vec<T>, b: Vec<T>) -> Vec<T> {
    chosen.iter().zip(a.into_iter().zip(b)).map(|(first, (a, b))| if *first != 0 { a } else { b }).collect()
}

pub(super) fn product(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1_usize, |n, dim| n.checked_mul(*dim))
}

fn to_dims(sizes: &[i64]) -> Option<Vec<usize>> {
    sizes.iter().map(|size| usize::try_from(*size).ok()).collect()
}

fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], idx: usize| (idx + dims.len()).checked_sub(rank).map_or(1, |idx| dims[idx]);
    let size = |idx| match (at(a, idx), at(b, idx)) {
        (a, b) if a == b || b == 1 => Some(a),
        (1, b) => Some(b),
        _ => None,
    };
    (0..rank).map(size).collect()
}

fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; dims.len()];
    for idx in (1..dims.len()).rev() {
        strides[idx - 1] = strides[idx].saturating_mul(dims[idx]);
    }
    strides
}

/// The step in the entries of a tensor of `from` for each axis of `to`, 0 where it is repeated.
fn broadcast_strides(from: &[usize], to: &[usize]) -> Vec<usize> {
    let own = strides(from).into_iter().zip(from).map(|(stride, size)| if *size == 1 { 0 } else { stride });
    std::iter::repeat_n(0, to.len().saturating_sub(from.len())).chain(own).collect()
}

/// The dimensions that Reshape gives a tensor of `dims`: -1 is what is left, 0 the dimension itself.
pub(super) fn reshaped(dims: &[usize], target: &[i64]) -> Option<Vec<usize>> {
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

fn squeezed(dims: &[usize], axes: Option<&[i64]>) -> Option<Vec<usize>> {
    let axes: Option<Vec<usize>> = axes.map(|axes| places(axes, dims.len())).unwrap_or(Some(Vec::new()));
    let axes = axes?;
    let is_kept = |idx: usize, size: usize| if axes.is_empty() { size != 1 } else { !axes.contains(&idx) };
    if axes.iter().any(|axis| dims[*axis] != 1) {
        return None;
    }
    Some(dims.iter().enumerate().filter(|(idx, size)| is_kept(*idx, **size)).map(|(_, size)| *size).collect())
}

fn unsqueezed(dims: &[usize], axes: &[i64]) -> Option<Vec<usize>> {
    let axes = places(axes, dims.len().checked_add(axes.len()).filter(|rank| *rank <= 64)?)?;
    let mut rest = dims.iter().copied();
    (0..dims.len() + axes.len()).map(|idx| if axes.contains(&idx) { Some(1) } else { rest.next() }).collect()
}

/// Axes that may be counted from the end, as places below `rank`.
pub(super) fn places(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let place = |axis: &i64| {
        let counted = if *axis < 0 { axis.checked_add(rank as i64)? } else { *axis };
        usize::try_from(counted).ok().filter(|place| *place < rank)
    };
    axes.iter().map(place).collect()
}
