//! The one form of a network.

use std::collections::BTreeMap;

use relief_core::TensorMap;

use crate::inference::{self, GraphError};
use crate::op::Op;
use crate::parameter::Parameter;
use crate::shape::InputShape;
use crate::value_shape::ValueShape;

/// A node: an operator, what it reads, and the value it makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What messages call it.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The names it reads, each a value, a parameter or a constant, in the order of the ONNX operator. An optional
    /// input that is absent is left out.
    pub inputs: Vec<String>,
    /// The name of the value it makes.
    pub output: String,
}

/// A classifier of images, as data: from one input of (channels, height, width) per sample to the logits of its
/// classes. Always valid: see [`Graph::new`].
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    name: String,
    input_name: String,
    input_shape: InputShape,
    nodes: Vec<Node>,
    parameters: Vec<Parameter>,
    constants: TensorMap,
    shapes: BTreeMap<String, ValueShape>,
    n_classes: usize,
}

impl Graph {
    /// Returns the network that takes `input_shape` under the name `input_name` through `nodes`; the output of the last
    /// node is its logits.
    ///
    /// # Errors
    /// When nodes are out of order or read what nothing makes, a name is made twice, an operator gets the wrong inputs
    /// or shapes, a parameter has the wrong shape or two kinds, a value or a parameter is never read, or the last node
    /// does not make one vector per sample.
    pub fn new(
        name: impl Into<String>,
        input_name: impl Into<String>,
        input_shape: InputShape,
        nodes: Vec<Node>,
        parameters: Vec<Parameter>,
    ) -> Result<Self, GraphError> {
        Self::with_constants(name, input_name, input_shape, nodes, parameters, TensorMap::new())
    }

    /// As [`Graph::new`], with tensors that nodes read and that belong to the network itself: no checkpoint holds them
    /// and no direction moves them.
    ///
    /// # Errors
    /// As [`Graph::new`]; every constant must be read too, and its name be none that is taken.
    pub fn with_constants(
        name: impl Into<String>,
        input_name: impl Into<String>,
        input_shape: InputShape,
        nodes: Vec<Node>,
        parameters: Vec<Parameter>,
        constants: TensorMap,
    ) -> Result<Self, GraphError> {
        let input_name = input_name.into();
        let shapes = inference::shapes(&input_name, input_shape, &nodes, &parameters, &constants)?;
        let n_classes = inference::n_classes(&nodes, &shapes)?;
        Ok(Self { name: name.into(), input_name, input_shape, nodes, parameters, constants, shapes, n_classes })
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the input value.
    #[must_use]
    pub fn input_name(&self) -> &str {
        &self.input_name
    }

    /// The shape of one input sample.
    #[must_use]
    pub fn input_shape(&self) -> InputShape {
        self.input_shape
    }

    /// The number of classes, at least 1.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// The nodes, each after those whose values it reads; at least one, and the last makes the logits.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The name of the value that holds the logits.
    #[must_use]
    pub fn output_name(&self) -> &str {
        self.nodes.last().map_or(&self.input_name, |node| &node.output)
    }

    /// The parameters, in the order of the file or of the network's definition.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The tensors that belong to the network itself.
    #[must_use]
    pub fn constants(&self) -> &TensorMap {
        &self.constants
    }

    /// The shape of every value, the input included; parameters and constants are not among them.
    #[must_use]
    pub fn shapes(&self) -> &BTreeMap<String, ValueShape> {
        &self.shapes
    }

    /// The number of trainable scalars.
    #[must_use]
    pub fn n_parameters(&self) -> usize {
        self.parameters.iter().filter(|parameter| parameter.kind.is_trainable()).map(Parameter::n_values).sum()
    }
}
