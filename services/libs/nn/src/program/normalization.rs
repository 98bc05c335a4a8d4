//! Normalisations.

use burn::tensor::Tensor;
use burn::tensor::module::batch_norm_train;
use relief_graph::BatchNormalization;

use super::layout::Value;
use super::{BatchStatistics, Statistics, Step};

impl Step {
    pub(super) fn batch_normalization(
        &self,
        norm: &BatchNormalization,
        x: Value,
        parameters: [Value; 4],
        statistics: &mut Statistics<'_>,
    ) -> Value {
        let dims = x.dims();
        let x = channels(x, &self.shapes[0].dims);
        let [scale, shift, mean, variance] = parameters.map(vector);
        let y = match statistics {
            Statistics::Running => by_running(norm, x, [scale, shift, mean, variance]),
            Statistics::Batch(batch) => {
                let [n_samples, _, height, width] = x.dims();
                let result = batch_norm_train(x, scale, shift, f64::from(norm.epsilon));
                // Statistics that are constants stay what they are.
                if let Some(places) = self.statistics_places() {
                    batch.push(BatchStatistics {
                        places,
                        mean: result.mean.without_autodiff(),
                        biased_variance: result.variance.without_autodiff(),
                        n_values: n_samples * height * width,
                        momentum: norm.momentum,
                    });
                }
                result.output
            }
        };
        y.reshape(dims)
    }
}

/// x s + t for each channel, with s = scale / sqrt(variance + epsilon) and t = shift - mean s.
fn by_running(norm: &BatchNormalization, x: Tensor<4>, parameters: [Tensor<1>; 4]) -> Tensor<4> {
    let [scale, shift, mean, variance] = parameters;
    let scale = scale / (variance + norm.epsilon).sqrt();
    let shift = shift - mean * scale.clone();
    x * per_channel(scale) + per_channel(shift)
}

/// (x - mean) / sqrt(variance + epsilon) over the last `n_normalized` entries, times scale, plus shift.
pub(super) fn layer(epsilon: f32, x: Value, n_normalized: usize, scale: Value, shift: Option<Value>) -> Value {
    let dims = x.dims();
    let n_rows = dims.iter().product::<usize>() / n_normalized;
    let x = x.reshape([n_rows, n_normalized]);
    let centred = x.clone() - x.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    let y = (centred / (variance + epsilon).sqrt()).reshape(dims) * scale;
    match shift {
        Some(shift) => y + shift,
        None => y,
    }
}

/// The batch as (samples, channels, height, width); a vector has height and width 1.
fn channels(x: Value, dims: &[usize]) -> Tensor<4> {
    let n_channels = dims[0];
    let [height, width] = match dims[1..] {
        [height, width] => [height, width],
        _ => [dims[1..].iter().product(), 1],
    };
    let n_samples = x.dims().iter().product::<usize>() / (n_channels * height * width);
    x.reshape([n_samples, n_channels, height, width])
}

fn vector(x: Value) -> Tensor<1> {
    let len = x.dims().iter().product::<usize>();
    x.reshape([len])
}

fn per_channel(values: Tensor<1>) -> Tensor<4> {
    let n_channels = values.dims()[0];
    values.reshape([1, n_channels, 1, 1])
}
