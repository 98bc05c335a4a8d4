//! From an ONNX file to a graph.

use std::collections::{HashMap, HashSet};

use prost::Message;
use relief_core::Tensor;

use super::parameter::{Named, name_parameters};
use super::reader::{Known, Reader};
use super::wire::tensor_proto::DataType;
use super::wire::{self, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use super::{OnnxError, OnnxModel, census, note, tensor};
use crate::graph::{Graph, Node};
use crate::inference::GraphError;
use crate::op::Op;
use crate::shape::InputShape;

impl Graph {
    /// Returns the network of an ONNX file, with the values of those initializers that the file itself holds.
    ///
    /// Initializers become parameters under their own names; scalars among them, and those that shift or scale the input
    /// itself, become constants of the network. What depends on shapes and constants alone is computed here. Nodes and
    /// initializers that do not lead to the output are left out. Weights in a file of their own are not looked for.
    ///
    /// Reading takes memory in proportion to the file: how many parts it has, how long names are and how much is
    /// computed is bounded.
    ///
    /// # Errors
    /// When the bytes are not ONNX, the graph does not have one image or vector as input and one output, an initializer
    /// is not float32 or contradicts its shape, nodes are not supported (all of them are named), or the nodes do not
    /// make a valid network.
    pub fn from_onnx(bytes: &[u8]) -> Result<OnnxModel, OnnxError> {
        census::check_parts(bytes)?;
        let model = ModelProto::decode(bytes)?;
        let graph = model.graph.as_ref().ok_or(OnnxError::NoGraph)?;
        let opset = opset(&model)?;
        census::check_names(graph)?;
        check_unique(graph)?;
        let initializers: HashMap<&str, &TensorProto> =
            graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let input = only_input(graph, &initializers)?;
        let declared = Declared::read(input)?;
        let output = only_output(graph)?;
        let live = live_nodes(graph, output);
        let read = live.iter().flat_map(|node| &node.input).map(String::as_str).chain([output]).collect();
        let mut reader = Reader::new(opset, declared.batch, read, initializers);
        declared.define(&input.name, &mut reader)?;
        reader.read_all(&live)?;
        let output = match reader.find(output) {
            Some(Known::Value(name)) => name.clone(),
            _ => return Err(OnnxError::Outputs(vec![format!("{output}, which does not depend on the input")])),
        };
        let nodes = needed_nodes(std::mem::take(&mut reader.nodes), &output);
        let mut constants = std::mem::take(&mut reader.constants);
        let is_read: HashSet<&str> = nodes.iter().flat_map(|node| &node.inputs).map(String::as_str).collect();
        constants.retain(|name, _| is_read.contains(name.as_str()));
        let Named { nodes, parameters, initializers, notes } = name_parameters(&reader, nodes)?;
        let name = if graph.name.is_empty() { "network" } else { graph.name.as_str() };
        let network = Self::with_constants(name, input.name.as_str(), declared.shape, nodes, parameters, constants)?;
        let notes = note::of_file(graph).into_iter().chain(note::of_network(&network)).chain(notes).collect();
        Ok(OnnxModel { graph: network, initializers, notes })
    }
}

fn opset(model: &ModelProto) -> Result<i64, OnnxError> {
    const OLDEST: i64 = 9;
    let version = model.opset_import.iter().find(|opset| is_onnx(&opset.domain)).map_or(1, |opset| opset.version);
    if version < OLDEST { Err(OnnxError::Opset(version)) } else { Ok(version) }
}

/// Every initializer and every output of a node has a name of its own.
fn check_unique(graph: &GraphProto) -> Result<(), OnnxError> {
    let initializers = graph.initializer.iter().map(|tensor| &tensor.name);
    let outputs = graph.node.iter().flat_map(|node| &node.output).filter(|name| !name.is_empty());
    let mut seen = HashSet::new();
    match initializers.chain(outputs).find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(GraphError::DuplicateName(name.clone()).into()),
        None => Ok(()),
    }
}

pub(super) fn is_onnx(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

fn only_input<'a>(
    graph: &'a GraphProto,
    initializers: &HashMap<&str, &TensorProto>,
) -> Result<&'a ValueInfoProto, OnnxError> {
    let inputs: Vec<_> = graph.input.iter().filter(|input| !initializers.contains_key(input.name.as_str())).collect();
    match inputs[..] {
        [input] => Ok(input),
        _ => Err(OnnxError::Inputs(inputs.iter().map(|input| input.name.clone()).collect())),
    }
}

fn only_output(graph: &GraphProto) -> Result<&str, OnnxError> {
    match &graph.output[..] {
        [output] => Ok(output.name.as_str()),
        outputs => Err(OnnxError::Outputs(outputs.iter().map(|output| output.name.clone()).collect())),
    }
}

/// The input as the file declares it.
struct Declared {
    /// The size of the batch, where the file fixes it.
    batch: Option<i64>,
    /// The dimensions of a sample: features, or height and width, or channels, height and width.
    dims: Vec<usize>,
    shape: InputShape,
}

