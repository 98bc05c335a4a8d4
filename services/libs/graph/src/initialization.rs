//! The weights that training starts from.

use std::collections::BTreeSet;

use relief_core::{Digest, Philox, Tensor, TensorMap};

use crate::graph::Graph;
use crate::op::Op;
use crate::parameter::{Parameter, ParameterKind};

/// The standard deviation of the weights of linear layers whose outputs need no scale.
const SMALL_DEVIATION: f64 = 0.001;

/// Returns a checkpoint of `graph` before training.
///
/// Weights of convolutions are drawn from N(0, 2 / fan-in) (He, Zhang, Ren and Sun 2015, equation 10), those of linear
/// layers from a normal distribution with the standard deviation 0.001, as the authors of Li et al. 2018 draw them, so
/// that training starts from almost equal probabilities. A hidden linear layer without a batch normalisation after it is
/// drawn as a convolution: several small ones in a row would leave no gradient to speak of. Biases, shifts and running
/// means are 0, scales and running variances 1.
///
/// Each tensor has a [`Philox`] generator of its own, so its values depend on nothing but the seed, its name and its
/// place. The key is the first 16 bytes (two little-endian words) of the SHA-256 of `relief initialisation v1`, a zero
/// byte, the seed as 8 little-endian bytes, and the tensor's name in UTF-8.
#[must_use]
pub fn initialize(graph: &Graph, seed: u64) -> TensorMap {
    let small = small_weights(graph);
    graph
        .parameters()
        .iter()
        .map(|parameter| {
            let is_small = small.contains(parameter.name.as_str());
            let deviation = if is_small { SMALL_DEVIATION } else { (2.0 / fan_in(graph, parameter) as f64).sqrt() };
            (parameter.name.clone(), first_value(parameter, deviation, seed))
        })
        .collect()
}

/// The weights of the linear layers that make the logits or are normalised.
fn small_weights(graph: &Graph) -> BTreeSet<&str> {
    let nodes = graph.nodes();
    let normalized = nodes.iter().filter(|node| matches!(node.op, Op::BatchNormalization(_)));
    let mut values: BTreeSet<&str> = normalized.filter_map(|node| node.inputs.first()).map(String::as_str).collect();
    values.insert(graph.output_name());
    let linear = nodes.iter().filter(|node| matches!(node.op, Op::Gemm(_)) && values.contains(node.output.as_str()));
    linear.filter_map(|node| node.inputs.get(1)).map(String::as_str).collect()
}

/// The number of entries that each output of the layer sums over.
fn fan_in(graph: &Graph, parameter: &Parameter) -> usize {
    let reader = graph.nodes().iter().find(|node| node.inputs.get(1) == Some(&parameter.name));
    match (reader.map(|node| &node.op), &parameter.shape[..]) {
        (Some(Op::MatMul), [.., n_rows, _]) => *n_rows,
        (Some(Op::Gemm(gemm)), [n_rows, _]) if !gemm.transposes_b => *n_rows,
        (_, shape) => shape.iter().skip(1).product(),
    }
}

/// `deviation` is that of a weight.
fn first_value(parameter: &Parameter, deviation: f64, seed: u64) -> Tensor {
    match parameter.kind {
        ParameterKind::NormScale | ParameterKind::RunningVariance => Tensor::filled(parameter.shape.as_slice(), 1.0),
        ParameterKind::Bias | ParameterKind::NormShift | ParameterKind::RunningMean => {
            Tensor::filled(parameter.shape.as_slice(), 0.0)
        }
        ParameterKind::Weight => {
            let mut draw = Tensor::filled(parameter.shape.as_slice(), 0.0);
            Philox::new(key(seed, &parameter.name)).fill_normal(draw.data_mut());
            for value in draw.data_mut() {
                *value = (f64::from(*value) * deviation) as f32;
            }
            draw
        }
    }
}

fn key(seed: u64, name: &str) -> [u64; 2] {
    let text = [b"relief initialisation v1\0", &seed.to_le_bytes()[..], name.as_bytes()].concat();
    let digest = Digest::of(&text);
    let word = |start: usize| {
        digest.as_bytes()[start..start + 8].iter().rev().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte))
    };
    [word(0), word(8)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    #[test]
    fn weights_have_the_deviations_of_their_layers() {
        for (network, name, deviation) in [
            ("lenet5", "conv2.weight", (2.0_f64 / 150.0).sqrt()),
            ("lenet5", "fc1.weight", (2.0_f64 / 400.0).sqrt()),
            ("lenet5", "fc3.weight", 0.001),
            ("vgg9", "features.20.weight", (2.0_f64 / 2304.0).sqrt()),
            ("vgg9", "fc.0.weight", 0.001),
            ("vgg9", "classifier.weight", 0.001),
            ("resnet50", "layer4.2.conv3.weight", (2.0_f64 / 512.0).sqrt()),
            ("resnet50", "linear.weight", 0.001),
            ("densenet121", "dense4.15.conv2.weight", (2.0_f64 / 1152.0).sqrt()),
        ] {
            let graph = builtin::build_default(network).expect("a known network");
            let weights = initialize(&graph, 1);
            graph.check(&weights).expect("a checkpoint of its own network");
            let tensor = &weights[name];
            let found = tensor.norm() / (tensor.data().len() as f64).sqrt();
            assert!((found / deviation - 1.0).abs() < 0.1, "{network}, {name}: {found} against {deviation}");
            for parameter in graph.parameters().iter().filter(|parameter| parameter.kind == ParameterKind::Bias) {
                assert!(weights[&parameter.name].data().iter().all(|value| *value == 0.0), "{network}");
            }
        }
    }

    #[test]
    fn normalisations_start_as_the_identity() {
        let graph = builtin::build_default("resnet20").expect("a known network");
        let weights = initialize(&graph, 1);
        for (name, value) in
            [("bn1.weight", 1.0), ("bn1.bias", 0.0), ("bn1.running_mean", 0.0), ("bn1.running_var", 1.0)]
        {
            assert!(weights[name].data().iter().all(|found| *found == value), "{name}");
        }
    }

    #[test]
    fn seeds_and_names_draw_different_numbers() {
        let graph = builtin::build_default("resnet20").expect("a known network");
        let (first, second) = (initialize(&graph, 1), initialize(&graph, 2));
        assert_eq!(first, initialize(&graph, 1));
        assert_ne!(first["conv1.weight"], second["conv1.weight"]);
        assert_ne!(first["layer1.0.conv1.weight"], first["layer1.0.conv2.weight"]);
    }
}
