//! The coordinator's process in the world: what it is told, and what it does about it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use relief_api::{ApiError, ErrorReason};
use relief_core::Digest;

use super::fault::Fault;
use super::ledger::{Cause, Expected, JobIdx, Ledger};
use super::machine::{MachineIdx, Request, State};
use super::world::{Event, Started, TICK, Told, World, trouble};
use crate::schedule::{Action, AttemptId, JobKey, NewJob, Scheduler, Tally, Tiles};

/// Probes in vain until an evaluator is taken for gone.
const MAX_PROBES: u32 = 4;

/// The coordinator while it runs.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) scheduler: Scheduler,
    pub(super) ledger: Ledger,
    pub(super) keys: BTreeMap<JobIdx, JobKey>,
    jobs: BTreeMap<JobKey, JobIdx>,
    attempts: BTreeMap<AttemptId, MachineIdx>,
    probing: BTreeSet<MachineIdx>,
    tick_at: Duration,
    slept: Duration,
}

impl World {
    pub(super) fn kill(&mut self) {
        self.process = None;
        self.sleeps_until = None;
        self.inbox.clear();
        self.generation += 1;
        let pause = self.random.millis(200, 20_000);
        self.after(pause, Event::Revive);
    }

    pub(super) fn revive(&mut self) {
        self.trace.note(self.now, "revive", [self.generation, 0, 0]);
        let settings = self.plan.settings.clone();
        self.process = Some(Process {
            scheduler: Scheduler::new(settings.clone()),
            ledger: Ledger::new(settings),
            keys: BTreeMap::new(),
            jobs: BTreeMap::new(),
            attempts: BTreeMap::new(),
            probing: BTreeSet::new(),
            tick_at: Duration::ZERO,
            slept: Duration::ZERO,
        });
        let mut jobs: Vec<JobIdx> = (0..self.records.len()).filter(|job| self.is_open(*job)).collect();
        self.random.shuffle(&mut jobs);
        for job in jobs {
            self.count(Fault::TakenUp);
            self.take_up(job);
        }
        (0..self.machines.len()).for_each(|idx| self.probe(idx, Duration::ZERO));
        self.tick();
    }

    fn is_open(&self, job: JobIdx) -> bool {
        self.records[job].is_accepted && self.records[job].end.is_none()
    }

    pub(super) fn take_up(&mut self, job: JobIdx) {
        let plan = &self.plan.jobs[job];
        let stored = self.store.tiles_of(job);
        let class = self.records[job].class.clone().or_else(|| plan.class.clone());
        if class.is_none() {
            self.faults.count(Fault::Classless);
        }
        let new = NewJob {
            client: plan.client.clone(),
            client_weight: plan.client_weight,
            priority: plan.priority,
            weight: plan.weight,
            class,
            subject: plan.subject(),
            network: Digest::of(b"network"),
            samples_per_point: plan.point_cost.as_millis() as u64 + 1,
            tiles: Tiles::new(plan.tiles, &stored, self.store.n_non_finite(job)),
        };
        let Some(process) = &mut self.process else { return };
        process.ledger.job_added(job, &stored);
        let key = process.scheduler.add_job(self.now, new);
        process.keys.insert(job, key);
        process.jobs.insert(key, job);
        self.act(&Expected::default());
    }

    pub(super) fn is_awake(&self) -> bool {
        self.process.is_some() && self.sleeps_until.is_none()
    }

    pub(super) fn tick(&mut self) {
        let now = self.now;
        if !self.is_awake() {
            return;
        }
        let Some(process) = &mut self.process else { return };
        if process.tick_at > now {
            return;
        }
        process.tick_at = Duration::MAX;
        process.ledger.awake = now - process.slept;
        process.scheduler.tick(now);
        self.act(&Expected::of(Cause::Tick));
    }

    /// Sees to it that time goes on for the process.
    fn set_tick(&mut self) {
        let now = self.now;
        let Some(process) = &mut self.process else { return };
        let at = process.scheduler.next_timer().unwrap_or(Duration::MAX).clamp(now, now + TICK);
        if at < process.tick_at {
            process.tick_at = at;
            self.after(at - now, Event::Tick);
        }
    }

    pub(super) fn resume(&mut self) {
        if self.sleeps_until != Some(self.now) {
            return;
        }
        self.sleeps_until = None;
        if let Some(process) = &mut self.process {
            // Its last tick was before it fell asleep.
            process.slept = self.now - process.ledger.awake;
            process.tick_at = Duration::ZERO;
        }
        let inbox = std::mem::take(&mut self.inbox);
        if self.random.chance(0.5) {
            self.tick();
        }
        for told in inbox {
            self.count(Fault::AnswerInTheLeap);
            self.hear(self.generation, told);
        }
        self.tick();
        self.set_tick();
    }

