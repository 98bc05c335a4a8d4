//! The runs of this process: which there are, how they stand, and who is to stop.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use relief_core::{JobState, RunId, TransitionError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::record::{RunFailure, RunRecord, RunStatus};

/// A run and how it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunView {
    pub(crate) record: Arc<RunRecord>,
    pub(crate) status: RunStatus,
}

/// A run that is accepted and whose end is not stored yet.
#[derive(Debug)]
pub(crate) struct LiveRun {
    record: Arc<RunRecord>,
    status: watch::Sender<RunStatus>,
    cancelled: CancellationToken,
}

impl LiveRun {
    pub(crate) fn new(record: RunRecord) -> Self {
        let status = watch::Sender::new(RunStatus::pending(&record));
        Self { record: Arc::new(record), status, cancelled: CancellationToken::new() }
    }

    pub(crate) fn id(&self) -> &RunId {
        &self.record.id
    }

    pub(crate) fn record(&self) -> &Arc<RunRecord> {
        &self.record
    }

    pub(crate) fn status(&self) -> RunStatus {
        self.status.borrow().clone()
    }

    pub(crate) fn view(&self) -> RunView {
        RunView { record: self.record.clone(), status: self.status() }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<RunStatus> {
        self.status.subscribe()
    }

    /// Changes how a run at work stands.
    pub(crate) fn update(&self, change: impl FnOnce(&mut RunStatus)) {
        self.status.send_modify(|status| {
            change(status);
            status.revision += 1;
        });
    }

    /// Takes the run to `state`.
    ///
    /// # Errors
    /// When a run cannot go there from where it is.
    pub(crate) fn transition(&self, state: JobState, error: Option<RunFailure>) -> Result<(), TransitionError> {
        let mut outcome = Ok(());
        self.status.send_if_modified(|status| match status.state.transition(state) {
            Ok(state) => {
                *status = ended(status, state, error);
                true
            }
            Err(refusal) => {
                outcome = Err(refusal);
                false
            }
        });
        outcome
    }

    /// The status that the run will have in `state`.
    pub(crate) fn status_in(&self, state: JobState, error: Option<RunFailure>) -> RunStatus {
        ended(&self.status.borrow(), state, error)
    }

    /// Cancels the run: at once when it is not begun, else at the end of its present step. Returns whether it is
    /// cancelled already.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn cancel(&self) -> Result<bool, TransitionError> {
        let mut outcome = Ok(false);
        self.status.send_if_modified(|status| match status.state {
            JobState::Pending => {
                *status = ended(status, JobState::Cancelled, None);
                outcome = Ok(true);
                true
            }
            JobState::Running => {
                self.cancelled.cancel();
                false
            }
            from => {
                outcome = Err(TransitionError { from, to: JobState::Cancelled });
                false
            }
        });
        outcome
    }

    /// Whether it is to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }
}

fn ended(status: &RunStatus, state: JobState, error: Option<RunFailure>) -> RunStatus {
    RunStatus { state, error, eta_seconds: None, revision: status.revision + 1, ..status.clone() }
}

/// The live runs by name, and the names that are being given away.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    reserved: HashSet<RunId>,
    live: HashMap<RunId, Arc<LiveRun>>,
}

/// A name that nobody else gets while this lives.
#[derive(Debug)]
pub(crate) struct Reservation {
    registry: Arc<Registry>,
    id: RunId,
}

impl Registry {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves a name, or none when it is reserved or live. Whether it is stored is not known here.
    pub(crate) fn reserve(self: &Arc<Self>, id: &RunId) -> Option<Reservation> {
        let mut names = self.names();
        let is_free = !names.live.contains_key(id) && names.reserved.insert(id.clone());
        is_free.then(|| Reservation { registry: self.clone(), id: id.clone() })
    }

    pub(crate) fn find(&self, id: &RunId) -> Option<Arc<LiveRun>> {
        self.names().live.get(id).cloned()
    }

    /// Whether the run is this process's own, live or about to be.
    pub(crate) fn owns(&self, id: &RunId) -> bool {
        let names = self.names();
        names.live.contains_key(id) || names.reserved.contains(id)
    }

    /// Forgets a run whose end is stored.
    pub(crate) fn forget(&self, id: &RunId) {
        self.names().live.remove(id);
    }
}

impl Reservation {
    /// Makes the run live under the reserved name, which must be its own.
    pub(crate) fn fill(self, record: RunRecord) -> Arc<LiveRun> {
        let run = Arc::new(LiveRun::new(record));
        self.registry.names().live.insert(self.id.clone(), run.clone());
        run
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.registry.names().reserved.remove(&self.id);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use relief_core::{Digest, Recipe, RunSpec};

    use super::*;

    pub(crate) fn record(id: &str) -> RunRecord {
        RunRecord {
            id: id.parse().expect("a good name"),
            spec: RunSpec {
                network: "lenet5".parse().expect("a good name"),
                dataset: "d".parse().expect("a good name"),
                recipe: Recipe::of_the_paper(2, 1),
            },
            n_samples: 300,
            network_digest: Digest::of(b"n"),
            dataset_digest: Digest::of(b"d"),
            numeric_class: "test".to_owned(),
            created: "2026-01-01T00:00:00.000Z".to_owned(),
        }
    }

    #[test]
    fn a_name_is_given_away_once() {
        let registry = Arc::new(Registry::default());
        let id = "a".parse().expect("a good name");
        let reservation = registry.reserve(&id).expect("a free name");
        assert!(registry.owns(&id) && registry.find(&id).is_none());
        assert!(registry.reserve(&id).is_none());
        drop(reservation);
        let run = registry.reserve(&id).expect("free again").fill(record("a"));
        assert!(registry.reserve(&id).is_none());
        assert!(registry.find(&id).is_some_and(|found| Arc::ptr_eq(&found, &run)));
        registry.forget(&id);
        assert!(!registry.owns(&id));
    }

    #[test]
    fn a_run_that_is_not_begun_is_cancelled_at_once() {
        let run = LiveRun::new(record("a"));
        assert_eq!(run.cancel(), Ok(true));
        assert_eq!(run.status().state, JobState::Cancelled);
        assert!(run.transition(JobState::Running, None).is_err());
        assert!(run.cancel().is_err());
    }

    #[test]
    fn a_run_at_work_is_asked_to_stop() {
        let run = LiveRun::new(record("a"));
        run.transition(JobState::Running, None).expect("it was pending");
        assert_eq!(run.cancel(), Ok(false));
        assert_eq!(run.status().state, JobState::Running);
        assert!(run.is_cancelled());
    }

    #[test]
    fn every_change_has_a_revision_of_its_own() {
        let run = LiveRun::new(record("a"));
        let mut revisions = vec![run.status().revision];
        run.transition(JobState::Running, None).expect("it was pending");
        revisions.push(run.status().revision);
        run.update(|status| status.step = 1);
        revisions.push(run.status().revision);
        run.transition(JobState::Succeeded, None).expect("it was running");
        revisions.push(run.status().revision);
        assert_eq!(revisions, [1, 2, 3, 4]);
    }

    #[test]
    fn the_last_step_of_an_epoch_may_be_short() {
        assert_eq!(record("a").n_steps_per_epoch(), 3);
        assert_eq!(record("a").n_steps(), 6);
    }
}
