//! Cross entropy, squared error and accuracy, in float64 on the host, from logits in float32.

use relief_core::PointValue;

/// What a batch of logits says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchMetrics {
    /// The cross entropy of each sample, in order.
    pub(crate) losses: Vec<f64>,
    /// The squared error of each sample, in order: the mean over classes of (softmax - onehot)^2.
    pub(crate) squared_errors: Vec<f64>,
    /// The number of samples whose largest logit is the target's.
    pub(crate) n_correct: usize,
}

impl BatchMetrics {
    /// Measures `logits`, row-major (samples, classes), against one target per sample.
    pub(crate) fn of(logits: &[f32], targets: &[u32]) -> Self {
        let n_samples = targets.len();
        let (losses, squared_errors) = (Vec::with_capacity(n_samples), Vec::with_capacity(n_samples));
        let mut metrics = Self { losses, squared_errors, n_correct: 0 };
        let mut exponentials = Vec::new();
        for (row, target) in rows(logits, targets) {
            let (largest, sum) = exponentiate(row, &mut exponentials);
            // -log softmax(logits)[target], in nats.
            metrics.losses.push(libm::log(sum) - (f64::from(row[target]) - largest));
            let error = |(class, exponential): (usize, &f64)| {
                let onehot = if class == target { 1.0 } else { 0.0 };
                let error = exponential / sum - onehot;
                error * error
            };
            let squared = exponentials.iter().enumerate().map(error).sum::<f64>();
            metrics.squared_errors.push(squared / row.len() as f64);
            metrics.n_correct += usize::from(argmax(row) == target);
        }
        metrics
    }
}

/// The means over all samples of all batches, their values added one by one in stored order, so that it does not depend on
/// how samples were put into batches.
pub(crate) fn mean(batches: &[BatchMetrics]) -> PointValue {
    let n_samples = batches.iter().map(|batch| batch.losses.len()).sum::<usize>() as f64;
    let loss = batches.iter().flat_map(|batch| &batch.losses).sum::<f64>();
    let n_correct = batches.iter().map(|batch| batch.n_correct).sum::<usize>() as f64;
    let squared_error = batches.iter().flat_map(|batch| &batch.squared_errors).sum::<f64>();
    PointValue {
        loss: loss / n_samples,
        squared_error: squared_error / n_samples,
        accuracy: 100.0 * n_correct / n_samples,
    }
}

/// The gradient of the mean cross entropy over the batch by each logit, (softmax - onehot) / samples, rounded to
/// float32 once.
pub(crate) fn gradient(logits: &[f32], targets: &[u32]) -> Vec<f32> {
    let n_samples = targets.len() as f64;
    let mut gradient = Vec::with_capacity(logits.len());
    let mut exponentials = Vec::new();
    for (row, target) in rows(logits, targets) {
        let (_, sum) = exponentiate(row, &mut exponentials);
        gradient.extend(exponentials.iter().enumerate().map(|(class, exponential)| {
            let probability = exponential / sum;
            let onehot = if class == target { 1.0 } else { 0.0 };
            ((probability - onehot) / n_samples) as f32
        }));
    }
    gradient
}

fn rows<'a>(logits: &'a [f32], targets: &'a [u32]) -> impl Iterator<Item = (&'a [f32], usize)> + Clone {
    let n_classes = (logits.len() / targets.len().max(1)).max(1);
    logits.chunks_exact(n_classes).zip(targets.iter().map(|target| *target as usize))
}

/// The largest logit m, NaN left aside, and the sum of exp(logit - m), which is NaN when a logit is NaN or m infinite;
/// the terms of the sum are left in `exponentials`.
fn exponentiate(logits: &[f32], exponentials: &mut Vec<f64>) -> (f64, f64) {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    exponentials.clear();
    exponentials.extend(logits.iter().map(|logit| libm::exp(f64::from(*logit) - largest)));
    (largest, exponentials.iter().sum())
}

