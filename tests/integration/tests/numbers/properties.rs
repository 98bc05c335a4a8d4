//! Properties of the method.

use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use relief_core::{
    BatchNormMode, Direction, DirectionAxis, Ignore, Normalization, PlaneGeometry, Tensor, TensorMap, displace,
    random_direction,
};
use relief_graph::{Graph, Op, ParameterKind};
use relief_integration_tests::Landscape;
use relief_nn::Device;

use super::landscape;

const EPSILON: f64 = 1e-5;

/// The names of the pairs of a convolution's weight and the running mean and variance of the batch normalisation that
/// alone reads its result.
fn pairs(graph: &Graph) -> Vec<[String; 3]> {
    let norm_of = |output: &str| {
        let mut readers = graph.nodes().iter().filter(|node| node.inputs.iter().any(|input| input == output));
        readers.next().filter(|node| matches!(node.op, Op::BatchNormalization(_)) && readers.next().is_none())
    };
    let convolutions = graph.nodes().iter().filter(|node| matches!(node.op, Op::Conv(_)));
    let pair = |node: &relief_graph::Node| {
        let norm = norm_of(&node.output)?;
        Some([node.inputs[1].clone(), norm.inputs[3].clone(), norm.inputs[4].clone()])
    };
    convolutions.filter_map(pair).collect()
}

/// Multiplies a convolution by c, and lets its batch normalisation take that back: mean' = c mean,
/// variance' = c^2 (variance + epsilon) - epsilon.
fn rescaled(origin: &TensorMap, [weight, mean, variance]: &[String; 3], c: f64) -> TensorMap {
    let mut origin = origin.clone();
    let mut map = |name: &str, change: &dyn Fn(f64) -> f64| {
        let values = origin.get_mut(name).map(Tensor::data_mut).into_iter().flatten();
        values.for_each(|value| *value = change(f64::from(*value)) as f32);
    };
    map(weight, &|value| c * value);
    map(mean, &|value| c * value);
    map(variance, &|value| c * c * (value + EPSILON) - EPSILON);
    origin
}

#[test]
fn rescaling_a_layer_leaves_the_filter_normalised_surface_and_changes_the_plain_one() -> anyhow::Result<()> {
    let first = landscape()?;
    let pairs = pairs(&first.graph);
    assert_eq!(pairs.len(), 21, "every convolution of resnet20 has its batch normalisation");
    let points = [[0.0, 0.0], [0.3, -0.2], [-0.5, 0.4], [1.0, 1.0]];
    let mut runner = TestRunner::new(ProptestConfig { cases: 6, ..ProptestConfig::default() });
    let cases = (0..pairs.len(), prop_oneof![0.1..0.7_f64, 1.5..10.0_f64], 0..1000_u64);
    runner.run(&cases, |(place, c, seed)| {
        let second = Landscape { origin: rescaled(&first.origin, &pairs[place], c), ..first.clone() };
        let value = |landscape: &Landscape, normalization, point: &[f64]| {
            let plane = landscape.plane(seed, normalization);
            landscape.at(&plane, point).map_err(|error| TestCaseError::fail(error.to_string()))
        };
        let mut is_changed = false;
        for point in &points {
            let before = value(&first, Normalization::Filter, point)?.loss;
            let after = value(&second, Normalization::Filter, point)?.loss;
            prop_assert!(before.is_finite() && after.is_finite());
            prop_assert!((before - after).abs() <= 1e-4 * before, "{before} and {after} at {point:?}, c = {c}");
            let before = value(&first, Normalization::None, point)?.loss;
            let after = value(&second, Normalization::None, point)?.loss;
            is_changed |= (before - after).abs() > 1e-3 * before || before.is_finite() != after.is_finite();
        }
        prop_assert!(is_changed, "the plain surface does not depend on the scale of {}", pairs[place][0]);
        Ok(())
    })?;
    Ok(())
}

