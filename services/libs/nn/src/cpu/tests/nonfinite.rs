//! NaN and infinities go where they are due.

use relief_core::Philox;
use relief_graph::{Conv, GeluForm, Op, Pool};

use super::network::{ALGORITHMS, Network, PLAIN, Sketch, all_algorithms};
use super::{drawn, reference};
use crate::cpu::{Algorithm, Path};

const VALUES: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// Checks that the engine's logits of `images` are NaN, infinite and finite where the reference's are. Winograd's
/// transforms may make NaN of an infinity, and of what lies beside NaN; sums of two bfloat16 make NaN of all infinities.
fn check(network: &Network, images: &[f32], case: &str) {
    let (expected, _) = reference::logits(network, images);
    let previews = Path::amx().into_iter().map(|path| (path, Algorithm::Bf16));
    for (path, algorithm) in all_algorithms().into_iter().chain(previews) {
        let found = network.run(&network.plan(path, algorithm, 2), images);
        for (idx, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let is_near = (f64::from(*found) - expected).abs() < 1e-3 * (1.0 + expected.abs());
            let is_right = match algorithm {
                Algorithm::Direct if expected.is_finite() => is_near,
                Algorithm::Direct => f64::from(*found) == *expected || (found.is_nan() && expected.is_nan()),
                Algorithm::Fastest => {
                    (found.is_nan() || !expected.is_nan()) && (!found.is_finite() || (expected.is_finite() && is_near))
                }
                Algorithm::SplitBf16 | Algorithm::Bf16 => !found.is_finite() || (expected.is_finite() && is_near),
            };
            assert!(is_right, "{case}, {} {algorithm:?}: logit {idx} is {found}, not {expected}", path.as_str());
        }
    }
}

/// The network whose logits are what `body` makes of an image of `dims`, and one such image.
fn network(dims: [usize; 3], body: impl FnOnce(&mut Sketch) -> String) -> (Network, Vec<f32>) {
    let mut sketch = Sketch::new(9, dims, true);
    let output = body(&mut sketch);
    sketch.flatten(&output);
    let network = sketch.finish();
    let images = network.images(1, 1, true);
    (network, images)
}

/// Checks the network with each value in each pixel.
fn check_pixels(dims: [usize; 3], case: &str, body: impl FnOnce(&mut Sketch) -> String) {
    let (network, image) = network(dims, body);
    for pixel in 0..image.len() {
        for value in VALUES {
            let mut images = [image.clone(), image.clone(), image.clone()].concat();
            images[image.len() + pixel] = value;
            check(&network, &images, &format!("{case}, pixel {pixel} is {value}"));
        }
    }
}

#[test]
fn nan_is_the_largest_entry_of_a_window_wherever_it_stands() {
    let whole = Pool { kernel: [3, 3], padding: [0; 4], ..PLAIN };
    check_pixels([5, 3, 3], "one window", |sketch| sketch.pool(Op::MaxPool(whole), "x"));
    check_pixels([9, 4, 5], "windows", |sketch| sketch.pool(Op::MaxPool(PLAIN), "x"));
}

#[test]
fn means_of_windows_with_nan_or_infinities_are_so_too() {
    for counts_padding in [false, true] {
        let op = Op::AveragePool { pool: PLAIN, counts_padding };
        check_pixels([5, 3, 4], "mean", |sketch| sketch.pool(op, "x"));
    }
    check_pixels([5, 3, 4], "global mean", |sketch| sketch.global_mean("x"));
}

#[test]
fn rectifiers_and_bounds_keep_nan_and_bound_infinities() {
    check_pixels([5, 2, 2], "relu", |sketch| sketch.relu("x"));
    for (min, max) in [(Some(-1.0), None), (None, Some(2.0)), (Some(0.0), Some(6.0))] {
        check_pixels([5, 2, 2], "clip", |sketch| sketch.alike(Op::Clip { min, max }, &["x"]));
    }
    check_pixels([3, 3, 3], "relu of a convolution", |sketch| {
        let y = sketch.conv("x", 5, PLAIN, 1, true);
        let y = sketch.relu(&y);
        sketch.conv(&y, 2, PLAIN, 1, true)
    });
}

#[test]
fn sums_and_concatenations_keep_the_channels_apart() {
    for n_channels in [5, 16] {
        check_pixels([n_channels, 2, 2], "sum", |sketch| {
            let y = sketch.relu("x");
            sketch.alike(Op::Add, &["x", &y])
        });
        check_pixels([n_channels, 2, 2], "concatenation", |sketch| {
            let y = sketch.norm("x");
            let joined = sketch.concat(&[&y, "x", &y]);
            sketch.norm(&joined)
        });
        check_pixels([n_channels, 2, 3], "depthwise", |sketch| {
            let y = sketch.conv("x", n_channels, PLAIN, n_channels, true);
            sketch.alike(Op::Add, &["x", &y])
        });
        check_pixels([n_channels, 2, 3], "shortcut", |sketch| {
            let y = sketch.conv("x", n_channels, PLAIN, 1, true);
            sketch.alike(Op::Add, &[&y, "x"])
        });
    }
}

