//! The parts put together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use relief_api::catalog::v1::catalog_service_server::CatalogServiceServer;
use relief_api::convert::surface::SurfaceRequest;
use relief_api::inference::v1::inference_service_server::InferenceServiceServer;
use relief_api::surface::v1::surface_service_server::SurfaceServiceServer;
use relief_api::{ApiError, ErrorReason};
use relief_core::{DirectionAxis, JobState, NameError, SurfaceId, SurfaceValues};
use relief_rpc::{Endpoint, EndpointError, MAX_MESSAGE_BYTES, ServiceHost};
use relief_store::{Page, RequestMark, Store, StoreError, StoreErrorKind, SurfaceRecord};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::direction::directions_of;
use crate::dispatch::Dispatcher;
use crate::fleet::Fleet;
use crate::grpc::{CatalogHandler, InferenceHandler, SurfaceHandler};
use crate::identity::{new_surface_id, surface_id_of};
use crate::job::{Job, Status};
use crate::ledger::{Ledger, Tally};
use crate::planning::{Planned, open_ledger, plan_surface};
use crate::registry::Registry;
use crate::subject::at;

/// What a coordinator is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the evaluators are.
    pub evaluators: Vec<Endpoint>,
    /// The most points of one surface.
    pub max_points: u64,
    /// The most bytes of one imported file.
    pub max_import_bytes: usize,
    /// An evaluator that is silent for so long is given up.
    pub stall_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            evaluators: Vec::new(),
            max_points: 512 * 512,
            max_import_bytes: 2 << 30,
            stall_timeout: Duration::from_secs(30),
        }
    }
}

/// Why a coordinator cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// An evaluator's endpoint is unusable.
    #[error("cannot use an evaluator's endpoint")]
    Endpoint(#[source] EndpointError),
}

/// Surfaces that are planned at the same time.
const N_PLANNING: usize = 2;
/// Those that may wait for their turn; more are refused.
const N_WAITING: usize = 256;

/// A coordinator. Clones are the same one.
#[derive(Debug, Clone)]
pub struct App {
    surfaces: Arc<Surfaces>,
    max_import_bytes: usize,
    stall_timeout: Duration,
}

/// What can be done with surfaces.
#[derive(Debug)]
pub(crate) struct Surfaces {
    store: Store,
    registry: Arc<Registry>,
    fleet: Arc<Fleet>,
    max_points: u64,
    n_created: AtomicU64,
    /// Planning holds a checkpoint and its directions in memory.
    planning: Semaphore,
    planning_queue: Semaphore,
    /// Cancelled once the surfaces that an earlier process left unfinished are at work again.
    is_resumed: CancellationToken,
    shutdown: CancellationToken,
}

impl App {
    /// Returns a coordinator on `store`. Nothing is connected before [`App::run`].
    ///
    /// # Errors
    /// When an endpoint is unusable.
    pub fn new(options: Options, store: Store, shutdown: CancellationToken) -> Result<Self, AppError> {
        let surfaces = Surfaces {
            registry: Arc::new(Registry::new(store.clone())),
            fleet: Arc::new(Fleet::new(&options.evaluators).map_err(AppError::Endpoint)?),
            store,
            max_points: options.max_points,
            n_created: AtomicU64::new(0),
            planning: Semaphore::new(N_PLANNING),
            planning_queue: Semaphore::new(N_PLANNING + N_WAITING),
            is_resumed: CancellationToken::new(),
            shutdown,
        };
        Ok(Self {
            surfaces: Arc::new(surfaces),
            max_import_bytes: options.max_import_bytes,
            stall_timeout: options.stall_timeout,
        })
    }

    /// Adds the surface, inference and catalog services.
    pub fn add_to(&self, host: &mut ServiceHost) {
        let shutdown = self.surfaces.shutdown.clone();
        let surfaces = SurfaceHandler { surfaces: Arc::clone(&self.surfaces), shutdown };
        let catalog = CatalogHandler { store: self.surfaces.store.clone(), max_import_bytes: self.max_import_bytes };
        let inference = InferenceHandler {
            store: self.surfaces.store.clone(),
            fleet: Arc::clone(&self.surfaces.fleet),
            stall_timeout: self.stall_timeout,
        };
        host.add(InferenceServiceServer::new(inference).max_encoding_message_size(MAX_MESSAGE_BYTES));
        host.add(SurfaceServiceServer::new(surfaces).max_encoding_message_size(MAX_MESSAGE_BYTES));
        host.add(CatalogServiceServer::new(catalog).max_decoding_message_size(MAX_MESSAGE_BYTES));
    }

