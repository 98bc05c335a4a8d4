use std::num::NonZeroUsize;

use relief_core::{DirectionAxis, Ignore, Normalization, TensorMap, displace, random_direction};
use relief_graph::Graph;

use super::*;
use crate::device::Device;
use crate::fixture;
use crate::plane::{BatchNormMode, PlaneError};
use crate::sample::Samples;

const N_SAMPLES: usize = 23;

fn device(n_threads: usize) -> Device {
    Device::cpu_with_threads(NonZeroUsize::new(n_threads).expect("at least one thread"))
}

fn plane(device: &Device, graph: &Arc<Graph>, origin: &TensorMap, directions: &[Arc<TensorMap>]) -> Arc<ResidentPlane> {
    let mode = BatchNormMode::Frozen;
    Arc::new(ResidentPlane::upload(device, Arc::clone(graph), origin, directions, mode).expect("a good plane"))
}

fn session(device: &Device, plane: Arc<ResidentPlane>, batch_size: usize) -> PlaneSession {
    let samples = fixture::samples(plane.graph(), N_SAMPLES);
    let samples = ResidentSamples::upload(device, &samples, None).expect("some samples");
    PlaneSession::open(plane, Arc::new(samples), batch_size).expect("samples that fit")
}

fn value(session: &PlaneSession, coefficients: &[f64]) -> PointValue {
    match session.evaluate(coefficients, &mut |_| ControlFlow::Continue(())).expect("a good point") {
        Evaluation::Done(value) => value,
        Evaluation::Cancelled => panic!("nobody cancelled"),
    }
}

fn bits(value: PointValue) -> [u64; 2] {
    [value.loss.to_bits(), value.accuracy.to_bits()]
}

fn directions(graph: &Graph, origin: &TensorMap) -> [Arc<TensorMap>; 2] {
    [DirectionAxis::X, DirectionAxis::Y].map(|axis| {
        let trainable = graph.trainable(origin);
        Arc::new(random_direction(trainable, 3, axis, Normalization::Filter, Ignore::None))
    })
}

#[test]
fn a_point_has_the_same_bits_for_any_number_of_threads() {
    let graph = fixture::every_operator();
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
    let graph = fixture::every_operator();
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
    let graph = fixture::every_operator();
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
    let graph = fixture::every_operator();
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
    let graph = fixture::every_operator();
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
    let graph = fixture::every_operator();
    let origin = fixture::parameters(&graph, 1);
    let other = fixture::parameters(&graph, 2);
    let is_running = |name: &str| name.contains("running");
    let weights = other.clone().into_iter().filter(|(name, _)| !is_running(name)).collect();
    let device = device(1);
    let at = |direction: TensorMap| {
        value(&session(&device, plane(&device, &graph, &origin, &[Arc::new(direction)]), 8), &[0.5])
    };
    assert_eq!(bits(at(other)), bits(at(weights)));
}

#[test]
fn a_point_that_is_not_finite_is_reported_as_it_is() {
    let graph = fixture::every_operator();
    let mut origin = fixture::parameters(&graph, 1);
    origin.get_mut("bn.running_var").expect("a parameter").data_mut()[0] = -1.0;
    let device = device(2);
    let value = value(&session(&device, plane(&device, &graph, &origin, &[]), 8), &[]);
    assert!(value.loss.is_nan());
    assert_eq!(value.flag(), relief_core::PointFlag::Nan);
}

#[test]
fn progress_reaches_every_sample_and_can_be_broken_off() {
    let graph = fixture::every_operator();
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
    let graph = fixture::every_operator();
    let origin = fixture::parameters(&graph, 1);
    let device = device(1);
    let plane = plane(&device, &graph, &origin, &[]);
    let open = |targets: Vec<u32>, shape: &str, batch_size| {
        let shape: InputShape = shape.parse().expect("a good shape");
        let samples = Samples::new(vec![0.0; targets.len() * shape.n_values()], targets, shape).expect("good samples");
        let samples = ResidentSamples::upload(&device, &samples, None).expect("some samples");
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
    let graph = fixture::every_operator();
    let origin = fixture::parameters(&graph, 1);
    let device = device(1);
    let upload = |origin: &TensorMap, directions: &[Arc<TensorMap>]| {
        ResidentPlane::upload(&device, Arc::clone(&graph), origin, directions, BatchNormMode::Frozen).map(|_| ())
    };
    let direction =
        |name: &str, len| Arc::new(TensorMap::from([(name.to_owned(), relief_core::Tensor::filled([len], 1.0))]));
    assert_eq!(upload(&origin, &[direction("conv.bias", 4)]), Ok(()));
    assert!(matches!(upload(&TensorMap::new(), &[]), Err(PlaneError::Origin(_))));
    assert!(matches!(upload(&origin, &[direction("conv.bias", 5)]), Err(PlaneError::MisshapenTensor { .. })));
    assert!(matches!(upload(&origin, &[direction("more", 5)]), Err(PlaneError::UnknownTensor { .. })));
    let same = direction("conv.bias", 4);
    assert_eq!(upload(&origin, &[same.clone(), same.clone(), same.clone()]), Err(PlaneError::TooManyDirections(3)));
    let error =
        session(&device, plane(&device, &graph, &origin, &[same]), 8).evaluate(&[], &mut |_| ControlFlow::Continue(()));
    assert_eq!(error, Err(SessionError::Coefficients { expected: 1, found: 0 }));
}
