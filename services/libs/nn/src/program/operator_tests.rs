//! Every operator against its definition, written out entry by entry in float64.

use relief_graph::{LayerNormalization, Node, ParameterKind, Pool, Range};

use super::*;
use crate::device::Device;
use crate::evaluation::host_values;
use crate::plane::vector;
use crate::sample::batch;

/// What a network makes of an input, a row of logits per sample.
struct Case {
    graph: Graph,
    parameters: Vec<Vec<f32>>,
}

impl Case {
    /// The nodes read `x`, parameters `p0`, `p1`, ... and constants `c0`, ...; each makes the value of its index.
    fn new(
        input: &str,
        nodes: &[(Op, &[&str])],
        parameters: &[(&[usize], &[f32])],
        constants: &[(&[usize], &[f32])],
    ) -> Self {
        let mut nodes: Vec<Node> = nodes
            .iter()
            .enumerate()
            .map(|(idx, (op, inputs))| Node {
                name: idx.to_string(),
                op: op.clone(),
                inputs: inputs.iter().map(ToString::to_string).collect(),
                output: idx.to_string(),
            })
            .collect();
        let last = nodes.len() - 1;
        let inputs = vec![last.to_string()];
        nodes.push(Node { name: "flat".to_owned(), op: Op::Flatten, inputs, output: "flat".to_owned() });
        let kind = |name: &str| {
            let slots = nodes.iter().flat_map(|node| node.inputs.iter().enumerate().map(move |slot| (node, slot)));
            let slots = slots.filter(|(_, (_, input))| input.as_str() == name);
            slots.into_iter().find_map(|(node, (idx, _))| slot_kind(&node.op, idx)).unwrap_or(ParameterKind::Weight)
        };
        let declared = parameters.iter().enumerate().map(|(idx, (shape, _))| {
            let name = format!("p{idx}");
            relief_graph::Parameter { kind: kind(&name), name, shape: shape.to_vec() }
        });
        let declared = declared.collect();
        let constants = constants.iter().enumerate().map(|(idx, (shape, values))| {
            (format!("c{idx}"), relief_core::Tensor::new(shape.to_vec(), values.to_vec()).expect("values that fill it"))
        });
        let input = input.parse().expect("a good shape");
        let graph = Graph::with_constants("test", "x", input, nodes, declared, constants.collect()).expect("valid");
        Self { graph, parameters: parameters.iter().map(|(_, values)| values.to_vec()).collect() }
    }

    fn run(&self, inputs: &[f32]) -> Vec<f32> {
        let device = Device::cpu();
        let parameters: Vec<_> = self.parameters.iter().map(|values| vector(values.clone(), &device)).collect();
        let n_samples = inputs.len() / self.graph.input_shape().n_values();
        let input = batch(inputs.to_vec(), n_samples, self.graph.input_shape(), device.tensors());
        host_values(Program::new(&self.graph).forward(&parameters, input, Statistics::Running)).expect("values")
    }
}

fn slot_kind(op: &Op, idx: usize) -> Option<ParameterKind> {
    match (op, idx) {
        (Op::Conv(_) | Op::Gemm(_), 2) => Some(ParameterKind::Bias),
        (Op::LayerNormalization(_), 1) => Some(ParameterKind::NormScale),
        (Op::LayerNormalization(_), 2) => Some(ParameterKind::NormShift),
        _ => None,
    }
}

/// What one node with no parameters makes of an input.
fn apply(op: Op, input: &str, inputs: &[f32]) -> Vec<f32> {
    Case::new(input, &[(op, &["x"])], &[], &[]).run(inputs)
}

fn assert_close(found: &[f32], expected: impl IntoIterator<Item = f64>) {
    let expected: Vec<f64> = expected.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().map(|found| f64::from(*found)).zip(expected) {
        assert!(
            (found.is_finite() && (found - expected).abs() <= 1e-6 + 2e-6 * expected.abs()),
            "{found} not {expected}"
        );
    }
}

const INPUTS: [f32; 12] = [-7.0, -3.5, -3.0, -1.25, -0.5, 0.0, 0.25, 0.75, 1.5, 3.0, 3.5, 8.0];