    /// Completes when the surfaces that an earlier process left unfinished are at work again, which [`App::run`] does
    /// first.
    pub async fn ready(&self) {
        self.surfaces.is_resumed.cancelled().await;
    }

    /// Takes up the surfaces that were unfinished, and keeps the evaluators at work until the shutdown.
    pub async fn run(&self) {
        let surfaces = &self.surfaces;
        let supervisors = surfaces.fleet.links().iter().map(|link| {
            let dispatcher = Dispatcher {
                store: surfaces.store.clone(),
                registry: Arc::clone(&surfaces.registry),
                fleet: Arc::clone(&surfaces.fleet),
                stall_timeout: self.stall_timeout,
                shutdown: surfaces.shutdown.clone(),
            };
            tokio::spawn(dispatcher.supervise(link.idx))
        });
        let supervisors = futures::future::join_all(supervisors.collect::<Vec<_>>());
        let ((), outcomes) = tokio::join!(surfaces.resume(), supervisors);
        for error in outcomes.into_iter().filter_map(Result::err) {
            tracing::error!(%error, "an evaluator's supervisor ended early");
        }
        surfaces.shutdown.cancelled().await;
    }
}

impl Surfaces {
    /// Accepts a surface: checks it, stores it, and puts it to work. One that the same request has made before is returned.
    pub(crate) async fn create(
        &self,
        id: Option<SurfaceId>,
        mark: Option<RequestMark>,
        request: SurfaceRequest,
    ) -> Result<(SurfaceRecord, Status), ApiError> {
        self.resumed().await?;
        let internal = |error: NameError| ApiError::new(ErrorReason::Internal, error.to_string());
        let id = match (id, &mark) {
            (Some(id), _) => Some(id),
            (None, Some(mark)) => Some(surface_id_of(&mark.id).map_err(internal)?),
            (None, None) => None,
        };
        // Asked first, so that a taken name leaves nothing behind.
        if let Some(id) = &id
            && let Some(made) = self.find_made(id, mark.as_ref()).await?
        {
            return Ok(made);
        }
        let planned = {
            let full = || ApiError::new(ErrorReason::QueueFull, "too many surfaces are being planned; try again later");
            let _place = self.planning_queue.try_acquire().map_err(|_| full())?;
            let _turn = self.planning.acquire().await.map_err(|_| stopping())?;
            plan_surface(&self.store, request, self.max_points, self.fleet.majority_class()).await?
        };
        let id = match id {
            Some(id) => id,
            None => {
                new_surface_id(SystemTime::now(), self.n_created.fetch_add(1, Ordering::Relaxed)).map_err(internal)?
            }
        };
        let Planned { spec, provenance, geometry } = planned;
        let record = SurfaceRecord { id, spec, provenance, geometry, request: mark, reuse: None, outcome: None };
        match self.store.create_surface(&record).await {
            // Whoever was faster may have been asked the same.
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {
                let made = self.find_made(&record.id, record.request.as_ref()).await?;
                return made.ok_or_else(|| at("surface_id")(error));
            }
            created => created.map_err(at("surface_id"))?,
        }
        tracing::info!(surface = %record.id, points = record.spec.grid.n_points(), "surface accepted");
        let ledger = Ledger::new(record.plan(), &BTreeSet::new(), 0);
        let job = Arc::new(Job::new(record, ledger));
        self.registry.add(Arc::clone(&job));
        self.registry.explain_waiting(&self.fleet);
        Ok((job.record().clone(), job.status()))
    }

