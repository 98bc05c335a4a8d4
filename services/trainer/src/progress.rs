//! Running means and the time that is left.

use std::time::Duration;

/// The mean over the samples of an epoch so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EpochMean {
    n_samples: u64,
    loss: f64,
    accuracy: f64,
}

impl EpochMean {
    /// Adds a batch of `n_samples` with its means.
    pub(crate) fn add(&mut self, n_samples: usize, loss: f64, accuracy: f64) {
        self.n_samples += n_samples as u64;
        self.loss += loss * n_samples as f64;
        self.accuracy += accuracy * n_samples as f64;
    }

    /// The mean loss and accuracy; NaN of nothing.
    pub(crate) fn value(&self) -> (f64, f64) {
        (self.loss / self.n_samples as f64, self.accuracy / self.n_samples as f64)
    }
}

/// How fast a run is: what its steps and its evaluations took so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    n_steps: u64,
    stepping: Duration,
    n_evaluations: u64,
    evaluating: Duration,
}

impl Pace {
    /// Notes a step that took `time`.
    pub(crate) fn step(&mut self, time: Duration) {
        self.n_steps += 1;
        self.stepping += time;
    }

    /// Notes that a snapshot was evaluated and stored in `time`.
    pub(crate) fn evaluation(&mut self, time: Duration) {
        self.n_evaluations += 1;
        self.evaluating += time;
    }

    /// The seconds that `n_steps` and `n_evaluations` more will take at that pace; none before one of each is done.
    pub(crate) fn eta_seconds(&self, n_steps: u64, n_evaluations: u64) -> Option<f64> {
        if self.n_steps == 0 || self.n_evaluations == 0 {
            return None;
        }
        let per_step = self.stepping.as_secs_f64() / self.n_steps as f64;
        let per_evaluation = self.evaluating.as_secs_f64() / self.n_evaluations as f64;
        Some(per_step * n_steps as f64 + per_evaluation * n_evaluations as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_over_samples_and_not_over_batches() {
        let mut mean = EpochMean::default();
        assert!(mean.value().0.is_nan());
        mean.add(3, 2.0, 100.0);
        mean.add(1, 6.0, 0.0);
        assert_eq!(mean.value(), (3.0, 75.0));
    }

    #[test]
    fn the_time_left_counts_evaluations_too() {
        let mut pace = Pace::default();
        pace.evaluation(Duration::from_secs(4));
        assert_eq!(pace.eta_seconds(10, 1), None);
        pace.step(Duration::from_secs(1));
        pace.step(Duration::from_secs(3));
        assert_eq!(pace.eta_seconds(10, 1), Some(24.0));
    }
}
