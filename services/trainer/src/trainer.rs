//! What clients can do with runs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::Context;
use relief_api::{ApiError, ErrorReason};
use relief_core::{Engine, JobState, Numerics, Precision, RunId, RunSpec, Split};
use relief_nn::Device;
use relief_store::{Page, SnapshotRecord, Store, StoreError, StoreErrorKind, rfc3339};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::admission;
use crate::error::{RunError, chain};
use crate::identity;
use crate::journal::Journal;
use crate::listing::{self, RunPage};
use crate::record::{RunRecord, RunStatus};
use crate::run::{Registry, Reservation, RunView};
use crate::watcher::Watcher;
use crate::worker::Job;

const MAX_PAUSE: Duration = Duration::from_secs(10);

/// What steps are computed in, on any device.
const TRAINED_IN: Numerics = Numerics { engine: Engine::Burn, precision: Precision::F32 };

/// Accepts, shows and stops runs.
#[derive(Debug, Clone)]
pub(crate) struct Trainer {
    pub(crate) journal: Journal,
    pub(crate) registry: Arc<Registry>,
    pub(crate) device: Device,
    /// Of evaluations.
    pub(crate) batch_size: usize,
    pub(crate) shutdown: CancellationToken,
    queue: mpsc::Sender<Job>,
}

impl Trainer {
    pub(crate) fn new(
        store: Store,
        device: Device,
        batch_size: usize,
        queue: mpsc::Sender<Job>,
        shutdown: CancellationToken,
    ) -> Self {
        let journal = Journal::new(store, shutdown.clone());
        Self { journal, registry: Arc::default(), device, batch_size, shutdown, queue }
    }

    fn store(&self) -> &Store {
        self.journal.store()
    }

    /// Accepts a run under `id`, or under one of its own choice.
    pub(crate) async fn create(&self, id: Option<RunId>, spec: RunSpec) -> Result<RunView, ApiError> {
        let (trainer, span) = (self.clone(), tracing::Span::current());
        let trace = span.context();
        // A caller who hangs up must not leave a run behind that is stored and never begun.
        let accepted = tokio::spawn(async move { trainer.accept(id, spec, trace).await }.instrument(span)).await;
        accepted.unwrap_or_else(|error| Err(ApiError::new(ErrorReason::Internal, error.to_string())))
    }

    async fn accept(&self, id: Option<RunId>, spec: RunSpec, trace: Context) -> Result<RunView, ApiError> {
        if self.shutdown.is_cancelled() {
            return Err(stopping());
        }
        let dataset = admission::dataset(self.store(), &spec.dataset).await?;
        let now = SystemTime::now();
        let (id, reservation) = match id {
            Some(id) => {
                let reservation = self.reserve(&id).await?.ok_or_else(|| admission::taken(&id))?;
                (id, reservation)
            }
            None => self.reserve_any(now).await?,
        };
        let place = self.queue.clone().try_reserve_owned().map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                let message = format!("{} runs wait already; try again later", self.queue.max_capacity());
                ApiError::new(ErrorReason::QueueFull, message)
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        let network = admission::network(self.store(), &spec.network, &dataset).await?;
        let train = dataset.splits.get(&Split::Train).zip(dataset.split_digest(Split::Train));
        let (split, dataset_digest) = train.ok_or_else(|| {
            ApiError::new(ErrorReason::Internal, format!("the train split of {} is gone", dataset.id))
        })?;
        let record = RunRecord {
            id,
            spec: RunSpec { network: network.id.clone(), ..spec },
            n_samples: split.n_samples,
            network_digest: network.digest,
            dataset_digest,
            numeric_class: self.device.numeric_class(TRAINED_IN, self.batch_size),
            created: rfc3339(now),
        };
        self.store().create_run(&record.id, &record).await?;
        let run = reservation.fill(record);
        let view = run.view();
        tracing::info!(run = %run.id(), network = %network.id, dataset = %dataset.id, "run accepted");
        place.send(Job { run, network, dataset, trace });
        Ok(view)
    }

    /// Reserves a name that no run has, or none.
    async fn reserve(&self, id: &RunId) -> Result<Option<Reservation>, ApiError> {
        let Some(reservation) = self.registry.reserve(id) else { return Ok(None) };
        match self.store().get_run::<RunRecord>(id).await {
            Ok(_) => Ok(None),
            Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(Some(reservation)),
            Err(error) => Err(error.into()),
        }
    }

    async fn reserve_any(&self, now: SystemTime) -> Result<(RunId, Reservation), ApiError> {
        const N_TRIES: usize = 16;
        for id in std::iter::repeat_with(|| identity::chosen(now)).take(N_TRIES).flatten() {
            if let Some(reservation) = self.reserve(&id).await? {
                return Ok((id, reservation));
            }
        }
        Err(ApiError::new(ErrorReason::Internal, "no free id was found; give one"))
    }