    /// The surface `id`, when the request with this mark has made it; none when there is none of that name.
    async fn find_made(
        &self,
        id: &SurfaceId,
        mark: Option<&RequestMark>,
    ) -> Result<Option<(SurfaceRecord, Status)>, ApiError> {
        match (self.get(id).await, mark) {
            (Ok(made), Some(mark)) if made.0.request.as_ref() == Some(mark) => Ok(Some(made)),
            (Ok((record, _)), Some(mark)) if record.request.as_ref().is_some_and(|made| made.id == mark.id) => {
                let message = format!("`{}` was used for {id}, which is another one; choose another id", mark.id);
                let refusal = ApiError::field("request_id", message);
                Err(ApiError { reason: ErrorReason::AlreadyExists, ..refusal })
            }
            (Ok(_), _) => Err(at("surface_id")(StoreError::AlreadyExists { name: id.to_string() })),
            (Err(error), _) if error.reason == ErrorReason::StoreUnavailable => Err(error),
            // One that is damaged is found when its record is put.
            (Err(_), _) => Ok(None),
        }
    }

    /// Waits until unfinished surfaces are at work again; before that, one that will go on looks like one that is left.
    async fn resumed(&self) -> Result<(), ApiError> {
        tokio::select! {
            () = self.is_resumed.cancelled() => Ok(()),
            () = self.shutdown.cancelled() => Err(stopping()),
        }
    }

    /// The surface, if it is at work.
    pub(crate) async fn job(&self, id: &SurfaceId) -> Result<Option<Arc<Job>>, ApiError> {
        self.resumed().await?;
        Ok(self.registry.get(id))
    }

    /// The surface and how far it is.
    pub(crate) async fn get(&self, id: &SurfaceId) -> Result<(SurfaceRecord, Status), ApiError> {
        match self.registry.get(id) {
            Some(job) => Ok((job.record().clone(), job.status())),
            None => Ok(describe_stored(self.store.get_surface(id).await?)),
        }
    }

    /// A page of surfaces, newest first, and the token of the next.
    pub(crate) async fn list(
        &self,
        page_size: u32,
        page_token: &str,
    ) -> Result<(Vec<(SurfaceRecord, Status)>, String), ApiError> {
        let mut records = self.stored_surfaces().await?;
        let key = |record: &SurfaceRecord| format!("{} {}", record.provenance.created, record.id.as_str());
        records.sort_by_key(|record| std::cmp::Reverse(key(record)));
        let page_size = if page_size == 0 { 100 } else { page_size.min(1000) as usize };
        let start = records.partition_point(|record| !page_token.is_empty() && key(record).as_str() >= page_token);
        let page: Vec<SurfaceRecord> = records[start..].iter().take(page_size).cloned().collect();
        let is_last = start + page.len() == records.len();
        let next = page.last().filter(|_| !is_last).map(key).unwrap_or_default();
        let describe = |record: SurfaceRecord| match self.registry.get(&record.id) {
            Some(job) => (job.record().clone(), job.status()),
            None => describe_stored(record),
        };
        Ok((page.into_iter().map(describe).collect(), next))
    }

    /// The values computed so far.
    pub(crate) async fn read(&self, id: &SurfaceId) -> Result<SurfaceValues, ApiError> {
        Ok(self.store.read_surface(id).await?)
    }

    /// The directions of a surface as files, x first.
    pub(crate) async fn directions(&self, id: &SurfaceId) -> Result<Vec<(DirectionAxis, Bytes)>, ApiError> {
        directions_of(&self.store, &self.store.get_surface(id).await?).await
    }

    /// Stops a surface.
    pub(crate) async fn cancel(&self, id: &SurfaceId) -> Result<Arc<Job>, ApiError> {
        let Some(job) = self.job(id).await? else {
            let (_, status) = describe_stored(self.store.get_surface(id).await?);
            let message = format!("{id} has already ended: it is {}", status.state);
            return Err(ApiError::new(ErrorReason::WrongState, message));
        };
        self.registry.finish(&job, JobState::Cancelled, None, &self.shutdown).await?;
        Ok(job)
    }

