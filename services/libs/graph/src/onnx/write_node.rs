//! From a node of a graph to nodes of an ONNX file.

use std::collections::HashSet;

use super::wire::attribute_proto::AttributeType;
use super::wire::tensor_proto::DataType;
use super::wire::{AttributeProto, NodeProto};
use super::write::constant;
use crate::graph::{Graph, Node};
use crate::op::{Conv, GeluForm, Gemm, Op, Pool, Range};
use crate::value_shape::ValueShape;

/// Writes nodes in order; where ONNX has attributes as inputs, each after the constants that it reads.
pub(super) struct NodeWriter<'a> {
    graph: &'a Graph,
    taken: HashSet<&'a str>,
    pub(super) nodes: Vec<NodeProto>,
}

/// What ONNX calls a node, its attributes and its further inputs.
struct Written {
    attributes: Vec<AttributeProto>,
    inputs: Vec<String>,
}

impl<'a> NodeWriter<'a> {
    pub(super) fn of(graph: &'a Graph) -> Self {
        let nodes = graph.nodes().iter().flat_map(|node| node.inputs.iter().chain([&node.output]));
        let taken = nodes.map(String::as_str).chain([graph.input_name()]).collect();
        Self { graph, taken, nodes: Vec::new() }
    }

    pub(super) fn write(&mut self, node: &Node) {
        let Written { attributes, inputs } = self.parts(node);
        self.nodes.push(NodeProto {
            input: node.inputs.iter().cloned().chain(inputs).collect(),
            output: vec![node.output.clone()],
            name: node.name.clone(),
            op_type: node.op.name().to_owned(),
            attribute: attributes,
            ..NodeProto::default()
        });
    }

    fn parts(&mut self, node: &Node) -> Written {
        let mut inputs = Vec::new();
        let attributes = match &node.op {
            Op::Conv(op) => self.conv(node, op),
            Op::BatchNormalization(norm) => vec![float("epsilon", norm.epsilon), float("momentum", norm.momentum)],
            Op::LayerNormalization(norm) => vec![int("axis", norm.axis as i64), float("epsilon", norm.epsilon)],
            Op::LeakyRelu { alpha } => vec![float("alpha", *alpha)],
            Op::HardSigmoid { alpha, beta } => vec![float("alpha", *alpha), float("beta", *beta)],
            Op::Gelu(GeluForm::Exact) => vec![word("approximate", "none")],
            Op::Gelu(GeluForm::Tanh) => vec![word("approximate", "tanh")],
            Op::Clip { min, max } => {
                for (suffix, bound) in [("min", min), ("max", max)] {
                    inputs.push(bound.map_or(String::new(), |bound| self.number(node, suffix, bound)));
                }
                Vec::new()
            }
            Op::Softmax { axis } | Op::LogSoftmax { axis } | Op::Concat { axis } => vec![int("axis", *axis as i64)],
            Op::Gemm(op) => gemm(op),
            Op::MaxPool(op) => pool(op),
            Op::AveragePool { pool: op, counts_padding } => {
                pool(op).into_iter().chain([int("count_include_pad", i64::from(*counts_padding))]).collect()
            }
            Op::ReduceMean { axes, keeps_axes } => {
                // As the attribute that it is before version 18 of the operators.
                let keeps_axes = int("keepdims", i64::from(*keeps_axes));
                match super::write::versions(self.graph).1 {
                    ..18 => vec![ints("axes", axes.iter().copied()), keeps_axes],
                    _ => {
                        inputs.push(self.integers(node, "axes", axes.iter().copied()));
                        vec![keeps_axes]
                    }
                }
            }
            Op::Flatten => vec![int("axis", 1)],
            Op::Reshape { dims } => {
                // 0 keeps the batch.
                let is_batched = self.graph.shapes().get(&node.output).is_some_and(|shape| shape.is_batched);
                let target = is_batched.then_some(0).into_iter().chain(dims.iter().copied());
                inputs.push(self.integers(node, "shape", target));
                Vec::new()
            }
            Op::Transpose { order } => vec![ints("perm", order.iter().copied())],
            Op::Slice { ranges } => {
                let list = |of: fn(&Range) -> usize| ranges.iter().map(of).collect::<Vec<_>>();
                inputs.push(self.integers(node, "starts", list(|range| range.start)));
                inputs.push(self.integers(node, "ends", list(|range| range.end)));
                inputs.push(self.integers(node, "axes", list(|range| range.axis)));
                inputs.push(self.integers(node, "steps", list(|range| range.step)));
                Vec::new()
            }
            Op::Pad { before, after, value } => {
                inputs.push(self.integers(node, "pads", before.iter().chain(after).copied()));
                inputs.push(self.number(node, "value", *value));
                Vec::new()
            }
            Op::Relu
            | Op::Sigmoid
            | Op::HardSwish
            | Op::Erf
            | Op::Tanh
            | Op::Sqrt
            | Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::MatMul
            | Op::GlobalAveragePool => Vec::new(),
        };
        Written { attributes, inputs }
    }

