//! The engines against each other, and the cpu engine against itself.

use std::num::NonZeroUsize;

use relief_core::{
    Direction, DirectionAxis, Ignore, Normalization, NumericRequest, Numerics, Philox, Precision, TensorMap, displace,
    random_direction,
};
use relief_graph::{Graph, ParameterKind, builtin, initialize};

use super::*;
use crate::cpu::Path as CpuPath;
use crate::device::Device;
use crate::fixture;
use crate::sample::Samples;

const CPU: Numerics = Numerics { engine: Engine::Cpu, precision: Precision::F32 };
const BURN: Numerics = Numerics { engine: Engine::Burn, precision: Precision::F32 };

fn session(device: &Device, numerics: Numerics, subject: &Subject) -> PlaneSession {
    session_in(BatchNormMode::Frozen, device, numerics, subject)
}

fn session_in(mode: BatchNormMode, device: &Device, numerics: Numerics, subject: &Subject) -> PlaneSession {
    let Subject { graph, origin, directions, samples } = subject;
    let plane = ResidentPlane::upload(device, numerics, Arc::clone(graph), origin, directions, mode);
    let samples = ResidentSamples::upload(device, numerics.engine, samples, None).expect("some samples");
    PlaneSession::open(Arc::new(plane.expect("a good plane")), Arc::new(samples), 16).expect("samples that fit")
}

/// What is evaluated.
struct Subject {
    graph: Arc<Graph>,
    origin: TensorMap,
    directions: Vec<Arc<Direction>>,
    samples: Samples,
}

impl Subject {
    fn new(graph: Arc<Graph>, origin: TensorMap, n_samples: usize) -> Self {
        let directions = [DirectionAxis::X, DirectionAxis::Y].map(|axis| {
            let step = random_direction(graph.trainable(&origin), 3, axis, Normalization::Filter, Ignore::BiasBn);
            Arc::new(Direction::Step(step))
        });
        let samples = fixture::samples(&graph, n_samples);
        Self { graph, origin, directions: directions.to_vec(), samples }
    }

    fn of_layers(n_samples: usize) -> Self {
        let graph = fixture::layers();
        let origin = fixture::parameters(&graph, 1);
        Self::new(graph, origin, n_samples)
    }
}

fn value(session: &PlaneSession, coefficients: &[f64]) -> PointValue {
    match session.evaluate(coefficients, &mut |_| ControlFlow::Continue(())).expect("a good point") {
        Evaluation::Done(values) => values.main,
        Evaluation::Cancelled => panic!("nobody cancelled"),
    }
}

fn bits(value: PointValue) -> [u64; 3] {
    [value.loss.to_bits(), value.squared_error.to_bits(), value.accuracy.to_bits()]
}

fn device(n_threads: usize) -> Device {
    Device::cpu_with_threads(NonZeroUsize::new(n_threads).expect("at least one thread"))
}

/// First weights, with statistics and scales that keep most units open, as those of a trained network do.
fn settled(graph: &Graph) -> TensorMap {
    let mut parameters = initialize(graph, 2);
    for (idx, parameter) in graph.parameters().iter().enumerate() {
        let (mean, deviation) = match parameter.kind {
            ParameterKind::NormScale => (0.6, 0.1),
            ParameterKind::NormShift => (0.7, 0.1),
            ParameterKind::RunningMean => (0.1, 0.1),
            ParameterKind::RunningVariance => (1.5, 0.2),
            ParameterKind::Weight | ParameterKind::Bias => continue,
        };
        let values = parameters.get_mut(&parameter.name).expect("a parameter").data_mut();
        Philox::new([11, idx as u64]).fill_normal(values);
        values.iter_mut().for_each(|value| *value = mean + deviation * *value);
    }
    parameters
}

/// All that the cpu engine computes `subject` in, with words for it. Plain Rust takes too long for large networks.
fn ways(subject: &Subject) -> Vec<(String, Device, Numerics)> {
    let is_small = subject.graph.n_parameters() < 1 << 20;
    let paths = CpuPath::all().into_iter().filter(|path| is_small || path.as_str() != "portable");
    let ways = paths.map(|path| (path.to_string(), Device::cpu().with_path(path), CPU));
    let split = Numerics { engine: Engine::Cpu, precision: Precision::SplitBf16 };
    let has_split = Device::cpu().offers().contains(&split);
    ways.chain(has_split.then(|| (split.to_string(), Device::cpu(), split))).collect()
}

