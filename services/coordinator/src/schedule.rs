//! What is done next, by whom, and what follows from what happened: the decisions of the coordinator, without I/O and
//! without a clock.
//!
//! A [`Scheduler`] is told events, each with the time, and answers with [`Action`]s that somebody performs and reports
//! on. What holds, whatever is lost, late, repeated or wrong on the way (see the simulation in its tests): a point is
//! stored once, with the first answer to it; a tile is stored when all its points are known; a job ends exactly once,
//! and not before nothing of it is on its way to the store; work is shared by weight; what an evaluator says after its
//! attempt has ended is not heard.

mod budget;
mod choice;
mod order;
mod placement;
mod rate;
mod setback;
mod share;
#[cfg(test)]
mod simulation;
mod state;
mod storing;
mod tiles;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use relief_api::{ApiError, ErrorReason};
use relief_core::{Digest, JobState, PointValues, Tile};

use share::Shares;
use state::{Attempt, Domain, Evaluator, Job, Pool, Presence, Timer};
use tiles::Noted;

pub(crate) use choice::Objection;
pub(crate) use share::ClientName;
pub(crate) use tiles::{Setback, Tally, Tiles};

/// The number of an evaluator in the fleet.
pub(crate) type EvaluatorIdx = usize;

/// A numeric class.
pub(crate) type Class = Arc<str>;

/// What an evaluator computes in, the best first.
pub(crate) type Classes = Arc<[Class]>;

/// The number of a domain, which is never used twice.
type DomainIdx = u64;

/// A job, by the order of acceptance in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobKey(pub(crate) u64);

/// One evaluator's attempt at one tile. The number is never used twice, so that it tells whose answer an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttemptId(pub(crate) u64);

/// What a scheduler goes by.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// An attempt of which nothing is heard for so long has failed.
    pub(crate) stall_timeout: Duration,
    /// Tiles of one client that run at once in classes that evaluators have in common, second attempts at stragglers
    /// not counted.
    pub(crate) max_running_per_client: usize,
    /// How much of an evaluator's time, by weight, a job may get ahead of its turn for what the evaluator holds.
    pub(crate) affinity_slack: Duration,
    /// No attempt is hedged sooner.
    pub(crate) min_hedge: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stall_timeout: Duration::from_secs(30),
            max_running_per_client: usize::MAX,
            affinity_slack: Duration::from_secs(4),
            min_hedge: Duration::from_secs(2),
        }
    }
}

const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// A job to be added.
#[derive(Debug)]
pub(crate) struct NewJob {
    pub(crate) client: ClientName,
    pub(crate) client_weight: u32,
    pub(crate) priority: i32,
    pub(crate) weight: u32,
    /// None when it is still to be chosen.
    pub(crate) class: Option<Class>,
    /// What an evaluator must hold for it: jobs of one subject share what is loaded.
    pub(crate) subject: Digest,
    /// What is evaluated, for the cost of a sample.
    pub(crate) network: Digest,
    /// The forward passes of one point.
    pub(crate) samples_per_point: u64,
    pub(crate) tiles: Tiles,
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// All is stored.
    Succeeded,
    /// It cannot be done.
    Failed(ApiError),
    /// Somebody does not want it any more.
    Cancelled,
    /// Its surface is to be deleted.
    Removed,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Ask an evaluator what it is best computed in, and report with [`Scheduler::chosen`] or
    /// [`Scheduler::not_chosen`].
    Choose { job: JobKey, evaluator: EvaluatorIdx },
    /// Find what others have of it, pin its class, and report with [`Scheduler::job_begun`].
    Begin { job: JobKey, class: Class },
    /// Have an evaluator compute points of a tile, and report each of them and the end.
    Start { attempt: AttemptId, job: JobKey, evaluator: EvaluatorIdx, tile: Tile, places: Vec<u32>, n_attempts: u32 },
    /// Nothing of that attempt is wanted any more.
    Abort { attempt: AttemptId },
    /// Store a tile, and report with [`Scheduler::stored`] or [`Scheduler::not_stored`].
    Store { job: JobKey, tile: Tile, values: Vec<PointValues> },
    /// Nothing of the job is on its way: store its end, then tell with [`Scheduler::forget`].
    End { job: JobKey, end: End },
    /// An evaluator is in doubt: ask it what it is.
    Probe { evaluator: EvaluatorIdx },
    /// Two evaluators of one class disagree: somebody must look.
    Alarm { job: JobKey, tile: u64, first: PointValues, second: PointValues },
}