    fn conv(&self, node: &Node, conv: &Conv) -> Vec<AttributeProto> {
        let kernel = node.inputs.get(1).and_then(|name| {
            let parameter = self.graph.parameters().iter().find(|parameter| parameter.name == *name);
            let constant = || self.graph.constants().get(name).map(|constant| constant.shape().to_vec());
            let value = || self.graph.shapes().get(name).map(|ValueShape { dims, .. }| dims.clone());
            parameter.map(|parameter| parameter.shape.clone()).or_else(constant).or_else(value)
        });
        let kernel = kernel.map(|shape| ints("kernel_shape", shape.into_iter().skip(2)));
        let others = [
            ints("strides", conv.stride),
            ints("pads", conv.padding),
            ints("dilations", conv.dilation),
            int("group", conv.groups as i64),
        ];
        kernel.into_iter().chain(others).collect()
    }

    /// Writes a constant that `node` reads as the attribute `suffix`, and returns its name.
    fn number(&mut self, node: &Node, suffix: &str, value: f32) -> String {
        let name = self.fresh(node, suffix);
        self.nodes.push(constant(&name, Vec::new(), DataType::Float, value.to_le_bytes().to_vec()));
        name
    }

    fn integers(&mut self, node: &Node, suffix: &str, values: impl IntoIterator<Item = usize>) -> String {
        let name = self.fresh(node, suffix);
        let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.nodes.push(constant(&name, vec![values.len() as i64], DataType::Int64, data));
        name
    }

    /// A name that nothing else has: outputs are unique, and so are the suffixes of one node.
    fn fresh(&self, node: &Node, suffix: &str) -> String {
        let mut name = format!("{}.{suffix}", node.output);
        while self.taken.contains(name.as_str()) {
            name.push('_');
        }
        name
    }
}

fn gemm(gemm: &Gemm) -> Vec<AttributeProto> {
    let factors = [("alpha", gemm.alpha), ("beta", gemm.beta)].into_iter().filter(|(_, factor)| *factor != 1.0);
    let flags =
        [("transA", gemm.transposes_a), ("transB", gemm.transposes_b)].into_iter().filter(|(_, is_set)| *is_set);
    factors.map(|(name, factor)| float(name, factor)).chain(flags.map(|(name, _)| int(name, 1))).collect()
}

fn pool(pool: &Pool) -> Vec<AttributeProto> {
    let mut attributes =
        vec![ints("kernel_shape", pool.kernel), ints("strides", pool.stride), ints("pads", pool.padding)];
    if pool.dilation != [1, 1] {
        attributes.push(ints("dilations", pool.dilation));
    }
    if pool.rounds_up {
        attributes.push(int("ceil_mode", 1));
    }
    attributes
}

fn ints(name: &str, values: impl IntoIterator<Item = usize>) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.into_iter().map(|value| value as i64).collect(),
        r#type: AttributeType::Ints as i32,
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), i: value, r#type: AttributeType::Int as i32, ..AttributeProto::default() }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), f: value, r#type: AttributeType::Float as i32, ..AttributeProto::default() }
}

fn word(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        s: value.as_bytes().to_vec(),
        r#type: AttributeType::String as i32,
        ..AttributeProto::default()
    }
}
