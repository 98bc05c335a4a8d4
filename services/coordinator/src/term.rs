//! What a leader does, from taking over to giving up: it performs what the scheduler decides, and tells it what came of
//! it.

mod attempt;
mod beginning;
mod choice;
mod ending;
mod resumption;
mod supervision;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use relief_api::{ApiError, ErrorReason};
use relief_core::{Digest, SurfaceId};
use relief_store::{Store, SurfaceRecord};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::fleet::Fleet;
use crate::job::Job;
use crate::leadership::Mandate;
use crate::schedule::{
    Action, AttemptId, Class, ClientName, End, JobKey, NewJob, Scheduler, Settings, StoreTrouble, Tiles,
};

const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The scheduler has to hear of the time that passes at least so often, and several times within a stall.
const TICK: Duration = Duration::from_secs(1);

/// What all terms of a coordinator share.
#[derive(Debug, Clone)]
pub(crate) struct TermOptions {
    pub(crate) settings: Settings,
    /// Parts of the evaluators' time, by client; 1 for those that are not named.
    pub(crate) client_weights: BTreeMap<String, u32>,
    pub(crate) max_jobs_per_client: usize,
}

/// The time in which this process leads.
#[derive(Debug)]
pub(crate) struct Term {
    pub(crate) store: Store,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) mandate: Mandate,
    pub(crate) epoch: u64,
    options: TermOptions,
    start: Instant,
    state: Mutex<State>,
    /// Notified when the scheduler's next timer may have changed.
    alarm: Notify,
    /// Whether evaluators came or went since jobs were told why they wait.
    has_news: AtomicBool,
    /// Cancelled once the surfaces that others left unfinished are at work again.
    is_resumed: CancellationToken,
    /// Shared by those who plan surfaces, taken alone by whoever collects what no surface names.
    pub(crate) planning: tokio::sync::RwLock<()>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct State {
    scheduler: Scheduler,
    jobs: BTreeMap<JobKey, Arc<Job>>,
    keys: HashMap<SurfaceId, JobKey>,
    attempts: HashMap<AttemptId, CancellationToken>,
    n_jobs_of: BTreeMap<ClientName, usize>,
    /// Surfaces that are just being created.
    reserved: HashMap<SurfaceId, usize>,
}

/// The name of a surface that is just being created.
#[derive(Debug)]
pub(crate) struct Reservation {
    term: Arc<Term>,
    id: SurfaceId,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.term.lock();
        if let Some(n) = state.reserved.get_mut(&self.id) {
            *n -= 1;
            if *n == 0 {
                state.reserved.remove(&self.id);
            }
        }
    }
}

impl Term {
    /// Begins a term: keeps the evaluators at work, and takes up what is unfinished.
    pub(crate) fn begin(
        store: Store,
        fleet: Arc<Fleet>,
        mandate: Mandate,
        epoch: u64,
        options: TermOptions,
    ) -> Arc<Self> {
        let state = State {
            scheduler: Scheduler::new(options.settings.clone()),
            jobs: BTreeMap::new(),
            keys: HashMap::new(),
            attempts: HashMap::new(),
            n_jobs_of: BTreeMap::new(),
            reserved: HashMap::new(),
        };
        let term = Arc::new(Self {
            store,
            fleet,
            mandate,
            epoch,
            options,
            start: Instant::now(),
            state: Mutex::new(state),
            alarm: Notify::new(),
            has_news: AtomicBool::new(false),
            is_resumed: CancellationToken::new(),
            planning: tokio::sync::RwLock::default(),
            tasks: TaskTracker::new(),
        });
        for link in term.fleet.links() {
            term.spawn(Arc::clone(&term).supervise(link.idx));
        }
        term.spawn(Arc::clone(&term).keep_time());
        term.spawn(Arc::clone(&term).resume());
        term
    }

    /// Waits until nothing is done in this term any more, whose mandate is over.
    pub(crate) async fn wind_up(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        let jobs: Vec<_> = self.lock().jobs.values().cloned().collect();
        for job in jobs {
            // Whoever waits for an end learns that it comes elsewhere.
            job.settle(Err(ApiError::not_leader(None)));
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.mandate.over().is_cancelled()
    }

    /// Cancelled when the term is over.
    pub(crate) fn over(&self) -> &CancellationToken {
        self.mandate.over()
    }

    /// Does something aside, which ends with the term.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let over = self.mandate.over().clone();
        self.tasks.spawn(
            async move {
                tokio::select! {
                    () = work => {}
                    () = over.cancelled() => {}
                }
            }
            .in_current_span(),
        );
    }

    /// Waits until unfinished surfaces are at work again; before that, one that will go on looks like one that is left.
    ///
    /// # Errors
    /// `NOT_LEADER` when the term is over.
    pub(crate) async fn resumed(&self) -> Result<(), ApiError> {
        tokio::select! {
            () = self.is_resumed.cancelled() => Ok(()),
            () = self.over().cancelled() => Err(ApiError::not_leader(None)),
        }
    }

