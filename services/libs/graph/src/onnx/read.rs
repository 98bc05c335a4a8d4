//! From an ONNX file to a graph.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message;
use relief_core::{Tensor, TensorMap};

use super::attribute::{Attributes, NodeProblem, node_name};
use super::wire::tensor_proto::{DataLocation, DataType};
use super::wire::{self, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use super::{OnnxError, OnnxModel, UnsupportedNode};
use crate::graph::{Graph, Node};
use crate::op::{BatchNormalization, Conv, MaxPool, Op};
use crate::parameter::Parameter;
use crate::shape::InputShape;

impl Graph {
    /// Returns the network of an ONNX file, with the values of those initializers that the file itself holds.
    ///
    /// Initializers become parameters under their own names. Nodes and initializers that do not lead to the output are
    /// left out. Weights in a file of their own are not looked for.
    ///
    /// # Errors
    /// When the bytes are not ONNX, the graph does not have one image input and one output, an initializer is not
    /// float32 or contradicts its shape, nodes are not supported (all of them are named), or the nodes do not make a
    /// valid network.
    pub fn from_onnx(bytes: &[u8]) -> Result<OnnxModel, OnnxError> {
        let model = ModelProto::decode(bytes)?;
        check_opset(&model)?;
        let graph = model.graph.ok_or(OnnxError::NoGraph)?;
        let initializers: HashMap<&str, &TensorProto> =
            graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let input = only_input(&graph, &initializers)?;
        let input_shape = input_shape(input)?;
        let live = live_nodes(&graph)?;
        let nodes = read_nodes(&live)?;
        let (parameters, values) = read_parameters(&nodes, &initializers)?;
        let name = if graph.name.is_empty() { "network" } else { graph.name.as_str() };
        let network = Self::new(name, input.name.as_str(), input_shape, nodes, parameters)?;
        check_kernels(&live, &network)?;
        Ok(OnnxModel { graph: network, initializers: values })
    }
}

fn check_opset(model: &ModelProto) -> Result<(), OnnxError> {
    const OLDEST: i64 = 9;
    let version = model.opset_import.iter().find(|opset| is_onnx(&opset.domain)).map_or(1, |opset| opset.version);
    if version < OLDEST { Err(OnnxError::Opset(version)) } else { Ok(()) }
}

fn is_onnx(domain: &str) -> bool {
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

fn input_shape(input: &ValueInfoProto) -> Result<InputShape, OnnxError> {
    use wire::tensor_shape_proto::dimension::Value as Dimension;
    use wire::type_proto::Value as Type;

    let refuse = |found: String| OnnxError::InputType { name: input.name.clone(), found };
    let Some(Type::TensorType(tensor)) = input.r#type.as_ref().and_then(|r#type| r#type.value.as_ref()) else {
        return Err(refuse("not a tensor".to_owned()));
    };
    if tensor.elem_type != DataType::Float as i32 {
        return Err(refuse(format!("a tensor of {}", type_name(tensor.elem_type))));
    }
    let dims: Vec<_> = tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| dim.value.as_ref()).collect();
    let text = || {
        let dims = dims.iter().map(|dim| match dim {
            Some(Dimension::DimValue(size)) => size.to_string(),
            Some(Dimension::DimParam(name)) => name.clone(),
            None => "?".to_owned(),
        });
        format!("of shape ({})", dims.collect::<Vec<_>>().join(", "))
    };
    let [_, channels, height, width] = dims[..] else { return Err(refuse(text())) };
    let size = |dim: Option<&Dimension>| match dim {
        Some(Dimension::DimValue(size)) => usize::try_from(*size).map_err(|_| refuse(text())),
        _ => Err(refuse(text())),
    };
    InputShape::new(size(channels)?, size(height)?, size(width)?).map_err(|_| refuse(text()))
}