impl Declared {
    fn read(input: &ValueInfoProto) -> Result<Self, OnnxError> {
        use wire::tensor_shape_proto::dimension::Value as Dimension;
        use wire::type_proto::Value as Type;

        let refuse = |found: String| OnnxError::InputType { name: input.name.clone(), found };
        let Some(Type::TensorType(tensor)) = input.r#type.as_ref().and_then(|r#type| r#type.value.as_ref()) else {
            return Err(refuse("not a tensor".to_owned()));
        };
        if tensor.elem_type != DataType::Float as i32 {
            return Err(refuse(format!("a tensor of {}", tensor::type_name(tensor.elem_type))));
        }
        let sizes: Vec<_> = tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| dim.value.as_ref()).collect();
        let text = || {
            let sizes = sizes.iter().map(|size| match size {
                Some(Dimension::DimValue(size)) => size.to_string(),
                Some(Dimension::DimParam(name)) => name.clone(),
                None => "?".to_owned(),
            });
            format!("of shape ({})", sizes.collect::<Vec<_>>().join(", "))
        };
        let (batch, sample) = sizes.split_first().ok_or_else(|| refuse(text()))?;
        let fixed = |size: &Option<&Dimension>| match size {
            Some(Dimension::DimValue(size)) => usize::try_from(*size).map_err(|_| refuse(text())),
            _ => Err(refuse(text())),
        };
        let dims = sample.iter().map(fixed).collect::<Result<Vec<_>, _>>()?;
        let (channels, height, width) = match dims[..] {
            [features] => (features, 1, 1),
            [height, width] => (1, height, width),
            [channels, height, width] => (channels, height, width),
            _ => return Err(refuse(text())),
        };
        let batch = match batch {
            Some(Dimension::DimValue(size)) => Some(*size).filter(|size| *size > 0),
            _ => None,
        };
        let shape = InputShape::new(channels, height, width).map_err(|_| refuse(text()))?;
        Ok(Self { batch, dims, shape })
    }

    /// Adds the input, and where the file's has fewer dimensions than an image a node that takes the others away.
    fn define(&self, name: &str, reader: &mut Reader<'_>) -> Result<(), OnnxError> {
        reader.scope.add_input(name, self.shape)?;
        let mut value = name.to_owned();
        let op = match self.dims[..] {
            [_] => Some(Op::Flatten),
            [_, _] => Some(Op::Reshape { dims: self.dims.clone() }),
            _ => None,
        };
        if let Some(op) = op {
            value = reader.fresh(&format!("{name}.sample"));
            let node = Node { name: value.clone(), op, inputs: vec![name.to_owned()], output: value.clone() };
            reader.scope.add_node(&node)?;
            reader.nodes.push(node);
        }
        reader.prepared.insert(value.clone());
        let defined = reader.define(name, Known::Value(value));
        defined.map_err(|_| GraphError::DuplicateName(name.to_owned()).into())
    }
}

/// The nodes that lead to the output, in the file's order.
fn live_nodes<'a>(graph: &'a GraphProto, output: &str) -> Vec<&'a NodeProto> {
    let makers: HashMap<&str, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(idx, node)| node.output.iter().map(move |name| (name.as_str(), idx)))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    let mut live = HashSet::new();
    let mut wanted = vec![output];
    while let Some(name) = wanted.pop() {
        let Some(idx) = makers.get(name) else { continue };
        if live.insert(*idx) {
            wanted.extend(graph.node[*idx].input.iter().map(String::as_str));
        }
    }
    graph.node.iter().enumerate().filter(|(idx, _)| live.contains(idx)).map(|(_, node)| node).collect()
}

/// The nodes of the graph that lead to `output`: of some values only the shape was asked for.
fn needed_nodes(nodes: Vec<Node>, output: &str) -> Vec<Node> {
    let mut needed = HashSet::from([output.to_owned()]);
    let mut kept = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        if needed.contains(&node.output) {
            needed.extend(node.inputs.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    kept
}

/// The dimensions of an initializer that is read as a parameter, and its values where the file holds them.
pub(super) fn read_initializer(proto: &TensorProto) -> Result<(Vec<usize>, Option<Tensor>), OnnxError> {
    let refuse = |problem: String| OnnxError::Initializer { name: proto.name.clone(), problem };
    if proto.data_type != DataType::Float as i32 {
        return Err(refuse(format!("is of type {}; it must be FLOAT", tensor::type_name(proto.data_type))));
    }
    let shape = tensor::dims(proto).map_err(refuse)?;
    let Some(values) = tensor::floats(proto).map_err(refuse)? else { return Ok((shape, None)) };
    let n_values = values.len();
    let value = Tensor::new(shape.as_slice(), values)
        .map_err(|_| refuse(format!("has shape {shape:?} but {n_values} values")))?;
    Ok((shape, Some(value)))
}
