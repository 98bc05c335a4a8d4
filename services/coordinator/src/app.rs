//! The parts put together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use relief_api::catalog::v1::catalog_service_server::CatalogServiceServer;
use relief_api::convert::surface::SurfaceRequest;
use relief_api::inference::v1::inference_service_server::InferenceServiceServer;
use relief_api::surface::v1::surface_service_server::SurfaceServiceServer;
use relief_api::trajectory::v1::trajectory_service_server::TrajectoryServiceServer;
use relief_api::{ApiError, ErrorReason};
use relief_core::{DirectionAxis, JobState, NameError, SurfaceId, SurfaceValues};
use relief_rpc::{Endpoint, EndpointError, MAX_MESSAGE_BYTES, ServiceHost};
use relief_store::{LogPosition, Page, RequestMark, Store, StoreError, StoreErrorKind, SurfaceRecord};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::direction::directions_of;
use crate::fleet::{EvaluatorPort, Fleet};
use crate::grpc::{CatalogHandler, InferenceHandler, SurfaceHandler, TrajectoryHandler};
use crate::identity::{incarnation, new_surface_id, surface_id_of};
use crate::job::{Job, Status};
use crate::leadership::{Leadership, Role};
use crate::planning::{Planned, plan_surface};
use crate::reply::stopping;
use crate::schedule::{End, Settings, Tally};
use crate::subject::at;
use crate::term::{Term, TermOptions, samples_per_point};
use crate::trajectory::Trajectories;

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
    /// A leader that has not renewed its lease for so long is succeeded.
    pub lease: Duration,
    /// The most surfaces of one client that may be at work.
    pub max_jobs_per_client: usize,
    /// The most tiles of one client that are computed at once.
    pub max_tiles_per_client: usize,
    /// The parts of clients in the evaluators' time; 1 of those that are not named.
    pub client_weights: BTreeMap<String, u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            evaluators: Vec::new(),
            max_points: 512 * 512,
            max_import_bytes: 2 << 30,
            stall_timeout: Duration::from_secs(30),
            lease: Duration::from_secs(10),
            max_jobs_per_client: 1000,
            max_tiles_per_client: usize::MAX,
            client_weights: BTreeMap::new(),
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
    trajectories: Arc<Trajectories>,
    max_import_bytes: usize,
    term: TermOptions,
}

/// What can be done with surfaces.
#[derive(Debug)]
pub(crate) struct Surfaces {
    store: Store,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) leadership: Arc<Leadership>,
    max_points: u64,
    n_created: AtomicU64,
    /// Planning holds a checkpoint and its directions in memory.
    planning: Semaphore,
    planning_queue: Semaphore,
    pub(crate) shutdown: CancellationToken,
}

/// What a surface takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SurfacePlan {
    pub(crate) record: SurfaceRecord,
    pub(crate) n_reused: u64,
    pub(crate) n_samples: u64,
    pub(crate) result_bytes: u64,
    pub(crate) input_bytes: u64,
    /// None when nothing like it was measured.
    pub(crate) evaluator_time: Option<Duration>,
}

impl App {
    /// Returns a coordinator on `store`. Nothing is connected before [`App::run`].
    ///
    /// # Errors
    /// When an endpoint is unusable.
    pub fn new(options: Options, store: Store, shutdown: CancellationToken) -> Result<Self, AppError> {
        Self::with_evaluators(options, Vec::new(), store, shutdown)
    }

    /// As [`App::new`], with evaluators in this process beside those that the options name.
    ///
    /// # Errors
    /// When an endpoint is unusable.
    pub fn with_evaluators(
        options: Options,
        ports: Vec<Arc<dyn EvaluatorPort>>,
        store: Store,
        shutdown: CancellationToken,
    ) -> Result<Self, AppError> {
        let surfaces = Surfaces {
            fleet: Arc::new(Fleet::new(&options.evaluators, ports).map_err(AppError::Endpoint)?),
            leadership: Arc::new(Leadership::new(store.clone(), options.lease, shutdown.clone())),
            store,
            max_points: options.max_points,
            n_created: AtomicU64::new(0),
            planning: Semaphore::new(N_PLANNING),
            planning_queue: Semaphore::new(N_PLANNING + N_WAITING),
            shutdown,
        };
        let term = TermOptions {
            settings: Settings {
                stall_timeout: options.stall_timeout,
                max_running_per_client: options.max_tiles_per_client,
                ..Settings::default()
            },
            client_weights: options.client_weights,
            max_jobs_per_client: options.max_jobs_per_client,
        };
        let surfaces = Arc::new(surfaces);
        let trajectories = Arc::new(Trajectories::new(Arc::clone(&surfaces), options.stall_timeout));
        Ok(Self { surfaces, trajectories, max_import_bytes: options.max_import_bytes, term })
    }