/// The index of the largest logit; the first of equals wins, and NaN counts as largest.
fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (idx, logit) in logits.iter().enumerate().skip(1) {
        if logits[best].is_nan() {
            break;
        }
        if logit.is_nan() || *logit > logits[best] {
            best = idx;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;

    #[test]
    fn losses_are_those_of_hand() {
        let metrics = BatchMetrics::of(&[0.0, 0.0, 1.0, 3.0, -2.0, 2.0], &[0, 0, 1]);
        let expected = [2.0_f64.ln(), (1.0 + 2.0_f64.exp()).ln(), (1.0 + (-4.0_f64).exp()).ln()];
        for (found, expected) in metrics.losses.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-15 * expected, "{found} against {expected}");
        }
        assert_eq!(metrics.n_correct, 2);
    }

    #[test]
    fn squared_errors_are_those_of_hand() {
        let metrics = BatchMetrics::of(&[0.0, 0.0, 1.0, 3.0, f32::MAX, 0.0], &[0, 0, 1]);
        let missed = 1.0 - 1.0 / (1.0 + 2.0_f64.exp());
        for (found, expected) in metrics.squared_errors.iter().zip([0.25, missed * missed, 1.0]) {
            assert!((found - expected).abs() <= 1e-15, "{found} against {expected}");
        }
        assert!(BatchMetrics::of(&[0.0, NAN], &[0]).squared_errors[0].is_nan());
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let metrics = BatchMetrics::of(&[3e38, -3e38, 3e38, -3e38], &[0, 1]);
        assert_eq!(metrics.losses[0], 0.0);
        assert_eq!(metrics.losses[1], 2.0 * f64::from(3e38_f32));
    }

    #[test]
    fn infinities_and_nan_pass_through() {
        let loss = |logits: &[f32], target| BatchMetrics::of(logits, &[target]).losses[0];
        assert!(loss(&[0.0, NAN, 1.0], 0).is_nan());
        assert!(loss(&[0.0, NAN, 1.0], 1).is_nan());
        assert!(loss(&[INF, 0.0], 0).is_nan());
        assert!(loss(&[INF, 0.0], 1).is_nan());
        assert!(loss(&[-INF, -INF], 1).is_nan());
        assert_eq!(loss(&[-INF, 0.0], 0), f64::INFINITY);
        assert_eq!(loss(&[-INF, 0.0], 1), 0.0);
    }

    #[test]
    fn the_first_of_equals_wins_and_nan_is_largest() {
        assert_eq!(argmax(&[1.0, 2.0, 2.0]), 1);
        assert_eq!(argmax(&[-INF, -INF]), 0);
        assert_eq!(argmax(&[1.0, NAN, INF, NAN]), 1);
        assert_eq!(argmax(&[NAN, 2.0]), 0);
        assert_eq!(argmax(&[0.0, -0.0]), 0);
    }

    #[test]
    fn the_mean_is_over_samples_and_not_over_batches() {
        let batch = |losses: &[f64], n_correct| {
            let squared_errors = losses.iter().map(|loss| loss / 16.0).collect();
            BatchMetrics { losses: losses.to_vec(), squared_errors, n_correct }
        };
        let value = mean(&[batch(&[1.0, 2.0, 3.0], 3), batch(&[10.0], 0)]);
        assert_eq!(value, PointValue { loss: 4.0, squared_error: 0.25, accuracy: 75.0 });
        let whole = mean(&[batch(&[1.0, 2.0, 3.0, 10.0], 3)]);
        assert_eq!(value, whole);
    }

    #[test]
    fn the_gradient_is_softmax_less_onehot_over_the_batch() {
        let gradient = gradient(&[0.0, 0.0, 1.0, 3.0], &[0, 1]);
        let probability = 1.0 / (1.0 + 2.0_f64.exp());
        let expected = [-0.25, 0.25, probability / 2.0, -probability / 2.0];
        for (found, expected) in gradient.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-8, "{found} against {expected}");
        }
    }
}
