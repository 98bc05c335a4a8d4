//! Writes a network down node by node.

use crate::graph::{Graph, Node};
use crate::inference::GraphError;
use crate::op::{BatchNormalization, Conv, Gemm, Op, Pool};
use crate::parameter::{Parameter, ParameterKind};
use crate::shape::InputShape;

const INPUT: &str = "input";
const EPSILON: f32 = 1e-5;
/// The share of a running statistic that is kept: 1 minus PyTorch's default of 0.1.
const MOMENTUM: f32 = 0.9;
/// Windows of 2 x 2 that do not overlap; a last row or column without a partner is left out.
const HALVING: Pool = Pool { kernel: [2, 2], stride: [2, 2], padding: [0; 4], dilation: [1, 1], rounds_up: false };

/// A network being written. Each method adds a node under `name` that reads the value `from`, and returns the name of
/// the value it makes.
#[derive(Default)]
pub(super) struct Builder {
    nodes: Vec<Node>,
    parameters: Vec<Parameter>,
}

/// The window of a convolution.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) size: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Window {
    /// One entry, moved by `stride`.
    pub(super) const fn point(stride: usize) -> Self {
        Self { size: 1, stride, padding: 0 }
    }

    /// 3 x 3 entries, moved by `stride`; by 1, they make an image of the same size.
    pub(super) const fn around(stride: usize) -> Self {
        Self { size: 3, stride, padding: 1 }
    }
}

impl Builder {
    /// The name of the input value.
    pub(super) fn input(&self) -> String {
        INPUT.to_owned()
    }

    /// A convolution from `channels[0]` to `channels[1]` channels, without bias.
    pub(super) fn conv(&mut self, name: &str, from: &str, channels: [usize; 2], window: Window) -> String {
        let weight = self.parameter(name, "weight", ParameterKind::Weight, conv_shape(channels, window));
        self.node(name, conv_op(window), vec![from.to_owned(), weight])
    }

    /// A convolution from `channels[0]` to `channels[1]` channels, with bias.
    pub(super) fn conv_with_bias(&mut self, name: &str, from: &str, channels: [usize; 2], window: Window) -> String {
        let weight = self.parameter(name, "weight", ParameterKind::Weight, conv_shape(channels, window));
        let bias = self.parameter(name, "bias", ParameterKind::Bias, vec![channels[1]]);
        self.node(name, conv_op(window), vec![from.to_owned(), weight, bias])
    }

    pub(super) fn batch_normalization(&mut self, name: &str, from: &str, channels: usize) -> String {
        let mut inputs = vec![from.to_owned()];
        for (suffix, kind) in [
            ("weight", ParameterKind::NormScale),
            ("bias", ParameterKind::NormShift),
            ("running_mean", ParameterKind::RunningMean),
            ("running_var", ParameterKind::RunningVariance),
        ] {
            inputs.push(self.parameter(name, suffix, kind, vec![channels]));
        }
        let op = Op::BatchNormalization(BatchNormalization { epsilon: EPSILON, momentum: MOMENTUM });
        self.node(name, op, inputs)
    }

    pub(super) fn relu(&mut self, name: &str, from: &str) -> String {
        self.node(name, Op::Relu, vec![from.to_owned()])
    }

    pub(super) fn add(&mut self, name: &str, from: [&str; 2]) -> String {
        self.node(name, Op::Add, from.map(str::to_owned).to_vec())
    }

    /// The channels of `from[0]`, then those of `from[1]`.
    pub(super) fn concat(&mut self, name: &str, from: [&str; 2]) -> String {
        self.node(name, Op::Concat { axis: 1 }, from.map(str::to_owned).to_vec())
    }

    /// A max-pool over windows of 2 x 2 that do not overlap.
    pub(super) fn max_pool(&mut self, name: &str, from: &str) -> String {
        self.node(name, Op::MaxPool(HALVING), vec![from.to_owned()])
    }

    /// An average pool over windows of 2 x 2 that do not overlap.
    pub(super) fn average_pool(&mut self, name: &str, from: &str) -> String {
        self.node(name, Op::AveragePool { pool: HALVING, counts_padding: false }, vec![from.to_owned()])
    }

    pub(super) fn global_average_pool(&mut self, name: &str, from: &str) -> String {
        self.node(name, Op::GlobalAveragePool, vec![from.to_owned()])
    }

    pub(super) fn flatten(&mut self, name: &str, from: &str) -> String {
        self.node(name, Op::Flatten, vec![from.to_owned()])
    }

    /// A linear layer from `features[0]` to `features[1]`, with bias.
    pub(super) fn linear(&mut self, name: &str, from: &str, features: [usize; 2]) -> String {
        let weight = self.parameter(name, "weight", ParameterKind::Weight, vec![features[1], features[0]]);
        let bias = self.parameter(name, "bias", ParameterKind::Bias, vec![features[1]]);
        self.node(name, Op::Gemm(Gemm::LINEAR), vec![from.to_owned(), weight, bias])
    }

    /// The network; what its last node makes is called `logits`.
    pub(super) fn finish(mut self, name: &str, input: InputShape) -> Result<Graph, GraphError> {
        if let Some(last) = self.nodes.last_mut() {
            last.output = "logits".to_owned();
        }
        Graph::new(name, INPUT, input, self.nodes, self.parameters)
    }

    fn node(&mut self, name: &str, op: Op, inputs: Vec<String>) -> String {
        self.nodes.push(Node { name: name.to_owned(), op, inputs, output: name.to_owned() });
        name.to_owned()
    }

    fn parameter(&mut self, node: &str, suffix: &str, kind: ParameterKind, shape: Vec<usize>) -> String {
        let name = format!("{node}.{suffix}");
        self.parameters.push(Parameter { name: name.clone(), shape, kind });
        name
    }
}

fn conv_shape(channels: [usize; 2], window: Window) -> Vec<usize> {
    vec![channels[1], channels[0], window.size, window.size]
}

fn conv_op(window: Window) -> Op {
    Op::Conv(Conv { stride: [window.stride; 2], padding: [window.padding; 4], dilation: [1, 1], groups: 1 })
}
