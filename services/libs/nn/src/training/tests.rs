use relief_core::{Direction, displace};
use relief_graph::{builtin, initialize};

use super::*;
use crate::fixture;

pub(super) const PLAIN: SgdRecipe = SgdRecipe { momentum: 0.0, weight_decay: 0.0, nesterov: true };
const RECIPE: SgdRecipe = SgdRecipe { momentum: 0.9, weight_decay: 5e-4, nesterov: true };
const N_SAMPLES: usize = 6;

pub(super) fn session(graph: &Arc<Graph>, parameters: &TensorMap, recipe: SgdRecipe) -> TrainingSession {
    TrainingSession::new(&Device::cpu(), Arc::clone(graph), parameters, recipe).expect("parameters that fit")
}

/// Takes a step on the fixture's samples.
pub(super) fn step(session: &mut TrainingSession, rate: f64) -> StepMetrics {
    let samples = fixture::samples(&session.graph, N_SAMPLES);
    session.step(samples.inputs(), samples.targets(), rate).expect("a good batch")
}

pub(super) fn difference(first: &TensorMap, second: &TensorMap) -> TensorMap {
    displace(first, &[(-1.0, &Direction::Step(second.clone()))])
}

#[test]
fn the_gradient_is_that_of_central_differences() {
    const WIDTH: f64 = 1.0 / 512.0;
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let mut trained = session(&graph, &origin, PLAIN);
    assert!(step(&mut trained, 1.0).loss.is_finite());
    let gradient = difference(&origin, &trained.parameters().expect("values"));
    for parameter in graph.parameters().iter().filter(|parameter| parameter.kind.is_trainable()) {
        // Along its own gradient a tensor's slope is the gradient's norm.
        let norm = gradient[&parameter.name].norm();
        let along = TensorMap::from([(parameter.name.clone(), gradient[&parameter.name].clone())]);
        let along = Direction::Step(along);
        let loss = |distance: f64| {
            step(&mut session(&graph, &displace(&origin, &[(distance / norm, &along)]), PLAIN), 0.0).loss
        };
        if parameter.name == "conv.bias" {
            // A shift that the batch normalisation takes away again.
            assert!(norm < 1e-6, "{norm}");
            continue;
        }
        let slope = (loss(WIDTH) - loss(-WIDTH)) / (2.0 * WIDTH);
        assert!((slope - norm).abs() <= 1e-3 + 1e-2 * norm, "{}: {slope} against {norm}", parameter.name);
    }
}

#[test]
fn every_entry_of_the_last_layers_gradient_is_that_of_central_differences() {
    const WIDTH: f64 = 1.0 / 256.0;
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let mut trained = session(&graph, &origin, PLAIN);
    step(&mut trained, 1.0);
    let gradient = difference(&origin, &trained.parameters().expect("values"));
    for (idx, found) in gradient["linear.weight"].data().iter().enumerate() {
        let mut entry = HostTensor::filled([3, 5], 0.0);
        entry.data_mut()[idx] = 1.0;
        let entry = Direction::Step(TensorMap::from([("linear.weight".to_owned(), entry)]));
        let loss = |distance| step(&mut session(&graph, &displace(&origin, &[(distance, &entry)]), PLAIN), 0.0).loss;
        let slope = (loss(WIDTH) - loss(-WIDTH)) / (2.0 * WIDTH);
        assert!((slope - f64::from(*found)).abs() <= 2e-4, "{idx}: {slope} against {found}");
    }
}

#[test]
fn running_statistics_move_towards_the_batch_and_not_along_gradients() {
    use relief_graph::ParameterKind::{NormScale, NormShift, RunningMean, RunningVariance};
    let graph = fixture::network(
        "1x1x2",
        &[(fixture::batch_normalization(), &["x", "g", "b", "m", "v"]), (relief_graph::Op::Flatten, &["0"])],
        &[("g", NormScale, &[1]), ("b", NormShift, &[1]), ("m", RunningMean, &[1]), ("v", RunningVariance, &[1])],
    );
    let scalar = |value| HostTensor::filled([1], value);
    let origin =
        [("g", 2.0), ("b", 1.0), ("m", 10.0), ("v", 3.0)].map(|(name, value)| (name.to_owned(), scalar(value)));
    let mut session = session(&graph, &TensorMap::from(origin), RECIPE);
    session.step(&[1.0, 3.0, 5.0, 7.0], &[0, 1], 0.1).expect("a good batch");
    let trained = session.parameters().expect("values");
    // The batch has mean 4 and unbiased variance 20/3.
    for (name, expected) in [("m", 0.9 * 10.0 + 0.1 * 4.0), ("v", 0.9 * 3.0 + 0.1 * 20.0 / 3.0)] {
        let found = trained[name].data()[0];
        assert!((f64::from(found) - expected).abs() <= 1e-6 * expected, "{name}: {found} against {expected}");
    }
    assert_eq!(session.velocities().expect("values").keys().collect::<Vec<_>>(), ["b", "g"]);
}

