//! Small networks and data for tests.

use std::sync::Arc;

use relief_core::{Philox, Tensor, TensorMap};
use relief_graph::{BatchNormalization, Conv, Gemm, Graph, Node, Op, Parameter, ParameterKind, Pool};

use crate::sample::Samples;

/// A network from nodes of (operator, inputs), each making the value of its index `0`, `1`, ..., and parameters.
pub(crate) fn network(
    input: &str,
    nodes: &[(Op, &[&str])],
    parameters: &[(&str, ParameterKind, &[usize])],
) -> Arc<Graph> {
    let nodes = nodes.iter().enumerate().map(|(idx, (op, inputs))| Node {
        name: idx.to_string(),
        op: op.clone(),
        inputs: inputs.iter().map(ToString::to_string).collect(),
        output: idx.to_string(),
    });
    let parameters = parameters.iter().map(|(name, kind, shape)| Parameter {
        name: (*name).to_owned(),
        shape: shape.to_vec(),
        kind: *kind,
    });
    let input = input.parse().expect("a good shape");
    Arc::new(Graph::new("test", "x", input, nodes.collect(), parameters.collect()).expect("a valid network"))
}

pub(crate) fn conv(stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2], groups: usize) -> Op {
    let [down, across] = padding;
    Op::Conv(Conv { stride, padding: [down, across, down, across], dilation, groups })
}

pub(crate) fn batch_normalization() -> Op {
    Op::BatchNormalization(BatchNormalization { epsilon: 1e-5, momentum: 0.9 })
}

pub(crate) fn max_pool() -> Op {
    Op::MaxPool(Pool { kernel: [2, 2], stride: [2, 2], padding: [0; 4], dilation: [1, 1], rounds_up: false })
}

/// Convolutions, a normalisation, a shortcut, a pool and linear layers: images of 2 x 6 x 6, 3 classes.
pub(crate) fn layers() -> Arc<Graph> {
    use ParameterKind::{Bias, NormScale, NormShift, RunningMean, RunningVariance, Weight};
    network(
        "2x6x6",
        &[
            (conv([1, 1], [1, 1], [1, 1], 1), &["x", "conv.weight", "conv.bias"]),
            (batch_normalization(), &["0", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]),
            (Op::Relu, &["1"]),
            (conv([1, 1], [1, 1], [1, 1], 2), &["2", "grouped.weight"]),
            (Op::Add, &["3", "2"]),
            (max_pool(), &["4"]),
            (Op::Flatten, &["5"]),
            (Op::Gemm(Gemm::LINEAR), &["6", "hidden.weight", "hidden.bias"]),
            (Op::Relu, &["7"]),
            (Op::Gemm(Gemm::LINEAR), &["8", "linear.weight"]),
        ],
        &[
            ("conv.weight", Weight, &[4, 2, 3, 3]),
            ("conv.bias", Bias, &[4]),
            ("bn.weight", NormScale, &[4]),
            ("bn.bias", NormShift, &[4]),
            ("bn.running_mean", RunningMean, &[4]),
            ("bn.running_var", RunningVariance, &[4]),
            ("grouped.weight", Weight, &[4, 2, 3, 3]),
            ("hidden.weight", Weight, &[5, 36]),
            ("hidden.bias", Bias, &[5]),
            ("linear.weight", Weight, &[3, 5]),
        ],
    )
}

/// Values for every parameter: N(0, 1/4) draws, variances and scales around 1.
pub(crate) fn parameters(graph: &Graph, seed: u64) -> TensorMap {
    let mut generator = Philox::new([seed, 0]);
    let tensors = graph.parameters().iter().map(|parameter| {
        let mut tensor = Tensor::filled(parameter.shape.as_slice(), 0.0);
        generator.fill_normal(tensor.data_mut());
        let is_positive = matches!(parameter.kind, ParameterKind::NormScale | ParameterKind::RunningVariance);
        for value in tensor.data_mut() {
            *value = if is_positive { 1.0 + 0.5 * value.tanh() } else { 0.5 * *value };
        }
        (parameter.name.clone(), tensor)
    });
    tensors.collect()
}

/// N(0, 1) images with the classes in turn.
pub(crate) fn samples(graph: &Graph, n_samples: usize) -> Samples {
    let mut inputs = vec![0.0; n_samples * graph.input_shape().n_values()];
    Philox::new([17, 0]).fill_normal(&mut inputs);
    let targets = (0..n_samples).map(|idx| (idx % graph.n_classes()) as u32).collect();
    Samples::new(inputs, targets, graph.input_shape()).expect("good samples")
}
