//! Trajectories: paths of optimisers, projected into a plane.
//!
//! What holds: as with surfaces, the store is the truth. A trajectory is accepted when its specification is stored;
//! every part of the work, a tile of the Gram matrix, an axis, the loss at a stop, is stored once, where nothing is, and
//! has the same bits whoever computes it; it has ended when its outcome is stored, and the first outcome counts. So the
//! work can be dropped at any moment and taken up by anybody. The surface in its plane is a surface like any other, which
//! the scheduler looks after.
//!
//! What is asked of evaluators beside tiles of surfaces goes past the scheduler ([`errand`]): few and short requests, of
//! which an evaluator gets one at a time.

mod errand;
mod job;
mod planning;
#[cfg(test)]
mod testing;
mod work;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use relief_api::convert::trajectory::TrajectoryRequest;
use relief_api::{ApiError, ErrorReason};
use relief_core::{JobState, NameError, TrajectoryId};
use relief_store::{
    Page, RequestMark, StoreError, StoreErrorKind, TrajectoryAxesRecord, TrajectoryOutcome, TrajectoryRecord, rfc3339,
};

use crate::app::Surfaces;
use crate::identity::{incarnation, new_trajectory_id, trajectory_id_of};
use crate::job::chain;
use crate::leadership::Role;
use crate::subject::at;
use crate::term::Term;

pub(crate) use job::{Stage, TrajectoryJob, TrajectoryStatus};

use errand::Errands;

/// Between two tries to store what must be stored.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks for trajectories that a leader before stored late.
const SEARCH_INTERVAL: Duration = Duration::from_secs(30);

/// What can be done with trajectories.
#[derive(Debug)]
pub(crate) struct Trajectories {
    surfaces: Arc<Surfaces>,
    errands: Errands,
    jobs: Mutex<HashMap<TrajectoryId, Arc<TrajectoryJob>>>,
    n_created: AtomicU64,
}

/// A trajectory, how far it is, and where its path lies as soon as that is known.
pub(crate) struct Described {
    pub(crate) record: TrajectoryRecord,
    pub(crate) status: TrajectoryStatus,
    pub(crate) axes: Option<TrajectoryAxesRecord>,
    pub(crate) values: Vec<Option<relief_core::PointValues>>,
}

impl Trajectories {
    pub(crate) fn new(surfaces: Arc<Surfaces>, stall_timeout: Duration) -> Self {
        let errands = Errands::new(Arc::clone(&surfaces.fleet), stall_timeout);
        Self { surfaces, errands, jobs: Mutex::default(), n_created: AtomicU64::new(0) }
    }

    /// Until the shutdown, whenever this coordinator leads: takes up what is unfinished.
    pub(crate) async fn run(self: &Arc<Self>) {
        let mut role = self.surfaces.leadership.role();
        loop {
            let now = role.borrow_and_update().clone();
            if let Role::Leader(term) = now {
                let trajectories = Arc::clone(self);
                let of_term = Arc::clone(&term);
                term.spawn(async move { trajectories.resume(of_term).await });
            }
            tokio::select! {
                changed = role.changed() => if changed.is_err() { return },
                () = self.surfaces.shutdown.cancelled() => return,
            }
        }
    }