#[test]
fn weight_decay_and_momentum_act_on_every_trainable_tensor() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let recipe = SgdRecipe { momentum: 0.5, weight_decay: 0.25, nesterov: true };
    let (mut plain, mut full) = (session(&graph, &origin, PLAIN), session(&graph, &origin, recipe));
    step(&mut plain, 1.0);
    step(&mut full, 1.0);
    let gradient = difference(&origin, &plain.parameters().expect("values"));
    let moved = difference(&origin, &full.parameters().expect("values"));
    for (name, start) in graph.trainable(&origin) {
        let entries = start.data().iter().zip(gradient[name].data()).zip(moved[name].data());
        for ((theta, gradient), found) in entries {
            let expected = 1.5 * (gradient + 0.25 * theta);
            assert!((found - expected).abs() <= 1e-5, "{name}: {found} against {expected}");
        }
    }
}

#[test]
fn a_run_goes_on_from_its_parameters_and_velocities_to_the_same_bits() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let mut whole = session(&graph, &origin, RECIPE);
    step(&mut whole, 0.1);
    let broken_off = (whole.parameters().expect("values"), whole.velocities().expect("values"));
    step(&mut whole, 0.1);
    let mut resumed =
        session(&graph, &broken_off.0, RECIPE).with_velocities(&broken_off.1).expect("the network's velocities");
    step(&mut resumed, 0.1);
    assert_eq!(resumed.parameters(), whole.parameters());
    assert_eq!(resumed.velocities(), whole.velocities());
}

#[test]
fn training_learns_a_batch_by_heart() {
    let graph = Arc::new(builtin::build("resnet20", "1x8x8".parse().expect("a good shape"), 3).expect("a network"));
    let mut session = session(&graph, &initialize(&graph, 1), RECIPE);
    let first = step(&mut session, 0.05);
    assert!((first.loss - 3.0_f64.ln()).abs() < 0.05, "{first:?}");
    let last = (0..15).map(|_| step(&mut session, 0.05)).last().expect("some steps");
    assert!(last.loss < 0.1 && last.accuracy == 100.0, "{last:?}");
}

#[test]
fn training_has_the_same_bits_for_any_number_of_threads() {
    for name in ["lenet5", "resnet20"] {
        let graph = Arc::new(builtin::build(name, "3x16x16".parse().expect("a good shape"), 4).expect("a network"));
        let samples = fixture::samples(&graph, 16);
        let trained = |n_threads| {
            let device = Device::cpu_with_threads(std::num::NonZeroUsize::new(n_threads).expect("at least one thread"));
            let mut session = TrainingSession::new(&device, Arc::clone(&graph), &initialize(&graph, 1), RECIPE)
                .expect("parameters that fit");
            for _ in 0..2 {
                session.step(samples.inputs(), samples.targets(), 0.1).expect("a good batch");
            }
            session.parameters().expect("values")
        };
        assert_eq!(trained(1), trained(3), "{name}");
    }
}

#[test]
fn the_weight_norm_leaves_running_statistics_out() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let expected = graph.trainable(&origin).map(|(_, tensor)| tensor.norm().powi(2)).sum::<f64>().sqrt();
    let found = session(&graph, &origin, PLAIN).weight_norm().expect("values");
    assert!((found - expected).abs() <= 1e-12 * expected);
}

#[test]
fn batches_that_do_not_fit_are_refused_and_change_nothing() {
    let graph = fixture::layers();
    let origin = fixture::parameters(&graph, 1);
    let mut session = session(&graph, &origin, RECIPE);
    let n_values = graph.input_shape().n_values();
    assert_eq!(session.step(&[], &[], 0.1), Err(TrainingError::EmptyBatch));
    assert!(matches!(session.step(&vec![0.0; n_values], &[0, 1], 0.1), Err(TrainingError::Length { .. })));
    let stray = session.step(&vec![0.0; 2 * n_values], &[0, 7], 0.1);
    assert_eq!(stray, Err(TrainingError::Target { sample: 1, target: 7, n_classes: 3 }));
    assert!(matches!(session.step(&vec![0.0; n_values], &[0], f64::NAN), Err(TrainingError::Recipe { .. })));
    assert_eq!(session.parameters(), Ok(origin.clone()));
    let recipe = SgdRecipe { momentum: -1.0, ..RECIPE };
    let refused = TrainingSession::new(&Device::cpu(), Arc::clone(&graph), &origin, recipe).map(|_| ());
    assert_eq!(refused, Err(TrainingError::Recipe { what: "momentum", found: -1.0 }));
    let stray = TensorMap::from([("bn.running_mean".to_owned(), HostTensor::filled([4], 0.0))]);
    assert!(matches!(session.with_velocities(&stray), Err(TrainingError::Velocity(_))));
}