#[test]
fn the_engines_agree_on_every_generated_network() {
    for name in builtin::names() {
        let graph = Arc::new(builtin::build(name, "3x12x12".parse().expect("a shape"), 10).expect("large enough"));
        let origin = settled(&graph);
        let subject = Subject::new(graph, origin, 4);
        let burn = session(&Device::cpu(), BURN, &subject);
        let ways = ways(&subject);
        let sessions: Vec<_> = ways.iter().map(|(_, device, numerics)| session(device, *numerics, &subject)).collect();
        for coefficients in [[0.0, 0.0], [0.25, -0.5]] {
            let burn = value(&burn, &coefficients);
            assert!(burn.loss.is_finite(), "{name} at {coefficients:?}");
            for ((way, ..), session) in ways.iter().zip(&sessions) {
                let cpu = value(session, &coefficients);
                assert!(cpu.loss.is_finite(), "{name} in {way} at {coefficients:?}");
                let difference = (cpu.loss - burn.loss).abs() / burn.loss;
                let bound = if name.ends_with("_noshort") { 5e-5 } else { 1e-5 };
                assert!(
                    difference <= bound,
                    "{name} in {way} at {coefficients:?}: {} and {}, {difference:e}",
                    cpu.loss,
                    burn.loss
                );
                assert_eq!(cpu.accuracy, burn.accuracy, "{name} in {way} at {coefficients:?}");
            }
        }
    }
}

#[test]
fn shorter_precisions_are_as_close_as_they_should_be() {
    let device = Device::cpu();
    let precisions = [(Precision::SplitBf16, 1e-5), (Precision::Bf16, 3e-2)];
    for name in ["lenet5", "vgg9", "resnet20", "densenet121"] {
        let graph = Arc::new(builtin::build(name, "3x16x16".parse().expect("a shape"), 10).expect("large enough"));
        let origin = settled(&graph);
        let subject = Subject::new(graph, origin, 6);
        let exact = value(&session(&device, CPU, &subject), &[0.25, -0.5]).loss;
        for (precision, bound) in precisions {
            let numerics = Numerics { engine: Engine::Cpu, precision };
            if !device.offers().contains(&numerics) {
                continue;
            }
            let of = |n_threads| {
                let device = Device::cpu_with_threads(NonZeroUsize::new(n_threads).expect("threads"));
                value(&session(&device, numerics, &subject), &[0.25, -0.5])
            };
            let found = of(2);
            assert!((found.loss - exact).abs() <= bound * exact, "{name}, {precision}: {} and {exact}", found.loss);
            assert_ne!(found.loss.to_bits(), exact.to_bits(), "{name}, {precision}");
            assert_eq!(bits(of(1)), bits(found), "{name}, {precision}");
        }
    }
}

#[test]
fn a_value_has_the_same_bits_for_any_number_of_threads() {
    let subject = Subject::of_layers(100);
    let own = device(1).offers().into_iter().map(|numerics| (None, numerics));
    for (path, numerics) in CpuPath::all().into_iter().map(|path| (Some(path), CPU)).chain(own) {
        let of = |n_threads| {
            let device = path.into_iter().fold(device(n_threads), Device::with_path);
            bits(value(&session(&device, numerics, &subject), &[0.3, -0.2]))
        };
        let one = of(1);
        for n_threads in [2, 3, 5, 40] {
            assert_eq!(of(n_threads), one, "{n_threads} threads, {numerics} {path:?}");
        }
    }
}

#[test]
fn logits_that_are_kept_have_the_bits_of_those_that_are_not() {
    let subject = Subject::of_layers(100);
    let session = session(&device(2), CPU, &subject);
    let mut inference = session.infer(&[0.3, -0.2]).expect("a good point");
    let mut n_logits = 0;
    while let Some(span) = inference.next_span(40).expect("a good device") {
        assert_eq!(span.first_sample * session.n_classes(), n_logits);
        n_logits += span.logits.len();
    }
    assert_eq!(n_logits, 100 * session.n_classes());
    assert_eq!(bits(inference.value()), bits(value(&session, &[0.3, -0.2])));
}

#[test]
fn progress_is_told_and_an_evaluation_can_be_broken_off() {
    let subject = Subject::of_layers(100);
    let session = session(&device(2), CPU, &subject);
    let mut told = Vec::new();
    let evaluation = session.evaluate(&[0.0, 0.0], &mut |n_done| {
        told.push(n_done);
        ControlFlow::Continue(())
    });
    assert!(matches!(evaluation, Ok(Evaluation::Done(_))));
    assert_eq!(told.last(), Some(&100));
    assert!(told.is_sorted() && told.len() > 1, "{told:?}");
    let broken = session.evaluate(&[0.0, 0.0], &mut |_| ControlFlow::Break(()));
    assert_eq!(broken, Ok(Evaluation::Cancelled));
}

#[test]
fn nan_in_one_parameter_is_nan_in_the_loss() {
    let mut subject = Subject::of_layers(20);
    subject.origin.get_mut("conv.weight").expect("a parameter").data_mut()[0] = f32::NAN;
    assert!(value(&session(&device(2), CPU, &subject), &[0.0, 0.0]).loss.is_nan());
}

