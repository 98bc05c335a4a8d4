//! Points compute images again whose logits are not finite, and ask for memory no more often the more images there are.

use std::sync::Arc;

use relief_graph::{Op, Pool};

use super::memory::n_allocations;
use super::network::{Network, PLAIN, Sketch, all_algorithms};
use crate::cpu::{self, Algorithm, Path, Point};

/// The largest float32 is near it, and of bfloat16 the nearest is infinite.
const BEYOND_BF16: f32 = 3.4e38;

/// The point of the network's own parameters.
fn point(network: &Network, path: Path, algorithm: Algorithm) -> Point {
    let planned = cpu::Network::new(&network.graph, path, algorithm).expect("a network that the engine can run");
    Arc::new(planned).point(network.parameters.iter().cloned().map(Arc::new).collect())
}

/// All instructions with the algorithms that are for them, except for what computes images again.
fn fast_algorithms() -> Vec<(Path, Algorithm)> {
    let rounded = Path::amx().map(|path| (path, Algorithm::Bf16));
    let all = all_algorithms().into_iter().chain(rounded);
    all.filter(|(_, algorithm)| *algorithm != Algorithm::Direct).collect()
}

/// Checks that the images of `again`, of which `algorithm` makes logits that are not finite, have the bits of direct
/// convolutions of float32, and all others those of `algorithm`.
fn check(network: &Network, (path, algorithm): (Path, Algorithm), images: &[f32], again: &[usize]) {
    let case = format!("{} {algorithm:?}", path.as_str());
    let own = network.run(&network.plan(path, algorithm, 1), images);
    let direct = network.run(&network.plan(path.f32(), Algorithm::Direct, 1), images);
    let point = point(network, path, algorithm);
    // What computes images again is made at the first call, and there already at the second.
    for call in ["first", "second"] {
        let found = point.logits(images);
        assert_eq!(found.len(), direct.len(), "{case}");
        let n_classes = network.graph.n_classes();
        for (image, found) in found.chunks_exact(n_classes).enumerate() {
            let of = |logits: &[f32]| logits[image * n_classes..(image + 1) * n_classes].to_vec();
            let (own, direct) = (of(&own), of(&direct));
            let case = format!("{case}, {call} call, image {image}: {found:?} of {own:?} and {direct:?}");
            let is_again = again.contains(&image);
            assert!(direct.iter().all(|logit| logit.is_finite()), "{case}");
            assert_eq!(own.iter().all(|logit| logit.is_finite()), !is_again, "{case}");
            let bits = |logits: &[f32]| logits.iter().map(|logit| logit.to_bits()).collect::<Vec<u32>>();
            assert_ne!(bits(&own), bits(&direct), "{case}");
            assert_eq!(bits(found), bits(if is_again { &direct } else { &own }), "{case}");
        }
    }
}

/// A network whose values behind the first layer are the pixels of its input.
fn copying(n_channels: usize) -> Network {
    let mut sketch = Sketch::new(6, [1, 4, 4], false);
    let y = sketch.conv("x", n_channels, Pool { kernel: [1, 1], padding: [0; 4], ..PLAIN }, 1, false);
    let y = sketch.relu(&y);
    let y = sketch.conv(&y, 16, PLAIN, 1, false);
    sketch.classify(&y, 3);
    let mut network = sketch.finish();
    network.parameters[0].fill(1.0);
    network
}

#[test]
fn images_whose_values_overflow_are_computed_again_and_others_are_not() {
    // One block of channels, and a pair of blocks that exchange halves.
    for n_channels in [16, 32] {
        let mut network = copying(n_channels);
        network.parameters[1].iter_mut().for_each(|weight| *weight *= 1e-36);
        for pixel in [0, 5, 15] {
            let mut images = network.images(40, 1, false);
            images.iter_mut().for_each(|value| *value *= 1e36);
            let again = [0, 7, 8, 38];
            for image in again {
                images[image * 16 + pixel] = BEYOND_BF16;
            }
            for (path, algorithm) in fast_algorithms() {
                check(&network, (path, algorithm), &images, &again);
            }
        }
    }
}

#[test]
fn all_images_are_computed_again_where_a_weight_overflows() {
    let mut network = copying(32);
    network.parameters[1][13] = BEYOND_BF16;
    let mut images = network.images(5, 1, false);
    images.iter_mut().for_each(|value| *value *= 1e-37);
    let Some(path) = Path::amx() else { return };
    for algorithm in [Algorithm::SplitBf16, Algorithm::Bf16] {
        check(&network, (path, algorithm), &images, &[0, 1, 2, 3, 4]);
    }
}

#[test]
fn memory_is_asked_for_once_however_many_images_there_are() {
    let mut sketch = Sketch::new(7, [3, 9, 9], false);
    let x = sketch.conv("x", 20, PLAIN, 1, true);
    let y = sketch.conv(&x, 20, PLAIN, 1, true);
    let y = sketch.alike(Op::Add, &[&y, &x]);
    let y = sketch.relu(&y);
    let own = sketch.conv(&y, 20, PLAIN, 20, false);
    let own = sketch.alike(Op::Tanh, &[&own]);
    let y = sketch.concat(&[&y, &own, &x]);
    let y = sketch.norm(&y);
    let y = sketch.pool(Op::MaxPool(PLAIN), &y);
    let y = sketch.alike(Op::Mul, &[&y, &y]);
    let y = sketch.conv(&y, 24, Pool { stride: [2, 2], ..PLAIN }, 2, true);
    let y = sketch.global_mean(&y);
    sketch.classify(&y, 10);
    let network = sketch.finish();
    let images = network.images(80, 1, false);
    let half = images.len() / 2;
    for (path, algorithm) in all_algorithms() {
        let point = point(&network, path, algorithm);
        // The first call makes a workspace.
        point.logits(&images[..half]);
        for n_values in [half, images.len()] {
            let n_allocations = n_allocations(|| drop(point.logits(&images[..n_values])));
            assert_eq!(n_allocations, 1, "{} {algorithm:?}: more than the logits", path.as_str());
        }
    }
}
