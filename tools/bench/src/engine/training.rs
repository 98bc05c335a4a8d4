//! Images per second of training.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use relief_nn::{Device, SgdRecipe, TrainingSession};

use super::landscape::Landscape;
use super::subject::BATCH_SIZE;

/// Batches of a round, at most.
const N_BATCHES: usize = 4;

/// Trains by burn, and returns the images per second of each round; one before them does not count.
pub(crate) fn rates(landscape: &Landscape, threads: NonZeroUsize, rounds: usize) -> anyhow::Result<Vec<f64>> {
    let Landscape { graph, origin, samples, .. } = landscape;
    let recipe = SgdRecipe { momentum: 0.9, weight_decay: 5e-4, nesterov: true };
    let mut session = TrainingSession::new(&Device::cpu_with_threads(threads), Arc::clone(graph), origin, recipe)?;
    let batch_values = BATCH_SIZE * samples.shape().n_values();
    let mut rates = Vec::new();
    for round in 0..=rounds {
        let (start, mut n_trained) = (Instant::now(), 0);
        let batches = samples.inputs().chunks(batch_values).zip(samples.targets().chunks(BATCH_SIZE));
        for (inputs, targets) in batches.take(N_BATCHES) {
            session.step(inputs, targets, 1e-3)?;
            n_trained += targets.len();
        }
        if round > 0 {
            rates.push(n_trained as f64 / start.elapsed().as_secs_f64());
        }
    }
    Ok(rates)
}
