//! Nodes whose result is known while a file is read: arithmetic on shapes and constants.

mod cut;
mod shape;

use std::sync::Arc;

use super::OnnxError;
use super::attribute::{Attributes, NodeProblem};
use super::constant::{Constant, Entries, Size};
use super::reader::{Known, Reader};
use super::wire::NodeProto;
use super::wire::tensor_proto::DataType;
use shape::{broadcast, broadcast_strides, squeezed, strides, to_dims, unsqueezed};
pub(super) use shape::{places, product, reshaped};

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
        for input in inputs {
            self.reserve(node, Some(input.len()), input.entry_bytes())?;
        }
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
        let value = match attributes.tensor("value")? {
            None => Constant { dims: vec![1], entries: Entries::Floats(vec![0.0]) },
            Some(_) => self.fold_constant(node)?,
        };
        let n = product(&dims);
        self.reserve(node, n, value.entry_bytes())?;
        let n = n.unwrap_or(0);
        let filled = value.pick(dims, n, std::iter::repeat_n(0, n));
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

    /// `value` broadcast to `dims`.
    fn repeat(&mut self, node: &NodeProto, value: &Constant, dims: Vec<usize>) -> Result<Constant, NodeProblem> {
        let n = product(&dims);
        self.reserve(node, n, value.entry_bytes())?;
        let n = n.unwrap_or(0);
        let strides = broadcast_strides(&value.dims, &dims);
        let indices = (0..n).map(|place| {
            let mut rest = place;
            let steps = dims.iter().zip(&strides).rev().map(|(size, stride)| {
                let at = rest % size;
                rest /= size;
                at * stride
            });
            steps.sum()
        });
        let unsupported = || Attributes { node }.unsupported("a shape it cannot be broadcast to");
        value.pick(dims.clone(), n, indices).ok_or_else(unsupported)
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
    value.pick(dims.clone(), n, indices)
}

fn choose<T>(chosen: &[i64], a: Vec<T>, b: Vec<T>) -> Vec<T> {
    chosen.iter().zip(a.into_iter().zip(b)).map(|(first, (a, b))| if *first != 0 { a } else { b }).collect()
}