    /// The surface, if it is at work.
    pub(crate) fn job(&self, id: &SurfaceId) -> Option<Arc<Job>> {
        let state = self.lock();
        state.keys.get(id).and_then(|key| state.jobs.get(key)).cloned()
    }

    /// Checks that a client may have one more job.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED`
    pub(crate) fn admit(&self, client: &str) -> Result<(), ApiError> {
        let (n_jobs, most) =
            (self.lock().n_jobs_of.get(client).copied().unwrap_or(0), self.options.max_jobs_per_client);
        if n_jobs < most {
            return Ok(());
        }
        let message = format!(
            "client `{client}` has {n_jobs} surfaces at work; one may have at most {most}: wait for one to end"
        );
        Err(ApiError::new(ErrorReason::QuotaExceeded, message))
    }

    /// The time that one evaluator needs for `n_samples` forward passes, when any was measured.
    pub(crate) fn expected_time(&self, class: &str, network: Digest, n_samples: u64) -> Option<Duration> {
        let per_sample = self.lock().scheduler.cost_of_sample(&class.into(), network)?;
        Duration::try_from_secs_f64(per_sample * n_samples as f64).ok()
    }

    /// Puts a stored surface to work that has `done` tiles, of whose points `n_non_finite` have no finite loss.
    pub(crate) fn add(self: &Arc<Self>, record: SurfaceRecord, done: &BTreeSet<u64>, n_non_finite: u64) -> Arc<Job> {
        let tiles = Tiles::new(record.plan(), done, n_non_finite);
        let tally = tiles.tally();
        let scheduling = &record.spec.scheduling;
        let client: ClientName = scheduling.client.as_str().into();
        let class = record.provenance.numeric_class.as_str();
        let new = NewJob {
            client: client.clone(),
            client_weight: self.options.client_weights.get(&*client).copied().unwrap_or(1),
            priority: scheduling.priority,
            weight: scheduling.weight,
            class: (!class.is_empty()).then(|| class.into()),
            subject: subject_of(&record),
            network: record.provenance.network_digest,
            samples_per_point: samples_per_point(&record),
            tiles,
        };
        let id = record.id.clone();
        self.has_news.store(true, Ordering::Relaxed);
        self.tell(|state, now| {
            let key = state.scheduler.add_job(now, new);
            let job = Arc::new(Job::new(key, record, tally));
            state.jobs.insert(key, Arc::clone(&job));
            state.keys.insert(id, key);
            *state.n_jobs_of.entry(client).or_default() += 1;
            job
        })
    }

    /// Ends the work on a job, and waits until that is stored. False when it has ended otherwise before.
    ///
    /// # Errors
    /// With what kept its end from being stored.
    pub(crate) async fn end(self: &Arc<Self>, job: &Job, end: End) -> Result<bool, ApiError> {
        let is_accepted = self.tell(|state, now| state.scheduler.end_job(now, job.key, end));
        let settled = tokio::select! {
            settled = job.settled() => settled,
            () = self.over().cancelled() => Err(ApiError::not_leader(None)),
        };
        settled.map(|()| is_accepted)
    }

    /// Keeps a name from being taken for that of a surface that somebody left, until what is returned is dropped.
    pub(crate) fn reserve(self: &Arc<Self>, id: &SurfaceId) -> Reservation {
        *self.lock().reserved.entry(id.clone()).or_default() += 1;
        Reservation { term: Arc::clone(self), id: id.clone() }
    }

    /// Tells the scheduler something, and performs what follows.
    fn tell<T>(self: &Arc<Self>, event: impl FnOnce(&mut State, Duration) -> T) -> T {
        let mut state = self.lock();
        let now = self.start.elapsed();
        let timer = state.scheduler.next_timer();
        let result = event(&mut state, now);
        let actions = state.scheduler.take_actions();
        self.publish(&mut state);
        let is_sooner = match (timer, state.scheduler.next_timer()) {
            (Some(before), Some(after)) => after < before,
            (before, after) => before.is_none() && after.is_some(),
        };
        for action in &actions {
            match action {
                Action::Start { attempt, .. } => drop(state.attempts.insert(*attempt, CancellationToken::new())),
                Action::Abort { attempt } => {
                    if let Some(token) = state.attempts.remove(attempt) {
                        token.cancel();
                    }
                }
                _ => {}
            }
        }
        let performed: Vec<_> = actions.into_iter().filter_map(|action| Performance::of(&state, action)).collect();
        drop(state);
        for performance in performed {
            self.perform(performance);
        }
        if is_sooner {
            self.alarm.notify_one();
        }
        result
    }

    /// Tells those who watch of jobs that have changed, in the order of the changes.
    fn publish(&self, state: &mut State) {
        for key in state.scheduler.take_changed() {
            let (Some(job), Some(progress)) = (state.jobs.get(&key), state.scheduler.progress(key)) else { continue };
            job.publish(progress, || self.fleet.why_idle(class_of(job).as_deref()));
        }
    }