/// Of the standard normal distribution, by integrating its density in steps of 1/4096 (Simpson's rule).
fn normal_distribution(x: f64) -> f64 {
    let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let n_steps = 32_768;
    let width = x / f64::from(n_steps);
    let terms = (0..n_steps).map(|step| {
        let t = f64::from(step) * width;
        width / 6.0 * (density(t) + 4.0 * density(t + width / 2.0) + density(t + width))
    });
    0.5 + terms.sum::<f64>()
}

#[test]
fn operators_on_single_entries_are_those_of_their_formulas() {
    let tanh_form = |x: f64| {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
        0.5 * x * (1.0 + inner.tanh())
    };
    let cases: [(Op, &dyn Fn(f64) -> f64); 12] = [
        (Op::Relu, &|x| x.max(0.0)),
        (Op::LeakyRelu { alpha: 0.25 }, &|x| if x < 0.0 { 0.25 * x } else { x }),
        (Op::Sigmoid, &|x| 1.0 / (1.0 + (-x).exp())),
        (Op::HardSigmoid { alpha: 0.25, beta: 0.375 }, &|x| (0.25 * x + 0.375).clamp(0.0, 1.0)),
        (Op::HardSwish, &|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        (Op::Gelu(GeluForm::Exact), &|x| x * normal_distribution(x)),
        (Op::Gelu(GeluForm::Tanh), &tanh_form),
        (Op::Erf, &|x| 2.0 * normal_distribution(x * std::f64::consts::SQRT_2) - 1.0),
        (Op::Tanh, &f64::tanh),
        (Op::Clip { min: Some(-1.0), max: Some(2.5) }, &|x| x.clamp(-1.0, 2.5)),
        (Op::Clip { min: None, max: Some(0.5) }, &|x| x.min(0.5)),
        (Op::Clip { min: Some(0.5), max: None }, &|x| x.max(0.5)),
    ];
    for (op, formula) in cases {
        let found = apply(op.clone(), "3x2x2", &INPUTS);
        assert_close(&found, INPUTS.iter().map(|x| formula(f64::from(*x))));
    }
    assert_close(&apply(Op::Sqrt, "1x1x3", &[0.0, 2.25, 9.0]), [0.0, 1.5, 3.0]);
    // Crossed bounds: the upper one wins.
    assert_eq!(apply(Op::Clip { min: Some(3.0), max: Some(1.0) }, "1x1x2", &[0.0, 5.0]), [1.0, 1.0]);
}

#[test]
fn operators_on_single_entries_propagate_nan() {
    let ops = [
        Op::Relu,
        Op::LeakyRelu { alpha: 0.1 },
        Op::Sigmoid,
        Op::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Op::HardSwish,
        Op::Gelu(GeluForm::Exact),
        Op::Gelu(GeluForm::Tanh),
        Op::Erf,
        Op::Tanh,
        Op::Sqrt,
        Op::Clip { min: Some(0.0), max: Some(6.0) },
    ];
    for op in ops {
        let found = apply(op.clone(), "1x1x3", &[1.0, f32::NAN, 2.0]);
        assert_eq!(found.iter().map(|value| value.is_nan()).collect::<Vec<_>>(), [false, true, false], "{op:?}");
    }
    for op in [Op::Softmax { axis: 3 }, Op::LogSoftmax { axis: 3 }, Op::ReduceMean { axes: vec![3], keeps_axes: true }]
    {
        assert!(apply(op.clone(), "1x1x3", &[1.0, f32::NAN, 2.0]).iter().all(|value| value.is_nan()), "{op:?}");
    }
}

#[test]
fn arithmetic_broadcasts_parameters_and_constants() {
    let x: Vec<f32> = (1..=12).map(|value| value as f32).collect();
    let per_channel: (&[usize], &[f32]) = (&[3, 1, 1], &[2.0, 4.0, 8.0]);
    let per_column: (&[usize], &[f32]) = (&[2], &[1.0, 3.0]);
    let scalar: (&[usize], &[f32]) = (&[], &[0.5]);
    let nodes: [(Op, &[&str]); 4] =
        [(Op::Div, &["x", "p0"]), (Op::Sub, &["c0", "0"]), (Op::Mul, &["1", "c1"]), (Op::Add, &["2", "x"])];
    let found = Case::new("3x2x2", &nodes, &[per_channel], &[per_column, scalar]).run(&x);
    let expected = x.iter().enumerate().map(|(idx, x)| {
        let x = f64::from(*x);
        0.5 * ([1.0, 3.0][idx % 2] - x / [2.0, 4.0, 8.0][idx / 4]) + x
    });
    assert_close(&found, expected);
}

#[test]
fn softmax_goes_over_its_axis() {
    let x: Vec<f32> = (0..24).map(|idx| ((idx * 7) % 11) as f32 - 5.0).collect();
    for axis in 1..4 {
        let stride = [12, 4, 1][axis - 1];
        let size = [2, 3, 4][axis - 1];
        let sum = |idx: usize| {
            let first = idx - idx / stride % size * stride;
            (0..size).map(|place| f64::from(x[first + place * stride]).exp()).sum::<f64>()
        };
        let expected = |idx: usize| f64::from(x[idx]).exp() / sum(idx);
        assert_close(&apply(Op::Softmax { axis }, "2x3x4", &x), (0..24).map(expected));
        assert_close(&apply(Op::LogSoftmax { axis }, "2x3x4", &x), (0..24).map(|idx| expected(idx).ln()));
    }
}

/// The mean or the largest entry of each window, entry by entry; padding is skipped, or a zero where it counts.
fn direct_pool(x: &[f32], [height, width]: [usize; 2], pool: &Pool, mean: Option<bool>) -> Vec<f64> {
    let n_windows = |direction, size| pool.n_windows(direction, size).expect("windows that fit");
    let mut pooled = Vec::new();
    for row in 0..n_windows(0, height) {
        for column in 0..n_windows(1, width) {
            let (mut entries, mut n_padding) = (Vec::new(), 0.0);
            for i in 0..pool.kernel[0] {
                for j in 0..pool.kernel[1] {
                    let y = row * pool.stride[0] + i * pool.dilation[0];
                    let x_place = column * pool.stride[1] + j * pool.dilation[1];
                    let inside = |place: usize, direction: usize, size: usize| {
                        let before = pool.padding[direction];
                        (before..before + size).contains(&place).then(|| place - before)
                    };
                    let declared = |place, direction: usize, size| {
                        place < pool.padding[direction] + size + pool.padding[direction + 2]
                    };
                    match (inside(y, 0, height), inside(x_place, 1, width)) {
                        (Some(y), Some(x_place)) => entries.push(f64::from(x[y * width + x_place])),
                        _ if declared(y, 0, height) && declared(x_place, 1, width) => n_padding += 1.0,
                        _ => {}
                    }
                }
            }
            pooled.push(match mean {
                None => entries.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                Some(counts_padding) => {
                    let n_entries = entries.len() as f64 + if counts_padding { n_padding } else { 0.0 };
                    entries.iter().sum::<f64>() / n_entries
                }
            });
        }
    }
    pooled
}

#[test]
fn pools_are_those_of_hand() {
    let x: Vec<f32> = (0..42).map(|idx| ((idx * 29) % 43) as f32 - 20.0).collect();
    let pool = |kernel, stride, padding, rounds_up| Pool { kernel, stride, padding, dilation: [1, 1], rounds_up };
    let pools = [
        pool([2, 2], [2, 2], [0; 4], false),
        pool([2, 2], [2, 2], [0; 4], true),
        pool([3, 2], [2, 1], [1, 1, 1, 1], false),
        pool([3, 3], [2, 2], [1, 1, 1, 1], true),
        pool([3, 3], [1, 2], [0, 1, 2, 0], false),
        pool([3, 4], [2, 3], [2, 0, 1, 3], true),
        pool([6, 7], [6, 7], [0; 4], false),
    ];
    for pool in pools {
        let largest = apply(Op::MaxPool(pool), "1x6x7", &x);
        assert_close(&largest, direct_pool(&x, [6, 7], &pool, None));
        for counts_padding in [false, true] {
            let means = apply(Op::AveragePool { pool, counts_padding }, "1x6x7", &x);
            assert_close(&means, direct_pool(&x, [6, 7], &pool, Some(counts_padding)));
        }
    }
    let dilated = Pool { dilation: [2, 3], ..pool([2, 2], [1, 1], [1, 0, 0, 1], false) };
    assert_close(&apply(Op::MaxPool(dilated), "1x6x7", &x), direct_pool(&x, [6, 7], &dilated, None));
}

#[test]
fn uneven_pools_propagate_nan_and_let_no_padding_win() {
    let pool = Pool { kernel: [2, 2], stride: [2, 2], padding: [1, 0, 0, 0], dilation: [1, 1], rounds_up: true };
    let found = apply(Op::MaxPool(pool), "1x1x3", &[-5.0, f32::NEG_INFINITY, f32::NAN]);
    assert_eq!(found[0], -5.0);
    assert!(found[1].is_nan());
}

#[test]
fn layer_normalisation_goes_over_the_last_axes() {
    let x: Vec<f32> = (0..24).map(|idx| ((idx * 5) % 17) as f32).collect();
    for (axis, len) in [(1, 12), (2, 6), (3, 3)] {
        let scale: Vec<f32> = (0..len).map(|idx| 1.0 + idx as f32 / 8.0).collect();
        let shift: Vec<f32> = (0..len).map(|idx| idx as f32 / 4.0 - 1.0).collect();
        let shape = &[2, 2, 3][axis - 1..];
        let nodes: [(Op, &[&str]); 1] =
            [(Op::LayerNormalization(LayerNormalization { axis, epsilon: 0.5 }), &["x", "p0", "p1"])];
        let found = Case::new("2x2x3", &nodes, &[(shape, &scale), (shape, &shift)], &[]).run(&x);
        let expected = x.chunks(len).flat_map(|row| {
            let mean = row.iter().copied().map(f64::from).sum::<f64>() / len as f64;
            let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / len as f64;
            let entries = row.iter().zip(scale.iter().zip(&shift));
            let normal = move |x: f32| (f64::from(x) - mean) / (variance + 0.5).sqrt();
            entries
                .map(move |(x, (scale, shift))| normal(*x) * f64::from(*scale) + f64::from(*shift))
                .collect::<Vec<_>>()
        });
        assert_close(&found, expected);
    }
}

#[test]
fn matrix_products_are_those_of_hand() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let w = [1.0, 0.0, -1.0, 2.0, 1.0, 1.0];
    // x (2, 3) W (3, 2), sample by sample.
    let nodes: [(Op, &[&str]); 1] = [(Op::MatMul, &["x", "p0"])];
    let found = Case::new("1x2x3", &nodes, &[(&[3, 2], &w)], &[]).run(&x);
    assert_eq!(found, [2.0, 7.0, 5.0, 16.0]);
    // A matrix from the left: W (2, 2) x (2, 3).
    let nodes: [(Op, &[&str]); 1] = [(Op::MatMul, &["p0", "x"])];
    let found = Case::new("1x2x3", &nodes, &[(&[2, 2], &[1.0, 1.0, 0.0, 2.0])], &[]).run(&x);
    assert_eq!(found, [5.0, 7.0, 9.0, 8.0, 10.0, 12.0]);
    // Two values of the same sample: x x^T.
    let order = vec![0, 1, 3, 2];
    let nodes: [(Op, &[&str]); 2] = [(Op::Transpose { order }, &["x"]), (Op::MatMul, &["x", "0"])];
    let found = Case::new("1x2x3", &nodes, &[], &[]).run(&[x, x.map(|value| -value)].concat());
    assert_eq!(found, [14.0, 32.0, 32.0, 77.0, 14.0, 32.0, 32.0, 77.0]);
    // alpha x W + beta c with the summand given for every sample.
    let gemm = relief_graph::Gemm { alpha: 2.0, beta: 0.5, transposes_a: false, transposes_b: false };
    let nodes: [(Op, &[&str]); 2] = [(Op::Flatten, &["x"]), (Op::Gemm(gemm), &["0", "p0", "p1"])];
    let parameters: [(&[usize], &[f32]); 2] = [(&[3, 2], &w), (&[1, 2], &[4.0, 6.0])];
    assert_eq!(Case::new("3x1x1", &nodes, &parameters, &[]).run(&[1.0, 2.0, 3.0]), [6.0, 17.0]);
}

