//! A logit is a function of its image and of the parameters alone.

use super::drawn;
use super::network::{ALGORITHMS, Network, all_algorithms};
use crate::cpu::{Algorithm, Path, Plan};

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// Calls `check` for drawn networks with all instructions and algorithms.
fn for_networks(check: impl Fn(&Network, Path, Algorithm, &str)) {
    for seed in 2000..2030 {
        let network = drawn::network(seed, false);
        let rounded = Path::amx().map(|path| (path, Algorithm::Bf16));
        for (path, algorithm) in all_algorithms().into_iter().chain(rounded) {
            check(&network, path, algorithm, &format!("seed {seed}, {} {algorithm:?}", path.as_str()));
        }
    }
}

#[test]
fn logits_are_the_same_whatever_the_micro_batch() {
    for_networks(|network, path, algorithm, case| {
        let images = network.images(7, 1, false);
        let alone = network.run(&network.plan(path, algorithm, 1), &images);
        for n_images in [2, 3, 5, 7, 16] {
            let together = network.run(&network.plan(path, algorithm, n_images), &images);
            assert_eq!(bits(&alone), bits(&together), "{case}, {n_images} together");
        }
    });
}

#[test]
fn logits_are_the_same_however_images_are_split_over_calls() {
    for_networks(|network, path, algorithm, case| {
        let images = network.images(7, 2, false);
        let plan = network.plan(path, algorithm, 3);
        let whole = network.run(&plan, &images);
        let mut workspace = plan.workspace();
        let n_values = network.graph.input_shape().n_values();
        for sizes in [vec![7], vec![1, 3, 3], vec![4, 2, 1], vec![1; 7]] {
            let mut rest = &images[..];
            let mut logits = Vec::new();
            for size in &sizes {
                let (first, others) = rest.split_at(size * n_values);
                logits.extend(network.run_in(&plan, first, &mut workspace));
                rest = others;
            }
            assert_eq!(bits(&whole), bits(&logits), "{case}, {sizes:?}");
        }
    });
}

#[test]
fn logits_do_not_depend_on_the_images_beside_them() {
    for_networks(|network, path, algorithm, case| {
        let plan = network.plan(path, algorithm, 4);
        let n_values = network.graph.input_shape().n_values();
        let images = network.images(4, 3, false);
        let expected = network.run(&plan, &images);
        let n_classes = network.graph.n_classes();
        for beside in [f32::NAN, f32::INFINITY, 1e30] {
            let mut images = images.clone();
            images[n_values..3 * n_values].fill(beside);
            let found = network.run(&plan, &images);
            assert_eq!(bits(&expected[..n_classes]), bits(&found[..n_classes]), "{case}, before {beside}");
            assert_eq!(bits(&expected[3 * n_classes..]), bits(&found[3 * n_classes..]), "{case}, behind {beside}");
        }
    });
}

#[test]
fn vectors_of_all_widths_give_the_same_bits_where_products_are_fused() {
    let fused: Vec<Path> = Path::all().into_iter().filter(|path| path.as_str() != "portable").collect();
    for seed in 2000..2100 {
        let network = drawn::network(seed, false);
        let images = network.images(5, 4, false);
        for algorithm in ALGORITHMS {
            let runs: Vec<_> =
                fused.iter().map(|path| network.run(&network.plan(*path, algorithm, 2), &images)).collect();
            for pair in runs.windows(2) {
                assert_eq!(bits(&pair[0]), bits(&pair[1]), "seed {seed}, {algorithm:?}");
            }
        }
    }
}

#[test]
fn plans_that_choose_their_micro_batch_give_the_same_bits() {
    for seed in 2000..2020 {
        let network = drawn::network(seed, false);
        let images = network.images(5, 6, false);
        for path in Path::all() {
            let plan = Plan::new(&network.graph, path, Algorithm::Fastest).expect("a network that the engine can run");
            let n_values: usize = plan.workspace().poison().iter().map(|values| values.len()).sum();
            assert_eq!(plan.n_workspace_bytes(), 4 * n_values, "seed {seed}");
            let expected = network.run(&network.plan(path, Algorithm::Fastest, 1), &images);
            assert_eq!(bits(&expected), bits(&network.run(&plan, &images)), "seed {seed}, {}", path.as_str());
        }
    }
}

#[test]
fn parameters_packed_over_others_leave_nothing_of_them() {
    for_networks(|network, path, algorithm, case| {
        let images = network.images(2, 7, false);
        let plan = network.plan(path, algorithm, 2);
        let mut other = network.clone();
        other.parameters.iter_mut().flatten().for_each(|value| *value = 1.0 - 2.0 * *value);
        let mut packed = plan.allocate();
        other.pack(&plan, &mut packed);
        network.pack(&plan, &mut packed);
        let mut logits = vec![f32::NAN; 2 * network.graph.n_classes()];
        plan.forward(&packed, &images, &mut plan.workspace(), &mut logits);
        assert_eq!(bits(&network.run(&plan, &images)), bits(&logits), "{case}");
    });
}