    /// Adds the surface, trajectory, inference and catalog services.
    pub fn add_to(&self, host: &mut ServiceHost) {
        let shutdown = self.surfaces.shutdown.clone();
        let trajectories =
            TrajectoryHandler { trajectories: Arc::clone(&self.trajectories), shutdown: shutdown.clone() };
        let surfaces = SurfaceHandler { surfaces: Arc::clone(&self.surfaces), shutdown };
        let catalog = CatalogHandler {
            store: self.surfaces.store.clone(),
            leadership: Arc::clone(&self.surfaces.leadership),
            max_import_bytes: self.max_import_bytes,
        };
        let inference = InferenceHandler {
            store: self.surfaces.store.clone(),
            fleet: Arc::clone(&self.surfaces.fleet),
            stall_timeout: self.term.settings.stall_timeout,
        };
        host.add(InferenceServiceServer::new(inference).max_encoding_message_size(MAX_MESSAGE_BYTES));
        host.add(SurfaceServiceServer::new(surfaces).max_encoding_message_size(MAX_MESSAGE_BYTES));
        host.add(TrajectoryServiceServer::new(trajectories).max_encoding_message_size(MAX_MESSAGE_BYTES));
        host.add(CatalogServiceServer::new(catalog).max_decoding_message_size(MAX_MESSAGE_BYTES));
    }

    /// Completes when it is known whether this coordinator leads or stands by, and, if it leads, when the surfaces that
    /// others left unfinished are at work again, which [`App::run`] does first.
    pub async fn ready(&self) {
        let mut role = self.surfaces.leadership.role();
        loop {
            let now = role.borrow_and_update().clone();
            match now {
                Role::Starting => {}
                Role::Standby(_) => return,
                Role::Leader(term) if term.resumed().await.is_ok() => return,
                Role::Leader(_) => {}
            }
            if role.changed().await.is_err() {
                return;
            }
        }
    }

    /// Until the shutdown, takes the lead when nobody has it: takes up the surfaces that were unfinished, and keeps the
    /// evaluators at work. `endpoint` is where clients reach this coordinator.
    pub async fn run(&self, endpoint: String) {
        let Surfaces { store, fleet, leadership, .. } = &*self.surfaces;
        // Standing by, it still computes logits, and must know of evaluators for that.
        let known = fleet.watch(&self.surfaces.shutdown, || leadership.leads());
        let lead = |mandate, epoch| Term::begin(store.clone(), Arc::clone(fleet), mandate, epoch, self.term.clone());
        tokio::join!(leadership.run(endpoint, lead), known, self.trajectories.run());
    }
}

impl Surfaces {
    /// The term in which this coordinator leads, once unfinished surfaces are at work again.
    pub(crate) async fn term(&self) -> Result<Arc<Term>, ApiError> {
        let term = self.leadership.term().await?;
        term.resumed().await?;
        Ok(term)
    }

    /// Accepts a surface: checks it, stores it, and puts it to work. One that the same request has made before is returned.
    pub(crate) async fn create(
        &self,
        id: Option<SurfaceId>,
        mark: Option<RequestMark>,
        request: SurfaceRequest,
    ) -> Result<(SurfaceRecord, Status), ApiError> {
        let term = self.term().await?;
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
        term.admit(request.scheduling.client.as_str())?;
        // Nobody collects what is drawn for a surface before that is stored.
        let _planning = term.planning.read().await;
        let mut planned = self.plan(request).await?;
        planned.keep(&self.store).await?;
        let n_created = self.n_created.fetch_add(1, Ordering::Relaxed);
        let id = match id {
            Some(id) => id,
            None => new_surface_id(SystemTime::now(), n_created).map_err(internal)?,
        };
        let record = self.record(id, mark, planned, n_created);
        let _reserved = term.reserve(&record.id);
        term.mandate.hold().await?;
        // Others of the same client may have been accepted while this one was planned.
        term.admit(record.spec.scheduling.client.as_str())?;
        match self.store.create_surface(&record).await {
            // Whoever was faster may have been asked the same.
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {
                let made = self.find_made(&record.id, record.request.as_ref()).await?;
                return made.ok_or_else(|| at("surface_id")(error));
            }
            created => created.map_err(at("surface_id"))?,
        }
        if !term.mandate.is_held() {
            // It may have been stored after another coordinator looked for what is unfinished; that one will find it, but
            // this one cannot promise it.
            return Err(ApiError::not_leader(None));
        }
        tracing::info!(surface = %record.id, points = record.spec.grid.n_points(), "surface accepted");
        let job = term.add(record, &BTreeSet::new(), 0);
        Ok(((*job.record()).clone(), job.status()))
    }