#[test]
fn layout_operators_put_every_entry_in_its_place() {
    let x: Vec<f32> = (0..24).map(|value| value as f32).collect();
    let at = |c: usize, h: usize, w: usize| (c * 12 + h * 4 + w) as f32;
    let found = apply(Op::Transpose { order: vec![0, 3, 1, 2] }, "2x3x4", &x);
    let expected: Vec<f32> = (0..4).flat_map(|w| (0..2).flat_map(move |c| (0..3).map(move |h| at(c, h, w)))).collect();
    assert_eq!(found, expected);

    let ranges = vec![Range { axis: 3, start: 1, end: 4, step: 2 }, Range { axis: 2, start: 1, end: 2, step: 1 }];
    assert_eq!(apply(Op::Slice { ranges }, "2x3x4", &x), [5.0, 7.0, 17.0, 19.0]);

    let pad = Op::Pad { before: vec![0, 0, 1, 0], after: vec![0, 0, 0, 2], value: 9.0 };
    assert_eq!(apply(pad, "1x1x2", &[1.0, 2.0]), [9.0, 9.0, 9.0, 9.0, 1.0, 2.0, 9.0, 9.0]);

    let nodes: [(Op, &[&str]); 2] = [(Op::Relu, &["x"]), (Op::Concat { axis: 1 }, &["0", "x"])];
    assert_eq!(Case::new("1x1x2", &nodes, &[], &[]).run(&[-1.0, 2.0]), [0.0, 2.0, -1.0, 2.0]);

    // Channel shuffle: (2 groups, 2) to (2, 2 groups).
    let shuffle: [(Op, &[&str]); 3] = [
        (Op::Reshape { dims: vec![2, 2, 1, 1] }, &["x"]),
        (Op::Transpose { order: vec![0, 2, 1, 3, 4] }, &["0"]),
        (Op::Reshape { dims: vec![4, 1, 1] }, &["1"]),
    ];
    assert_eq!(Case::new("4x1x1", &shuffle, &[], &[]).run(&[1.0, 2.0, 3.0, 4.0]), [1.0, 3.0, 2.0, 4.0]);

    for (axes, expected) in [(vec![1], vec![2.0, 3.0]), (vec![2, 3], vec![0.5, 4.5]), (vec![1, 2, 3], vec![2.5])] {
        for keeps_axes in [false, true] {
            let op = Op::ReduceMean { axes: axes.clone(), keeps_axes };
            assert_eq!(apply(op, "2x1x2", &[0.0, 1.0, 4.0, 5.0]), expected);
        }
    }
}

#[test]
fn weights_may_be_computed_from_parameters() {
    // The transpose of a parameter, and a kernel that a parameter scales.
    let nodes: [(Op, &[&str]); 3] =
        [(Op::Transpose { order: vec![1, 0] }, &["p0"]), (Op::Flatten, &["x"]), (Op::MatMul, &["1", "0"])];
    let found = Case::new("2x1x1", &nodes, &[(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], &[]).run(&[1.0, 10.0]);
    assert_eq!(found, [21.0, 43.0, 65.0]);
    let conv = relief_graph::Conv { stride: [1, 1], padding: [0; 4], dilation: [1, 1], groups: 1 };
    let nodes: [(Op, &[&str]); 2] = [(Op::Mul, &["p0", "p1"]), (Op::Conv(conv), &["x", "0"])];
    let parameters: [(&[usize], &[f32]); 2] = [(&[2, 1, 1, 1], &[1.0, 2.0]), (&[], &[0.5])];
    assert_eq!(Case::new("1x1x2", &nodes, &parameters, &[]).run(&[2.0, 4.0]), [1.0, 2.0, 2.0, 4.0]);
}