    /// Says, for every job of which nothing runs, why, when that may have changed.
    fn explain_waiting(&self) {
        if !self.has_news.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut reasons = BTreeMap::new();
        let state = self.lock();
        for (key, job) in &state.jobs {
            let Some(progress) = state.scheduler.progress(*key) else { continue };
            let class = class_of(job);
            let reason =
                || reasons.entry(class.clone()).or_insert_with(|| self.fleet.why_idle(class.as_deref())).clone();
            job.publish(progress, reason);
        }
    }

    fn perform(self: &Arc<Self>, performance: Performance) {
        let term = Arc::clone(self);
        match performance {
            Performance::Choose(job, idx) => self.spawn(term.choose(job, idx)),
            Performance::Begin(job, class) => self.spawn(term.begin_job(job, class)),
            Performance::Attempt(attempt) => self.spawn(term.attempt(attempt)),
            Performance::Store(job, tile, values) => self.spawn(term.store_tile(job, tile, values)),
            Performance::End(job, end) => self.spawn(term.end_stored(job, end)),
            Performance::Probe(idx) => {
                if let Some(link) = self.fleet.links().get(idx) {
                    link.doubt.notify_one();
                }
            }
        }
    }

    /// Lets the scheduler know of the time that passes.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let now = self.start.elapsed();
            let tick = TICK.min(self.options.settings.stall_timeout / 4);
            let next = self.lock().scheduler.next_timer().map_or(tick, |at| at.saturating_sub(now).min(tick));
            tokio::select! {
                () = tokio::time::sleep(next.max(Duration::from_millis(1))) => {
                    self.tell(|state, now| state.scheduler.tick(now));
                    self.explain_waiting();
                }
                () = self.alarm.notified() => {}
            }
        }
    }

    fn forget(self: &Arc<Self>, job: &Job) {
        self.tell(|state, now| {
            state.scheduler.forget(now, job.key);
            if state.jobs.remove(&job.key).is_none() {
                return;
            }
            if state.keys.get(job.id()) == Some(&job.key) {
                state.keys.remove(job.id());
            }
            let record = job.record();
            let client = record.spec.scheduling.client.as_str();
            if let Some(n_jobs) = state.n_jobs_of.get_mut(client) {
                *n_jobs = n_jobs.saturating_sub(1);
                if *n_jobs == 0 {
                    state.n_jobs_of.remove(client);
                }
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock would be a fault of the scheduler; what it knows can be found again in the store, but the
        // calls that only ask must go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An action with what it needs.
enum Performance {
    Choose(Arc<Job>, usize),
    Begin(Arc<Job>, Class),
    Attempt(attempt::Attempt),
    Store(Arc<Job>, relief_core::Tile, Vec<relief_core::PointValues>),
    End(Arc<Job>, End),
    Probe(usize),
}

impl Performance {
    fn of(state: &State, action: Action) -> Option<Self> {
        let job = |key: &JobKey| state.jobs.get(key).cloned();
        Some(match action {
            Action::Choose { job: key, evaluator } => Self::Choose(job(&key)?, evaluator),
            Action::Begin { job: key, class } => Self::Begin(job(&key)?, class),
            Action::Start { attempt: id, job: key, evaluator, tile, places, n_attempts } => {
                let stop = state.attempts.get(&id)?.clone();
                Self::Attempt(attempt::Attempt { id, job: job(&key)?, evaluator, tile, places, n_attempts, stop })
            }
            Action::Abort { .. } => return None,
            Action::Store { job: key, tile, values } => Self::Store(job(&key)?, tile, values),
            Action::End { job: key, end } => Self::End(job(&key)?, end),
            Action::Probe { evaluator } => Self::Probe(evaluator),
            Action::Alarm { job: key, tile, first, second } => {
                let surface = job(&key)?.id().clone();
                // Must never happen: two evaluators of one class disagree, or one of them with itself.
                tracing::error!(%surface, tile, ?first, ?second, "two attempts computed a point differently");
                return None;
            }
        })
    }
}

fn class_of(job: &Job) -> Option<String> {
    Some(job.record().provenance.numeric_class.clone()).filter(|class| !class.is_empty())
}

/// What an evaluator holds of a surface: what it loads is the same for all surfaces of one subject.
fn subject_of(record: &SurfaceRecord) -> Digest {
    let provenance = &record.provenance;
    let mut parts: Vec<Vec<u8>> = vec![
        provenance.network_digest.as_bytes().to_vec(),
        provenance.checkpoint_digest.as_bytes().to_vec(),
        record.spec.plane.batch_norm.as_str().into(),
    ];
    parts.extend(provenance.directions.iter().map(|source| source.digest().as_bytes().to_vec()));
    let samples = std::iter::once(&provenance.samples).chain(&provenance.also).chain(&provenance.statistics);
    for samples in samples {
        parts.push(samples.digest.as_bytes().to_vec());
        parts.push(samples.n_samples.to_le_bytes().to_vec());
    }
    Digest::of_parts(parts.iter().map(Vec::as_slice))
}

/// The forward passes of one point.
pub(crate) fn samples_per_point(record: &SurfaceRecord) -> u64 {
    let provenance = &record.provenance;
    let samples = std::iter::once(&provenance.samples).chain(&provenance.also).chain(&provenance.statistics);
    samples.map(|samples| samples.n_samples).sum()
}
