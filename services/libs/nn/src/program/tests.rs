use relief_core::TensorMap;
use relief_graph::ParameterKind::{NormScale, NormShift, RunningMean, RunningVariance, Weight};

use relief_graph::{Conv, Gemm};

use super::*;
use crate::device::Device;
use crate::evaluation::host_values;
use crate::fixture;
use crate::plane::vector;
use crate::sample::batch;

const BATCH_NORM: [(&str, relief_graph::ParameterKind, &[usize]); 4] =
    [("g", NormScale, &[1]), ("b", NormShift, &[1]), ("m", RunningMean, &[1]), ("v", RunningVariance, &[1])];

/// The logits of `inputs` under parameters given in the graph's order.
fn logits(graph: &Graph, parameters: &[Vec<f32>], inputs: &[f32], statistics: Statistics<'_>) -> Vec<f32> {
    let device = Device::cpu();
    let parameters: Vec<_> = parameters.iter().map(|values| vector(values.clone(), &device)).collect();
    let n_samples = inputs.len() / graph.input_shape().n_values();
    let input = batch(inputs.to_vec(), n_samples, graph.input_shape(), device.tensors());
    host_values(Program::new(graph).forward(&parameters, input, statistics)).expect("values")
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.is_finite());
        assert!((found - expected).abs() <= 1e-6 + 1e-5 * expected.abs(), "{found} against {expected}");
    }
}

#[test]
fn relu_and_max_pool_propagate_nan() {
    let graph =
        fixture::network("1x4x4", &[(Op::Relu, &["x"]), (fixture::max_pool(), &["0"]), (Op::Flatten, &["1"])], &[]);
    for place in 0..16 {
        let mut inputs: Vec<f32> = (0..16).map(|i| i as f32 - 8.0).collect();
        inputs[place] = f32::NAN;
        let found = logits(&graph, &[], &inputs, Statistics::Running);
        let window = place / 8 * 2 + place % 4 / 2;
        for (idx, value) in found.iter().enumerate() {
            assert_eq!(value.is_nan(), idx == window, "NaN at {place} gives {found:?}");
        }
    }
}

#[test]
fn relu_and_max_pool_keep_infinities() {
    let graph =
        fixture::network("1x2x4", &[(Op::Relu, &["x"]), (fixture::max_pool(), &["0"]), (Op::Flatten, &["1"])], &[]);
    let (inf, low) = (f32::INFINITY, f32::NEG_INFINITY);
    assert_eq!(logits(&graph, &[], &[inf, low, low, low, 1.0, 2.0, low, -1.0], Statistics::Running), [inf, 0.0]);
}

/// A convolution written out loop by loop.
fn direct_conv(
    input: &[f32],
    [channels, height, width]: [usize; 3],
    weight: &[f32],
    shape: [usize; 4],
    op: &Conv,
) -> Vec<f32> {
    let [out, per_group, kernel_height, kernel_width] = shape;
    let size = |side: usize, kernel: usize, i: usize| {
        (side + op.padding[i] + op.padding[i + 2] - op.dilation[i] * (kernel - 1) - 1) / op.stride[i] + 1
    };
    let mut output = Vec::new();
    for o in 0..out {
        for row in 0..size(height, kernel_height, 0) {
            for column in 0..size(width, kernel_width, 1) {
                let mut sum = 0.0;
                for c in 0..per_group {
                    let channel = o / (out / op.groups) * (channels / op.groups) + c;
                    for i in 0..kernel_height {
                        for j in 0..kernel_width {
                            let y = (row * op.stride[0] + i * op.dilation[0]).checked_sub(op.padding[0]);
                            let x = (column * op.stride[1] + j * op.dilation[1]).checked_sub(op.padding[1]);
                            let (Some(y), Some(x)) = (y, x) else { continue };
                            if y < height && x < width {
                                let weight = weight[((o * per_group + c) * kernel_height + i) * kernel_width + j];
                                sum += weight * input[(channel * height + y) * width + x];
                            }
                        }
                    }
                }
                output.push(sum);
            }
        }
    }
    output
}