#[test]
fn what_only_the_transform_made_infinite_is_finite() {
    // Inputs of a 3 x 3 window whose sums overflow in the transformed domain, while their products with small weights
    // do not.
    use ParameterKind::Weight;
    use relief_graph::{Gemm, Op};
    let graph = fixture::network(
        "8x4x4",
        &[
            (Op::Relu, &["x"]),
            (fixture::conv([1, 1], [1, 1], [1, 1], 1), &["0", "conv"]),
            (Op::GlobalAveragePool, &["1"]),
            (Op::Flatten, &["2"]),
            (Op::Gemm(Gemm::LINEAR), &["3", "linear"]),
        ],
        &[("conv", Weight, &[8, 8, 3, 3]), ("linear", Weight, &[3, 8])],
    );
    let mut origin = fixture::parameters(&graph, 1);
    for name in ["conv", "linear"] {
        origin.get_mut(name).expect("a parameter").data_mut().iter_mut().for_each(|value| *value *= 1e-19);
    }
    let inputs = vec![2e38; 2 * graph.input_shape().n_values()];
    let samples = Samples::new(inputs, vec![0, 1], graph.input_shape()).expect("good samples");
    let subject = Subject { graph, origin, directions: Vec::new(), samples };
    let device = device(1);
    let (cpu, burn) = (value(&session(&device, CPU, &subject), &[]), value(&session(&device, BURN, &subject), &[]));
    assert!(burn.loss.is_finite() && (cpu.loss - burn.loss).abs() <= 1e-5 * burn.loss, "{cpu:?} {burn:?}");
}

#[test]
fn what_the_engine_lacks_is_left_to_burn_and_said() {
    use relief_graph::{Gemm, Op};
    let graph = fixture::network(
        "2x4x4",
        &[
            (Op::GlobalAveragePool, &["x"]),
            (Op::Flatten, &["0"]),
            (Op::Gemm(Gemm::LINEAR), &["1", "linear"]),
            (Op::Softmax { axis: 1 }, &["2"]),
        ],
        &[("linear", ParameterKind::Weight, &[3, 2])],
    );
    let device = device(1);
    let open = NumericRequest::default();
    let choice = device.choose(&graph, BatchNormMode::Frozen, open).expect("burn");
    assert_eq!(choice.numerics, BURN);
    let reason = choice.passed_over.expect("a reason");
    assert!(reason.contains("Softmax `3`"), "{reason}");
    let request = NumericRequest { engine: Some(Engine::Cpu), precision: None };
    let error = device.choose(&graph, BatchNormMode::Frozen, request).expect_err("an operator is missing");
    assert!(error.to_string().contains("Softmax `3`"), "{error}");
}

#[test]
fn a_point_waits_for_a_device_once() {
    let mut subject = Subject::of_layers(100);
    subject.directions.push(Arc::new(Direction::Towards(fixture::parameters(&subject.graph, 2))));
    subject.directions.remove(0);
    let remote = session(&Device::remote(), BURN, &subject);
    // What is uploaded at the first forward pass stays.
    value(&remote, &[0.0, 0.0]);
    let (found, [n_uploads, n_reads]) = transfer::count(|| value(&remote, &[0.3, -0.2]));
    assert_eq!([n_uploads, n_reads], [0, 1]);
    assert_eq!(bits(found), bits(value(&session(&device(2), BURN, &subject), &[0.3, -0.2])));
}

#[test]
fn windows_that_reach_beyond_the_image_bring_nothing_to_a_device() {
    use relief_graph::{Gemm, Op, Pool};
    let pool = Pool { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 1, 1], dilation: [1, 1], rounds_up: true };
    for counts_padding in [false, true] {
        let graph = fixture::network(
            "2x5x5",
            &[
                (Op::AveragePool { pool, counts_padding }, &["x"]),
                (Op::Flatten, &["0"]),
                (Op::Gemm(Gemm::LINEAR), &["1", "linear"]),
            ],
            &[("linear", ParameterKind::Weight, &[3, 18])],
        );
        let origin = fixture::parameters(&graph, 1);
        let samples = fixture::samples(&graph, 10);
        let subject = Subject { graph, origin, directions: Vec::new(), samples };
        let remote = session(&Device::remote(), BURN, &subject);
        let (_, [n_uploads, n_reads]) = transfer::count(|| value(&remote, &[]));
        assert_eq!([n_uploads, n_reads], [0, 1]);
    }
}