/// Why a tile was not stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StoreTrouble {
    /// The store failed; it may take it later.
    Unavailable(ApiError),
    /// It will never take it.
    Refused(ApiError),
}

/// How far a job is, for those who ask.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Progress {
    pub(crate) state: JobState,
    pub(crate) tally: Tally,
    pub(crate) points_per_second: f64,
    /// Why nothing happens, when nothing does and the scheduler knows why.
    pub(crate) trouble: Option<String>,
}

/// The state of all jobs and evaluators.
#[derive(Debug)]
pub(crate) struct Scheduler {
    settings: Settings,
    now: Duration,
    pools: BTreeMap<Class, Pool>,
    domains: BTreeMap<DomainIdx, Domain>,
    n_domains: DomainIdx,
    evaluators: BTreeMap<EvaluatorIdx, Evaluator>,
    /// Those that take work, by what they offer.
    groups: BTreeMap<Classes, BTreeSet<EvaluatorIdx>>,
    jobs: BTreeMap<JobKey, Job>,
    /// Jobs whose class is not chosen yet.
    classless: BTreeSet<JobKey>,
    attempts: HashMap<AttemptId, Attempt>,
    n_jobs: u64,
    n_attempts: u64,
    timers: BinaryHeap<Reverse<(Duration, Timer)>>,
    /// Jobs with tiles to store, whose turn it is first.
    ready: VecDeque<JobKey>,
    n_storing: usize,
    /// Seconds of an evaluator per sample, by class and network.
    costs: BTreeMap<(Class, Digest), f64>,
    actions: Vec<Action>,
    changed: BTreeSet<JobKey>,
}