#[test]
fn convolutions_are_those_of_hand() {
    let op = |stride, [down, across]: [usize; 2], dilation, groups| Conv {
        stride,
        padding: [down, across, down, across],
        dilation,
        groups,
    };
    let uneven = Conv { stride: [2, 1], padding: [0, 2, 1, 0], dilation: [1, 1], groups: 1 };
    let cases: [([usize; 4], Conv); 7] = [
        ([6, 4, 3, 3], uneven),
        ([6, 4, 3, 3], op([1, 1], [1, 1], [1, 1], 1)),
        ([6, 4, 3, 3], op([2, 2], [1, 1], [1, 1], 1)),
        ([6, 4, 1, 1], op([2, 2], [0, 0], [1, 1], 1)),
        ([6, 4, 1, 1], op([1, 1], [0, 0], [1, 1], 1)),
        ([6, 2, 3, 2], op([1, 2], [2, 0], [2, 1], 2)),
        ([4, 1, 3, 3], op([1, 1], [1, 1], [1, 1], 4)),
    ];
    let image = [4, 7, 9];
    for (shape, op) in cases {
        let nodes: [(Op, &[&str]); 2] = [(Op::Conv(op), &["x", "w"]), (Op::Flatten, &["0"])];
        let graph = fixture::network("4x7x9", &nodes, &[("w", Weight, &shape)]);
        let weight = fixture::parameters(&graph, 5)["w"].data().to_vec();
        let samples = fixture::samples(&graph, 2);
        let found = logits(&graph, std::slice::from_ref(&weight), samples.inputs(), Statistics::Running);
        let inputs = samples.inputs().chunks(252);
        let expected: Vec<f32> = inputs.flat_map(|input| direct_conv(input, image, &weight, shape, &op)).collect();
        assert_close(&found, &expected);
    }
}

#[test]
fn sums_averages_and_linear_layers_are_those_of_hand() {
    let graph = fixture::network(
        "2x1x2",
        &[
            (Op::Add, &["x", "x"]),
            (Op::GlobalAveragePool, &["0"]),
            (Op::Flatten, &["1"]),
            (Op::Gemm(Gemm::LINEAR), &["2", "w", "b"]),
        ],
        &[("w", Weight, &[3, 2]), ("b", relief_graph::ParameterKind::Bias, &[3])],
    );
    let parameters = [vec![1.0, 0.0, 0.0, 1.0, 2.0, -1.0], vec![0.0, 0.5, 1.0]];
    let found = logits(&graph, &parameters, &[1.0, 2.0, 3.0, 6.0], Statistics::Running);
    assert_eq!(found, [3.0, 9.5, -2.0]);
}

#[test]
fn normalisation_goes_by_the_running_statistics() {
    let nodes: [(Op, &[&str]); 2] =
        [(fixture::batch_normalization(), &["x", "g", "b", "m", "v"]), (Op::Flatten, &["0"])];
    let graph = fixture::network("1x1x2", &nodes, &BATCH_NORM);
    let at = |variance: f32| {
        let parameters = [vec![2.0], vec![1.0], vec![4.0], vec![variance]];
        logits(&graph, &parameters, &[4.0, 10.0], Statistics::Running)
    };
    assert_close(&at(9.0), &[1.0, 1.0 + 12.0 / (9.0 + 1e-5_f32).sqrt()]);
    assert!(at(-1.0).iter().all(|value| value.is_nan()));
}

#[test]
fn normalisation_in_training_goes_by_the_batch() {
    let nodes: [(Op, &[&str]); 2] =
        [(fixture::batch_normalization(), &["x", "g", "b", "m", "v"]), (Op::Flatten, &["0"])];
    let graph = fixture::network("1x1x2", &nodes, &BATCH_NORM);
    let parameters = [vec![2.0], vec![1.0], vec![100.0], vec![100.0]];
    let mut statistics = Vec::new();
    let found = logits(&graph, &parameters, &[1.0, 3.0, 5.0, 7.0], Statistics::Batch(&mut statistics));
    let deviation = (5.0 + 1e-5_f32).sqrt();
    assert_close(&found, &[-3.0, -1.0, 1.0, 3.0].map(|x| 1.0 + 2.0 * x / deviation));
    let [statistics] = &statistics[..] else { panic!("one batch normalisation") };
    assert_eq!((statistics.places, statistics.n_values), ([2, 3], 4));
    assert_close(&host_values(statistics.mean.clone()).expect("values"), &[4.0]);
    assert_close(&host_values(statistics.biased_variance.clone()).expect("values"), &[5.0]);
}

#[test]
fn vectors_are_normalised_like_images_of_one_pixel() {
    let nodes: [(Op, &[&str]); 2] =
        [(Op::Flatten, &["x"]), (fixture::batch_normalization(), &["0", "g", "b", "m", "v"])];
    let graph = fixture::network("1x1x1", &nodes, &BATCH_NORM);
    let parameters: TensorMap = fixture::parameters(&graph, 2);
    let parameters: Vec<_> = ["g", "b", "m", "v"].iter().map(|name| parameters[*name].data().to_vec()).collect();
    let [g, b, m, v] = [0, 1, 2, 3].map(|idx: usize| parameters[idx][0]);
    let found = logits(&graph, &parameters, &[1.5], Statistics::Running);
    assert_close(&found, &[(1.5 - m) / (v + 1e-5).sqrt() * g + b]);
}
