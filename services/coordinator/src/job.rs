//! One surface at work, as those see it who ask and watch.

use std::sync::{Arc, Mutex, PoisonError};

use relief_api::{ApiError, ErrorReason};
use relief_core::{JobState, SurfaceId};
use relief_store::{StoreError, SurfaceRecord};
use tokio::sync::watch;

use crate::schedule::{JobKey, Progress, Tally};

/// How far a surface is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Status {
    pub(crate) state: JobState,
    pub(crate) tally: Tally,
    /// The rate at present; 0 when not known.
    pub(crate) points_per_second: f64,
    /// Grows with every change.
    pub(crate) revision: u64,
    pub(crate) error: Option<(String, String)>,
    /// Why nothing happens, when nothing does.
    pub(crate) waiting_reason: String,
}

/// How the work on a surface was left: nothing of it is done any more.
pub(crate) type Settled = Result<(), ApiError>;

/// A surface at work. Shared by the calls that watch it and by what is done for it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) key: JobKey,
    id: SurfaceId,
    record: Mutex<Arc<SurfaceRecord>>,
    /// Held by whoever changes the stored record.
    pub(crate) changing: tokio::sync::Mutex<()>,
    status: watch::Sender<Status>,
    settled: watch::Sender<Option<Settled>>,
}

impl Job {
    /// Returns the job of a stored surface, as far as it is.
    pub(crate) fn new(key: JobKey, record: SurfaceRecord, tally: Tally) -> Self {
        let status = Status {
            state: JobState::Pending,
            tally,
            points_per_second: 0.0,
            revision: 1,
            error: None,
            waiting_reason: String::new(),
        };
        Self {
            key,
            id: record.id.clone(),
            record: Mutex::new(Arc::new(record)),
            changing: tokio::sync::Mutex::default(),
            status: watch::Sender::new(status),
            settled: watch::Sender::new(None),
        }
    }

    pub(crate) fn id(&self) -> &SurfaceId {
        &self.id
    }

    /// What is stored of it beside its values.
    pub(crate) fn record(&self) -> Arc<SurfaceRecord> {
        Arc::clone(&self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers what is stored now.
    pub(crate) fn set_record(&self, record: SurfaceRecord) {
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(record);
    }

    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Tells all watchers how far it is; `idle` says why nothing happens, when the scheduler does not know.
    pub(crate) fn publish(&self, progress: Progress, idle: impl FnOnce() -> Option<String>) {
        let Progress { state, tally, points_per_second, trouble } = progress;
        self.status.send_if_modified(|status| {
            if status.state.is_final() {
                return false;
            }
            let is_idle = tally.tiles_running == 0 && tally.tiles_done < tally.tiles_total;
            let waiting_reason = trouble.or_else(|| is_idle.then(idle).flatten()).unwrap_or_default();
            if (status.state, status.tally) == (state, tally) && status.waiting_reason == waiting_reason {
                return false;
            }
            let revision = status.revision + 1;
            *status = Status { state, tally, points_per_second, revision, error: None, waiting_reason };
            true
        });
    }

    /// Says that it has come to its end.
    pub(crate) fn end(&self, state: JobState, error: Option<(ErrorReason, String)>) {
        self.status.send_if_modified(|status| {
            let Ok(state) = status.state.transition(state) else { return false };
            status.state = state;
            status.error = error.map(|(reason, message)| (reason.as_str().to_owned(), message));
            status.waiting_reason.clear();
            status.tally.tiles_running = 0;
            status.revision += 1;
            true
        });
    }

    /// Says how the work was left.
    pub(crate) fn settle(&self, how: Settled) {
        self.settled.send_replace(Some(how));
    }

    /// Waits until the work was left.
    ///
    /// # Errors
    /// With what kept its end from being stored.
    pub(crate) async fn settled(&self) -> Settled {
        let mut settled = self.settled.subscribe();
        let how = settled.wait_for(Option::is_some).await.ok().and_then(|how| how.clone());
        how.unwrap_or_else(|| Err(ApiError::not_leader(None)))
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
