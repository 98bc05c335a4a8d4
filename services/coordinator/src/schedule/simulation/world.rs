//! A coordinator, its store, its evaluators and its clients, with a clock that is a number.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use relief_api::{ApiError, ErrorReason};
use relief_core::{PointValues, Tile};

use super::fault::{Fault, Faults};
use super::ledger::{Expected, JobIdx};
use super::machine::{Connection, Machine, MachineIdx, Request};
use super::plan::{JobPlan, Plan};
use super::process::Process;
use super::random::Random;
use super::store::Store;
use super::trace::Trace;
use crate::schedule::{AttemptId, Class, Classes, ClientName, End, JobKey, Objection, Setback, StoreTrouble};

pub(super) const TICK: Duration = Duration::from_secs(1);
/// A world that takes more events than this goes round in circles.
const MAX_STEPS: u64 = 2_000_000;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    Chosen { job: JobIdx, machine: MachineIdx, class: Class },
    NotChosen { job: JobIdx, machine: MachineIdx, objection: Objection },
    Begun { job: JobIdx, class: Class },
    Waits { job: JobIdx },
    Point { attempt: AttemptId, ticket: u64, idx: usize, values: PointValues },
    Beat { attempt: AttemptId },
    Finished { attempt: AttemptId, compute: Duration },
    Broken { attempt: AttemptId, setback: Setback },
    Up { machine: MachineIdx, classes: Classes, slots: usize },
    Draining { machine: MachineIdx },
    Down { machine: MachineIdx },
    PutAnswered { job: JobIdx, tile: u64, trouble: Option<StoreTrouble> },
    EndStored { job: JobIdx },
}

#[derive(Debug)]
pub(super) enum Event {
    Tick,
    /// A second of the storm.
    Gust,
    Calm,
    Resume,
    Revive,
    Arrive(JobIdx),
    Wish(JobIdx),
    Tell(u64, Told),
    Request(MachineIdx, Connection, Request),
    Computed(MachineIdx, Connection, Duration),
    Beat(MachineIdx),
    Stop(MachineIdx),
    Restart(MachineIdx),
    Probe(u64, MachineIdx, u32),
    Ask(u64, JobIdx, MachineIdx),
    Begin(u64, JobIdx, Class),
    Put(u64, JobIdx, Tile, Vec<PointValues>),
    PutEnd(u64, JobIdx, End),
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    number: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What is stored of a job beside its tiles.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) is_accepted: bool,
    pub(super) class: Option<Class>,
    pub(super) end: Option<End>,
    ended_at: Duration,
}

/// An attempt that was started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    pub(super) job: JobIdx,
    pub(super) tile: u64,
    pub(super) evaluator: MachineIdx,
}

/// Everything.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) plan: Plan,
    pub(super) random: Random,
    pub(super) machines: Vec<Machine>,
    /// Which process of the coordinator runs, or ran last.
    pub(super) generation: u64,
    pub(super) faults: Faults,
    pub(super) trace: Trace,
    /// The time of evaluators that each client and each job had.
    pub(super) served: BTreeMap<ClientName, Duration>,
    pub(super) served_by_job: Vec<Duration>,
    pub(super) started: Vec<Started>,
    pub(super) records: Vec<Record>,
    pub(super) store: Store,
    pub(super) process: Option<Process>,
    /// While the process does not run, and what waits for it.
    pub(super) sleeps_until: Option<Duration>,
    pub(super) inbox: Vec<Told>,
    queue: BinaryHeap<Reverse<Entry>>,
    n_events: u64,
}

impl World {
    pub(super) fn new(plan: Plan, random: Random, trace: Trace) -> Self {
        let n_jobs = plan.jobs.len();
        let mut world = Self {
            now: Duration::ZERO,
            random,
            machines: plan.machines.iter().cloned().map(Machine::new).collect(),
            generation: 1,
            faults: Faults::new(),
            trace,
            served: BTreeMap::new(),
            served_by_job: vec![Duration::ZERO; n_jobs],
            started: Vec::new(),
            records: (0..n_jobs).map(|_| Record::default()).collect(),
            store: Store::default(),
            process: None,
            sleeps_until: None,
            inbox: Vec::new(),
            queue: BinaryHeap::new(),
            n_events: 0,
            plan,
        };
        for job in 0..n_jobs {
            world.after(world.plan.jobs[job].at, Event::Arrive(job));
            if let Some((at, _)) = world.plan.jobs[job].wish {
                world.after(at, Event::Wish(job));
            }
        }
        (0..world.machines.len()).for_each(|idx| world.after(TICK * 5, Event::Beat(idx)));
        world.after(Duration::ZERO, Event::Gust);
        world.after(world.plan.storm_end, Event::Calm);
        world.revive();
        world
    }

    /// Lets happen what happens until all is done.
    pub(super) fn run(&mut self) {
        while !self.is_done() {
            assert!(self.now <= self.plan.deadline, "at {:?} not all is done: {}", self.now, self.unfinished());
            assert!(self.n_events < MAX_STEPS, "after {} events not all is done: {}", self.n_events, self.unfinished());
            self.step();
        }
        self.check_rest();
    }