    /// A message of an evaluator sets out.
    pub(super) fn tell(&mut self, idx: MachineIdx, generation: u64, told: Told, delay: Duration) {
        if self.now >= self.machines[idx].dumb_until {
            self.after(delay, Event::Tell(generation, told));
        }
    }

    pub(super) fn hear(&mut self, generation: u64, told: Told) {
        if generation != self.generation || self.process.is_none() {
            self.count(Fault::AnswerToTheDead);
        } else if self.sleeps_until.is_some() {
            self.inbox.push(told);
        } else {
            self.take_in(told);
        }
    }

    fn take_in(&mut self, told: Told) {
        let (now, Some(process)) = (self.now, &mut self.process) else { return };
        let (scheduler, ledger) = (&mut process.scheduler, &mut process.ledger);
        ledger.awake = now - process.slept;
        let heard = match &told {
            Told::Point { attempt, .. }
            | Told::Beat { attempt }
            | Told::Finished { attempt, .. }
            | Told::Broken { attempt, .. } => Some(*attempt),
            _ => None,
        };
        self.trace.told(now, &told);
        let drains = match &told {
            Told::Draining { machine } => Some(*machine),
            _ => None,
        };
        let is_unheard = heard.is_some_and(|attempt| ledger.open(attempt).is_none());
        let before = is_unheard.then(|| tallies(scheduler));
        let key = |job: &JobIdx| process.keys[job];
        let expected = match told {
            Told::Chosen { job, machine, class } => {
                ledger.answered(job, machine, Some(&class), None);
                scheduler.chosen(now, key(&job), machine, class);
                Expected::default()
            }
            Told::NotChosen { job, machine, objection } => {
                ledger.answered(job, machine, None, Some(objection));
                let error = ApiError::new(ErrorReason::EvaluationFailed, "it did not choose");
                scheduler.not_chosen(now, key(&job), machine, objection, &error);
                Expected::default()
            }
            Told::Begun { job, class } => {
                let plan = &self.plan.jobs[job];
                let n_known = plan.known.iter().flatten().count() as u64;
                if n_known > 0 {
                    self.faults.count(Fault::Reused);
                }
                ledger.job_begun(job, plan, &class);
                scheduler.job_begun(now, key(&job), class, &plan.known, n_known);
                Expected::default()
            }
            Told::Waits { job } => {
                scheduler.job_waits(now, key(&job), "the store is away".to_owned());
                Expected::default()
            }
            Told::Point { attempt, ticket, idx, values } => {
                scheduler.point(now, attempt, ticket, idx, values);
                ledger.point(attempt, ticket, idx, values)
            }
            Told::Beat { attempt } => {
                scheduler.heartbeat(now, attempt);
                ledger.heartbeat(attempt)
            }
            Told::Finished { attempt, compute } => {
                scheduler.finished(now, attempt, compute);
                ledger.finished(attempt)
            }
            Told::Broken { attempt, setback } => {
                scheduler.broken(now, attempt, setback, trouble(setback));
                ledger.broken(attempt, setback)
            }
            Told::Up { machine, classes, slots } => {
                process.probing.remove(&machine);
                scheduler.evaluator_up(now, machine, &classes, slots);
                ledger.up(machine, &classes, slots)
            }
            Told::Draining { machine } => {
                scheduler.evaluator_draining(now, machine);
                ledger.draining(machine)
            }
            Told::Down { machine } => {
                self.faults.count(Fault::GivenUpEvaluator);
                scheduler.evaluator_down(now, machine, "it answers no more");
                ledger.down(machine)
            }
            Told::PutAnswered { job, tile, trouble } => {
                ledger.put_answered(job, tile, trouble.is_none());
                match trouble {
                    None => scheduler.stored(now, key(&job), tile),
                    Some(trouble) => scheduler.not_stored(now, key(&job), tile, trouble),
                }
                Expected::default()
            }
            Told::EndStored { job } => {
                scheduler.forget(now, key(&job));
                Expected::default()
            }
        };
        if expected.is_disputed() {
            self.faults.count(Fault::Disputed);
        }
        if let Some(before) = before {
            self.faults.count(Fault::AnswerAfterAbort);
            assert!(before == tallies(scheduler), "an attempt that has ended is heard");
        }
        self.act(&expected);
        if let Some(machine) = drains {
            self.probe(machine, TICK * 2);
        }
    }

    // What the process does.

    /// Performs what the scheduler wants done, and checks that it may want it.
    pub(super) fn act(&mut self, expected: &Expected) {
        let Some(process) = &mut self.process else { return };
        let actions = process.scheduler.take_actions();
        process.scheduler.take_changed();
        process.ledger.check(expected, &actions);
        for action in actions {
            self.perform(action, expected.cause);
        }
        if let Some(process) = &self.process
            && process.ledger.is_at_limit(&self.plan.jobs)
        {
            self.faults.count(Fault::AtTheLimit);
        }
        self.set_tick();
    }

