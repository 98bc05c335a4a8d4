//! The generated networks run, forward and backward.

#![expect(clippy::expect_used, reason = "the helpers of tests fail as tests do")]

use std::ops::ControlFlow;
use std::sync::Arc;

use relief_core::{BatchNormMode, Engine, Numerics, Philox, Precision};
use relief_graph::{InputShape, ParameterKind, builtin, initialize};
use relief_nn::{
    Device, Evaluation, PlaneSession, ResidentPlane, ResidentSamples, Samples, SgdRecipe, TrainingSession,
};

const N_SAMPLES: usize = 4;
const N_CLASSES: usize = 3;
const BURN: Numerics = Numerics { engine: Engine::Burn, precision: Precision::F32 };

/// Evaluates the first weights of each network of `family` and takes a step from them, on images as small as all
/// networks take.
fn run(family: &str) {
    let shape: InputShape = "3x12x12".parse().expect("a good shape");
    let mut inputs = vec![0.0; N_SAMPLES * shape.n_values()];
    Philox::new([5, 0]).fill_normal(&mut inputs);
    let targets: Vec<u32> = (0..N_SAMPLES).map(|idx| (idx % N_CLASSES) as u32).collect();
    let samples = Samples::new(inputs, targets, shape).expect("good samples");
    let device = Device::cpu();
    let resident = Arc::new(ResidentSamples::upload(&device, BURN.engine, &samples, None).expect("some samples"));
    let of_family = |name: &&str| builtin::describe(name).is_ok_and(|description| description.family == family);
    assert!(builtin::names().any(|name| of_family(&name)), "{family}");
    for name in builtin::names().filter(of_family) {
        let graph = Arc::new(builtin::build(name, shape, N_CLASSES).expect("large enough"));
        let origin = initialize(&graph, 1);
        let plane = ResidentPlane::upload(&device, BURN, Arc::clone(&graph), &origin, &[], BatchNormMode::Frozen);
        let plane = Arc::new(plane.expect("a checkpoint"));
        let session = PlaneSession::open(plane, Arc::clone(&resident), N_SAMPLES).expect("samples that fit");
        let evaluation = session.evaluate(&[], &mut |_| ControlFlow::Continue(())).expect("a point");
        assert!(matches!(evaluation, Evaluation::Done(value) if value.main.loss.is_finite()), "{name}: {evaluation:?}");
        let recipe = SgdRecipe { momentum: 0.9, weight_decay: 0.0, nesterov: true };
        let mut session = TrainingSession::new(&device, Arc::clone(&graph), &origin, recipe).expect("a checkpoint");
        let step = session.step(samples.inputs(), samples.targets(), 1e-3).expect("a good batch");
        let moved = session.parameters().expect("values");
        // Logits of small weights: almost equal probabilities.
        assert!((step.loss - (N_CLASSES as f64).ln()).abs() < 0.2, "{name}: {step:?}");
        for parameter in graph.parameters() {
            let tensor = &moved[&parameter.name];
            assert!(tensor.data().iter().all(|value| value.is_finite()), "{name}: {}", parameter.name);
            // A shift of what a batch normalisation centres again has no gradient but its rounding.
            if parameter.kind != ParameterKind::Bias {
                assert_ne!(tensor, &origin[&parameter.name], "{name}: {}", parameter.name);
            }
        }
    }
}

#[test]
fn lenets_run_forward_and_backward() {
    run("LeNet");
}

#[test]
fn vggs_run_forward_and_backward() {
    run("VGG");
}

#[test]
fn cifar_resnets_run_forward_and_backward() {
    run("CIFAR ResNet");
}

#[test]
fn wide_resnets_run_forward_and_backward() {
    run("wide CIFAR ResNet");
}

#[test]
fn imagenet_resnets_run_forward_and_backward() {
    run("ImageNet ResNet");
}

#[test]
fn densenets_run_forward_and_backward() {
    run("DenseNet");
}
