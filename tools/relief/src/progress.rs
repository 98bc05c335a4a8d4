//! How far a job is, on standard error: a bar on a terminal, else a line every few seconds.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::note;

const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The progress of one job.
pub(crate) struct Progress {
    label: String,
    bar: ProgressBar,
    last_line: Instant,
}

impl Progress {
    pub(crate) fn new(label: impl Into<String>) -> Self {
        let label = label.into();
        let mut bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_prefix(label.clone());
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:28}] {pos}/{len} {msg}") {
            bar = bar.with_style(style.progress_chars("=> "));
        }
        Self { label, bar, last_line: Instant::now() }
    }

    /// Shows that `done` of `total` are done, and `detail`.
    pub(crate) fn show(&mut self, done: u64, total: u64, unit: &str, detail: &str) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(format!("{unit}{}{detail}", if detail.is_empty() { "" } else { ", " }));
        if self.bar.is_hidden() && self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            note(&format!("{}: {done}/{total} {}", self.label, self.bar.message()));
        }
    }

    /// Ends it with a last line.
    pub(crate) fn finish(self, last: &str) {
        self.bar.finish_and_clear();
        note(&format!("{}: {last}", self.label));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.abandon();
        }
    }
}

/// Returns a duration in words, to two units, as in `1 min 05 s`.
pub(crate) fn words(seconds: f64) -> String {
    // Half a second too much is less wrong than "0 s" for what is not over.
    let seconds = seconds.max(0.0).ceil() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        assert_eq!(
            [0.0, 0.2, 59.0, 65.0, 3_720.0, -1.0].map(words),
            ["0 s", "1 s", "59 s", "1 min 05 s", "1 h 02 min", "0 s"]
        );
    }
}
