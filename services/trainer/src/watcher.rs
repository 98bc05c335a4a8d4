//! The changes of a run, as a stream.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use relief_api::{ApiError, ErrorReason};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::record::{RunRecord, RunStatus};
use crate::run::{LiveRun, RunView};

const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// Follows a run. It sees the newest state whenever it looks; what it misses meanwhile is skipped, so that it holds
/// nobody up.
#[derive(Debug)]
pub(crate) struct Watcher {
    record: Arc<RunRecord>,
    status: watch::Receiver<RunStatus>,
    stopping: CancellationToken,
    after_revision: u64,
    next_at: Option<Instant>,
    has_ended: bool,
}

impl Watcher {
    /// Returns the watcher of changes after `after_revision`; the final state is told in any case.
    pub(crate) fn of_live(run: &LiveRun, after_revision: u64, stopping: CancellationToken) -> Self {
        Self::new(run.record().clone(), run.subscribe(), after_revision, stopping)
    }

    /// Returns the watcher of a run that no longer changes in this process.
    pub(crate) fn of_stored(view: RunView, after_revision: u64, stopping: CancellationToken) -> Self {
        let (_, status) = watch::channel(view.status);
        Self::new(view.record, status, after_revision, stopping)
    }

    fn new(
        record: Arc<RunRecord>,
        status: watch::Receiver<RunStatus>,
        after_revision: u64,
        stopping: CancellationToken,
    ) -> Self {
        Self { record, status, stopping, after_revision, next_at: None, has_ended: false }
    }

    /// The changes, at most ten a second, up to the final state or to the stop of the service.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<RunView, ApiError>> + Send {
        futures::stream::unfold(self, |mut watcher| async move {
            let change = watcher.next().await?;
            Some((change, watcher))
        })
    }

    async fn next(&mut self) -> Option<Result<RunView, ApiError>> {
        if self.has_ended {
            return None;
        }
        if let Some(next_at) = self.next_at {
            tokio::select! {
                () = tokio::time::sleep_until(next_at) => {}
                () = self.stopping.cancelled() => {}
            }
        }
        loop {
            let status = self.status.borrow_and_update().clone();
            if status.state.is_final() || status.revision > self.after_revision {
                self.has_ended = status.state.is_final();
                self.after_revision = status.revision;
                self.next_at = Some(Instant::now() + MIN_INTERVAL);
                return Some(Ok(RunView { record: self.record.clone(), status }));
            }
            let is_there_more = tokio::select! {
                biased;
                changed = self.status.changed() => changed.is_ok(),
                () = self.stopping.cancelled() => false,
            };
            if !is_there_more {
                self.has_ended = true;
                let message = if self.stopping.is_cancelled() {
                    "the trainer is stopping; watch the run again later".to_owned()
                } else {
                    format!("{} was left behind by a trainer that stopped; watch it again later", self.record.id)
                };
                return Some(Err(ApiError::new(ErrorReason::ShuttingDown, message)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use relief_core::JobState;

    use super::*;
    use crate::run::tests::record;

    fn watch(
        run: &LiveRun,
        after: u64,
        stopping: &CancellationToken,
    ) -> impl Stream<Item = Result<RunView, ApiError>> + use<> {
        Watcher::of_live(run, after, stopping.clone()).into_stream()
    }

    #[tokio::test]
    async fn a_watch_starts_with_the_present_and_ends_with_the_final_state() {
        let run = LiveRun::new(record("a"));
        let stopping = CancellationToken::new();
        let mut changes = Box::pin(watch(&run, 0, &stopping));
        let first = changes.next().await.expect("the present").expect("a state");
        assert_eq!(first.status.state, JobState::Pending);
        run.transition(JobState::Running, None).expect("it was pending");
        run.update(|status| status.step = 7);
        run.transition(JobState::Succeeded, None).expect("it was running");
        drop(run);
        let last = changes.next().await.expect("the end").expect("a state");
        assert_eq!((last.status.state, last.status.step), (JobState::Succeeded, 7));
        assert!(changes.next().await.is_none());
    }

    #[tokio::test]
    async fn the_final_state_is_told_whatever_was_seen_before() {
        let run = LiveRun::new(record("a"));
        run.cancel().expect("it was pending");
        let changes: Vec<_> = watch(&run, 999, &CancellationToken::new()).collect().await;
        assert_eq!(changes.len(), 1);
    }

    #[tokio::test]
    async fn a_service_that_stops_ends_its_watches_with_the_reason() {
        let run = LiveRun::new(record("a"));
        let stopping = CancellationToken::new();
        stopping.cancel();
        let changes: Vec<_> = watch(&run, run.status().revision, &stopping).collect().await;
        let [Err(error)] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(error.reason, ErrorReason::ShuttingDown);
    }
}
