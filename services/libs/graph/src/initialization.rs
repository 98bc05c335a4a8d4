//! The weights that training starts from.

use relief_core::{Digest, Philox, Tensor, TensorMap};

use crate::graph::Graph;
use crate::op::Op;
use crate::parameter::{Parameter, ParameterKind};

/// The standard deviation of the last linear layer's weights.
const CLASSIFIER_DEVIATION: f64 = 0.001;

/// Returns a checkpoint of `graph` before training.
///
/// Weights of convolutions and of hidden linear layers are drawn from N(0, 2 / fan-in) (He, Zhang, Ren and Sun 2015,
/// equation 10), those of the linear layer that makes the logits from N(0, 0.001^2), so that training starts from almost
/// equal probabilities; biases, shifts and running means are 0, scales and running variances 1.
///
/// Each tensor has a [`Philox`] generator of its own, so its values depend on nothing but the seed, its name and its
/// place. The key is the first 16 bytes (two little-endian words) of the SHA-256 of `relief initialisation v1`, a zero
/// byte, the seed as 8 little-endian bytes, and the tensor's name in UTF-8.
#[must_use]
pub fn initialize(graph: &Graph, seed: u64) -> TensorMap {
    let last = graph.nodes().last();
    let classifier = last.filter(|node| matches!(node.op, Op::Gemm(_))).and_then(|node| node.inputs.get(1));
    graph
        .parameters()
        .iter()
        .map(|parameter| {
            let is_classifier = classifier == Some(&parameter.name);
            (parameter.name.clone(), first_value(parameter, fan_in(graph, parameter), is_classifier, seed))
        })
        .collect()
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

fn first_value(parameter: &Parameter, fan_in: usize, is_classifier: bool, seed: u64) -> Tensor {
    match parameter.kind {
        ParameterKind::NormScale | ParameterKind::RunningVariance => Tensor::filled(parameter.shape.as_slice(), 1.0),
        ParameterKind::Bias | ParameterKind::NormShift | ParameterKind::RunningMean => {
            Tensor::filled(parameter.shape.as_slice(), 0.0)
        }
        ParameterKind::Weight => {
            let deviation = if is_classifier { CLASSIFIER_DEVIATION } else { (2.0 / fan_in as f64).sqrt() };
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
        let graph = builtin::build_default("lenet5").expect("a known network");
        let weights = initialize(&graph, 1);
        graph.check(&weights).expect("a checkpoint of its own network");
        for (name, deviation) in [
            ("conv2.weight", (2.0_f64 / 150.0).sqrt()),
            ("fc1.weight", (2.0_f64 / 400.0).sqrt()),
            ("fc3.weight", 0.001),
        ] {
            let tensor = &weights[name];
            let found = tensor.norm() / (tensor.data().len() as f64).sqrt();
            assert!((found / deviation - 1.0).abs() < 0.1, "{name}: {found} against {deviation}");
        }
        assert!(weights["fc1.bias"].data().iter().all(|value| *value == 0.0));
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
