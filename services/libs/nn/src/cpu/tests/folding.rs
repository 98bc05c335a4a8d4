//! What is done in one step with something else, what is not, and what is computed where it is needed.

use relief_graph::{Gemm, Op, ParameterKind, Pool};

use super::network::{ALGORITHMS, Network, PLAIN, Sketch};
use crate::cpu::plan::StepOp;
use crate::cpu::{Path, Plan};

fn kinds_of(plan: &Plan) -> Vec<&'static str> {
    let kind = |op: &StepOp| match op {
        StepOp::Direct(..) | StepOp::Winograd(..) | StepOp::Amx(..) | StepOp::Depthwise(..) => "conv",
        StepOp::Affine(_) => "affine",
        StepOp::Activate(_) => "activate",
        StepOp::Join(_) => "join",
        StepOp::Windows(_) => "pool",
        StepOp::GlobalMean => "mean",
        StepOp::Concat(_) => "concat",
    };
    plan.steps.iter().map(|step| kind(&step.op)).collect()
}

/// Checks an exact network's logits, and its steps but for the linear layer at the end.
fn check(network: &Network, expected: &[&str]) {
    network.check(3, true, 0.0, "folded");
    for path in Path::all() {
        for algorithm in ALGORITHMS {
            let kinds = kinds_of(&network.plan(path, algorithm, 2));
            assert_eq!(kinds.split_last(), Some((&"conv", expected)), "{} {algorithm:?}", path.as_str());
        }
    }
}

/// An image network of integers: `body` makes a value of the input, which a linear layer makes logits of.
fn network(dims: [usize; 3], body: impl FnOnce(&mut Sketch) -> String) -> Network {
    let mut sketch = Sketch::new(1, dims, true);
    let output = body(&mut sketch);
    sketch.classify(&output, 4);
    sketch.finish()
}

fn conv(sketch: &mut Sketch, x: &str, n_outputs: usize) -> String {
    sketch.conv(x, n_outputs, PLAIN, 1, false)
}

#[test]
fn a_normalisation_and_a_rectifier_behind_a_convolution_are_folded_into_it() {
    for n_outputs in [5, 16] {
        let network = network([9, 5, 6], |sketch| {
            let y = sketch.conv("x", n_outputs, PLAIN, 1, true);
            let y = sketch.norm(&y);
            let y = sketch.relu(&y);
            let y = sketch.conv(&y, n_outputs, PLAIN, 1, true);
            let y = sketch.norm(&y);
            sketch.alike(Op::Clip { min: Some(-3.0), max: Some(6.0) }, &[&y])
        });
        check(&network, &["conv", "conv"]);
    }
}

#[test]
fn normalisations_of_a_value_that_no_convolution_makes_are_one_step() {
    let network = network([5, 4, 3], |sketch| {
        let y = sketch.norm("x");
        let y = sketch.norm(&y);
        sketch.relu(&y)
    });
    check(&network, &["affine"]);
}

#[test]
fn a_normalisation_before_a_convolution_is_a_step_of_its_own() {
    let network = network([3, 5, 5], |sketch| {
        let first = conv(sketch, "x", 10);
        let y = sketch.norm(&first);
        let y = sketch.relu(&y);
        let y = conv(sketch, &y, 6);
        sketch.concat(&[&first, &y])
    });
    let path = Path::all()[0];
    network.check(3, true, 0.0, "densely connected");
    assert_eq!(kinds_of(&network.plan(path, ALGORITHMS[1], 1)), ["conv", "affine", "conv", "concat", "conv"]);
}

#[test]
fn a_normalisation_behind_a_convolution_that_is_read_twice_is_not_folded() {
    let network = network([3, 5, 5], |sketch| {
        let shared = conv(sketch, "x", 8);
        let y = sketch.norm(&shared);
        sketch.alike(Op::Sub, &[&y, &shared])
    });
    check(&network, &["conv", "affine", "join"]);
}

#[test]
fn a_rectifier_behind_a_convolution_that_is_read_twice_is_not_folded() {
    let network = network([3, 5, 5], |sketch| {
        let shared = conv(sketch, "x", 8);
        let y = sketch.relu(&shared);
        sketch.alike(Op::Sub, &[&y, &shared])
    });
    check(&network, &["conv", "affine", "join"]);
}

#[test]
fn a_value_that_is_read_under_another_shape_counts_as_read_twice() {
    let network = network([3, 5, 5], |sketch| {
        let windows = Pool { kernel: [5, 5], padding: [0; 4], ..PLAIN };
        let shared = sketch.conv("x", 8, windows, 1, false);
        let flat = sketch.flatten(&shared);
        let first = sketch.relu(&flat);
        let second = sketch.norm(&shared);
        let second = sketch.flatten(&second);
        sketch.concat(&[&first, &second])
    });
    network.check(3, true, 0.0, "flattened");
}

