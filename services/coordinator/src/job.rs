//! One surface that is being computed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use relief_api::ErrorReason;
use relief_core::{JobState, SurfaceId};
use relief_store::{FoundPoints, Store, StoreError, SurfaceRecord};
use tokio::sync::{RwLock, RwLockReadGuard, watch};
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
    /// As it was accepted or taken up.
    accepted: SurfaceRecord,
    /// As it is since the work on it began.
    begun: OnceLock<SurfaceRecord>,
    is_claimed: AtomicBool,
    /// Cancelled when no more work is to be done on it, for whatever reason.
    pub(crate) stop: CancellationToken,
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
        let status = Status {
            state: JobState::Pending,
            tally: ledger.tally(),
            points_per_second: 0.0,
            revision: 1,
            error: None,
            waiting_reason: String::new(),
        };
        Self {
            accepted: record,
            begun: OnceLock::new(),
            is_claimed: AtomicBool::new(false),
            stop: CancellationToken::new(),
            writing: RwLock::default(),
            progress: Mutex::new(Progress { ledger, started: None }),
            status: watch::Sender::new(status),
        }
    }

    pub(crate) fn id(&self) -> &SurfaceId {
        &self.accepted.id
    }

    /// What is known of it beside its progress.
    pub(crate) fn record(&self) -> &SurfaceRecord {
        self.begun.get().unwrap_or(&self.accepted)
    }

    /// The class that its values are computed in; none until an evaluator was found.
    pub(crate) fn numeric_class(&self) -> Option<&str> {
        Some(self.record().provenance.numeric_class.as_str()).filter(|class| !class.is_empty())
    }

    /// The class that its values are computed in; none before the work on it began.
    pub(crate) fn begun_class(&self) -> Option<&str> {
        self.begun.get().map(|record| record.provenance.numeric_class.as_str())
    }

    /// Whether the caller is the first to ask, who then begins the work.
    pub(crate) fn claim_beginning(&self) -> bool {
        !self.is_claimed.swap(true, Ordering::Relaxed)
    }

    /// Begins the work: from now on the class is `offered` where there was none, and the points that other surfaces have
    /// are not computed.
    ///
    /// # Errors
    /// When the store cannot keep it.
    pub(crate) async fn begin(&self, store: &Store, offered: &str) -> Result<(), StoreError> {
        let class = self.numeric_class().unwrap_or(offered);
        let FoundPoints { values, reuse, damages } = store.find_points(&self.accepted, class).await?;
        for error in damages {
            tracing::error!(surface = %self.id(), %error, "points of another surface cannot be reused");
        }
        // Whoever deletes the surface waits until this is stored, or has done so already.
        let Some(_leave) = self.write().await else { return Ok(()) };
        let record = store.begin_surface(self.id(), class, reuse).await?;
        let n_reused = record.reuse.as_ref().map_or(0, |reuse| reuse.n_points);
        if n_reused > 0 {
            tracing::info!(surface = %self.id(), points = n_reused, "points are reused");
        }
        self.update(|ledger| ledger.reuse(&values, n_reused));
        // Only whoever claimed the beginning gets here.
        let _ = self.begun.set(record);
        Ok(())
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