    /// Checks a surface and says what it would take. Nothing is stored.
    pub(crate) async fn validate(
        &self,
        id: Option<SurfaceId>,
        mark: Option<RequestMark>,
        request: SurfaceRequest,
    ) -> Result<SurfacePlan, ApiError> {
        let term = self.term().await?;
        if let Some(id) = &id
            && self.find_made(id, mark.as_ref()).await?.is_some()
        {
            return Err(at("surface_id")(StoreError::AlreadyExists { name: id.to_string() }));
        }
        term.admit(request.scheduling.client.as_str())?;
        let planned = self.plan(request).await?;
        let input_bytes = planned.input_bytes;
        let id = match id {
            Some(id) => id,
            None => new_surface_id(SystemTime::now(), 0).map_err(internal)?,
        };
        let record = self.record(id, mark, planned, 0);
        // The class is chosen when the work begins; one that was measured is the likeliest.
        let classes = self.fleet.likely_classes(record.spec.numerics);
        let network = record.provenance.network_digest;
        let is_measured = |class: &&String| term.expected_time(class, network, 1).is_some();
        let class = classes.iter().find(is_measured).or(classes.first());
        let n_reused = match class {
            None => 0,
            Some(class) => self.store.find_points(&record, class).await?.reuse.n_points,
        };
        let n_points = record.spec.grid.n_points();
        let n_samples = n_points.saturating_sub(n_reused).saturating_mul(samples_per_point(&record));
        let evaluator_time = class.and_then(|class| term.expected_time(class, network, n_samples));
        let result_bytes = record.n_value_bytes();
        Ok(SurfacePlan { record, n_reused, n_samples, result_bytes, input_bytes, evaluator_time })
    }

    async fn plan(&self, request: SurfaceRequest) -> Result<Planned, ApiError> {
        self.turn(plan_surface(&self.store, request, self.max_points)).await
    }

