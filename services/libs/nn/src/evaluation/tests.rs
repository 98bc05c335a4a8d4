use std::num::NonZeroUsize;

use relief_core::{
    Direction, DirectionAxis, Ignore, Normalization, Numerics, Precision, TensorMap, displace, random_direction,
};
use relief_graph::{Graph, ParameterKind};

use super::*;
use crate::device::Device;
use crate::fixture;
use crate::plane::PlaneError;
use crate::sample::Samples;

const N_SAMPLES: usize = 23;
const BURN: Numerics = Numerics { engine: Engine::Burn, precision: Precision::F32 };

fn device(n_threads: usize) -> Device {
    Device::cpu_with_threads(NonZeroUsize::new(n_threads).expect("at least one thread"))
}

fn plane(device: &Device, graph: &Arc<Graph>, origin: &TensorMap, directions: &[Arc<Direction>]) -> Arc<ResidentPlane> {
    plane_in(BatchNormMode::Frozen, device, graph, origin, directions)
}

fn plane_in(
    mode: BatchNormMode,
    device: &Device,
    graph: &Arc<Graph>,
    origin: &TensorMap,
    directions: &[Arc<Direction>],
) -> Arc<ResidentPlane> {
    Arc::new(ResidentPlane::upload(device, BURN, Arc::clone(graph), origin, directions, mode).expect("a good plane"))
}

fn session(device: &Device, plane: Arc<ResidentPlane>, batch_size: usize) -> PlaneSession {
    let samples = fixture::samples(plane.graph(), N_SAMPLES);
    let samples = ResidentSamples::upload(device, BURN.engine, &samples, None).expect("some samples");
    PlaneSession::open(plane, Arc::new(samples), batch_size).expect("samples that fit")
}

fn value(session: &PlaneSession, coefficients: &[f64]) -> PointValue {
    values(session, coefficients).main
}

fn values(session: &PlaneSession, coefficients: &[f64]) -> PointValues {
    match session.evaluate(coefficients, &mut |_| ControlFlow::Continue(())).expect("a good point") {
        Evaluation::Done(value) => value,
        Evaluation::Cancelled => panic!("nobody cancelled"),
    }
}

fn burn_parameters(plane: &ResidentPlane) -> Vec<Tensor<1>> {
    match plane.theta(&vec![0.0; plane.n_directions()], || ()) {
        Theta::Burn(parameters) => parameters,
        Theta::Cpu(_) => panic!("a plane of burn"),
    }
}

fn bits(value: PointValue) -> [u64; 3] {
    [value.loss.to_bits(), value.squared_error.to_bits(), value.accuracy.to_bits()]
}

fn directions(graph: &Graph, origin: &TensorMap) -> [Arc<Direction>; 2] {
    [DirectionAxis::X, DirectionAxis::Y].map(|axis| {
        let trainable = graph.trainable(origin);
        Arc::new(Direction::Step(random_direction(trainable, 3, axis, Normalization::Filter, Ignore::None)))
    })
}

#[test]
fn a_point_has_the_same_bits_for_any_number_of_threads() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let directions = directions(&graph, &origin);
    let at = |n_threads| {
        let device = device(n_threads);
        value(&session(&device, plane(&device, &graph, &origin, &directions), 4), &[0.3, -0.2])
    };
    assert!(at(1).loss.is_finite());
    assert_eq!(bits(at(1)), bits(at(2)));
    assert_eq!(bits(at(1)), bits(at(5)));
}

#[test]
fn a_short_last_batch_counts_by_its_samples() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let device = device(2);
    let at = |batch_size| value(&session(&device, plane(&device, &graph, &origin, &[]), batch_size), &[]);
    let whole = at(N_SAMPLES);
    assert!(whole.loss.is_finite());
    for batch_size in [1, 4, 22, 1000] {
        let parts = at(batch_size);
        assert!((parts.loss - whole.loss).abs() <= 1e-6 * whole.loss, "{parts:?} against {whole:?}");
        assert_eq!(parts.accuracy, whole.accuracy);
    }
}

#[test]
fn a_point_has_the_value_of_the_displaced_checkpoint() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let [x, y] = directions(&graph, &origin);
    let device = device(2);
    let displaced = displace(&origin, &[(0.7, &x), (-0.4, &y)]);
    let on_plane = value(&session(&device, plane(&device, &graph, &origin, &[x, y]), 8), &[0.7, -0.4]);
    let alone = value(&session(&device, plane(&device, &graph, &displaced, &[]), 8), &[]);
    assert_eq!(bits(on_plane), bits(alone));
}

