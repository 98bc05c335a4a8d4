//! One node with what is known of its inputs.

use super::{GraphError, Scope};
use crate::graph::Node;
use crate::op::{BatchNormalization, LayerNormalization, Op};
use crate::value_shape::{MAX_RANK, ValueShape};

/// A node whose inputs are known, are of the right number and kinds, have no dimension 0 and few enough axes.
pub(super) struct Site<'a> {
    node: &'a Node,
    inputs: Vec<(&'a str, &'a ValueShape)>,
}

impl<'a> Site<'a> {
    pub(super) fn new(node: &'a Node, scope: &'a Scope) -> Result<Self, GraphError> {
        let mut site = Self { node, inputs: Vec::with_capacity(node.inputs.len()) };
        site.check_input_count()?;
        for (idx, name) in node.inputs.iter().enumerate() {
            let shape = site.known(idx, name, scope)?;
            if shape.rank() > MAX_RANK || shape.dims.contains(&0) {
                let expected = format!("at most {MAX_RANK} dimensions with the batch, none of them 0");
                return Err(site.misfit(shape, expected));
            }
            site.inputs.push((name, shape));
        }
        Ok(site)
    }

    /// The shape of the value that the node makes.
    pub(super) fn output_shape(&self) -> Result<ValueShape, GraphError> {
        let shape = self.unchecked_output_shape()?;
        if shape.rank() > MAX_RANK || shape.dims.contains(&0) {
            let expected = format!("what makes at most {MAX_RANK} dimensions with the batch, none of them 0");
            return Err(self.misfit(self.input(0), expected));
        }
        Ok(shape)
    }

    fn unchecked_output_shape(&self) -> Result<ValueShape, GraphError> {
        let value = self.input(0);
        match &self.node.op {
            Op::Conv(conv) => self.conv(conv),
            Op::MaxPool(pool) | Op::AveragePool { pool, .. } => self.pool(pool),
            Op::GlobalAveragePool => Ok(ValueShape::batched([self.image()?[0], 1, 1])),
            Op::BatchNormalization(norm) => self.batch_normalization(norm),
            Op::LayerNormalization(norm) => self.layer_normalization(norm),
            Op::LeakyRelu { alpha } => self.finite(&[("alpha", *alpha)]),
            Op::HardSigmoid { alpha, beta } => self.finite(&[("alpha", *alpha), ("beta", *beta)]),
            Op::Clip { min, max } => match min.iter().chain(max).find(|bound| bound.is_nan()) {
                Some(bound) => Err(self.attribute("bound", "a number", bound.to_string())),
                None => Ok(value.clone()),
            },
            Op::Relu | Op::Sigmoid | Op::HardSwish | Op::Gelu(_) | Op::Erf | Op::Tanh | Op::Sqrt => Ok(value.clone()),
            Op::Softmax { axis } | Op::LogSoftmax { axis } => {
                self.size(*axis)?;
                Ok(value.clone())
            }
            Op::Add | Op::Sub | Op::Mul | Op::Div => {
                let second = self.input(1);
                value.broadcast(second).ok_or_else(|| {
                    self.misfit(second, format!("a shape that is broadcast with the first input's, {value}"))
                })
            }
            Op::MatMul => self.matmul(),
            Op::Gemm(gemm) => self.gemm(gemm),
            Op::ReduceMean { axes, keeps_axes } => self.reduce(axes, *keeps_axes),
            Op::Flatten => match value.is_batched {
                true => Ok(ValueShape::batched([value.dims.iter().product()])),
                false => Err(self.misfit(value, "a value with a batch".to_owned())),
            },
            Op::Reshape { dims } => self.reshape(dims),
            Op::Transpose { order } => self.transpose(order),
            Op::Concat { axis } => self.concat(*axis),
            Op::Slice { ranges } => self.slice(ranges),
            Op::Pad { before, after, value } => self.pad(before, after, *value),
        }
    }

    fn batch_normalization(&self, norm: &BatchNormalization) -> Result<ValueShape, GraphError> {
        self.epsilon(norm.epsilon)?;
        if !(0.0..=1.0).contains(&norm.momentum) {
            return Err(self.attribute("momentum", "from 0 to 1", norm.momentum.to_string()));
        }
        let value = self.input(0);
        let Some(channels) = value.dims.first().filter(|_| value.is_batched) else {
            return Err(self.misfit(value, "channels of a value with a batch".to_owned()));
        };
        for idx in 1..5 {
            self.vector(idx, *channels)?;
        }
        Ok(value.clone())
    }