    /// How a run stands, from memory while it is at work.
    async fn view(&self, id: &RunId) -> Result<RunView, StoreError> {
        if let Some(run) = self.registry.find(id) {
            return Ok(run.view());
        }
        self.stored_view(self.store().get_run(id).await?).await
    }

    async fn stored_view(&self, record: RunRecord) -> Result<RunView, StoreError> {
        let status = self.store().get_run_status(&record.id).await?;
        let status = status.unwrap_or_else(|| RunStatus::pending(&record));
        Ok(RunView { record: Arc::new(record), status })
    }

    /// Returns a run and its snapshots.
    pub(crate) async fn get(&self, id: &RunId) -> Result<(RunView, Vec<SnapshotRecord>), ApiError> {
        let view = self.view(id).await?;
        Ok((view, self.store().list_snapshots(id).await?))
    }

    /// Returns a page of runs, and the token of the next page.
    pub(crate) async fn list(&self, page: &RunPage) -> Result<(Vec<RunView>, Option<String>), ApiError> {
        let (records, next) = listing::newest_first(self.store(), page).await?;
        let mut views = Vec::with_capacity(records.len());
        for record in records {
            let view = match self.registry.find(&record.id) {
                Some(run) => Ok(run.view()),
                None => self.stored_view(record).await,
            };
            match view {
                Ok(view) => views.push(view),
                // Deleted since it was listed.
                Err(error) if error.kind() == StoreErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((views, next))
    }

    /// Follows a run from `after_revision` on.
    pub(crate) async fn watch(&self, id: &RunId, after_revision: u64) -> Result<Watcher, ApiError> {
        if let Some(run) = self.registry.find(id) {
            return Ok(Watcher::of_live(&run, after_revision, self.shutdown.clone()));
        }
        let view = self.stored_view(self.store().get_run(id).await?).await?;
        Ok(Watcher::of_stored(view, after_revision, self.shutdown.clone()))
    }

    /// Stops a run.
    pub(crate) async fn cancel(&self, id: &RunId) -> Result<RunView, ApiError> {
        let ended = |state: JobState| {
            let message = if state.is_final() {
                format!("{id} has already ended; it is {state}")
            } else {
                format!("{id} was left behind by a trainer that stopped; it is about to be marked as failed")
            };
            ApiError::new(ErrorReason::WrongState, message)
        };
        let Some(run) = self.registry.find(id) else {
            let view = self.view(id).await?;
            return Err(ended(view.status.state));
        };
        let is_cancelled = run.cancel().map_err(|refusal| ended(refusal.from))?;
        if is_cancelled {
            let trainer = self.clone();
            let cancelled = run.clone();
            let stored = tokio::spawn(async move {
                trainer.journal.put_status(cancelled.id(), &cancelled.status()).await?;
                trainer.registry.forget(cancelled.id());
                Ok::<_, StoreError>(())
            });
            match stored.await {
                Ok(stored) => stored?,
                Err(error) => return Err(ApiError::new(ErrorReason::Internal, error.to_string())),
            }
        }
        Ok(run.view())
    }

    /// Marks the runs that an earlier process left unfinished as failed. Tries again, at growing intervals, while the
    /// store cannot be reached.
    pub(crate) async fn adopt(&self) {
        let mut pause = Duration::from_millis(200);
        loop {
            match self.fail_abandoned().await {
                Ok(0) => return,
                Ok(n_runs) => {
                    tracing::warn!(n_runs, "runs that an earlier trainer left unfinished are marked as failed");
                    return;
                }
                Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                    tracing::warn!(error = %chain(&error), "cannot look for unfinished runs, trying again");
                }
                Err(error) => {
                    tracing::error!(error = %chain(&error), "cannot look for unfinished runs");
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(MAX_PAUSE),
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    async fn fail_abandoned(&self) -> Result<usize, StoreError> {
        let (mut n_runs, mut after) = (0, None);
        loop {
            let listing = self.store().list_runs::<RunRecord>(&Page::new(0, after)).await?;
            for (id, record) in listing.items {
                // Asked before the status is read: a run of this process is forgotten only once its end is stored.
                if self.registry.owns(&id) {
                    continue;
                }
                let status = match self.stored_view(record).await {
                    Ok(view) => view.status,
                    Err(error) if error.kind() == StoreErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                if status.state.is_final() {
                    continue;
                }
                let last_snapshot = self.store().list_snapshots(&id).await?.last().map(|record| record.epoch);
                let failure = RunError::Stopped { last_snapshot }.failure();
                let revision = status.revision + 1;
                let status = RunStatus { state: JobState::Failed, error: Some(failure), revision, ..status };
                self.store().put_run_status(&id, &status).await?;
                n_runs += 1;
            }
            after = listing.next;
            if after.is_none() {
                return Ok(n_runs);
            }
        }
    }
}

fn stopping() -> ApiError {
    ApiError::new(ErrorReason::ShuttingDown, "the trainer is stopping")
}