/// The nodes that lead to the output, in the file's order.
fn live_nodes(graph: &GraphProto) -> Result<Vec<&NodeProto>, OnnxError> {
    let [output] = &graph.output[..] else {
        return Err(OnnxError::Outputs(graph.output.iter().map(|output| output.name.clone()).collect()));
    };
    let makers: HashMap<&str, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(idx, node)| node.output.iter().map(move |name| (name.as_str(), idx)))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    let mut live = HashSet::new();
    let mut wanted = vec![output.name.as_str()];
    while let Some(name) = wanted.pop() {
        let Some(idx) = makers.get(name) else { continue };
        if live.insert(*idx) {
            wanted.extend(graph.node[*idx].input.iter().map(String::as_str));
        }
    }
    Ok(graph.node.iter().enumerate().filter(|(idx, _)| live.contains(idx)).map(|(_, node)| node).collect())
}

fn read_nodes(live: &[&NodeProto]) -> Result<Vec<Node>, OnnxError> {
    let mut nodes = Vec::with_capacity(live.len());
    let mut unsupported = Vec::new();
    for node in live {
        match read_node(node) {
            Ok(node) => nodes.push(node),
            Err(NodeProblem::Unsupported(node)) => unsupported.push(node),
            Err(NodeProblem::Invalid(error)) => return Err(error),
        }
    }
    if unsupported.is_empty() { Ok(nodes) } else { Err(OnnxError::Unsupported(unsupported)) }
}

fn read_node(node: &NodeProto) -> Result<Node, NodeProblem> {
    let op = read_op(node)?;
    let attributes = Attributes { node };
    let mut inputs = node.input.clone();
    while inputs.last().is_some_and(String::is_empty) {
        inputs.pop();
    }
    let mut outputs = node.output.iter().filter(|name| !name.is_empty());
    match (outputs.next(), outputs.next()) {
        (Some(output), None) => Ok(Node { name: node_name(node), op, inputs, output: output.clone() }),
        _ => Err(attributes.unsupported(format!("{} outputs, only 1 is", node.output.len()))),
    }
}