    /// Waits until few others plan, and plans then.
    ///
    /// # Errors
    /// `QUEUE_FULL` when too many wait.
    pub(crate) async fn turn<T>(&self, plan: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        let full = || ApiError::new(ErrorReason::QueueFull, "too many surfaces are being planned; try again later");
        let _place = self.planning_queue.try_acquire().map_err(|_| full())?;
        let _turn = self.planning.acquire().await.map_err(|_| stopping())?;
        plan.await
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    fn record(&self, id: SurfaceId, mark: Option<RequestMark>, planned: Planned, nonce: u64) -> SurfaceRecord {
        let log = LogPosition::new(incarnation(id.as_str(), SystemTime::now(), nonce));
        let Planned { spec, provenance, geometry, .. } = planned;
        SurfaceRecord { id, spec, provenance, geometry, request: mark, reuse: None, outcome: None, log }
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

    /// The surface, if this coordinator is at work on it.
    fn job_here(&self, id: &SurfaceId) -> Option<Arc<Job>> {
        match &*self.leadership.role().borrow() {
            Role::Leader(term) => term.job(id),
            Role::Starting | Role::Standby(_) => None,
        }
    }

    /// The surface and the term in which it is at work; none when nobody is at work on it.
    ///
    /// # Errors
    /// `NOT_LEADER` when another coordinator would be.
    pub(crate) async fn job(&self, id: &SurfaceId) -> Result<Option<(Arc<Term>, Arc<Job>)>, ApiError> {
        let term = self.term().await?;
        let job = term.job(id);
        Ok(job.map(|job| (term, job)))
    }

    /// The surface and how far it is.
    pub(crate) async fn get(&self, id: &SurfaceId) -> Result<(SurfaceRecord, Status), ApiError> {
        if let Some(job) = self.job_here(id) {
            return Ok(((*job.record()).clone(), job.status()));
        }
        self.describe_elsewhere(self.store.get_surface(id).await?).await
    }

    /// A surface that this coordinator is not at work on: what is stored tells how far it is.
    async fn describe_elsewhere(&self, record: SurfaceRecord) -> Result<(SurfaceRecord, Status), ApiError> {
        let n_done = match &record.outcome {
            Some(_) => 0,
            None => self.store.committed_tiles(&record).await?.len() as u64,
        };
        let (record, mut status) = describe_stored(record);
        if n_done > 0 {
            let tally = &mut status.tally;
            status.state = JobState::Running;
            tally.tiles_done = n_done;
            // Those at the edges may be smaller.
            tally.points_done = (n_done * tally.points_total / tally.tiles_total.max(1)).max(1);
        }
        Ok((record, status))
    }

    /// A page of surfaces, newest first, and the token of the next.
    pub(crate) async fn list(
        &self,
        page_size: u32,
        page_token: &str,
    ) -> Result<(Vec<(SurfaceRecord, Status)>, String), ApiError> {
        let mut records = stored_surfaces(&self.store).await?;
        let key = |record: &SurfaceRecord| format!("{} {}", record.provenance.created, record.id.as_str());
        records.sort_by_key(|record| std::cmp::Reverse(key(record)));
        let page_size = if page_size == 0 { 100 } else { page_size.min(1000) as usize };
        let start = records.partition_point(|record| !page_token.is_empty() && key(record).as_str() >= page_token);
        let page: Vec<SurfaceRecord> = records[start..].iter().take(page_size).cloned().collect();
        let is_last = start + page.len() == records.len();
        let next = page.last().filter(|_| !is_last).map(key).unwrap_or_default();
        let mut described = Vec::with_capacity(page.len());
        for record in page {
            described.push(match self.job_here(&record.id) {
                Some(job) => ((*job.record()).clone(), job.status()),
                None => self.describe_elsewhere(record).await?,
            });
        }
        Ok((described, next))
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
        let ended = |state| {
            let message = format!("{id} has already ended: it is {state}");
            ApiError::new(ErrorReason::WrongState, message)
        };
        let Some((term, job)) = self.job(id).await? else {
            let (_, status) = describe_stored(self.store.get_surface(id).await?);
            if !status.state.is_final() {
                let message = format!("nobody is at work on {id} yet; try again");
                return Err(ApiError::new(ErrorReason::NotLeader, message));
            }
            return Err(ended(status.state));
        };
        if !term.end(&job, End::Cancelled).await? {
            return Err(ended(job.status().state));
        }
        Ok(job)
    }

    /// Deletes a surface, stopping it first.
    pub(crate) async fn delete(&self, id: &SurfaceId) -> Result<(), ApiError> {
        let term = self.term().await?;
        if let Some(job) = term.job(id)
            && term.end(&job, End::Removed).await?
        {
            return Ok(());
        }
        term.mandate.hold().await?;
        match self.store.get_surface(id).await {
            Ok(record) => Ok(self.store.delete_surface(&record, term.epoch).await?),
            Err(error) if error.kind() == StoreErrorKind::Corrupt => Ok(self.store.delete_damaged_surface(id).await?),
            Err(error) => Err(error.into()),
        }
    }
}

/// All surfaces whose records can be read; the others are for somebody to look at.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn stored_surfaces(store: &Store) -> Result<Vec<SurfaceRecord>, StoreError> {
    let mut records = Vec::new();
    let mut after = None;
    loop {
        let page = store.list_surfaces(&Page::new(1000, after)).await?;
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

fn internal(error: NameError) -> ApiError {
    ApiError::new(ErrorReason::Internal, error.to_string())
}

/// Above any revision that a watcher can have seen while a surface was at work, and exact in JSON.
const FINAL_REVISION: u64 = (1 << 53) - 1;

/// A surface that no job is at work on: it has ended, or will be taken up when the start is over.
pub(crate) fn describe_stored(record: SurfaceRecord) -> (SurfaceRecord, Status) {
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
        ..Tally::default()
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