#[test]
fn the_centre_has_the_value_of_the_origin_and_points_do_not_drift() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let device = device(2);
    let on_plane = session(&device, plane(&device, &graph, &origin, &directions(&graph, &origin)), 8);
    let centre = value(&on_plane, &[0.0, 0.0]);
    value(&on_plane, &[1.0, -1.0]);
    assert_eq!(bits(value(&on_plane, &[0.0, 0.0])), bits(centre));
    assert_eq!(bits(value(&session(&device, plane(&device, &graph, &origin, &[]), 8), &[])), bits(centre));
}

#[test]
fn logits_come_in_order_and_are_worth_what_the_point_is() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let device = device(2);
    let session = session(&device, plane(&device, &graph, &origin, &directions(&graph, &origin)), 4);
    let whole = |n_samples| {
        let mut inference = session.infer(&[0.3, -0.2]).expect("two coefficients");
        let (mut logits, mut targets) = (Vec::new(), Vec::new());
        while let Some(span) = inference.next_span(n_samples).expect("a good device") {
            assert_eq!(span.first_sample, targets.len());
            logits.extend(span.logits);
            targets.extend(span.targets);
        }
        (logits, targets, inference.value())
    };
    let (logits, targets, at_once) = whole(usize::MAX);
    assert_eq!((logits.len(), targets.len()), (N_SAMPLES * session.n_classes(), N_SAMPLES));
    assert_eq!(bits(at_once), bits(value(&session, &[0.3, -0.2])));
    for n_samples in [0, 1, 4, 5, 20] {
        assert_eq!(whole(n_samples), (logits.clone(), targets.clone(), at_once), "{n_samples}");
    }
    assert!(session.infer(&[0.3]).is_err());
}

#[test]
fn frozen_statistics_stay_where_a_direction_holds_them() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let other = fixture::parameters(&graph, 2);
    let is_running = |name: &str| name.contains("running");
    let weights = other.clone().into_iter().filter(|(name, _)| !is_running(name)).collect();
    let device = device(1);
    let at = |direction: TensorMap| {
        let direction = Arc::new(Direction::Step(direction));
        value(&session(&device, plane(&device, &graph, &origin, &[direction]), 8), &[0.5])
    };
    assert_eq!(bits(at(other)), bits(at(weights)));
}

#[test]
fn a_point_that_is_not_finite_is_reported_as_it_is() {
    let graph = fixture::layers();
    let mut origin = fixture::parameters(&graph, 1);
    origin.get_mut("bn.running_var").expect("a parameter").data_mut()[0] = -1.0;
    let device = device(2);
    let value = value(&session(&device, plane(&device, &graph, &origin, &[]), 8), &[]);
    assert!(value.loss.is_nan());
    assert_eq!(value.flag(), relief_core::PointFlag::Nan);
}

#[test]
fn progress_reaches_every_sample_and_can_be_broken_off() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let device = device(2);
    let session = session(&device, plane(&device, &graph, &origin, &[]), 4);
    let mut progress = Vec::new();
    let evaluation = session.evaluate(&[], &mut |n_done| {
        progress.push(n_done);
        ControlFlow::Continue(())
    });
    assert!(matches!(evaluation, Ok(Evaluation::Done(_))));
    assert_eq!((progress.len(), progress.last()), (6, Some(&N_SAMPLES)));
    assert!(progress.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(session.evaluate(&[], &mut |_| ControlFlow::Break(())), Ok(Evaluation::Cancelled));
}

#[test]
fn samples_that_do_not_fit_are_refused_with_their_place() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let device = device(1);
    let plane = plane(&device, &graph, &origin, &[]);
    let open = |targets: Vec<u32>, shape: &str, batch_size| {
        let shape: InputShape = shape.parse().expect("a good shape");
        let samples = Samples::new(vec![0.0; targets.len() * shape.n_values()], targets, shape).expect("good samples");
        let samples = ResidentSamples::upload(&device, BURN.engine, &samples, None).expect("some samples");
        PlaneSession::open(Arc::clone(&plane), Arc::new(samples), batch_size).map(|_| ())
    };
    assert_eq!(open(vec![0, 2], "2x6x6", 1), Ok(()));
    assert_eq!(open(vec![0], "2x6x6", 0), Err(SessionError::BatchSize));
    assert_eq!(
        open(vec![0, 3], "2x6x6", 1).map_err(|error| error.to_string()),
        Err("sample 1 has target 3; the network has the classes 0 to 2".to_owned())
    );
    assert!(matches!(open(vec![0], "1x6x6", 1), Err(SessionError::InputShape { .. })));
}

