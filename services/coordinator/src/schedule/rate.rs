//! How fast a job is now.

use std::collections::VecDeque;
use std::time::Duration;

/// What lies longer ago says nothing of now.
const WINDOW: Duration = Duration::from_secs(30);
/// Between two marks.
const SPACING: Duration = Duration::from_millis(500);
/// A rate over less time would jump about.
const MIN_SPAN: Duration = Duration::from_millis(200);

/// Points per second over the last half minute.
#[derive(Debug, Default)]
pub(crate) struct RateMeter {
    marks: VecDeque<(Duration, u64)>,
}

impl RateMeter {
    /// Notes that `n_done` points were computed by `now`.
    pub(crate) fn note(&mut self, now: Duration, n_done: u64) {
        if self.marks.back().is_some_and(|(last, _)| now < *last + SPACING) {
            return;
        }
        self.marks.push_back((now, n_done));
        while self.marks.len() > 2 && self.marks.get(1).is_some_and(|(then, _)| *then + WINDOW < now) {
            self.marks.pop_front();
        }
    }

    /// The rate at `now`, when `n_done` points were computed; 0 when it is not known.
    pub(crate) fn per_second(&self, now: Duration, n_done: u64) -> f64 {
        match self.marks.front() {
            Some((then, behind)) if now >= *then + MIN_SPAN => {
                n_done.saturating_sub(*behind) as f64 / (now - *then).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        let mut meter = RateMeter::default();
        let at = |seconds: u64| Duration::from_secs(seconds);
        assert_eq!(meter.per_second(at(0), 0), 0.0);
        // A slow minute, then a fast one.
        (0..=60).for_each(|second| meter.note(at(second), second));
        assert!((meter.per_second(at(60), 60) - 1.0).abs() < 1e-9);
        (61..=120).for_each(|second| meter.note(at(second), 60 + 10 * (second - 60)));
        assert!((meter.per_second(at(120), 660) - 10.0).abs() < 1e-9);
        assert!(meter.marks.len() < 70);
    }
}