fn read_op(node: &NodeProto) -> Result<Op, NodeProblem> {
    if !is_onnx(&node.domain) {
        let operator = format!("{}.{}", node.domain, node.op_type);
        return Err(NodeProblem::Unsupported(UnsupportedNode { name: node_name(node), operator, detail: None }));
    }
    match node.op_type.as_str() {
        "Conv" => {
            let known = ["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];
            let attributes = Attributes::new(node, &known)?;
            attributes.expect_explicit_padding()?;
            let group = attributes.int("group", 1)?;
            Ok(Op::Conv(Conv {
                stride: attributes.pair("strides")?.unwrap_or([1, 1]),
                padding: attributes.padding()?,
                dilation: attributes.pair("dilations")?.unwrap_or([1, 1]),
                groups: u32::try_from(group)
                    .map_err(|_| attributes.invalid("group", group.to_string(), "at least 1"))?
                    as usize,
            }))
        }
        "BatchNormalization" => {
            let attributes = Attributes::new(node, &["epsilon", "momentum", "training_mode", "spatial"])?;
            attributes.expect_int("training_mode", 0, 0)?;
            attributes.expect_int("spatial", 1, 1)?;
            Ok(Op::BatchNormalization(BatchNormalization {
                epsilon: attributes.float("epsilon", 1e-5)?,
                momentum: attributes.float("momentum", 0.9)?,
            }))
        }
        "MaxPool" => {
            let known = ["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"];
            let attributes = Attributes::new(node, &known)?;
            attributes.expect_explicit_padding()?;
            attributes.expect_int("ceil_mode", 0, 0)?;
            if attributes.pair("dilations")?.is_some_and(|dilation| dilation != [1, 1]) {
                return Err(attributes.unsupported("dilations other than 1"));
            }
            Ok(Op::MaxPool(MaxPool {
                kernel: attributes
                    .pair("kernel_shape")?
                    .ok_or_else(|| attributes.invalid("kernel_shape", "absent".to_owned(), "given"))?,
                stride: attributes.pair("strides")?.unwrap_or([1, 1]),
                padding: attributes.padding()?,
            }))
        }
        "Flatten" => {
            Attributes::new(node, &["axis"])?.expect_int("axis", 1, 1)?;
            Ok(Op::Flatten)
        }
        "Gemm" => {
            let attributes = Attributes::new(node, &["alpha", "beta", "transA", "transB"])?;
            attributes.expect_float("alpha", 1.0)?;
            attributes.expect_float("beta", 1.0)?;
            attributes.expect_int("transA", 0, 0)?;
            attributes.expect_int("transB", 0, 1)?;
            Ok(Op::Gemm)
        }
        "Relu" => Attributes::new(node, &[]).map(|_| Op::Relu),
        "Add" => Attributes::new(node, &[]).map(|_| Op::Add),
        "GlobalAveragePool" => Attributes::new(node, &[]).map(|_| Op::GlobalAveragePool),
        operator => Err(NodeProblem::Unsupported(UnsupportedNode {
            name: node_name(node),
            operator: operator.to_owned(),
            detail: None,
        })),
    }
}

/// The initializers that nodes read as parameters, each of the kind that its first reader gives it, and their values
/// where the file holds them.
fn read_parameters(
    nodes: &[Node],
    initializers: &HashMap<&str, &TensorProto>,
) -> Result<(Vec<Parameter>, TensorMap), OnnxError> {
    let mut parameters = Vec::new();
    let mut values = BTreeMap::new();
    let mut seen = HashSet::new();
    for node in nodes {
        let slots = node.op.parameter_slots();
        for (name, slot) in node.inputs.iter().skip(node.op.n_values()).zip(slots) {
            let Some(tensor) = initializers.get(name.as_str()) else { continue };
            if !seen.insert(name.as_str()) {
                continue;
            }
            let (shape, value) = read_initializer(tensor)?;
            parameters.push(Parameter { name: name.clone(), shape, kind: slot.kind });
            if let Some(value) = value {
                values.insert(name.clone(), value);
            }
        }
    }
    Ok((parameters, values))
}

fn read_initializer(tensor: &TensorProto) -> Result<(Vec<usize>, Option<Tensor>), OnnxError> {
    let refuse = |problem: String| OnnxError::Initializer { name: tensor.name.clone(), problem };
    if tensor.data_type != DataType::Float as i32 {
        return Err(refuse(format!("is of type {}; it must be FLOAT", type_name(tensor.data_type))));
    }
    let shape = tensor.dims.iter().map(|dim| u32::try_from(*dim).map(|dim| dim as usize));
    let shape: Vec<usize> =
        shape.collect::<Result<_, _>>().map_err(|_| refuse(format!("has the impossible shape {:?}", tensor.dims)))?;
    if tensor.data_location() == DataLocation::External {
        return Ok((shape, None));
    }
    let data = if tensor.raw_data.is_empty() {
        tensor.float_data.clone()
    } else {
        let (values, rest) = tensor.raw_data.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(refuse(format!("has {} bytes of data, no multiple of 4", tensor.raw_data.len())));
        }
        values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    if data.is_empty() {
        return Ok((shape, None));
    }
    let n_values = data.len();
    let value = Tensor::new(shape.as_slice(), data)
        .map_err(|_| refuse(format!("has shape {shape:?} but {n_values} values")))?;
    Ok((shape, Some(value)))
}

/// Checks the attribute `kernel_shape`, which repeats the weight's last dimensions.
fn check_kernels(live: &[&NodeProto], graph: &Graph) -> Result<(), OnnxError> {
    for node in live.iter().filter(|node| node.op_type == "Conv") {
        let attributes = Attributes { node };
        let weight = graph.parameters().iter().find(|parameter| node.input.get(1) == Some(&parameter.name));
        let Some([_, _, kernel @ ..]) = weight.map(|weight| weight.shape.as_slice()) else { continue };
        let found = match attributes.pair("kernel_shape") {
            Ok(found) => found,
            Err(NodeProblem::Invalid(error)) => return Err(error),
            Err(NodeProblem::Unsupported(node)) => return Err(OnnxError::Unsupported(vec![node])),
        };
        if let Some(found) = found.filter(|found| found != kernel) {
            return Err(OnnxError::Attribute {
                node: node_name(node),
                operator: node.op_type.clone(),
                attribute: "kernel_shape".to_owned(),
                found: format!("{found:?}"),
                expected: format!("that of its weight, {kernel:?}"),
            });
        }
    }
    Ok(())
}

fn type_name(data_type: i32) -> String {
    DataType::try_from(data_type).map_or_else(|_| data_type.to_string(), |known| known.as_str_name().to_owned())
}