#[test]
fn planes_that_do_not_fit_are_refused() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let device = device(1);
    let upload = |origin: &TensorMap, directions: &[Arc<Direction>]| {
        ResidentPlane::upload(&device, BURN, Arc::clone(&graph), origin, directions, BatchNormMode::Frozen).map(|_| ())
    };
    let tensors = |name: &str, len| TensorMap::from([(name.to_owned(), relief_core::Tensor::filled([len], 1.0))]);
    let direction = |name: &str, len| Arc::new(Direction::Step(tensors(name, len)));
    assert_eq!(upload(&origin, &[direction("conv.bias", 4)]), Ok(()));
    assert!(matches!(upload(&TensorMap::new(), &[]), Err(PlaneError::Origin(_))));
    assert!(matches!(upload(&origin, &[direction("conv.bias", 5)]), Err(PlaneError::MisshapenTensor { .. })));
    assert!(matches!(upload(&origin, &[direction("more", 5)]), Err(PlaneError::UnknownTensor { .. })));
    let elsewhere = Arc::new(Direction::Towards(tensors("conv.bias", 4)));
    assert!(matches!(upload(&origin, &[elsewhere]), Err(PlaneError::Target { idx: 0, .. })));
    let same = direction("conv.bias", 4);
    assert_eq!(upload(&origin, &[same.clone(), same.clone(), same.clone()]), Err(PlaneError::TooManyDirections(3)));
    let error =
        session(&device, plane(&device, &graph, &origin, &[same]), 8).evaluate(&[], &mut |_| ControlFlow::Continue(()));
    assert_eq!(error, Err(SessionError::Coefficients { expected: 1, found: 0 }));
}

#[test]
fn an_interpolation_ends_at_the_other_checkpoint_bit_for_bit() {
    let graph = fixture::layers();
    let (origin, target) = (fixture::parameters(&graph, 1), fixture::parameters(&graph, 2));
    let device = device(2);
    let alone =
        |checkpoint: &TensorMap| bits(value(&session(&device, plane(&device, &graph, checkpoint, &[]), 8), &[]));
    let towards = [Arc::new(Direction::Towards(target.clone()))];
    let between =
        |mode, t: f64| bits(value(&session(&device, plane_in(mode, &device, &graph, &origin, &towards), 8), &[t]));
    assert_eq!(between(BatchNormMode::Interpolated, 0.0), alone(&origin));
    assert_eq!(between(BatchNormMode::Interpolated, 1.0), alone(&target));
    assert_eq!(between(BatchNormMode::Frozen, 0.0), alone(&origin));
    assert_ne!(between(BatchNormMode::Frozen, 1.0), alone(&target), "the statistics are not the other's");
}

#[test]
fn a_second_split_has_the_values_that_it_has_alone() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let device = device(2);
    let plane = plane(&device, &graph, &origin, &directions(&graph, &origin));
    let samples = |n_samples| {
        let samples = fixture::samples(&graph, n_samples);
        Arc::new(ResidentSamples::upload(&device, BURN.engine, &samples, None).expect("some samples"))
    };
    let open = |n_samples| PlaneSession::open(Arc::clone(&plane), samples(n_samples), 4).expect("samples that fit");
    let both = open(11).with_also(samples(7)).expect("samples that fit");
    let mut last = 0;
    let evaluation = both.evaluate(&[0.3, -0.2], &mut |n_done| {
        last = n_done;
        ControlFlow::Continue(())
    });
    let Ok(Evaluation::Done(PointValues { main, also: Some(also) })) = evaluation else { panic!("{evaluation:?}") };
    assert_eq!(last, 18);
    assert_eq!(bits(main), bits(value(&open(11), &[0.3, -0.2])));
    assert_eq!(bits(also), bits(value(&open(7), &[0.3, -0.2])));
}