fn cosine(landscape: &Landscape, x: &TensorMap, y: &TensorMap) -> Option<f64> {
    let trainable: Vec<(&str, &Tensor)> = landscape.graph.trainable(&landscape.origin).collect();
    PlaneGeometry::of(trainable.into_iter(), &[x, y]).cosine
}

#[test]
fn plain_directions_are_as_orthogonal_as_gaussian_vectors_of_the_entries_that_move() -> anyhow::Result<()> {
    let landscape = landscape()?;
    let weights = landscape.graph.parameters().iter().filter(|parameter| parameter.kind == ParameterKind::Weight);
    let n: usize = weights.map(relief_graph::Parameter::n_values).sum();
    let pair = |seed| {
        let along = |axis| {
            let trainable = landscape.graph.trainable(&landscape.origin);
            random_direction(trainable, seed, axis, Normalization::None, Ignore::BiasBn)
        };
        cosine(&landscape, &along(DirectionAxis::X), &along(DirectionAxis::Y)).map(f64::abs)
    };
    let mean = (0..200).map(pair).sum::<Option<f64>>().context("no angle")? / 200.0;
    let expected = (2.0 / (std::f64::consts::PI * n as f64)).sqrt();
    assert!((mean / expected - 1.0).abs() < 0.15, "mean |cos| {mean}, expected {expected}");
    Ok(())
}

#[test]
fn filters_of_a_direction_have_the_norms_of_the_weights_whatever_they_are() -> anyhow::Result<()> {
    let norm = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let weights = (2..6_usize, 1..5_usize).prop_flat_map(|(n_filters, len)| {
        let scale = -18.0..18.0_f32;
        proptest::collection::vec((proptest::collection::vec(-1.0..1.0_f32, len), scale), n_filters)
    });
    TestRunner::default().run(&(weights, any::<u64>()), |(filters, seed)| {
        let len = filters[0].0.len();
        let values = filters.iter().flat_map(|(filter, scale)| filter.iter().map(|value| value * scale.exp2()));
        let weights = Tensor::new([filters.len(), len], values.collect()).expect("values that fill it");
        let named = [("w", &weights)];
        let direction = random_direction(named, seed, DirectionAxis::Y, Normalization::Filter, Ignore::BiasBn);
        for (drawn, weights) in direction["w"].data().chunks(len).zip(weights.data().chunks(len)) {
            // Beside 1e-10, which keeps an empty draw from a division by 0.
            prop_assert!((norm(drawn) - norm(weights)).abs() <= 1e-6 * norm(weights), "{drawn:?} for {weights:?}");
        }
        Ok(())
    })?;
    Ok(())
}

#[test]
fn the_callers_checkpoint_is_never_modified() -> anyhow::Result<()> {
    let landscape = landscape()?;
    let before = landscape.origin.clone();
    let mut directions = landscape.plane(5, Normalization::Filter);
    let session = landscape.session(&directions)?;
    for point in [[0.7, -0.4], [0.0, 0.0], [-1.0, 1.0]] {
        relief_integration_tests::value(&session, &point)?;
    }
    directions[1] = Arc::new(Direction::Towards(before.clone()));
    landscape.at(&directions, &[0.5, 0.5])?;
    let steps: Vec<(f64, &Direction)> = directions.iter().map(|direction| (0.5, &**direction)).collect();
    let moved = displace(&landscape.origin, &steps);
    assert_ne!(moved, before);
    assert_eq!(landscape.origin, before);
    Ok(())
}