#[test]
fn activations_take_infinities_as_the_reference_does() {
    let ops = [
        Op::LeakyRelu { alpha: 0.5 },
        Op::Sigmoid,
        Op::HardSigmoid { alpha: 0.25, beta: 0.5 },
        Op::HardSwish,
        Op::Gelu(GeluForm::Exact),
        Op::Gelu(GeluForm::Tanh),
        Op::Erf,
        Op::Tanh,
    ];
    for op in ops {
        check_pixels([3, 1, 2], op.name(), |sketch| sketch.alike(op.clone(), &["x"]));
    }
}

#[test]
fn minus_infinity_behind_a_rectifier_is_zero() {
    let (network, mut images) = network([1, 4, 4], |sketch| {
        let y = sketch.relu("x");
        sketch.pool(Op::MaxPool(PLAIN), &y)
    });
    images.fill(f32::NEG_INFINITY);
    for path in Path::all() {
        assert_eq!(network.run(&network.plan(path, Algorithm::Direct, 1), &images), [0.0; 16]);
    }
}

#[test]
fn what_a_window_never_covers_is_never_seen() {
    // Steps of 2 over 1 x 1: three quarters of the pixels.
    let steps = Pool { kernel: [1, 1], stride: [2, 2], padding: [0; 4], ..PLAIN };
    let (network, image) = network([9, 5, 9], |sketch| {
        let y = sketch.conv("x", 7, steps, 1, true);
        let z = sketch.pool(Op::MaxPool(steps), "x");
        sketch.concat(&[&y, &z])
    });
    let expected = network.run(&network.plan(Path::all()[0], Algorithm::Direct, 1), &image);
    let mut poisoned = image.clone();
    for (idx, value) in poisoned.iter_mut().enumerate() {
        if idx / 9 % 5 % 2 == 1 || idx % 9 % 2 == 1 {
            *value = f32::NAN;
        }
    }
    for path in Path::all() {
        for algorithm in ALGORITHMS {
            assert_eq!(network.run(&network.plan(path, algorithm, 1), &poisoned), expected, "{}", path.as_str());
        }
    }
}

#[test]
fn nan_in_any_parameter_reaches_the_logits_that_depend_on_it() {
    let mut sketch = Sketch::new(5, [2, 3, 3], true);
    let y = sketch.conv("x", 9, PLAIN, 1, true);
    let y = sketch.norm(&y);
    let x = sketch.relu(&y);
    let y = sketch.conv(&x, 9, PLAIN, 1, true);
    let y = sketch.alike(Op::Add, &[&x, &y]);
    let x = sketch.norm(&y);
    let y = sketch.conv(&x, 9, PLAIN, 9, true);
    let y = sketch.concat(&[&x, &y]);
    let y = sketch.pool(Op::MaxPool(PLAIN), &y);
    let mean = sketch.global_mean(&y);
    sketch.classify(&mean, 3);
    let network = sketch.finish();
    let images = network.images(3, 1, true);
    for parameter in 0..network.parameters.len() {
        let n_values = network.parameters[parameter].len();
        for entry in [0, n_values / 2, n_values - 1] {
            let mut broken = network.clone();
            broken.parameters[parameter][entry] = f32::NAN;
            check(&broken, &images, &format!("entry {entry} of parameter {parameter}"));
        }
    }
}

#[test]
fn nan_and_infinities_go_through_drawn_networks_as_through_the_reference() {
    // Convolutions of several groups multiply what lies in the same vectors as their own channels by 0.
    let is_split = |op: &Op| matches!(op, Op::Conv(Conv { groups, .. }) if *groups > 1);
    let mut n_checked = 0;
    for seed in 3000..3250 {
        let network = drawn::network(seed, true);
        if network.graph.nodes().iter().any(|node| is_split(&node.op)) {
            continue;
        }
        n_checked += 1;
        let mut images = network.images(5, 1, true);
        let mut draws = Philox::new([seed, 77]);
        for value in VALUES {
            let image = draws.next_below(images.len() as u64) as usize;
            images[image] = value;
            check(&network, &images, &format!("seed {seed} with {value}"));
        }
    }
    assert!(n_checked > 100, "{n_checked} networks");
}
