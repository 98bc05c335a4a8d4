//! One surface that is being computed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use relief_api::ErrorReason;
use relief_core::{JobState, SurfaceId, TilePlan};
use relief_store::{Store, StoreError, SurfaceRecord};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, watch};
use tokio_util::sync::CancellationToken;

use crate::ledger::{Ledger, Tally};

/// How far a surface is, for those who ask and watch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Status {
    pub(crate) state: JobState,
    pub(crate) tally: Tally,
    /// The rate since this process began on it; 0 when not known.
    pub(crate) points_per_second: f64,
    /// Grows with every change.
    pub(crate) revision: u64,
    pub(crate) error: Option<(String, String)>,
    /// Why nothing happens, when nothing does.
    pub(crate) waiting_reason: String,
}

/// A surface at work. Shared by the calls that watch it and the evaluators' workers.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) record: SurfaceRecord,
    pub(crate) plan: TilePlan,
    /// Cancelled when no more work is to be done on it, for whatever reason.
    pub(crate) stop: CancellationToken,
    class: OnceCell<String>,
    /// Shared by those who write tiles, taken alone by whoever needs that nobody writes any more.
    writing: RwLock<()>,
    progress: Mutex<Progress>,
    status: watch::Sender<Status>,
}

#[derive(Debug)]
struct Progress {
    ledger: Ledger,
    started: Option<(Instant, u64)>,
}

impl Job {
    /// Returns the job of a stored surface, with what is behind it already.
    pub(crate) fn new(record: SurfaceRecord, ledger: Ledger) -> Self {
        let class = OnceCell::new();
        if !record.provenance.numeric_class.is_empty() {
            // A fresh cell takes its first value.
            let _ = class.set(record.provenance.numeric_class.clone());
        }
        let status = Status {
            state: JobState::Pending,
            tally: ledger.tally(),
            points_per_second: 0.0,
            revision: 1,
            error: None,
            waiting_reason: String::new(),
        };
        Self {
            plan: record.plan(),
            record,
            stop: CancellationToken::new(),
            class,
            writing: RwLock::default(),
            progress: Mutex::new(Progress { ledger, started: None }),
            status: watch::Sender::new(status),
        }
    }

    pub(crate) fn id(&self) -> &SurfaceId {
        &self.record.id
    }

    /// The class that its values are computed in; none until an evaluator was found.
    pub(crate) fn numeric_class(&self) -> Option<&str> {
        self.class.get().map(String::as_str)
    }

    /// Returns the class that its values are computed in, which is `offered` from now on when there was none.
    ///
    /// # Errors
    /// When the store cannot keep it.
    pub(crate) async fn pin_numeric_class(&self, store: &Store, offered: &str) -> Result<&str, StoreError> {
        let pin = || async { store.pin_numeric_class(self.id(), offered).await };
        self.class.get_or_try_init(pin).await.map(String::as_str)
    }

    /// Returns leave to write a tile, or none when no more work is to be done.
    pub(crate) async fn write(&self) -> Option<RwLockReadGuard<'_, ()>> {
        let leave = self.writing.read().await;
        (!self.stop.is_cancelled()).then_some(leave)
    }

    /// Stops all work, and waits for the tiles that are just being written.
    pub(crate) async fn stop_writing(&self) {
        self.stop.cancel();
        drop(self.writing.write().await);
    }

    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Runs `change` on the ledger and tells all watchers.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut progress = self.lock();
        let result = change(&mut progress.ledger);
        let tally = progress.ledger.tally();
        if progress.started.is_none() && tally.tiles_running > 0 {
            progress.started = Some((Instant::now(), tally.points_done));
        }
        let rate = progress.started.map_or(0.0, |(start, behind)| {
            (tally.points_done - behind) as f64 / start.elapsed().as_secs_f64().max(1e-3)
        });
        drop(progress);
        self.status.send_if_modified(|status| {
            if status.state.is_final() {
                return false;
            }
            let state = match status.state {
                JobState::Pending if tally.tiles_running > 0 => JobState::Running,
                state => state,
            };
            if status.tally == tally && status.state == state {
                return false;
            }
            status.tally = tally;
            status.state = state;
            status.points_per_second = rate;
            status.waiting_reason.clear();
            status.revision += 1;
            true
        });
        result
    }

    /// Says why nothing happens.
    pub(crate) fn wait_for(&self, reason: &str) {
        self.status.send_if_modified(|status| {
            if status.state.is_final() || status.tally.tiles_running > 0 || status.waiting_reason == reason {
                return false;
            }
            reason.clone_into(&mut status.waiting_reason);
            status.revision += 1;
            true
        });
    }

    /// Ends the job once; later ends change nothing. Returns whether this one did.
    pub(crate) fn end(&self, state: JobState, error: Option<(ErrorReason, String)>) -> bool {
        let ended = self.status.send_if_modified(|status| {
            let Ok(state) = status.state.transition(state) else { return false };
            status.state = state;
            status.error = error.map(|(reason, message)| (reason.as_str().to_owned(), message));
            status.waiting_reason.clear();
            status.tally.tiles_running = 0;
            status.revision += 1;
            true
        });
        self.stop.cancel();
        ended
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // A panic under the lock leaves counts behind, never a torn value.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
