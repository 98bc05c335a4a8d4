//! One trajectory at work, as those see it who ask and watch.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use relief_api::ApiError;
use relief_core::{JobState, TrajectoryId};
use relief_store::TrajectoryRecord;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing yet, or nothing any more.
    Idle,
    Gram,
    Directions,
    Losses,
}

/// How far a trajectory is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrajectoryStatus {
    pub(crate) state: JobState,
    pub(crate) stage: Stage,
    pub(crate) gram_tiles_total: u64,
    pub(crate) gram_tiles_done: u64,
    pub(crate) points_total: u64,
    pub(crate) points_done: u64,
    pub(crate) stops_total: u64,
    pub(crate) stops_done: u64,
    pub(crate) points_per_second: f64,
    pub(crate) n_retries: u64,
    /// Grows with every change.
    pub(crate) revision: u64,
    pub(crate) error: Option<(String, String)>,
    /// Why nothing happens, when nothing does.
    pub(crate) waiting_reason: String,
}

/// Above any revision that a watcher can have seen while a trajectory was at work, and exact in JSON.
const FINAL_REVISION: u64 = (1 << 53) - 1;

impl TrajectoryStatus {
    /// That of a trajectory of which nothing is done.
    pub(crate) fn new(record: &TrajectoryRecord) -> Self {
        let spec = &record.spec;
        Self {
            state: JobState::Pending,
            stage: Stage::Idle,
            gram_tiles_total: record.provenance.gram.n_tiles(),
            gram_tiles_done: 0,
            points_total: u64::from(spec.n_columns) * u64::from(spec.n_rows),
            points_done: 0,
            stops_total: spec.n_stops() as u64,
            stops_done: 0,
            points_per_second: 0.0,
            n_retries: 0,
            revision: 1,
            error: None,
            waiting_reason: String::new(),
        }
    }

    /// That of a trajectory that nobody is at work on here.
    pub(crate) fn of_stored(record: &TrajectoryRecord) -> Self {
        let fresh = Self { revision: FINAL_REVISION, ..Self::new(record) };
        let Some(outcome) = &record.outcome else { return fresh };
        let (state, error) = (outcome.state, outcome.reason.clone().zip(outcome.message.clone()));
        let ended = Self { state, error, ..fresh };
        match state {
            JobState::Succeeded => Self {
                gram_tiles_done: ended.gram_tiles_total,
                points_done: ended.points_total,
                stops_done: ended.stops_total,
                ..ended
            },
            _ => ended,
        }
    }
}

/// A trajectory at work. Shared by the calls that watch it and by what is done for it.
#[derive(Debug)]
pub(crate) struct TrajectoryJob {
    id: TrajectoryId,
    /// That of the term in which it is at work.
    epoch: u64,
    record: Mutex<TrajectoryRecord>,
    status: watch::Sender<TrajectoryStatus>,
    stop: CancellationToken,
    /// Cancelled when nothing is done for it any more.
    is_left: CancellationToken,
}

impl TrajectoryJob {
    pub(crate) fn new(record: TrajectoryRecord, epoch: u64) -> Self {
        Self {
            id: record.id.clone(),
            epoch,
            status: watch::Sender::new(TrajectoryStatus::new(&record)),
            record: Mutex::new(record),
            stop: CancellationToken::new(),
            is_left: CancellationToken::new(),
        }
    }

    /// Whether it is the work on `record` in the term of this epoch.
    pub(crate) fn is_of(&self, epoch: u64, record: &TrajectoryRecord) -> bool {
        self.epoch == epoch && self.record().incarnation == record.incarnation
    }

    pub(crate) fn id(&self) -> &TrajectoryId {
        &self.id
    }

    /// What is stored of it beside its values.
    pub(crate) fn record(&self) -> TrajectoryRecord {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn status(&self) -> TrajectoryStatus {
        self.status.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<TrajectoryStatus> {
        self.status.subscribe()
    }

    /// Tells all watchers what has changed.
    pub(crate) fn update(&self, change: impl FnOnce(&mut TrajectoryStatus)) {
        self.status.send_if_modified(|status| {
            if status.state.is_final() {
                return false;
            }
            let mut changed = status.clone();
            change(&mut changed);
            if changed == *status {
                return false;
            }
            *status = TrajectoryStatus { revision: status.revision + 1, ..changed };
            true
        });
    }

    /// Says why nothing happens.
    pub(crate) fn wait_for(&self, reason: String) {
        self.update(|status| status.waiting_reason = reason);
    }

    /// Says that it has come to the end that its record tells.
    pub(crate) fn end(&self, record: TrajectoryRecord) {
        let outcome = record.outcome.clone();
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = record;
        let Some(outcome) = outcome else { return };
        self.update(|status| {
            status.state = outcome.state;
            status.stage = Stage::Idle;
            status.error = outcome.reason.zip(outcome.message);
            status.waiting_reason.clear();
        });
    }

    /// Asks for its end.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until its end is asked for.
    pub(crate) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Says that nothing is done for it any more.
    pub(crate) fn abandon(&self) {
        self.is_left.cancel();
    }

    /// Waits until it has ended, and returns how.
    ///
    /// # Errors
    /// `NOT_LEADER` when the work on it was left before, with the term or without its end being stored.
    pub(crate) async fn ended(&self, over: &CancellationToken) -> Result<JobState, ApiError> {
        /// The end is told of before the work is left.
        const GRACE: Duration = Duration::from_millis(10);
        let mut status = self.status.subscribe();
        tokio::select! {
            biased;
            ended = status.wait_for(|status| status.state.is_final()) => {
                ended.map(|status| status.state).map_err(|_| ApiError::not_leader(None))
            }
            () = async { self.is_left.cancelled().await; tokio::time::sleep(GRACE).await } => {
                Err(ApiError::not_leader(None))
            }
            () = over.cancelled() => Err(ApiError::not_leader(None)),
        }
    }
}