/// What a training step leaves as running statistics when it forgets the ones before.
fn statistics_of_one_batch(device: &Device, graph: &Graph, parameters: &TensorMap, n_samples: usize) -> TensorMap {
    let nodes = graph.nodes().iter().cloned().map(|mut node| {
        if let relief_graph::Op::BatchNormalization(norm) = &mut node.op {
            norm.momentum = 0.0;
        }
        node
    });
    let (input, parameter_list) = (graph.input_shape(), graph.parameters().to_vec());
    let forgetful = Graph::new("test", graph.input_name(), input, nodes.collect(), parameter_list).expect("valid");
    let recipe = crate::sgd::SgdRecipe { momentum: 0.0, weight_decay: 0.0, nesterov: false };
    let mut training = crate::training::TrainingSession::new(device, Arc::new(forgetful), parameters, recipe)
        .expect("parameters that fit");
    let samples = fixture::samples(graph, n_samples);
    training.step(samples.inputs(), samples.targets(), 0.0).expect("a step of length 0");
    training.parameters().expect("values")
}

#[test]
fn recomputed_statistics_are_those_of_the_training_batch_at_the_point() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let [x, y] = directions(&graph, &origin);
    for n_threads in [1, 3] {
        let device = device(n_threads);
        let samples = fixture::samples(&graph, N_SAMPLES);
        let training = Arc::new(ResidentSamples::upload(&device, BURN.engine, &samples, None).expect("some samples"));
        let mode = BatchNormMode::Recomputed;
        let plane = plane_in(mode, &device, &graph, &origin, &[Arc::clone(&x), Arc::clone(&y)]);
        let without = session(&device, plane, 8);
        let nothing = without.evaluate(&[0.3, -0.2], &mut |_| ControlFlow::Continue(()));
        assert_eq!(nothing, Err(SessionError::NoStatistics));
        let recomputed = without.with_statistics(training).expect("samples that fit");

        let displaced = displace(&origin, &[(0.3, &x), (-0.2, &y)]);
        let settled = statistics_of_one_batch(&device, &graph, &displaced, N_SAMPLES);
        let expected = value(&session(&device, self::plane(&device, &graph, &settled, &[]), 8), &[]);
        let found = value(&recomputed, &[0.3, -0.2]);
        assert!(found.loss.is_finite() && expected.loss.is_finite());
        assert!((found.loss - expected.loss).abs() <= 1e-6 * expected.loss, "{found:?} against {expected:?}");
        assert_eq!(bits(found), bits(value(&recomputed, &[0.3, -0.2])), "a scan does not drift");
    }
}

#[test]
fn statistics_of_several_batches_are_weighted_by_their_samples() {
    let graph = fixture::layers();
    let mut origin = fixture::parameters(&graph, 1);
    let device = device(2);
    // 128 samples, then 72: an average of batches of equal weight would be another one.
    let n_samples = 200;
    let samples = fixture::samples(&graph, n_samples);
    let resident = Arc::new(ResidentSamples::upload(&device, BURN.engine, &samples, None).expect("some samples"));
    let plane = plane_in(BatchNormMode::Recomputed, &device, &graph, &origin, &[]);
    let open = PlaneSession::open(plane, Arc::clone(&resident), 64).expect("samples that fit");
    let found = value(&open.with_statistics(resident).expect("samples that fit"), &[]);

    let of = |range: std::ops::Range<usize>| {
        let n_values = graph.input_shape().n_values();
        let inputs = samples.inputs()[range.start * n_values..range.end * n_values].to_vec();
        let part = Samples::new(inputs, samples.targets()[range].to_vec(), graph.input_shape()).expect("good samples");
        let resident = ResidentSamples::upload(&device, BURN.engine, &part, None).expect("some samples");
        let plane = plane_in(BatchNormMode::Frozen, &device, &graph, &origin, &[]);
        let mut statistics = Vec::new();
        let batch = resident.batch(0, 128);
        let parameters = burn_parameters(&plane);
        let mode = Statistics::Batch(&mut statistics);
        let _ = plane.program().forward(&parameters, batch.inputs, mode);
        let statistics = statistics.pop().expect("one batch normalisation");
        let unbiased = statistics.n_values as f32 / (statistics.n_values - 1) as f32;
        let mean = host_values(statistics.mean).expect("values");
        (mean, host_values(statistics.biased_variance.mul_scalar(unbiased)).expect("values"))
    };
    let (first, second) = (of(0..128), of(128..200));
    let weighted = |first: &[f32], second: &[f32]| {
        first.iter().zip(second).map(|(first, second)| 0.64 * first + 0.36 * second).collect::<Vec<f32>>()
    };
    for (name, values) in
        [("bn.running_mean", weighted(&first.0, &second.0)), ("bn.running_var", weighted(&first.1, &second.1))]
    {
        origin.get_mut(name).expect("a parameter").data_mut().copy_from_slice(&values);
    }
    let resident = Arc::new(ResidentSamples::upload(&device, BURN.engine, &samples, None).expect("some samples"));
    let plane = self::plane(&device, &graph, &origin, &[]);
    let expected = value(&PlaneSession::open(plane, resident, 64).expect("samples that fit"), &[]);
    assert!((found.loss - expected.loss).abs() <= 1e-5 * expected.loss, "{found:?} against {expected:?}");
}

