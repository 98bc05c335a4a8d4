//! The surfaces at work, and who gets which tile next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use relief_api::{ApiError, ErrorReason};
use relief_core::{JobState, SurfaceId};
use relief_store::{Store, StoreError, StoreErrorKind, SurfaceOutcome, rfc3339};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::fleet::Fleet;
use crate::job::Job;
use crate::ledger::{Assignment, EvaluatorIdx};

/// Between two tries to reach the store.
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// The surfaces at work, in the order of acceptance.
#[derive(Debug)]
pub(crate) struct Registry {
    store: Store,
    jobs: Mutex<Jobs>,
    /// Changes whenever there may be work for somebody who found none.
    work: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Jobs {
    active: Vec<Arc<Job>>,
    /// The place of the job whose turn it is.
    turn: usize,
}

impl Registry {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, jobs: Mutex::default(), work: watch::Sender::new(0) }
    }

    pub(crate) fn add(&self, job: Arc<Job>) {
        self.lock().active.push(job);
        self.wake();
    }

    pub(crate) fn get(&self, id: &SurfaceId) -> Option<Arc<Job>> {
        self.lock().active.iter().find(|job| job.id() == id).cloned()
    }

    pub(crate) fn remove(&self, id: &SurfaceId) {
        self.lock().active.retain(|job| job.id() != id);
    }

    pub(crate) fn active(&self) -> Vec<Arc<Job>> {
        self.lock().active.clone()
    }

    /// Tells everybody who found no work to look again.
    pub(crate) fn wake(&self) {
        self.work.send_modify(|version| *version = version.wrapping_add(1));
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.work.subscribe()
    }

    /// Begins the work on a job, aside from those that are at work: looking for points that others have takes its time. A
    /// store that fails is asked again.
    async fn begin(self: Arc<Self>, job: Arc<Job>, class: String) {
        let mut pause = MIN_PAUSE;
        while let Err(error) = job.begin(&self.store, &class).await {
            tracing::warn!(surface = %job.id(), error = %chain(&error), "a surface cannot begin yet");
            job.wait_for(&format!("the store does not let it begin: {error}"));
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(MAX_PAUSE),
                () = job.stop.cancelled() => return,
            }
        }
        self.wake();
    }

    /// Returns the next tile for `evaluator`, which computes in `class`: jobs take turns, tile by tile. One whose work has
    /// not begun is left out until it has.
    pub(crate) fn next_for(
        self: &Arc<Self>,
        evaluator: EvaluatorIdx,
        class: &str,
        fleet: &Fleet,
    ) -> Option<(Arc<Job>, Assignment)> {
        let others: Vec<EvaluatorIdx> = fleet.alive(class).into_iter().filter(|other| *other != evaluator).collect();
        for job in self.in_turn() {
            if job.stop.is_cancelled() {
                continue;
            }
            match job.begun_class() {
                Some(begun) if begun == class => {}
                Some(_) => continue,
                None => {
                    if job.claim_beginning() {
                        tokio::spawn(Arc::clone(self).begin(job, class.to_owned()));
                    }
                    continue;
                }
            }
            if let Some(assignment) = job.update(|ledger| ledger.take(evaluator, &others)) {
                return Some((job, assignment));
            }
        }
        None
    }

    fn in_turn(&self) -> Vec<Arc<Job>> {
        let mut jobs = self.lock();
        let n_jobs = jobs.active.len();
        if n_jobs == 0 {
            return Vec::new();
        }
        let start = jobs.turn % n_jobs;
        jobs.turn = start + 1;
        jobs.active[start..].iter().chain(&jobs.active[..start]).cloned().collect()
    }

    /// Says, for every job that has nothing running, why.
    pub(crate) fn explain_waiting(&self, fleet: &Fleet) {
        for job in self.active() {
            if let Some(reason) = fleet.why_idle(job.numeric_class()) {
                job.wait_for(&reason);
            }
        }
    }

    /// Stores the end of a job, then ends it. Waits for a store that is out of reach until `shutdown`, and then leaves
    /// the end to the next start.
    ///
    /// # Errors
    /// `WRONG_STATE` when the job has ended otherwise, `NOT_FOUND` when it was deleted meanwhile.
    pub(crate) async fn finish(
        &self,
        job: &Job,
        state: JobState,
        error: Option<ApiError>,
        shutdown: &CancellationToken,
    ) -> Result<(), ApiError> {
        job.stop_writing().await;
        let tally = job.status().tally;
        let outcome = SurfaceOutcome {
            state,
            reason: error.as_ref().map(|error| error.reason.as_str().to_owned()),
            message: error.as_ref().map(|error| error.message.clone()),
            points_done: tally.points_done,
            points_non_finite: tally.points_non_finite,
            tiles_done: tally.tiles_done,
            tiles_retried: tally.tiles_retried,
            ended: rfc3339(SystemTime::now()),
        };
        let stored = self.store_outcome(job.id(), &outcome, shutdown).await;
        match &stored {
            Ok(()) => {
                job.end(state, error.map(|error| (error.reason, error.message)));
                tracing::info!(surface = %job.id(), %state, "surface ended");
            }
            Err(error) => {
                job.end(JobState::Cancelled, None);
                tracing::warn!(surface = %job.id(), %state, %error, "the end of a surface was not stored");
            }
        }
        self.remove(job.id());
        self.wake();
        stored
    }

    async fn store_outcome(
        &self,
        id: &SurfaceId,
        outcome: &SurfaceOutcome,
        shutdown: &CancellationToken,
    ) -> Result<(), ApiError> {
        let mut pause = MIN_PAUSE;
        loop {
            match self.store.finish_surface(id, outcome).await {
                Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                    tracing::warn!(surface = %id, error = %chain(&error), "cannot store the end of a surface yet");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = shutdown.cancelled() => {
                            return Err(ApiError::new(ErrorReason::ShuttingDown, "the coordinator is stopping"));
                        }
                    }
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                stored => return stored.map_err(ApiError::from),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        // A panic under the lock leaves a list of jobs, whole in any case.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its sources in one line, for logs.
pub(crate) fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
