//! Images per second of evaluation and training on this machine: `throughput [NETWORK] [SAMPLES] [BATCH] [THREADS] [ENGINE]`.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use relief_core::{BatchNormMode, Direction, DirectionAxis, Ignore, Normalization, NumericRequest, random_direction};
use relief_graph::{builtin, initialize};
use relief_nn::{
    Device, Evaluation, PlaneSession, ResidentPlane, ResidentSamples, Samples, SgdRecipe, TrainingSession,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("lenet5", String::as_str);
    let number = |idx: usize, default| arguments.get(idx).map_or(default, |text| text.parse().expect("a number"));
    let (n_samples, batch_size) = (number(1, 1000), number(2, 128));
    let device = match number(3, 0) {
        0 => Device::cpu(),
        n => Device::cpu_with_threads(NonZeroUsize::new(n).expect("not 0")),
    };
    let engine = arguments.get(4).map(|word| word.parse().expect("an engine"));
    let graph = Arc::new(builtin::build_default(name).expect("a built-in network"));
    let origin = initialize(&graph, 1);
    let shape = graph.input_shape();
    let inputs: Vec<f32> =
        (0..n_samples * shape.n_values()).map(|i| ((i * 7919) % 1009) as f32 / 500.0 - 1.0).collect();
    let targets: Vec<u32> = (0..n_samples).map(|i| (i % graph.n_classes()) as u32).collect();
    let samples = Samples::new(inputs, targets, shape).expect("good samples");

    let along = |axis| {
        let trainable = graph.trainable(&origin);
        Arc::new(Direction::Step(random_direction(trainable, 7, axis, Normalization::Filter, Ignore::BiasBn)))
    };
    let directions = [along(DirectionAxis::X), along(DirectionAxis::Y)];
    let request = NumericRequest { engine, precision: None };
    let numerics = device.choose(&graph, BatchNormMode::Frozen, request).expect("an engine").numerics;
    let plane =
        ResidentPlane::upload(&device, numerics, Arc::clone(&graph), &origin, &directions, BatchNormMode::Frozen)
            .expect("a plane");
    let resident = ResidentSamples::upload(&device, numerics.engine, &samples, None).expect("samples");
    let session = PlaneSession::open(Arc::new(plane), Arc::new(resident), batch_size).expect("a session");
    let mut rates = Vec::new();
    for point in 0..10 {
        let start = Instant::now();
        let value = session.evaluate(&[0.1 * f64::from(point), 0.3], &mut |_| ControlFlow::Continue(()));
        rates.push(n_samples as f64 / start.elapsed().as_secs_f64());
        if let (0, Ok(Evaluation::Done(values))) = (point, value) {
            println!(
                "{} loss {} accuracy {}",
                device.numeric_class(numerics, batch_size),
                values.main.loss,
                values.main.accuracy
            );
        }
    }
    println!("evaluation: {:.0} images/s at best, first {:.0}", rates.iter().copied().fold(0.0, f64::max), rates[0]);

    let recipe = SgdRecipe { momentum: 0.9, weight_decay: 5e-4, nesterov: true };
    let mut training = TrainingSession::new(&device, graph, &origin, recipe).expect("a session");
    let start = Instant::now();
    let mut n_trained = 0;
    for (inputs, targets) in
        samples.inputs().chunks(batch_size * shape.n_values()).zip(samples.targets().chunks(batch_size))
    {
        training.step(inputs, targets, 0.01).expect("a step");
        n_trained += targets.len();
    }
    println!("training: {:.0} images/s", n_trained as f64 / start.elapsed().as_secs_f64());
    println!("weight norm afterwards: {}", training.weight_norm().expect("values"));
}