    /// Deletes a surface, stopping it first.
    pub(crate) async fn delete(&self, id: &SurfaceId) -> Result<(), ApiError> {
        let job = self.job(id).await?;
        if let Some(job) = &job {
            self.registry.remove(id);
            job.stop_writing().await;
        }
        let deleted = self.store.delete_surface(id).await;
        if let Some(job) = job {
            job.end(JobState::Cancelled, None);
            if deleted.is_err() {
                // It was not deleted, so its work goes on; a store that fails here too is asked again at the next start.
                let record = self.store.get_surface(id).await?;
                if record.outcome.is_none() {
                    self.take_up(record).await?;
                }
            }
        }
        Ok(deleted?)
    }

    /// Puts every stored surface that has not ended back to work.
    async fn resume(&self) {
        let mut pause = Duration::from_millis(200);
        while let Err(error) = self.try_resume().await {
            tracing::warn!(%error, "cannot look for unfinished surfaces yet");
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(10)),
                () = self.shutdown.cancelled() => return,
            }
        }
        self.is_resumed.cancel();
    }

    async fn try_resume(&self) -> Result<(), ApiError> {
        for record in self.stored_surfaces().await? {
            if record.outcome.is_some() || self.registry.get(&record.id).is_some() {
                continue;
            }
            match self.take_up(record.clone()).await {
                Err(error) if error.reason == ErrorReason::DataCorrupt => {
                    // One damaged surface must not keep the others from going on.
                    tracing::error!(surface = %record.id, %error, "a surface cannot be taken up again");
                    let job = Job::new(record.clone(), Ledger::new(record.plan(), &BTreeSet::new(), 0));
                    self.registry.finish(&job, JobState::Failed, Some(error), &self.shutdown).await?;
                }
                taken_up => taken_up?,
            }
        }
        Ok(())
    }

    /// All surfaces whose records can be read; the others are for somebody to look at.
    async fn stored_surfaces(&self) -> Result<Vec<SurfaceRecord>, ApiError> {
        let mut records = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.list_surfaces(&Page::new(1000, after)).await?;
            for record in page.items {
                match record {
                    Ok(record) => records.push(record),
                    Err(error) => tracing::error!(%error, "the record of a surface cannot be read"),
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(records),
            }
        }
    }

    /// Puts a stored surface that has not ended back to work.
    async fn take_up(&self, record: SurfaceRecord) -> Result<(), ApiError> {
        let ledger = open_ledger(&self.store, &record).await?;
        tracing::info!(surface = %record.id, tiles_done = ledger.tally().tiles_done, "surface taken up again");
        let is_complete = ledger.is_complete();
        let job = Arc::new(Job::new(record, ledger));
        self.registry.add(Arc::clone(&job));
        if is_complete {
            self.registry.finish(&job, JobState::Succeeded, None, &self.shutdown).await?;
        }
        Ok(())
    }
}

fn stopping() -> ApiError {
    ApiError::new(ErrorReason::ShuttingDown, "the coordinator is stopping")
}

/// Above any revision that a watcher can have seen while a surface was at work, and exact in JSON.
const FINAL_REVISION: u64 = (1 << 53) - 1;

/// A surface that no job is at work on: it has ended, or will be taken up when the start is over.
fn describe_stored(record: SurfaceRecord) -> (SurfaceRecord, Status) {
    let plan = record.plan();
    let outcome = record.outcome.as_ref();
    let tally = Tally {
        points_total: record.spec.grid.n_points(),
        tiles_total: plan.n_tiles(),
        points_done: outcome.map_or(0, |outcome| outcome.points_done),
        points_reused: record.reuse.as_ref().map_or(0, |reuse| reuse.n_points),
        points_non_finite: outcome.map_or(0, |outcome| outcome.points_non_finite),
        tiles_done: outcome.map_or(0, |outcome| outcome.tiles_done),
        tiles_retried: outcome.map_or(0, |outcome| outcome.tiles_retried),
        tiles_running: 0,
    };
    let error = outcome.and_then(|outcome| Some((outcome.reason.clone()?, outcome.message.clone()?)));
    let status = Status {
        state: outcome.map_or(JobState::Pending, |outcome| outcome.state),
        tally,
        points_per_second: 0.0,
        revision: FINAL_REVISION,
        error,
        waiting_reason: String::new(),
    };
    (record, status)
}