#[test]
fn tensors_and_scalars_are_folded_into_a_linear_layer_in_their_order() {
    let mut sketch = Sketch::new(2, [3, 2, 2], true);
    let y = sketch.flatten("x");
    let y = sketch.gemm(&y, 9, Gemm { alpha: 2.0, beta: -3.0, ..Gemm::LINEAR }, true);
    let tensor = sketch.parameter(ParameterKind::Weight, &[1, 9], (1..10).map(|value| value as f32).collect());
    let y = sketch.node(Op::Add, &[&tensor, &y], &[9]);
    let scalar = sketch.constant(&[], vec![2.0]);
    let y = sketch.alike(Op::Div, &[&y, &scalar]);
    let y = sketch.alike(Op::Sub, &[&y, &tensor]);
    let y = sketch.node(Op::Mul, &[&tensor, &y], &[9]);
    let y = sketch.norm(&y);
    sketch.relu(&y);
    let network = sketch.finish();
    network.check(3, true, 0.0, "tuned");
    assert_eq!(kinds_of(&network.plan(Path::all()[0], ALGORITHMS[0], 2)), ["conv"]);
}

#[test]
fn what_follows_a_bound_is_not_folded_before_it() {
    let network = network([3, 4, 4], |sketch| {
        let y = conv(sketch, "x", 8);
        let y = sketch.relu(&y);
        let y = sketch.norm(&y);
        let y = sketch.alike(Op::Clip { min: Some(-1.0), max: Some(2.0) }, &[&y]);
        sketch.alike(Op::Clip { min: Some(0.0), max: Some(1.0) }, &[&y])
    });
    check(&network, &["conv", "affine", "affine"]);
}

#[test]
fn shortcuts_are_added_where_the_last_convolution_writes_in_either_order() {
    for n_channels in [5, 16, 33] {
        for is_first in [true, false] {
            let network = network([n_channels, 5, 7], |sketch| {
                let x = sketch.relu("x");
                let y = conv(sketch, &x, n_channels);
                let y = sketch.norm(&y);
                let y = sketch.relu(&y);
                let y = conv(sketch, &y, n_channels);
                let y = sketch.norm(&y);
                let y = sketch.alike(Op::Add, &if is_first { [&x, &y] } else { [&y, &x] });
                sketch.relu(&y)
            });
            check(&network, &["affine", "conv", "conv"]);
        }
    }
}

#[test]
fn a_sum_of_two_convolutions_is_added_in_the_later_one() {
    for is_first in [true, false] {
        let network = network([8, 5, 6], |sketch| {
            let x = sketch.relu("x");
            let short = sketch.conv(&x, 10, Pool { kernel: [1, 1], padding: [0; 4], ..PLAIN }, 1, true);
            let short = sketch.norm(&short);
            let y = conv(sketch, &x, 10);
            let y = sketch.alike(Op::Add, &if is_first { [&short, &y] } else { [&y, &short] });
            sketch.relu(&y)
        });
        check(&network, &["affine", "conv", "conv"]);
    }
}

#[test]
fn a_sum_with_a_convolution_that_is_read_again_is_a_step_of_its_own() {
    let network = network([8, 5, 6], |sketch| {
        let x = sketch.relu("x");
        let y = conv(sketch, &x, 8);
        let sum = sketch.alike(Op::Add, &[&x, &y]);
        sketch.alike(Op::Mul, &[&sum, &y])
    });
    check(&network, &["affine", "conv", "join", "join"]);
}

#[test]
fn a_normalisation_behind_a_sum_is_not_folded_into_one_of_its_terms() {
    let network = network([8, 5, 6], |sketch| {
        let x = sketch.relu("x");
        let y = conv(sketch, &x, 8);
        let sum = sketch.alike(Op::Add, &[&x, &y]);
        sketch.norm(&sum)
    });
    check(&network, &["affine", "conv", "affine"]);
}

#[test]
fn depthwise_and_grouped_convolutions_add_shortcuts_too() {
    for (groups, n_channels) in [(9, 9), (3, 9), (2, 34)] {
        let network = network([n_channels, 5, 6], |sketch| {
            let x = sketch.relu("x");
            let y = sketch.conv(&x, n_channels, PLAIN, groups, true);
            let y = sketch.alike(Op::Add, &[&x, &y]);
            sketch.relu(&y)
        });
        check(&network, &["affine", "conv"]);
    }
}

#[test]
fn a_value_is_added_to_itself() {
    let network = network([3, 5, 5], |sketch| {
        let y = conv(sketch, "x", 8);
        let y = sketch.alike(Op::Add, &[&y, &y]);
        sketch.alike(Op::Mul, &[&y, &y])
    });
    check(&network, &["conv", "join", "join"]);
}