#[test]
fn recomputed_statistics_cost_one_read_for_a_batch_and_one_upload() {
    let subject = Subject::of_layers(300);
    let session = session_in(BatchNormMode::Recomputed, &Device::remote(), BURN, &subject);
    let samples = ResidentSamples::upload(&Device::remote(), Engine::Burn, &subject.samples, None).expect("samples");
    let session = session.with_statistics(Arc::new(samples)).expect("samples of the network");
    value(&session, &[0.0, 0.0]);
    // Three batches of 128 at most, and the logits.
    let (_, transfers) = transfer::count(|| value(&session, &[0.3, -0.2]));
    assert_eq!(transfers, [1, 4]);
}

#[test]
fn parameters_on_a_device_have_the_bits_of_those_on_the_host() {
    let subject = Subject::of_layers(1);
    let Subject { graph, origin, .. } = &subject;
    let target = Arc::new(Direction::Towards(fixture::parameters(graph, 2)));
    let planes = [subject.directions.clone(), vec![Arc::clone(&target), Arc::clone(&subject.directions[0])]];
    for directions in planes {
        for coefficients in [[0.0, 0.0], [1.0, 0.0], [0.3, -0.7], [1.0, 1.0], [0.5, 0.5]] {
            let plane = ResidentPlane::upload(
                &device(1),
                BURN,
                Arc::clone(graph),
                origin,
                &directions,
                BatchNormMode::Interpolated,
            );
            let Theta::Burn(found) = plane.expect("a plane").theta(&coefficients, || ()) else { panic!("burn") };
            let steps: Vec<(f64, &Direction)> =
                coefficients.into_iter().zip(directions.iter().map(AsRef::as_ref)).collect();
            let expected = displace(origin, &steps);
            for (parameter, found) in graph.parameters().iter().zip(found) {
                let (found, expected) = (host_values(found).expect("values"), expected[&parameter.name].data());
                let same = found.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{} at {coefficients:?}", parameter.name);
            }
        }
    }
}

#[test]
fn statistics_that_move_along_are_folded_at_every_point() {
    let mut subject = Subject::of_layers(20);
    let target = fixture::parameters(&subject.graph, 2);
    subject.directions = vec![Arc::new(Direction::Towards(target))];
    let device = device(2);
    let of = |numerics| value(&session_in(BatchNormMode::Interpolated, &device, numerics, &subject), &[0.7]).loss;
    assert!((of(CPU) - of(BURN)).abs() <= 1e-5 * of(BURN));
}

#[test]
fn recomputed_statistics_are_left_to_burn() {
    let graph = fixture::layers();
    let device = device(1);
    let choice = device.choose(&graph, BatchNormMode::Recomputed, NumericRequest::default()).expect("burn");
    assert_eq!(choice.numerics, BURN);
    assert!(choice.passed_over.expect("a reason").contains("running statistics"));
}

#[test]
fn samples_of_another_engine_are_refused() {
    let subject = Subject::of_layers(3);
    let device = device(1);
    let Subject { graph, origin, samples, .. } = &subject;
    let plane = ResidentPlane::upload(&device, CPU, Arc::clone(graph), origin, &[], BatchNormMode::Frozen);
    let samples = ResidentSamples::upload(&device, Engine::Burn, samples, None).expect("samples");
    let error =
        PlaneSession::open(Arc::new(plane.expect("a plane")), Arc::new(samples), 1).expect_err("another engine");
    assert_eq!(error, SessionError::Engine { expected: Engine::Cpu, found: Engine::Burn });
}

#[test]
fn a_plane_that_has_to_take_less_memory_keeps_its_bits() {
    for numerics in device(2).offers().into_iter().filter(|numerics| numerics.engine == Engine::Cpu) {
        check_shrinking(numerics);
    }
}

fn check_shrinking(numerics: Numerics) {
    let subject = Subject::of_layers(37);
    let device = device(2);
    let Subject { graph, origin, directions, samples } = &subject;
    let plane = ResidentPlane::upload(&device, numerics, Arc::clone(graph), origin, directions, BatchNormMode::Frozen);
    let plane = Arc::new(plane.expect("a plane"));
    let samples = ResidentSamples::upload(&device, Engine::Cpu, samples, None).expect("samples");
    let session = PlaneSession::open(Arc::clone(&plane), Arc::new(samples), 1).expect("samples that fit");
    let (before, n_bytes) = (value(&session, &[0.3, -0.2]), plane.n_bytes());
    assert!(!plane.shrink(n_bytes), "it fits already");
    assert_eq!(plane.n_bytes(), n_bytes);

    assert!(plane.shrink(n_bytes - 1));
    assert!(plane.n_bytes() < n_bytes);
    assert_eq!(value(&session, &[0.3, -0.2]), before);

    assert!(plane.shrink(0), "down to one image");
    let least = plane.n_bytes();
    assert_eq!(value(&session, &[0.3, -0.2]), before);
    assert!(!plane.shrink(0), "nothing is left to shrink");
    assert_eq!(plane.n_bytes(), least);
}
