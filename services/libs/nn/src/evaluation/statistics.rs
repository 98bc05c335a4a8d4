//! Running statistics that are estimated again at a point.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use burn::tensor::Tensor;

use super::{SessionError, host_values};
use crate::plane::{ResidentPlane, vector};
use crate::program::{BatchStatistics, Statistics};
use crate::sample::ResidentSamples;

/// Samples per forward pass in training mode. The statistics of a batch are what is averaged, so that this is part of
/// what the numbers mean, not of how fast they come.
const BATCH_SIZE: usize = 128;

/// What one batch says of one running statistic.
struct Observation {
    place: usize,
    values: Vec<f32>,
}

/// Returns `parameters` with the running statistics of every batch normalisation replaced by what `samples` say in
/// training mode: the average over batches, weighted by their samples, of the mean and of the unbiased variance, added in
/// float64 in stored order. None when `on_batch` breaks off.
pub(super) fn recompute(
    plane: &ResidentPlane,
    samples: &ResidentSamples,
    mut parameters: Vec<Tensor<1>>,
    on_batch: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<Vec<Tensor<1>>>, SessionError> {
    let batches = plane.device().map(
        samples.n_batches(BATCH_SIZE),
        |idx| {
            let batch = samples.batch(idx, BATCH_SIZE);
            let mut statistics = Vec::new();
            // What the network makes of the batch is not asked for.
            let _ = plane.program().forward(&parameters, batch.inputs, Statistics::Batch(&mut statistics));
            let observations = statistics.into_iter().map(observe).collect::<Result<Vec<_>, _>>()?;
            Ok((batch.targets.len(), observations.into_iter().flatten().collect()))
        },
        |batch: &Result<(usize, Vec<Observation>), SessionError>| match batch {
            Ok((n_samples, _)) => on_batch(*n_samples),
            Err(_) => ControlFlow::Continue(()),
        },
    );
    let Some(batches) = batches else { return Ok(None) };
    // The weight of what was added, and the sums. Normalisations that share their statistics all add to them.
    let mut sums: BTreeMap<usize, (f64, Vec<f64>)> = BTreeMap::new();
    for batch in batches {
        let (n_samples, observations) = batch?;
        let weight = n_samples as f64;
        for Observation { place, values } in observations {
            let (total, sums) = sums.entry(place).or_insert_with(|| (0.0, vec![0.0; values.len()]));
            *total += weight;
            for (sum, value) in sums.iter_mut().zip(&values) {
                *sum += weight * f64::from(*value);
            }
        }
    }
    for (place, (total, sums)) in sums {
        let average = sums.into_iter().map(|sum| (sum / total) as f32).collect();
        parameters[place] = vector(average, plane.device());
    }
    Ok(Some(parameters))
}

/// The mean and the unbiased variance of a batch. Of a single value there is only the biased one, which is 0.
fn observe(statistics: BatchStatistics) -> Result<[Observation; 2], SessionError> {
    let BatchStatistics { places: [mean_place, variance_place], mean, biased_variance, n_values, .. } = statistics;
    let unbiased = n_values as f64 / n_values.saturating_sub(1).max(1) as f64;
    let read = |tensor: Tensor<1>| host_values(tensor).map_err(SessionError::Device);
    let variance = read(biased_variance)?.into_iter().map(|value| (f64::from(value) * unbiased) as f32).collect();
    Ok([
        Observation { place: mean_place, values: read(mean)? },
        Observation { place: variance_place, values: variance },
    ])
}