impl Scheduler {
    /// Returns a scheduler without jobs and evaluators.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: Duration::ZERO,
            pools: BTreeMap::new(),
            domains: BTreeMap::new(),
            n_domains: 0,
            evaluators: BTreeMap::new(),
            groups: BTreeMap::new(),
            jobs: BTreeMap::new(),
            classless: BTreeSet::new(),
            attempts: HashMap::new(),
            n_jobs: 0,
            n_attempts: 0,
            timers: BinaryHeap::new(),
            ready: VecDeque::new(),
            n_storing: 0,
            costs: BTreeMap::new(),
            actions: Vec::new(),
            changed: BTreeSet::new(),
        }
    }

    /// What is to be done because of what was told since the last call.
    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        self.place();
        self.store();
        std::mem::take(&mut self.actions)
    }

    /// The jobs whose progress has changed since the last call.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<JobKey> {
        std::mem::take(&mut self.changed)
    }

    /// When [`Scheduler::tick`] has something to do next.
    pub(crate) fn next_timer(&self) -> Option<Duration> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    // Events.

    /// Adds a job.
    pub(crate) fn add_job(&mut self, now: Duration, new: NewJob) -> JobKey {
        self.advance(now);
        let key = JobKey(self.n_jobs);
        self.n_jobs += 1;
        let class = new.class.clone();
        let job = Job::new(new);
        self.jobs.insert(key, job);
        match class {
            Some(class) => self.begin(key, class),
            None => {
                self.classless.insert(key);
                self.ask(key);
            }
        }
        key
    }

    /// Notes that the work on a job has begun, in `class`, with points that others have.
    pub(crate) fn job_begun(
        &mut self,
        now: Duration,
        key: JobKey,
        class: Class,
        known: &[Option<PointValues>],
        n: u64,
    ) {
        self.advance(now);
        let Some(job) = self.jobs.get_mut(&key).filter(|job| !job.has_begun) else { return };
        job.has_begun = true;
        job.trouble = None;
        job.tiles.set_tolerance(tolerance(&class));
        job.tiles.set_reused(n);
        job.tiles.reuse(known);
        job.class = Some(class.clone());
        let (client, client_weight, priority, weight) =
            (job.client.clone(), job.client_weight, job.priority, job.weight);
        let is_complete = job.tiles.is_complete();
        if let Some(shares) = self.shares(&class) {
            shares.add(key, &client, client_weight, priority, weight);
        }
        self.changed.insert(key);
        if is_complete {
            self.end_job(now, key, End::Succeeded);
        }
        self.enqueue(key);
        self.refresh_job(key);
    }

    /// Notes why a job cannot go on for now.
    pub(crate) fn job_waits(&mut self, now: Duration, key: JobKey, reason: String) {
        self.advance(now);
        if let Some(job) = self.jobs.get_mut(&key) {
            job.trouble = Some(reason);
            self.changed.insert(key);
        }
    }

    /// Ends a job, unless it is ending already; returns whether it does so by this.
    pub(crate) fn end_job(&mut self, now: Duration, key: JobKey, end: End) -> bool {
        self.advance(now);
        let Some(job) = self.jobs.get_mut(&key) else { return false };
        if job.end.is_some() {
            return false;
        }
        job.end = Some(end);
        self.classless.remove(&key);
        for attempt in job.attempts.clone() {
            self.actions.push(Action::Abort { attempt });
            self.close(attempt, None);
        }
        self.refresh_job(key);
        self.tell_end(key);
        true
    }

    /// Forgets a job whose end is stored.
    pub(crate) fn forget(&mut self, now: Duration, key: JobKey) {
        self.advance(now);
        if let Some(Job { class: Some(class), .. }) = self.jobs.remove(&key)
            && let Some(shares) = self.shares(&class)
        {
            shares.remove(key);
        }
        self.changed.remove(&key);
    }

    /// Notes that an evaluator is there and takes work.
    pub(crate) fn evaluator_up(&mut self, now: Duration, idx: EvaluatorIdx, classes: &Classes, slots: usize) {
        self.advance(now);
        if self.evaluators.get(&idx).is_some_and(|evaluator| evaluator.classes != *classes) {
            self.evaluator_down(now, idx, "the evaluator is another one now");
        }
        self.link(classes);
        let evaluator = self.evaluators.entry(idx).or_insert_with(|| Evaluator {
            classes: classes.clone(),
            slots,
            limit: slots,
            presence: Presence::Silent,
            running: BTreeSet::new(),
            held: VecDeque::new(),
            free_from: Duration::ZERO,
            pause: MIN_PAUSE,
            n_failures: 0,
            place: None,
        });
        if evaluator.presence != Presence::Up || evaluator.slots != slots {
            (evaluator.slots, evaluator.limit) = (slots, slots);
            evaluator.presence = Presence::Up;
        }
        for class in classes.iter() {
            self.pool(class).alive.insert(idx);
        }
        self.refresh_evaluator(idx);
        if self.groups.entry(classes.clone()).or_default().insert(idx) {
            for key in self.classless.clone() {
                if let Some(job) = self.jobs.get_mut(&key) {
                    job.choice.welcome(idx);
                }
                self.ask(key);
            }
        }
    }

    /// Notes that an evaluator takes no more work, but may finish what it has.
    pub(crate) fn evaluator_draining(&mut self, now: Duration, idx: EvaluatorIdx) {
        self.advance(now);
        self.set_presence(idx, Presence::Draining);
    }

    /// Notes that an evaluator is gone, with all that it was at.
    pub(crate) fn evaluator_down(&mut self, now: Duration, idx: EvaluatorIdx, reason: &str) {
        self.advance(now);
        self.set_presence(idx, Presence::Draining);
        // One may end the job of the next, and with it the next.
        while let Some(attempt) = self.evaluators.get(&idx).and_then(|evaluator| evaluator.running.first().copied()) {
            self.actions.push(Action::Abort { attempt });
            self.set_back(attempt, Setback::Lost, ApiError::new(ErrorReason::ShuttingDown, reason));
        }
        self.evaluators.remove(&idx);
    }

    /// Notes an answer: the point at the place `idx` of the request whose number is `ticket`.
    pub(crate) fn point(&mut self, now: Duration, id: AttemptId, ticket: u64, idx: usize, values: PointValues) {
        self.advance(now);
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        attempt.heard = now;
        let place = attempt.places.get(idx).copied().filter(|_| ticket == id.0);
        let Some(place) = place else {
            self.actions.push(Action::Abort { attempt: id });
            let message = format!("the evaluator answered for place {idx} of request {ticket}, which was not asked");
            self.set_back(id, Setback::Failed, ApiError::new(ErrorReason::EvaluationFailed, message));
            return;
        };
        attempt.n_answers += 1;
        attempt.progressed = now;
        let (key, tile) = (attempt.job, attempt.tile);
        let Some(job) = self.jobs.get_mut(&key) else { return };
        match job.tiles.note(tile, place, values) {
            Noted::New => {
                let tally = job.tiles.tally();
                job.rate.note(now, tally.points_done);
                job.trouble = None;
                self.changed.insert(key);
            }
            Noted::Known => return,
            Noted::Disputed(first) => {
                self.actions.push(Action::Alarm { job: key, tile: tile.into(), first, second: values });
                return;
            }
        }
        if job.tiles.is_whole(tile) {
            self.complete(key, tile, id);
        }
    }

    /// Notes that an attempt is alive.
    pub(crate) fn heartbeat(&mut self, now: Duration, id: AttemptId) {
        self.advance(now);
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.heard = now;
        }
    }

    /// Notes that an attempt is through, having computed for `compute`.
    pub(crate) fn finished(&mut self, now: Duration, id: AttemptId, compute: Duration) {
        self.advance(now);
        let Some(attempt) = self.attempts.get(&id) else { return };
        let (key, idx, tile, n_places) = (attempt.job, attempt.evaluator, attempt.tile, attempt.places.len());
        let wall = now.saturating_sub(attempt.started);
        // Nobody computes for longer than it takes, whatever it says.
        let compute = compute.min(wall);
        let is_missing = |job: &Job| attempt.places.iter().any(|place| job.tiles.is_missing(tile, *place));
        if self.jobs.get(&key).is_some_and(is_missing) {
            let message = "the evaluator left out points of the tile";
            self.set_back(id, Setback::Failed, ApiError::new(ErrorReason::EvaluationFailed, message));
            return;
        }
        self.close(id, Some(compute));
        if let Some(evaluator) = self.evaluators.get_mut(&idx) {
            evaluator.limit = (evaluator.limit + 1).min(evaluator.slots);
            (evaluator.pause, evaluator.n_failures) = (MIN_PAUSE, 0);
        }
        self.refresh_evaluator(idx);
        self.measure(key, n_places, wall, compute);
        if let Some(job) = self.jobs.get_mut(&key) {
            // Where only a part of the tile was asked for, the rest is.
            job.tiles.give_back(tile, id);
        }
        self.refresh_job(key);
    }

    /// Notes that an attempt has come to its end without all that was asked.
    pub(crate) fn broken(&mut self, now: Duration, id: AttemptId, setback: Setback, error: ApiError) {
        self.advance(now);
        self.set_back(id, setback, error);
    }

    /// Notes that a tile is stored.
    pub(crate) fn stored(&mut self, now: Duration, key: JobKey, tile: u64) {
        self.advance(now);
        self.n_storing = self.n_storing.saturating_sub(1);
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.tiles.commit(tile as u32);
        job.budget.earn();
        job.store_pause = MIN_PAUSE;
        job.trouble = None;
        job.has_started = true;
        let is_complete = job.tiles.is_complete();
        self.changed.insert(key);
        if is_complete {
            self.end_job(now, key, End::Succeeded);
        }
        self.enqueue(key);
        self.refresh_job(key);
        self.tell_end(key);
    }

    /// Notes that a tile is not stored.
    pub(crate) fn not_stored(&mut self, now: Duration, key: JobKey, tile: u64, trouble: StoreTrouble) {
        self.advance(now);
        self.n_storing = self.n_storing.saturating_sub(1);
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.tiles.put_back(tile as u32);
        match trouble {
            StoreTrouble::Unavailable(error) => {
                job.trouble = Some(error.message);
                // Of all that failed at once the first one counts.
                if job.stored_from <= now {
                    job.stored_from = now + job.store_pause;
                    job.store_pause = (job.store_pause * 2).min(MAX_PAUSE);
                    let at = job.stored_from;
                    self.timers.push(Reverse((at, Timer::Store(key))));
                }
            }
            StoreTrouble::Refused(error) => drop(self.end_job(now, key, End::Failed(error))),
        }
        self.changed.insert(key);
        self.enqueue(key);
        self.refresh_job(key);
        self.tell_end(key);
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.advance(now);
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::Stall(attempt) => self.check_silence(attempt),
                Timer::Evaluator(idx) => self.refresh_evaluator(idx),
                Timer::Job(key) => self.refresh_job(key),
                Timer::Store(key) => self.enqueue(key),
                Timer::Hedge(key) => self.hedge(key),
                Timer::Choice(key) => self.end_pause(key),
            }
        }
    }

    // What is known.

    /// How far a job is.
    pub(crate) fn progress(&self, key: JobKey) -> Option<Progress> {
        let job = self.jobs.get(&key)?;
        let tally = job.tiles.tally();
        Some(Progress {
            state: if job.has_started { JobState::Running } else { JobState::Pending },
            tally,
            points_per_second: job.rate.per_second(self.now, tally.points_done),
            trouble: job.trouble.clone().filter(|_| tally.tiles_running == 0),
        })
    }

    /// The seconds of an evaluator of `class` that a sample takes in a network, when any was measured.
    pub(crate) fn cost_of_sample(&self, class: &Class, network: Digest) -> Option<f64> {
        self.costs.get(&(class.clone(), network)).copied()
    }

    // Decisions.

    /// Comes to the time of an event. Where much more has passed than between any two events, it was this process that
    /// did not run, and nobody else was silent.
    fn advance(&mut self, now: Duration) {
        if now > self.now + self.settings.stall_timeout / 2 {
            self.attempts.values_mut().for_each(|attempt| (attempt.heard, attempt.progressed) = (now, now));
        }
        self.now = self.now.max(now);
    }

    fn pool(&mut self, class: &Class) -> &mut Pool {
        let Self { pools, domains, n_domains, settings, .. } = self;
        pools.entry(class.clone()).or_insert_with(|| {
            let domain = *n_domains;
            *n_domains += 1;
            let shares = Shares::new(settings.max_running_per_client);
            domains.insert(domain, Domain { shares, classes: BTreeSet::from([class.clone()]) });
            Pool { domain, alive: BTreeSet::new(), free: BTreeSet::new(), subjects: BTreeMap::new() }
        })
    }

    /// The shares that the jobs of a class have.
    fn shares(&mut self, class: &Class) -> Option<&mut Shares> {
        let domain = self.pool(class).domain;
        self.domains.get_mut(&domain).map(|domain| &mut domain.shares)
    }

    /// Notes that an evaluator has these classes in common, whose jobs share from now on.
    fn link(&mut self, classes: &[Class]) {
        let Some((first, rest)) = classes.split_first() else { return };
        let into = self.pool(first).domain;
        for class in rest {
            let from = self.pool(class).domain;
            if from == into {
                continue;
            }
            let Some(others) = self.domains.remove(&from) else { continue };
            for class in &others.classes {
                self.pool(class).domain = into;
            }
            if let Some(domain) = self.domains.get_mut(&into) {
                domain.classes.extend(others.classes);
                domain.shares.absorb(others.shares);
            }
        }
    }

    fn begin(&mut self, key: JobKey, class: Class) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        if !std::mem::replace(&mut job.is_beginning, true) {
            self.actions.push(Action::Begin { job: key, class });
        }
    }

    fn set_presence(&mut self, idx: EvaluatorIdx, presence: Presence) {
        let Some(evaluator) = self.evaluators.get_mut(&idx) else { return };
        evaluator.presence = presence;
        let classes = evaluator.classes.clone();
        for class in classes.iter() {
            self.pool(class).alive.remove(&idx);
        }
        self.refresh_evaluator(idx);
        let Some(group) = self.groups.get_mut(&classes) else { return };
        group.remove(&idx);
        if group.is_empty() {
            self.groups.remove(&classes);
            // They wait for another reason now.
            self.classless.clone().into_iter().for_each(|key| self.ask(key));
        }
    }
}

/// How far two computations of a loss in a class may lie apart, as a part of it.
fn tolerance(class: &str) -> f64 {
    // Which of its kernels CUDA takes may depend on what else runs.
    if class.contains("cuda") { 1e-5 } else { 0.0 }
}