#[test]
fn the_networks_input_may_be_a_shortcut_and_be_pooled_and_added() {
    let residual = network([8, 5, 6], |sketch| {
        let y = conv(sketch, "x", 8);
        sketch.alike(Op::Add, &["x", &y])
    });
    check(&residual, &["conv"]);
    let pooled = network([3, 6, 6], |sketch| {
        let y = sketch.pool(Op::MaxPool(PLAIN), "x");
        sketch.alike(Op::Add, &[&y, "x"])
    });
    check(&pooled, &["pool", "join"]);
    let both = network([3, 6, 6], |sketch| {
        let y = conv(sketch, "x", 3);
        let z = sketch.pool(Op::MaxPool(PLAIN), "x");
        sketch.alike(Op::Sub, &[&y, &z])
    });
    check(&both, &["conv", "pool", "join"]);
}

#[test]
fn concatenations_of_whole_vectors_are_computed_in_place_within_one_another() {
    let network = network([3, 5, 5], |sketch| {
        let parts = [16, 32, 16, 5].map(|n_channels| conv(sketch, "x", n_channels));
        let inner = sketch.concat(&[&parts[0], &parts[1]]);
        let outer = sketch.concat(&[&inner, &parts[2], &parts[3]]);
        conv(sketch, &outer, 6)
    });
    check(&network, &["conv"; 5]);
}

#[test]
fn a_part_of_a_concatenation_may_be_read_by_itself_and_with_a_wider_border() {
    let wide = Pool { kernel: [5, 5], padding: [2; 4], ..PLAIN };
    let network = network([3, 5, 7], |sketch| {
        let first = conv(sketch, "x", 16);
        let first = sketch.relu(&first);
        let second = sketch.conv(&first, 16, wide, 1, false);
        let both = sketch.concat(&[&first, &second]);
        let third = conv(sketch, &both, 7);
        sketch.concat(&[&both, &third])
    });
    network.check(3, true, 0.0, "dense");
}

#[test]
fn concatenations_that_fill_no_whole_vectors_are_copied() {
    for sizes in [[5, 16], [3, 3], [17, 1], [1, 50]] {
        let network = network([3, 4, 5], |sketch| {
            let parts = sizes.map(|n_channels| conv(sketch, "x", n_channels));
            let joined = sketch.concat(&[&parts[0], &parts[1]]);
            conv(sketch, &joined, 4)
        });
        check(&network, &["conv", "conv", "concat", "conv"]);
    }
}

#[test]
fn a_value_and_the_networks_input_may_be_concatenated_twice() {
    let twice = network([3, 4, 5], |sketch| {
        let part = conv(sketch, "x", 16);
        let joined = sketch.concat(&[&part, &part]);
        conv(sketch, &joined, 4)
    });
    check(&twice, &["conv", "concat", "conv"]);
    let input = network([16, 4, 5], |sketch| {
        let part = conv(sketch, "x", 16);
        let joined = sketch.concat(&["x", &part, "x"]);
        conv(sketch, &joined, 4)
    });
    check(&input, &["conv", "concat", "conv"]);
}

#[test]
fn values_may_be_concatenated_in_two_orders() {
    let network = network([3, 4, 5], |sketch| {
        let [a, b] = [16, 16].map(|n_channels| conv(sketch, "x", n_channels));
        let first = sketch.concat(&[&a, &b]);
        let second = sketch.concat(&[&b, &a]);
        let sum = sketch.alike(Op::Mul, &[&first, &second]);
        sketch.concat(&[&first, &sum, &second])
    });
    network.check(3, true, 0.0, "two orders");
}

#[test]
fn logits_may_be_a_flattened_image_or_the_input_itself() {
    for n_outputs in [3, 16, 17] {
        let mut sketch = Sketch::new(4, [3, 3, 4], true);
        let y = conv(&mut sketch, "x", n_outputs);
        sketch.flatten(&y);
        sketch.finish().check(3, true, 0.0, "a flattened convolution");
    }
    let mut sketch = Sketch::new(4, [3, 3, 4], true);
    sketch.flatten("x");
    sketch.finish().check(3, true, 0.0, "a flattened input");
    let mut sketch = Sketch::new(4, [16, 1, 1], true);
    let y = sketch.flatten("x");
    let y = sketch.concat(&[&y, &y]);
    sketch.relu(&y);
    sketch.finish().check(3, true, 0.0, "a vector");
}

#[test]
fn a_product_that_is_no_vector_is_refused_or_right() {
    let mut sketch = Sketch::new(4, [5, 3, 3], true);
    let y = conv(&mut sketch, "x", 1);
    let y = sketch.node(Op::GlobalAveragePool, &[&y], &[1, 1, 1]);
    let matrix = sketch.parameter(ParameterKind::Weight, &[1, 6], vec![1.0, -2.0, 3.0, 4.0, -5.0, 6.0]);
    let y = sketch.node(Op::MatMul, &[&y, &matrix], &[1, 1, 6]);
    sketch.flatten(&y);
    let network = sketch.finish();
    if Plan::new(&network.graph, Path::all()[0], ALGORITHMS[0]).is_ok() {
        network.check(3, false, 1e-5, "a product of matrices");
    }
}