    async fn resume(self: Arc<Self>, term: Arc<Term>) {
        let mut pause = MIN_PAUSE;
        while let Err(error) = self.try_resume(&term).await {
            tracing::warn!(%error, "cannot look for unfinished trajectories yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        // A leader before may have stored one too late to be found.
        loop {
            tokio::time::sleep(SEARCH_INTERVAL).await;
            if let Err(error) = self.try_resume(&term).await {
                tracing::warn!(%error, "cannot look for unfinished trajectories");
            }
        }
    }

    async fn try_resume(self: &Arc<Self>, term: &Arc<Term>) -> Result<(), ApiError> {
        term.resumed().await?;
        for record in self.stored().await? {
            if record.outcome.is_none() && self.job(&record.id).is_none() {
                tracing::info!(trajectory = %record.id, "trajectory taken up again");
                self.start(term, record);
            }
        }
        Ok(())
    }

    /// Puts a stored trajectory to work.
    fn start(self: &Arc<Self>, term: &Arc<Term>, record: TrajectoryRecord) -> Arc<TrajectoryJob> {
        let job = {
            let mut jobs = self.lock();
            // Whoever creates it and whoever finds it in the store may both be about to.
            if let Some(job) = jobs.get(&record.id)
                && job.is_of(term.epoch, &record)
            {
                return Arc::clone(job);
            }
            let job = Arc::new(TrajectoryJob::new(record, term.epoch));
            jobs.insert(job.id().clone(), Arc::clone(&job));
            job
        };
        let (trajectories, of_term, at_work) = (Arc::clone(self), Arc::clone(term), Arc::clone(&job));
        let over = term.over().clone();
        let leave = Leave { trajectories: Arc::clone(self), job: Arc::clone(&job) };
        term.spawn(async move {
            let _leave = leave;
            tokio::select! {
                () = trajectories.work(&of_term, &at_work) => {}
                () = over.cancelled() => {}
            }
        });
        job
    }

    /// Accepts a trajectory: checks it, stores it, and puts it to work. One that the same request has made before is
    /// returned.
    pub(crate) async fn create(
        self: &Arc<Self>,
        id: Option<TrajectoryId>,
        mark: Option<RequestMark>,
        request: TrajectoryRequest,
        is_only_checked: bool,
    ) -> Result<Described, ApiError> {
        let term = self.surfaces.term().await?;
        let id = match (id, &mark) {
            (Some(id), _) => Some(id),
            (None, Some(mark)) => Some(trajectory_id_of(&mark.id).map_err(internal)?),
            (None, None) => None,
        };
        if let Some(id) = &id
            && let Some(made) = self.find_made(id, mark.as_ref()).await?
        {
            return Ok(made);
        }
        term.admit(request.scheduling.client.as_str())?;
        // Nobody collects what is drawn for a trajectory before that is stored.
        let _planning = term.planning.read().await;
        let mut planned = self.surfaces.turn(planning::plan(self.surfaces.store(), request)).await?;
        let n_created = self.n_created.fetch_add(1, Ordering::Relaxed);
        let id = match id {
            Some(id) => id,
            None => new_trajectory_id(SystemTime::now(), n_created).map_err(internal)?,
        };
        let incarnation = incarnation(id.as_str(), SystemTime::now(), n_created);
        let record = planned.record(id, mark, incarnation).map_err(internal)?;
        if is_only_checked {
            let status = TrajectoryStatus::new(&record);
            return Ok(Described { record, status, axes: None, values: Vec::new() });
        }
        planned.keep(self.surfaces.store()).await?;
        term.mandate.hold().await?;
        match self.surfaces.store().create_trajectory(&record).await {
            // Whoever was faster may have been asked the same.
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {
                let made = self.find_made(&record.id, record.request.as_ref()).await?;
                return made.ok_or_else(|| at("trajectory_id")(error));
            }
            created => created.map_err(at("trajectory_id"))?,
        }
        if !term.mandate.is_held() {
            return Err(ApiError::not_leader(None));
        }
        tracing::info!(trajectory = %record.id, stops = record.spec.n_stops(), "trajectory accepted");
        let job = self.start(&term, record);
        Ok(Described { record: job.record(), status: job.status(), axes: None, values: Vec::new() })
    }

    async fn find_made(&self, id: &TrajectoryId, mark: Option<&RequestMark>) -> Result<Option<Described>, ApiError> {
        match (self.get(id).await, mark) {
            (Ok(made), Some(mark)) if made.record.request.as_ref() == Some(mark) => Ok(Some(made)),
            (Ok(made), Some(mark)) if made.record.request.as_ref().is_some_and(|made| made.id == mark.id) => {
                let message = format!("`{}` was used for {id}, which is another one; choose another id", mark.id);
                let refusal = ApiError::field("request_id", message);
                Err(ApiError { reason: ErrorReason::AlreadyExists, ..refusal })
            }
            (Ok(_), _) => Err(at("trajectory_id")(StoreError::AlreadyExists { name: id.to_string() })),
            (Err(error), _) if error.reason == ErrorReason::StoreUnavailable => Err(error),
            // One that is damaged is found when its record is put.
            (Err(_), _) => Ok(None),
        }
    }

    /// The trajectory, if this coordinator is at work on it.
    pub(crate) fn job(&self, id: &TrajectoryId) -> Option<Arc<TrajectoryJob>> {
        self.lock().get(id).cloned()
    }

    /// The trajectory at work, and the term in which it is; none when nobody is at work on it.
    ///
    /// # Errors
    /// `NOT_LEADER` when another coordinator would be.
    pub(crate) async fn job_of_term(
        &self,
        id: &TrajectoryId,
    ) -> Result<Option<(Arc<Term>, Arc<TrajectoryJob>)>, ApiError> {
        let term = self.surfaces.term().await?;
        Ok(self.job(id).map(|job| (term, job)))
    }

    /// The trajectory, how far it is, and where its path lies.
    pub(crate) async fn get(&self, id: &TrajectoryId) -> Result<Described, ApiError> {
        let store = self.surfaces.store();
        let record = store.get_trajectory(id).await?;
        let axes = store.find_trajectory_axes(&record).await?;
        let values = match &axes {
            Some(_) => store.stop_values(&record).await?,
            None => Vec::new(),
        };
        let status = match self.job(id) {
            Some(job) => job.status(),
            None => self.status_elsewhere(&record, values.iter().flatten().count() as u64).await?,
        };
        Ok(Described { record, status, axes, values })
    }

    /// How far a trajectory is that this coordinator is not at work on, as what is stored tells.
    async fn status_elsewhere(&self, record: &TrajectoryRecord, n_stops: u64) -> Result<TrajectoryStatus, ApiError> {
        let mut status = TrajectoryStatus::of_stored(record);
        if record.outcome.is_none() {
            status.gram_tiles_done = self.surfaces.store().gram_tiles(record).await?.len() as u64;
        }
        if !record.outcome.as_ref().is_some_and(|outcome| outcome.state == JobState::Succeeded) {
            status.stops_done = n_stops;
        }
        if let Ok((_, surface)) = self.surfaces.get(&record.provenance.surface).await {
            status.points_done = surface.tally.points_done;
        }
        Ok(status)
    }

    async fn stored(&self) -> Result<Vec<TrajectoryRecord>, StoreError> {
        let mut records = Vec::new();
        let mut after = None;
        loop {
            let page = self.surfaces.store().list_trajectories(&Page::new(1000, after)).await?;
            for record in page.items {
                match record {
                    Ok(record) => records.push(record),
                    Err(error) => tracing::error!(%error, "the record of a trajectory cannot be read"),
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(records),
            }
        }
    }

    /// A page of trajectories, newest first, and the token of the next.
    pub(crate) async fn list(
        &self,
        page_size: u32,
        page_token: &str,
    ) -> Result<(Vec<(TrajectoryRecord, TrajectoryStatus)>, String), ApiError> {
        let mut records = self.stored().await?;
        let key = |record: &TrajectoryRecord| format!("{} {}", record.provenance.created, record.id.as_str());
        records.sort_by_key(|record| std::cmp::Reverse(key(record)));
        let page_size = if page_size == 0 { 100 } else { page_size.min(1000) as usize };
        let start = records.partition_point(|record| !page_token.is_empty() && key(record).as_str() >= page_token);
        let page: Vec<TrajectoryRecord> = records[start..].iter().take(page_size).cloned().collect();
        let is_last = start + page.len() == records.len();
        let next = page.last().filter(|_| !is_last).map(key).unwrap_or_default();
        let described = page.into_iter().map(|record| {
            let status = match self.job(&record.id) {
                Some(job) => job.status(),
                None => TrajectoryStatus::of_stored(&record),
            };
            (record, status)
        });
        Ok((described.collect(), next))
    }

    /// Stops a trajectory, and its surface.
    pub(crate) async fn cancel(&self, id: &TrajectoryId) -> Result<Arc<TrajectoryJob>, ApiError> {
        let Some((term, job)) = self.job_of_term(id).await? else {
            let record = self.surfaces.store().get_trajectory(id).await?;
            return Err(match &record.outcome {
                Some(outcome) => has_ended(id, outcome.state),
                None => {
                    let message = format!("nobody is at work on {id} yet; try again");
                    ApiError::new(ErrorReason::NotLeader, message)
                }
            });
        };
        job.stop();
        let state = job.ended(term.over()).await?;
        if state != JobState::Cancelled {
            return Err(has_ended(id, state));
        }
        Ok(job)
    }

    /// Deletes a trajectory, stopping it first.
    pub(crate) async fn delete(&self, id: &TrajectoryId) -> Result<(), ApiError> {
        let term = self.surfaces.term().await?;
        if let Some(job) = self.job(id) {
            job.stop();
            job.ended(term.over()).await?;
        }
        term.mandate.hold().await?;
        let record = self.surfaces.store().get_trajectory(id).await?;
        Ok(self.surfaces.store().delete_trajectory(&record).await?)
    }

    /// Does all the work on a trajectory, and stores how it ends.
    async fn work(self: &Arc<Self>, term: &Arc<Term>, job: &Arc<TrajectoryJob>) {
        let done = tokio::select! {
            done = self.steps_to_the_end(term, job) => done,
            () = job.stopped() => {
                // What is computed of it stays; one that has ended already needs no stop.
                let _ = self.surfaces.cancel(&job.record().provenance.surface).await;
                let _ = self.end(term, job, JobState::Cancelled, None).await;
                return;
            }
        };
        let stored = match done {
            Ok(()) => self.end(term, job, JobState::Succeeded, None).await,
            Err(error) if error.reason == ErrorReason::NotLeader => return,
            Err(error) => {
                tracing::warn!(trajectory = %job.id(), %error, "trajectory fails");
                self.end(term, job, JobState::Failed, Some(error)).await
            }
        };
        if let Err(error) = stored {
            tracing::warn!(trajectory = %job.id(), %error, "the end of a trajectory was not stored");
        }
    }

    /// All steps; a store that is out of reach is waited for, and what was done before is found again.
    async fn steps_to_the_end(self: &Arc<Self>, term: &Arc<Term>, job: &Arc<TrajectoryJob>) -> Result<(), ApiError> {
        let mut pause = MIN_PAUSE;
        loop {
            match self.steps(term, job).await {
                Err(error) if error.reason == ErrorReason::StoreUnavailable => {
                    tracing::warn!(trajectory = %job.id(), %error, "the store is out of reach");
                    job.wait_for(format!("the store is out of reach: {error}"));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                done => return done,
            }
        }
    }

    /// Stores how a trajectory ends. Waits for a store that is out of reach until the end of the term.
    async fn end(
        &self,
        term: &Term,
        job: &TrajectoryJob,
        state: JobState,
        error: Option<ApiError>,
    ) -> Result<(), ApiError> {
        let outcome = TrajectoryOutcome {
            state,
            reason: error.as_ref().map(|error| error.reason.as_str().to_owned()),
            message: error.as_ref().map(|error| error.message.clone()),
            ended: rfc3339(SystemTime::now()),
        };
        let mut pause = MIN_PAUSE;
        loop {
            term.mandate.hold().await?;
            match self.surfaces.store().finish_trajectory(&job.record(), &outcome).await {
                Ok(record) => {
                    tracing::info!(trajectory = %job.id(), %state, "trajectory ended");
                    job.end(record);
                    return Ok(());
                }
                Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                    tracing::warn!(trajectory = %job.id(), error = %chain(&error), "cannot store its end yet");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TrajectoryId, Arc<TrajectoryJob>>> {
        // Only whole values are put under the lock.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a job when the work on it is left, however that happens.
struct Leave {
    trajectories: Arc<Trajectories>,
    job: Arc<TrajectoryJob>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut jobs = self.trajectories.lock();
        if jobs.get(self.job.id()).is_some_and(|there| Arc::ptr_eq(there, &self.job)) {
            jobs.remove(self.job.id());
        }
        drop(jobs);
        self.job.abandon();
    }
}

fn has_ended(id: &TrajectoryId, state: JobState) -> ApiError {
    ApiError::new(ErrorReason::WrongState, format!("{id} has already ended: it is {state}"))
}

fn internal(error: NameError) -> ApiError {
    ApiError::new(ErrorReason::Internal, error.to_string())
}
