//! Running statistics that are estimated again at a point: what a batch says of all of them is read at once, and put back
//! on the device at once.

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
            Ok((batch.targets.len(), observe(statistics)?))
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
    let averages = |(total, sums): &(f64, Vec<f64>)| sums.iter().map(|sum| (sum / total) as f32).collect::<Vec<_>>();
    if !sums.is_empty() {
        let averaged = vector(sums.values().flat_map(averages).collect(), plane.device());
        let mut first = 0;
        for (place, (_, sums)) in sums {
            parameters[place] = averaged.clone().narrow(0, first, sums.len());
            first += sums.len();
        }
    }
    Ok(Some(parameters))
}

/// The means and the unbiased variances of a batch. Of a single value there is only the biased one, which is 0.
fn observe(statistics: Vec<BatchStatistics>) -> Result<Vec<Observation>, SessionError> {
    let mut observed = Vec::new();
    let mut tensors = Vec::new();
    for BatchStatistics { places: [mean_place, variance_place], mean, biased_variance, n_values, .. } in statistics {
        let unbiased = n_values as f64 / n_values.saturating_sub(1).max(1) as f64;
        let [n_channels] = mean.dims();
        observed.extend([(mean_place, n_channels, 1.0), (variance_place, n_channels, unbiased)]);
        tensors.extend([mean, biased_variance]);
    }
    if tensors.is_empty() {
        return Ok(Vec::new());
    }
    let values = host_values(Tensor::cat(tensors, 0)).map_err(SessionError::Device)?;
    let mut rest = &values[..];
    let mut take = |(place, n_channels, factor): (usize, usize, f64)| {
        let (values, others) = rest.split_at(n_channels);
        rest = others;
        Observation { place, values: values.iter().map(|value| (f64::from(*value) * factor) as f32).collect() }
    };
    Ok(observed.into_iter().map(&mut take).collect())
}