    /// Lets happen what happens until a time.
    pub(super) fn run_until(&mut self, until: Duration) {
        while self.queue.peek().is_some_and(|Reverse(entry)| entry.at <= until) {
            self.step();
        }
    }

    fn step(&mut self) {
        let Some(Reverse(Entry { at, event, .. })) = self.queue.pop() else { panic!("nothing happens any more") };
        self.now = at;
        self.happen(event);
    }

    fn is_done(&self) -> bool {
        let is_idle = self.process.as_ref().is_some_and(|process| process.scheduler.jobs.is_empty());
        is_idle && self.now >= self.plan.storm_end && self.records.iter().all(|record| record.end.is_some())
    }

    fn unfinished(&self) -> String {
        let jobs =
            self.process.iter().flat_map(|process| process.keys.iter().map(move |(job, key)| (process, job, key)));
        let of = |(process, job, key): (&Process, &JobIdx, &JobKey)| {
            let progress = process.scheduler.progress(*key)?;
            let end = process.scheduler.jobs.get(key).and_then(|job| job.end.clone());
            Some(format!("job {job} {progress:?} ending {end:?} of {:?}\n", self.records[*job].class))
        };
        jobs.filter_map(of).collect()
    }

    // Time and chance.

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.n_events += 1;
        self.queue.push(Reverse(Entry { at: self.now + delay, number: self.n_events, event }));
    }

    pub(super) fn count(&mut self, fault: Fault) {
        self.faults.count(fault);
    }

    /// Whether something goes wrong now, `factor` times as often as usual.
    pub(super) fn strikes(&mut self, fault: Fault, factor: f64) -> bool {
        let rate = self.plan.weather.rate(fault) * factor;
        let strikes = rate > 0.0 && self.now < self.plan.storm_end && self.random.chance(rate);
        if strikes {
            self.trace.note(self.now, "fault", [fault as u64, 0, 0]);
            self.faults.count(fault);
        }
        strikes
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick => self.tick(),
            Event::Gust => self.gust(),
            Event::Calm => self.calm(),
            Event::Resume => self.resume(),
            Event::Revive => self.revive(),
            Event::Arrive(job) => self.arrive(job),
            Event::Wish(job) => self.wish(job),
            Event::Tell(generation, told) => self.hear(generation, told),
            Event::Request(idx, connection, request) => self.reach_machine(idx, connection, request),
            Event::Computed(idx, connection, took) => self.computed(idx, connection, took),
            Event::Beat(idx) => self.beat(idx),
            Event::Stop(idx) => self.stop(idx),
            Event::Restart(idx) => self.restart(idx),
            Event::Probe(generation, idx, n_tries) => self.reach_probed(generation, idx, n_tries),
            Event::Ask(generation, job, idx) => self.reach_asked(generation, job, idx),
            Event::Begin(generation, job, class) => self.begin(generation, job, class),
            Event::Put(generation, job, tile, values) => self.put(generation, job, &tile, &values),
            Event::PutEnd(generation, job, end) => self.put_end(generation, job, end),
        }
    }

    fn gust(&mut self) {
        if self.now >= self.plan.storm_end {
            return;
        }
        (0..self.machines.len()).for_each(|idx| self.trouble_machine(idx));
        if self.process.is_some() && self.strikes(Fault::Kill, 1.0) {
            self.kill();
        }
        if self.sleeps_until.is_none() && self.process.is_some() && self.strikes(Fault::Leap, 1.0) {
            let until = self.now + self.random.millis(20_000, 300_000);
            self.sleeps_until = Some(until);
            self.after(until - self.now, Event::Resume);
        }
        if self.strikes(Fault::StoreOutage, 1.0) {
            self.store.down_until = self.now + self.random.millis(1_000, 60_000);
        }
        if self.strikes(Fault::SwitchFailure, 1.0) {
            let until = self.now + self.random.millis(5_000, 90_000);
            self.machines.iter_mut().for_each(|machine| (machine.deaf_until, machine.dumb_until) = (until, until));
        }
        self.after(TICK, Event::Gust);
    }

    fn calm(&mut self) {
        self.store.down_until = Duration::ZERO;
        for idx in 0..self.machines.len() {
            self.machines[idx].calm();
            self.stop(idx);
            self.after(TICK * 5, Event::Restart(idx));
        }
    }

    // Clients.

    fn arrive(&mut self, job: JobIdx) {
        if !self.is_awake() {
            return self.after(TICK * 2, Event::Arrive(job));
        }
        self.records[job].is_accepted = true;
        self.take_up(job);
    }

    fn wish(&mut self, job: JobIdx) {
        if self.records[job].end.is_some() {
            return;
        }
        self.after(TICK * 5, Event::Wish(job));
        let Some((_, end)) = self.plan.jobs[job].wish.clone() else { return };
        let key = self.process.as_ref().and_then(|process| process.keys.get(&job).copied());
        let (true, Some(key)) = (self.is_awake(), key) else { return };
        let Some(process) = &mut self.process else { return };
        process.ledger.wished(job, end.clone());
        process.scheduler.end_job(self.now, key, end);
        self.act(&Expected::default());
    }

    // The store.

    fn begin(&mut self, generation: u64, job: JobIdx, class: Class) {
        let is_down = self.now < self.store.down_until;
        if is_down || self.strikes(Fault::BeginFailure, 1.0) {
            self.hear(generation, Told::Waits { job });
            return self.after(TICK, Event::Begin(generation, job, class));
        }
        if generation == self.generation {
            let class = self.records[job].class.get_or_insert(class).clone();
            self.hear(generation, Told::Begun { job, class });
        }
    }

    fn put(&mut self, generation: u64, job: JobIdx, tile: &Tile, values: &[PointValues]) {
        let unavailable = || Some(StoreTrouble::Unavailable(trouble(Setback::Storeless)));
        let is_down = self.now < self.store.down_until;
        let trouble = if is_down || self.strikes(Fault::PutFailure, 1.0) {
            unavailable()
        } else if self.plan.jobs[job].is_refused {
            self.count(Fault::Refused);
            let error = ApiError::new(ErrorReason::DataCorrupt, "the surface is damaged");
            Some(StoreTrouble::Refused(error))
        } else {
            let is_new = self.records[job].end != Some(End::Removed) && self.store.put(job, tile.idx, values);
            if is_new && generation != self.generation {
                self.count(Fault::PutAfterDeath);
            }
            self.strikes(Fault::PutAnswerLost, 1.0).then(unavailable).flatten()
        };
        let delay = self.random.millis(1, 50);
        self.after(delay, Event::Tell(generation, Told::PutAnswered { job, tile: tile.idx, trouble }));
    }

    fn put_end(&mut self, generation: u64, job: JobIdx, end: End) {
        let is_late = generation != self.generation;
        if is_late && end == End::Removed {
            return;
        }
        if self.now < self.store.down_until {
            return self.after(TICK, Event::PutEnd(generation, job, end));
        }
        match &end {
            End::Succeeded => {
                let weather = &self.plan.weather;
                let is_honest = !weather.has(Fault::WrongValue) && !weather.has(Fault::Contradiction);
                self.store.check_whole(job, &self.plan.jobs[job], is_honest);
            }
            End::Failed(_) => {}
            End::Cancelled => self.count(Fault::Cancelled),
            End::Removed => {
                self.count(Fault::Removed);
                self.store.remove(job);
            }
        }
        let record = &mut self.records[job];
        if record.end.is_none() {
            record.end = Some(end);
            record.ended_at = self.now;
        }
        let delay = self.random.millis(1, 50);
        self.after(delay, Event::Tell(generation, Told::EndStored { job }));
    }

    // What is left.

    pub(super) fn end(&self, job: JobIdx) -> Option<&End> {
        self.records[job].end.as_ref()
    }

    pub(super) fn ended_at(&self, job: JobIdx) -> Duration {
        self.records[job].ended_at
    }

    pub(super) fn jobs(&self) -> impl Iterator<Item = (JobIdx, &JobPlan)> {
        self.plan.jobs.iter().enumerate()
    }

    /// Nothing is kept of the jobs that have ended, and none succeeded that could not.
    fn check_rest(&self) {
        let Some(Process { scheduler, .. }) = &self.process else { return };
        assert!(scheduler.attempts.is_empty(), "attempts are left: {:?}", scheduler.attempts);
        assert!(scheduler.classless.is_empty() && scheduler.n_storing == 0, "jobs are left");
        for evaluator in scheduler.evaluators.values() {
            assert!(evaluator.running.is_empty(), "an evaluator is taken to be busy: {evaluator:?}");
        }
        for domain in scheduler.domains.values() {
            assert!(domain.shares.is_idle(), "somebody waits for a turn: {domain:?}");
        }
        for pool in scheduler.pools.values() {
            assert!(pool.subjects.is_empty(), "somebody waits for a turn: {pool:?}");
        }
        for (job, plan) in self.jobs() {
            if let (None, Some(class)) = (&plan.class, &self.records[job].class) {
                assert!(plan.asked_for.contains(class), "job {job} is computed in {class}, which was not asked for");
            }
            let may_succeed = plan.poisoned.is_none() && !plan.is_refused;
            assert!(may_succeed || self.end(job) != Some(&End::Succeeded), "job {job} cannot have succeeded");
        }
    }
}

pub(super) fn trouble(setback: Setback) -> ApiError {
    let reason = match setback {
        Setback::Failed | Setback::Memory => ErrorReason::EvaluationFailed,
        Setback::Lost | Setback::Declined => ErrorReason::ShuttingDown,
        Setback::Full => ErrorReason::QueueFull,
        Setback::Storeless => ErrorReason::StoreUnavailable,
    };
    ApiError::new(reason, "it went wrong")
}