    fn layer_normalization(&self, norm: &LayerNormalization) -> Result<ValueShape, GraphError> {
        self.epsilon(norm.epsilon)?;
        self.size(norm.axis)?;
        let value = self.input(0);
        let normalized = ValueShape::fixed(&value.dims[norm.axis - usize::from(value.is_batched)..]);
        for idx in 1..self.inputs.len() {
            let shape = self.input(idx);
            if shape.is_batched || shape.broadcast(&normalized).as_ref() != Some(&normalized) {
                return Err(self.misshapen(idx, format!("{:?} or broadcast to it", normalized.dims)));
            }
        }
        Ok(value.clone())
    }

    /// The shape of the input in the place `idx`, which the node must have.
    pub(super) fn input(&self, idx: usize) -> &'a ValueShape {
        self.inputs[idx].1
    }

    pub(super) fn op(&self) -> &'a Op {
        &self.node.op
    }

    pub(super) fn n_inputs(&self) -> usize {
        self.inputs.len()
    }

    /// The channels, height and width of the first input.
    pub(super) fn image(&self) -> Result<[usize; 3], GraphError> {
        let value = self.input(0);
        let dims = value.dims.as_slice().try_into().ok().filter(|_| value.is_batched);
        dims.ok_or_else(|| self.misfit(value, "an image (channels, height, width)".to_owned()))
    }

    /// The size of an axis of the first input, which must not be the batch.
    pub(super) fn size(&self, axis: usize) -> Result<usize, GraphError> {
        let value = self.input(0);
        let expected = || format!("a value that has an axis {axis} besides the batch");
        value.size(axis).ok_or_else(|| self.misfit(value, expected()))
    }

    /// Checks that the input in the place `idx`, if the node has one there, is a vector of `len` without a batch.
    pub(super) fn vector(&self, idx: usize, len: usize) -> Result<(), GraphError> {
        match self.inputs.get(idx) {
            Some((_, shape)) if **shape != ValueShape::fixed([len]) => Err(self.misshapen(idx, format!("[{len}]"))),
            _ => Ok(()),
        }
    }

    pub(super) fn positive(&self, attribute: &'static str, values: [usize; 2]) -> Result<(), GraphError> {
        if values.contains(&0) {
            return Err(self.attribute(attribute, "at least 1", format!("{values:?}")));
        }
        Ok(())
    }

    fn epsilon(&self, epsilon: f32) -> Result<(), GraphError> {
        if epsilon.is_finite() && epsilon >= 0.0 {
            return Ok(());
        }
        Err(self.attribute("epsilon", "finite and not negative", epsilon.to_string()))
    }

    /// The shape of the first input, when all attributes are finite.
    fn finite(&self, attributes: &[(&'static str, f32)]) -> Result<ValueShape, GraphError> {
        match attributes.iter().find(|(_, value)| !value.is_finite()) {
            Some((attribute, value)) => Err(self.attribute(attribute, "finite", value.to_string())),
            None => Ok(self.input(0).clone()),
        }
    }

    fn check_input_count(&self) -> Result<(), GraphError> {
        let allowed = self.node.op.n_inputs();
        let found = self.node.inputs.len();
        if allowed.contains(&found) {
            return Ok(());
        }
        let (least, most) = allowed.into_inner();
        let expected = match most {
            usize::MAX => format!("at least {least}"),
            _ if least == most => most.to_string(),
            _ => format!("{least} to {most}"),
        };
        Err(GraphError::InputCount { node: self.node.name.clone(), operator: self.node.op.name(), expected, found })
    }

    fn known(&self, idx: usize, name: &str, scope: &'a Scope) -> Result<&'a ValueShape, GraphError> {
        let (node, operator, input) = (self.node.name.clone(), self.node.op.name(), name.to_owned());
        let expected = self.node.op.slot_kind(idx);
        match (scope.shape(name), scope.kind(name), expected) {
            (Some(_), Some(found), Some(expected)) if found != expected => {
                Err(GraphError::ParameterKind { node, operator, input, expected, found })
            }
            (Some(shape), _, _) => Ok(shape),
            (None, _, Some(kind)) => Err(GraphError::UnknownParameter { node, operator, input, kind }),
            (None, _, None) => Err(GraphError::UnknownValue { node, operator: operator.to_owned(), input }),
        }
    }

    pub(super) fn misfit(&self, found: &ValueShape, expected: String) -> GraphError {
        let (node, operator) = (self.node.name.clone(), self.node.op.name());
        GraphError::ValueShape { node, operator, expected, found: found.dims.clone() }
    }

    pub(super) fn misshapen(&self, idx: usize, expected: String) -> GraphError {
        let (name, shape) = self.inputs[idx];
        GraphError::ParameterShape {
            node: self.node.name.clone(),
            operator: self.node.op.name(),
            parameter: name.to_owned(),
            expected,
            found: shape.dims.clone(),
        }
    }

    pub(super) fn attribute(&self, attribute: &'static str, expected: &'static str, found: String) -> GraphError {
        let (node, operator) = (self.node.name.clone(), self.node.op.name());
        GraphError::Attribute { node, operator, attribute, expected, found }
    }
}