#[test]
fn interpolated_statistics_move_and_recomputed_ones_do_not_ask_what_they_were() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let mut other = origin.clone();
    for parameter in graph.parameters().iter().filter(|parameter| !parameter.kind.is_trainable()) {
        let is_variance = parameter.kind == ParameterKind::RunningVariance;
        let tensor = other.get_mut(&parameter.name).expect("a parameter");
        tensor.data_mut().iter_mut().for_each(|value| *value = if is_variance { 3.0 } else { -1.0 });
    }
    let device = device(1);
    let towards = [Arc::new(Direction::Towards(other.clone()))];
    let at = |mode, t: f64| {
        let samples = Arc::new(
            ResidentSamples::upload(&device, BURN.engine, &fixture::samples(&graph, 9), None).expect("samples"),
        );
        let session = session(&device, plane_in(mode, &device, &graph, &origin, &towards), 8);
        bits(value(&session.with_statistics(samples).expect("samples that fit"), &[t]))
    };
    assert_eq!(at(BatchNormMode::Frozen, 0.0), at(BatchNormMode::Frozen, 0.5));
    assert_ne!(at(BatchNormMode::Interpolated, 0.0), at(BatchNormMode::Interpolated, 0.5));
    assert_eq!(at(BatchNormMode::Recomputed, 0.0), at(BatchNormMode::Recomputed, 0.5));
}

#[test]
fn normalisations_that_share_their_statistics_share_the_mean_of_what_they_see() {
    use ParameterKind::{NormScale, NormShift, RunningMean, RunningVariance, Weight};
    let norm = &["x", "scale", "shift", "mean", "variance"][..];
    let twice = &["0", "scale", "shift", "mean", "variance"][..];
    let nodes: [(relief_graph::Op, &[&str]); 4] = [
        (fixture::batch_normalization(), norm),
        (fixture::batch_normalization(), twice),
        (relief_graph::Op::Flatten, &["1"]),
        (relief_graph::Op::Gemm(relief_graph::Gemm::LINEAR), &["2", "linear"]),
    ];
    let graph = fixture::network(
        "2x2x2",
        &nodes,
        &[
            ("scale", NormScale, &[2]),
            ("shift", NormShift, &[2]),
            ("mean", RunningMean, &[2]),
            ("variance", RunningVariance, &[2]),
            ("linear", Weight, &[3, 8]),
        ],
    );
    let mut origin = fixture::parameters(&graph, 1);
    // With scale 1 and shift 0 the second sees a mean of 0 and a variance of 1.
    for (name, value) in [("scale", 1.0), ("shift", 0.0)] {
        origin.get_mut(name).expect("a parameter").data_mut().fill(value);
    }
    let device = device(1);
    let resident =
        Arc::new(ResidentSamples::upload(&device, BURN.engine, &fixture::samples(&graph, 40), None).expect("samples"));
    let recomputed = plane_in(BatchNormMode::Recomputed, &device, &graph, &origin, &[]);
    let parameters =
        statistics::recompute(&recomputed, &resident, burn_parameters(&recomputed), &mut |_| ControlFlow::Continue(()));
    let parameters = parameters.expect("a good device").expect("nobody cancelled");
    let [mean, variance] = [2, 3].map(|place: usize| host_values(parameters[place].clone()).expect("values"));
    // N(0, 1) images, whose mean and variance over 160 values are near 0 and 1: averages of both stay there.
    assert!(mean.iter().all(|mean| mean.abs() < 0.3), "{mean:?}");
    assert!(variance.iter().all(|variance| (variance - 1.0).abs() < 0.3), "{variance:?}");
}