#[test]
fn a_direction_depends_on_its_seed_and_the_network_only() -> anyhow::Result<()> {
    let landscape = landscape()?;
    let trainable: Vec<(&str, &Tensor)> = landscape.graph.trainable(&landscape.origin).collect();
    let draw = |tensors: &[(&str, &Tensor)]| {
        let tensors = tensors.iter().copied();
        random_direction(tensors, 9, DirectionAxis::X, Normalization::Filter, Ignore::None)
    };
    let expected = draw(&trainable);
    // In any order, and each tensor alone.
    let mut reversed = trainable.clone();
    reversed.reverse();
    assert_eq!(draw(&reversed), expected);
    for tensor in &trainable {
        assert_eq!(draw(&[*tensor])[tensor.0], expected[tensor.0]);
    }
    // On any thread, however many draw at once.
    thread::scope(|scope| {
        let drawn: Vec<_> = (0..4).map(|_| scope.spawn(|| draw(&trainable))).collect();
        for drawn in drawn {
            assert_eq!(drawn.join().ok().as_ref(), Some(&expected));
        }
    });
    // What lies along it does not depend on the threads of the device either.
    let directions = [Arc::new(Direction::Step(expected))];
    let at = |n_threads: usize| -> anyhow::Result<u64> {
        let device = Device::cpu_with_threads(n_threads.try_into()?);
        Ok(Landscape { device, ..landscape.clone() }.at(&directions, &[0.4])?.loss.to_bits())
    };
    assert_eq!(at(1)?, at(3)?);
    Ok(())
}

#[test]
fn the_modes_of_batch_normalisation_agree_where_nothing_but_weights_moves_and_statistics_are_settled()
-> anyhow::Result<()> {
    // Statistics recomputed at the centre from the samples that settled them are the same ones.
    let landscape = Landscape { batch_size: 128, ..landscape()? };
    let in_mode = |mode| -> anyhow::Result<f64> {
        let graph = Arc::clone(&landscape.graph);
        let (device, numerics) = (&landscape.device, landscape.numerics(mode)?);
        let plane = relief_nn::ResidentPlane::upload(device, numerics, graph, &landscape.origin, &[], mode)?;
        let samples = relief_nn::ResidentSamples::upload(device, numerics.engine, &landscape.samples, None)?;
        let samples = Arc::new(samples);
        let session = relief_nn::PlaneSession::open(Arc::new(plane), Arc::clone(&samples), 128)?;
        Ok(relief_integration_tests::value(&session.with_statistics(samples)?, &[])?.loss)
    };
    let frozen = in_mode(BatchNormMode::Frozen)?;
    assert_eq!(in_mode(BatchNormMode::Interpolated)?.to_bits(), frozen.to_bits());
    let recomputed = in_mode(BatchNormMode::Recomputed)?;
    assert!((recomputed - frozen).abs() <= 1e-4 * frozen, "{recomputed} and {frozen}");
    Ok(())
}

#[test]
fn geometry_tells_the_norms_and_the_angle_of_a_plane() -> anyhow::Result<()> {
    let landscape = landscape()?;
    let plane = landscape.plane(5, Normalization::Filter);
    let [x, y] = [0, 1].map(|idx: usize| plane[idx].difference(&landscape.origin));
    let trainable: Vec<(&str, &Tensor)> = landscape.graph.trainable(&landscape.origin).collect();
    let geometry = PlaneGeometry::of(trainable.iter().copied(), &[&x, &y]);
    let values = |direction: &TensorMap| -> Vec<f64> {
        direction.values().flat_map(|tensor| tensor.data()).map(|value| f64::from(*value)).collect()
    };
    let dot = |x: &TensorMap, y: &TensorMap| values(x).iter().zip(values(y)).map(|(x, y)| x * y).sum::<f64>();
    let expected = dot(&x, &y) / (dot(&x, &x) * dot(&y, &y)).sqrt();
    let found = geometry.cosine.context("two axes")?;
    assert!((found - expected).abs() <= 1e-12, "{found}, expected {expected}");
    for (axis, direction) in geometry.axes.iter().zip([&x, &y]) {
        let norm = direction.values().map(|tensor| tensor.norm().powi(2)).sum::<f64>().sqrt();
        assert!((axis.norm - norm).abs() <= 1e-9 * norm);
    }
    Ok(())
}
