//! What makes a graph valid, and the shapes of its values.

mod error;
mod layout;
mod matrix;
mod site;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use relief_core::TensorMap;

pub use error::GraphError;

use crate::graph::Node;
use crate::parameter::{Parameter, ParameterKind};
use crate::shape::InputShape;
use crate::value_shape::ValueShape;
use site::Site;

/// More scalars than this in one value of a sample, or in all parameters together, are refused: no such network could
/// be run, and a small file must not ask for unbounded memory.
const MAX_SCALARS: usize = 1 << 31;

/// The tensors that nodes may read, as they become known.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    shapes: HashMap<String, ValueShape>,
    kinds: HashMap<String, ParameterKind>,
    n_scalars: usize,
}

impl Scope {
    /// Adds the input.
    pub(crate) fn add_input(&mut self, name: &str, shape: InputShape) -> Result<(), GraphError> {
        self.insert(name, "the input", ValueShape::batched(shape.dims()))
    }

    /// Adds a tensor without a batch: a constant, or a parameter whose kind is not known yet.
    pub(crate) fn add_tensor(&mut self, name: &str, dims: &[usize]) -> Result<(), GraphError> {
        self.n_scalars = bounded(dims)
            .and_then(|n| n.checked_add(self.n_scalars))
            .filter(|n| *n <= MAX_SCALARS)
            .ok_or_else(|| GraphError::TooLarge { what: "the network's parameters".to_owned() })?;
        self.insert(name, "a parameter", ValueShape::fixed(dims))
    }

    /// Adds a parameter.
    pub(crate) fn add_parameter(&mut self, parameter: &Parameter) -> Result<(), GraphError> {
        self.add_tensor(&parameter.name, &parameter.shape)?;
        self.kinds.insert(parameter.name.clone(), parameter.kind);
        Ok(())
    }

    /// Adds the value that `node` makes.
    pub(crate) fn add_node(&mut self, node: &Node) -> Result<(), GraphError> {
        let shape = Site::new(node, self)?.output_shape()?;
        let what = || format!("the output of node `{}`", node.name);
        if bounded(&shape.dims).is_none() {
            return Err(GraphError::TooLarge { what: what() });
        }
        self.insert(&node.output, &what(), shape)
    }

    /// The shape of the tensor `name`, if it is known.
    pub(crate) fn shape(&self, name: &str) -> Option<&ValueShape> {
        self.shapes.get(name)
    }

    fn kind(&self, name: &str) -> Option<ParameterKind> {
        self.kinds.get(name).copied()
    }

    fn insert(&mut self, name: &str, what: &str, shape: ValueShape) -> Result<(), GraphError> {
        if name.is_empty() {
            return Err(GraphError::Unnamed(what.to_owned()));
        }
        match self.shapes.insert(name.to_owned(), shape) {
            None => Ok(()),
            Some(_) => Err(GraphError::DuplicateName(name.to_owned())),
        }
    }
}

/// Returns the shape of the input and of every value that a node makes, when all is valid.
pub(crate) fn shapes(
    input_name: &str,
    input_shape: InputShape,
    nodes: &[Node],
    parameters: &[Parameter],
    constants: &TensorMap,
) -> Result<BTreeMap<String, ValueShape>, GraphError> {
    let mut scope = Scope::default();
    scope.add_input(input_name, input_shape)?;
    for parameter in parameters {
        scope.add_parameter(parameter)?;
    }
    for (name, constant) in constants {
        scope.add_tensor(name, constant.shape())?;
    }
    for node in nodes {
        scope.add_node(node)?;
    }
    check_reads(input_name, nodes, parameters, constants)?;
    let values = nodes.iter().map(|node| node.output.as_str()).chain([input_name]);
    Ok(values.filter_map(|name| scope.shape(name).map(|shape| (name.to_owned(), shape.clone()))).collect())
}

/// Checks that everything but the last node's output is read.
fn check_reads(
    input_name: &str,
    nodes: &[Node],
    parameters: &[Parameter],
    constants: &TensorMap,
) -> Result<(), GraphError> {
    let last = nodes.last().ok_or(GraphError::Empty)?;
    let mut unread: BTreeSet<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    unread.extend(constants.keys().map(String::as_str));
    unread.extend(nodes.iter().map(|node| node.output.as_str()));
    unread.insert(input_name);
    unread.remove(last.output.as_str());
    for input in nodes.iter().flat_map(|node| &node.inputs) {
        unread.remove(input.as_str());
    }
    match unread.into_iter().next() {
        Some(name) => Err(GraphError::Unread(name.to_owned())),
        None => Ok(()),
    }
}

/// Returns the number of classes: the length of the last node's output.
pub(crate) fn n_classes(nodes: &[Node], shapes: &BTreeMap<String, ValueShape>) -> Result<usize, GraphError> {
    let last = nodes.last().ok_or(GraphError::Empty)?;
    match shapes.get(&last.output) {
        Some(ValueShape { is_batched: true, dims }) if dims.len() == 1 => Ok(dims[0]),
        found => {
            let found = found.map(|shape| shape.dims.clone()).unwrap_or_default();
            Err(GraphError::Output { node: last.name.clone(), found })
        }
    }
}

fn bounded(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |n, dim| n.checked_mul(*dim)).filter(|n| *n <= MAX_SCALARS)
}
