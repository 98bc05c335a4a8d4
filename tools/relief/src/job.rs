//! Following a job, a run or a surface, to its end.

use std::cell::Cell;
use std::future::Future;
use std::time::{Duration, Instant};

use relief_api::ErrorReason;
use relief_api::job::v1::JobError;
use relief_core::JobState;
use tonic::Streaming;

use crate::client::Server;
use crate::error::CommandError;
use crate::output::note;
use crate::progress::{Progress, words};

/// How far a job is.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Where it is in its life; none when the server's word is unknown here.
    pub(crate) state: Option<JobState>,
    /// Units done.
    pub(crate) done: u64,
    /// Units in all.
    pub(crate) total: u64,
    /// What is worth knowing beside.
    pub(crate) detail: String,
    /// The seconds left, when known.
    pub(crate) eta_seconds: Option<f64>,
    /// Why it failed, when it did.
    pub(crate) error: Option<JobError>,
}

/// What kind of job it is, and which.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job<'a> {
    /// The subcommand that deals with such jobs.
    pub(crate) noun: &'static str,
    /// Its resource name.
    pub(crate) name: &'a str,
    /// What it is called beside its progress.
    pub(crate) label: &'a str,
    /// What is counted.
    pub(crate) unit: &'static str,
}

/// Shows the changes of `job`, which come from `server`, until its final state, which must be success.
pub(crate) async fn follow<M>(
    server: &Server,
    job: Job<'_>,
    mut changes: Streaming<M>,
    step: impl Fn(M) -> Option<Step>,
) -> anyhow::Result<()> {
    let mut progress = Progress::new(job.label);
    loop {
        let Some(change) = changes.message().await.map_err(|status| server.refused(status))? else {
            return Err(CommandError::JobLost { noun: job.noun, name: job.name.to_owned() }.into());
        };
        let step = server.required("job", step(change))?;
        let state = step.state.unwrap_or_default();
        if state.is_final() {
            progress.finish(&last_line(&step, state, job.unit));
            return conclude(job.name, &step, state);
        }
        let left = step.eta_seconds.map(|seconds| format!("{} left", words(seconds)));
        let parts: Vec<String> =
            [Some(step.detail).filter(|detail| !detail.is_empty()), left].into_iter().flatten().collect();
        progress.show(step.done, step.total, job.unit, &parts.join(", "));
    }
}

fn last_line(step: &Step, state: JobState, unit: &str) -> String {
    let separator = if step.detail.is_empty() { "" } else { ", " };
    format!("{state}, {}/{} {unit}{separator}{}", step.done, step.total, step.detail)
}

fn conclude(name: &str, step: &Step, state: JobState) -> anyhow::Result<()> {
    let name = name.to_owned();
    match state {
        JobState::Failed => {
            let reason = step.error.as_ref().map_or_else(|| "no reason is known".to_owned(), reason);
            Err(CommandError::JobFailed { name, reason }.into())
        }
        JobState::Cancelled => Err(CommandError::JobCancelled { name }.into()),
        JobState::Pending | JobState::Running | JobState::Succeeded => Ok(()),
    }
}

/// Whether a job could not be followed further because the server went away, or handed over to another.
pub(crate) fn is_lost(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<CommandError>() {
        Some(CommandError::Refused(refusal)) => {
            matches!(refusal.reason, ErrorReason::ShuttingDown | ErrorReason::NotLeader)
        }
        Some(error) => matches!(
            error,
            CommandError::Disconnected { .. } | CommandError::Unreachable { .. } | CommandError::JobLost { .. }
        ),
        None => false,
    }
}

/// How long a server that was lost is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Follows a job by `follow`, which sets `is_told_of` when it hears of it, again and again while its server goes away: the
/// job goes on when the server, or another one, is back.
pub(crate) async fn follow_through<F: Future<Output = anyhow::Result<()>>>(
    is_told_of: &Cell<bool>,
    follow: impl Fn() -> F,
) -> anyhow::Result<()> {
    let mut lost = None;
    loop {
        is_told_of.set(false);
        let error = match follow().await {
            Err(error) if is_lost(&error) && (is_told_of.get() || lost.is_some()) => error,
            end => return end,
        };
        if is_told_of.get() {
            note(&format!("{error:#}; waiting for it to come back"));
            lost = Some(Instant::now());
        }
        if lost.is_some_and(|lost| lost.elapsed() > PATIENCE) {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Returns why a job failed, in one line.
pub(crate) fn reason(error: &JobError) -> String {
    format!("{} ({})", error.message, error.reason)
}

/// Waits for `following`, or until the user interrupts it; the job then goes on.
pub(crate) async fn until_interrupted<T>(
    job: Job<'_>,
    following: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        outcome = following => outcome,
        interrupt = tokio::signal::ctrl_c() => {
            interrupt?;
            Err(CommandError::LeftRunning { noun: job.noun, name: job.name.to_owned() }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(state: JobState, error: Option<JobError>) -> Step {
        Step { state: Some(state), done: 3, total: 9, detail: String::new(), eta_seconds: None, error }
    }

    #[test]
    fn only_success_ends_well() {
        let text = |state, error| conclude("surfaces/s", &step(state, error), state).map_err(|error| error.to_string());
        let error = JobError { reason: "DATA_CORRUPT".to_owned(), message: "a.onnx is damaged".to_owned() };
        assert_eq!(text(JobState::Succeeded, None), Ok(()));
        assert_eq!(
            text(JobState::Failed, Some(error)),
            Err("surfaces/s failed: a.onnx is damaged (DATA_CORRUPT)".to_owned())
        );
        assert_eq!(text(JobState::Cancelled, None), Err("surfaces/s was cancelled".to_owned()));
    }

    #[test]
    fn the_last_line_says_how_far_it_came() {
        let step = step(JobState::Cancelled, None);
        assert_eq!(last_line(&step, JobState::Cancelled, "points"), "cancelled, 3/9 points");
    }
}
