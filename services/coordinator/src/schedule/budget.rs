//! How often a job may be set back before it has to slow down.

use std::time::Duration;

/// Setbacks that a job may have at once.
const CAPACITY: f64 = 20.0;
/// What a stored tile gives back, so that a long job outlives any number of faults that are rare.
const PER_TILE: f64 = 0.25;
const MIN_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A bucket of tokens: a setback takes one, work that succeeds brings some. When it is empty the job pauses, longer
/// each time, instead of spending the evaluators on work that fails; it never fails for that alone.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    tokens: f64,
    pause: Duration,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { tokens: CAPACITY, pause: MIN_PAUSE }
    }
}

impl RetryBudget {
    /// Takes a token; when there was none, returns how long the job has to pause.
    pub(crate) fn spend(&mut self) -> Option<Duration> {
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return None;
        }
        let pause = self.pause;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        Some(pause)
    }

    /// Notes that a tile was stored.
    pub(crate) fn earn(&mut self) {
        self.tokens = (self.tokens + PER_TILE).min(CAPACITY);
        self.pause = MIN_PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_set_back_again_and_again_pauses_ever_longer() {
        let mut budget = RetryBudget::default();
        let pauses: Vec<_> = (0..40).map(|_| budget.spend()).collect();
        assert!(pauses[..20].iter().all(Option::is_none));
        assert_eq!(pauses[20], Some(MIN_PAUSE));
        assert_eq!(pauses[21], Some(MIN_PAUSE * 2));
        assert_eq!(pauses[39], Some(MAX_PAUSE));
    }

    #[test]
    fn work_that_succeeds_pays_for_setbacks() {
        let mut budget = RetryBudget::default();
        for _ in 0..1000 {
            assert_eq!(budget.spend(), None);
            (0..4).for_each(|_| budget.earn());
        }
    }
}