    fn perform(&mut self, action: Action, cause: Cause) {
        let (now, generation) = (self.now, self.generation);
        let Some(process) = &mut self.process else { return };
        match action {
            Action::Choose { job, evaluator } => {
                let job = process.jobs[&job];
                process.ledger.asked(job, evaluator);
                let delay = self.random.millis(1, 20);
                self.after(delay, Event::Ask(generation, job, evaluator));
            }
            Action::Begin { job, class } => {
                let job = process.jobs[&job];
                let is_pinned = self.plan.jobs[job].class.is_some() || self.records[job].class.is_some();
                process.ledger.begins(job, &class, is_pinned);
                let delay = self.random.millis(1, 500);
                self.after(delay, Event::Begin(generation, job, class));
            }
            Action::Start { attempt, job, evaluator, tile, places, n_attempts } => {
                let job = process.jobs[&job];
                self.trace.note(now, "start", [attempt.0, evaluator as u64, (job as u64) << 32 | tile.idx]);
                assert!(n_attempts > 0, "attempts are counted from 1");
                process.ledger.started(attempt, (job, &self.plan.jobs[..]), evaluator, &tile, &places);
                process.attempts.insert(attempt, evaluator);
                if process.ledger.is_hedge(attempt) {
                    self.faults.count(Fault::Hedged);
                }
                self.started.push(Started { job, tile: tile.idx, evaluator });
                let class = self.records[job].class.clone().expect("a job that has begun");
                let delay = self.random.millis(1, 20);
                let request = Request::Start { job, tile, places, class };
                self.after(delay, Event::Request(evaluator, (generation, attempt), request));
            }
            Action::Abort { attempt } => {
                self.trace.note(now, "abort", [attempt.0, 0, 0]);
                let open = process.ledger.open(attempt).expect("only what runs is aborted");
                let is_ending =
                    process.scheduler.jobs.get(&process.keys[&open.job]).is_none_or(|job| job.end.is_some());
                if process.ledger.aborted(attempt, cause, is_ending) {
                    self.faults.count(Fault::Silence);
                }
                let evaluator = process.attempts[&attempt];
                let delay = self.random.millis(1, 20);
                self.after(delay, Event::Request(evaluator, (generation, attempt), Request::Cancel));
            }
            Action::Store { job, tile, values } => {
                let job = process.jobs[&job];
                self.trace.note(now, "store", [job as u64, tile.idx, 0]);
                process.ledger.store(job, tile.idx, &values);
                let delay = self.random.millis(2, 200);
                self.after(delay, Event::Put(generation, job, tile, values));
            }
            Action::End { job, end } => {
                let job = process.jobs[&job];
                self.trace.note(now, "end", [job as u64, 0, 0]);
                process.ledger.ended(job, &self.plan.jobs[job], &end);
                let delay = self.random.millis(2, 200);
                self.after(delay, Event::PutEnd(generation, job, end));
            }
            Action::Probe { evaluator } => {
                process.ledger.probed(evaluator);
                let delay = self.random.millis(2, 200);
                self.probe(evaluator, delay);
            }
            Action::Alarm { .. } => {}
        }
    }

    /// Asks an evaluator what it is, until it says that it takes work.
    pub(super) fn probe(&mut self, idx: MachineIdx, delay: Duration) {
        let generation = self.generation;
        if let Some(process) = &mut self.process
            && process.probing.insert(idx)
        {
            self.after(delay, Event::Probe(generation, idx, 0));
        }
    }

    pub(super) fn reach_probed(&mut self, generation: u64, idx: MachineIdx, n_tries: u32) {
        if generation != self.generation {
            return;
        }
        let (now, delay) = (self.now, self.random.millis(1, 20));
        let machine = &self.machines[idx];
        if !machine.is_reachable(now) {
            if n_tries + 1 == MAX_PROBES {
                self.after(Duration::ZERO, Event::Tell(generation, Told::Down { machine: idx }));
            }
            let pause = (Duration::from_millis(200) * 2_u32.pow(n_tries.min(10))).min(TICK * 5);
            return self.after(pause, Event::Probe(generation, idx, n_tries + 1));
        }
        if machine.state == State::Draining {
            self.after(delay, Event::Tell(generation, Told::Draining { machine: idx }));
            return self.after(TICK * 2, Event::Probe(generation, idx, 0));
        }
        let (classes, slots) = (machine.classes.clone(), machine.plan.slots);
        self.after(delay, Event::Tell(generation, Told::Up { machine: idx, classes, slots }));
    }
}

fn tallies(scheduler: &Scheduler) -> Vec<Tally> {
    scheduler.jobs.values().map(|job| job.tiles.tally()).collect()
}
