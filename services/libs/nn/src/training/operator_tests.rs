//! The gradient through every operator against central differences.

use std::sync::Arc;

use relief_core::{Direction, TensorMap, displace};
use relief_graph::ParameterKind::{Bias, NormScale, NormShift, Weight};
use relief_graph::{GeluForm, LayerNormalization, Op, Pool, Range};

use super::tests::{PLAIN, difference, session, step};
use crate::fixture;

/// A convolution and a linear layer around `op`, and the gradient by the convolution's weight.
fn check(op: Op) {
    const WIDTH: f64 = 1.0 / 256.0;
    let name = format!("{op:?}");
    let normalization = matches!(op, Op::LayerNormalization(_));
    let inputs: &[&str] = match op {
        Op::LayerNormalization(_) => &["0", "scale", "shift"],
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Concat { .. } => &["0", "other"],
        Op::MatMul => &["0", "matrix"],
        _ => &["0"],
    };
    let mut parameters: Vec<(&str, relief_graph::ParameterKind, &[usize])> = vec![("w", Weight, &[2, 1, 2, 2])];
    if normalization {
        parameters.extend([("scale", NormScale, &[4][..]), ("shift", NormShift, &[4][..])]);
    }
    if matches!(op, Op::Add | Op::Sub | Op::Mul | Op::Div) {
        parameters.push(("other", NormScale, &[2, 1, 1]));
    }
    if op == Op::MatMul {
        parameters.push(("matrix", Weight, &[4, 3]));
    }
    let inputs = if matches!(op, Op::Concat { .. }) { &["0", "0"][..] } else { inputs };
    let conv = fixture::conv([1, 1], [0, 0], [1, 1], 1);
    let body: [(Op, &[&str]); 3] = [(conv, &["x", "w"]), (op, inputs), (Op::Flatten, &["1"])];
    let width = fixture::network("1x4x5", &body, &parameters).n_classes();
    let linear_shape = [3, width];
    parameters.extend([("linear", Weight, &linear_shape[..]), ("bias", Bias, &[3][..])]);
    let [conv, middle, flat] = body;
    let last: (Op, &[&str]) = (Op::Gemm(relief_graph::Gemm::LINEAR), &["2", "linear", "bias"]);
    let graph = fixture::network("1x4x5", &[conv, middle, flat, last], &parameters);
    let origin = fixture::parameters(&graph, 3);
    let mut trained = session(&graph, &origin, PLAIN);
    assert!(step(&mut trained, 1.0).loss.is_finite(), "{name}");
    let gradient = difference(&origin, &trained.parameters().expect("values"));
    for (parameter, _, _) in parameters {
        let norm = gradient[parameter].norm();
        let along = Direction::Step(TensorMap::from([(parameter.to_owned(), gradient[parameter].clone())]));
        let loss = |distance: f64| {
            step(&mut session(&Arc::clone(&graph), &displace(&origin, &[(distance / norm, &along)]), PLAIN), 0.0).loss
        };
        let slope = (loss(WIDTH) - loss(-WIDTH)) / (2.0 * WIDTH);
        assert!(norm > 1e-4, "{name}: {parameter} has no gradient");
        assert!((slope - norm).abs() <= 1e-3 + 2e-2 * norm, "{name}: {parameter}: {slope} against {norm}");
    }
}

#[test]
fn gradients_go_through_layers() {
    let pool = Pool { kernel: [2, 2], stride: [1, 2], padding: [1, 0, 0, 1], dilation: [1, 1], rounds_up: true };
    let even = Pool { padding: [0; 4], rounds_up: false, ..pool };
    let ops = [
        Op::Relu,
        Op::LeakyRelu { alpha: 0.2 },
        Op::Sigmoid,
        Op::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Op::HardSwish,
        Op::Gelu(GeluForm::Exact),
        Op::Gelu(GeluForm::Tanh),
        Op::Erf,
        Op::Tanh,
        Op::Clip { min: Some(-0.5), max: Some(0.75) },
        Op::Softmax { axis: 3 },
        Op::LogSoftmax { axis: 1 },
        Op::LayerNormalization(LayerNormalization { axis: 3, epsilon: 1e-5 }),
        Op::Add,
        Op::Sub,
        Op::Mul,
        Op::Div,
        Op::MatMul,
        Op::MaxPool(pool),
        Op::MaxPool(even),
        Op::AveragePool { pool, counts_padding: false },
        Op::AveragePool { pool, counts_padding: true },
        Op::AveragePool { pool: even, counts_padding: true },
        Op::GlobalAveragePool,
        Op::ReduceMean { axes: vec![1, 3], keeps_axes: false },
        Op::Reshape { dims: vec![4, 6] },
        Op::Transpose { order: vec![0, 2, 3, 1] },
        Op::Concat { axis: 2 },
        Op::Slice { ranges: vec![Range { axis: 3, start: 0, end: 4, step: 2 }] },
        Op::Pad { before: vec![0, 0, 1, 0], after: vec![0, 1, 0, 2], value: 0.5 },
    ];
    for op in ops {
        check(op);
    }
}
