//! The evaluators, as good and as bad as they come.

use std::collections::BTreeMap;
use std::time::Duration;

use relief_core::{PointValues, Tile};

use super::fault::Fault;
use super::ledger::JobIdx;
use super::plan::MachinePlan;
use super::random::Random;
use super::world::{Event, Told, World};
use crate::schedule::{AttemptId, Class, Classes, Objection, Setback};

/// One attempt's stream: that of another process is another one, whatever its number.
pub(super) type Connection = (u64, AttemptId);

pub(super) type MachineIdx = usize;

const HEARTBEAT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Up,
    /// It hands back what it has after the point that it is at.
    Draining,
    Down,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    Start { job: JobIdx, tile: Tile, places: Vec<u32>, class: Class },
    Cancel,
}

#[derive(Debug)]
struct Work {
    job: JobIdx,
    tile: Tile,
    places: Vec<u32>,
    n_done: usize,
    compute: Duration,
    /// How it goes wrong, and at which point.
    fate: Option<(Fault, usize)>,
    /// When the last message arrives there: the end comes after all that it ends.
    last_arrival: Duration,
    /// Messages were lost, so that no more come.
    is_cut: bool,
}

/// An evaluator at work.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) plan: MachinePlan,
    pub(super) classes: Classes,
    pub(super) state: State,
    /// Nothing reaches it before, and nothing gets out.
    pub(super) deaf_until: Duration,
    pub(super) dumb_until: Duration,
    pub(super) storeless_until: Duration,
    works: BTreeMap<Connection, Work>,
}

impl Machine {
    pub(super) fn new(plan: MachinePlan) -> Self {
        let (deaf_until, dumb_until) = (Duration::ZERO, Duration::ZERO);
        let storeless_until = if plan.is_storeless { Duration::MAX } else { Duration::ZERO };
        let (classes, state, works) = (plan.classes.clone(), State::Up, BTreeMap::new());
        Self { plan, classes, state, deaf_until, dumb_until, storeless_until, works }
    }

    pub(super) fn is_reachable(&self, now: Duration) -> bool {
        self.state != State::Down && now >= self.deaf_until && now >= self.dumb_until
    }

    /// Nothing is wrong with it any more, but for what it is at.
    pub(super) fn calm(&mut self) {
        (self.deaf_until, self.dumb_until) = (Duration::ZERO, Duration::ZERO);
        if !self.plan.is_storeless {
            self.storeless_until = Duration::ZERO;
        }
        self.plan.is_faulty = false;
        self.plan.takes = self.plan.slots;
    }

    fn fate(&self, random: &mut Random, n_points: usize) -> Option<(Fault, usize)> {
        const FATES: [Fault; 8] = [
            Fault::WrongTicket,
            Fault::OutOfRange,
            Fault::Omission,
            Fault::ReportedFailure,
            Fault::Mute,
            Fault::Hang,
            Fault::Contradiction,
            Fault::WrongValue,
        ];
        if self.plan.is_hung {
            return Some((Fault::Hang, 0));
        }
        self.plan.is_faulty.then(|| (random.pick(&FATES), random.index(n_points)))
    }
}

impl World {
    pub(super) fn reach_machine(&mut self, idx: MachineIdx, connection: Connection, request: Request) {
        let (now, machine) = (self.now, &mut self.machines[idx]);
        let Request::Start { job, tile, places, class } = request else {
            if now >= machine.deaf_until {
                machine.works.remove(&connection);
            } else if let Some(work) = machine.works.get_mut(&connection) {
                work.is_cut = true;
            }
            return;
        };
        if now < machine.deaf_until {
            return;
        }
        let (n_works, n_points) = (machine.works.len(), places.len());
        let refusal = if machine.state != State::Up || !machine.classes.contains(&class) {
            Some((Setback::Declined, None))
        } else if n_works >= machine.plan.takes {
            Some((Setback::Full, Some(Fault::Full)))
        } else if now < machine.storeless_until {
            Some((Setback::Storeless, None))
        } else if n_points > machine.plan.memory {
            Some((Setback::Memory, Some(Fault::Memory)))
        } else {
            None
        };
        if let Some((setback, fault)) = refusal {
            fault.into_iter().for_each(|fault| self.count(fault));
            let delay = self.random.millis(1, 30);
            return self.tell(idx, connection.0, Told::Broken { attempt: connection.1, setback }, delay);
        }
        let fate = machine.fate(&mut self.random, n_points).filter(|(fault, _)| {
            let is_lasting = *fault == Fault::Hang && self.machines[idx].plan.is_hung;
            is_lasting || self.strikes(*fault, FATE_FACTOR)
        });
        if self.machines[idx].plan.slowness > 10.0 {
            self.count(Fault::Slow);
        }
        let last_arrival = now;
        let work = Work { job, tile, places, n_done: 0, compute: Duration::ZERO, fate, last_arrival, is_cut: false };
        self.machines[idx].works.insert(connection, work);
        self.compute_next(idx, connection);
    }

    /// Is asked what a job is best computed in. Whoever asks hears something in any case, if only that nothing comes.
    pub(super) fn reach_asked(&mut self, generation: u64, job: JobIdx, idx: MachineIdx) {
        let (now, machine) = (self.now, &self.machines[idx]);
        let choice = self.plan.jobs[job].choice(&machine.classes);
        let answer = if !machine.is_reachable(now) {
            Err(Objection::Setback(Setback::Lost))
        } else if machine.state != State::Up {
            Err(Objection::Setback(Setback::Declined))
        } else if choice.is_some() && now < machine.storeless_until {
            Err(Objection::Setback(Setback::Storeless))
        } else if machine.plan.is_faulty && self.strikes(Fault::FailedChoice, 1.0) {
            Err(Objection::Setback(Setback::Failed))
        } else if self.strikes(Fault::ChoiceFailure, 1.0) {
            Err(Objection::Setback(Setback::Full))
        } else {
            choice.ok_or(Objection::Unfit)
        };
        if answer == Err(Objection::Unfit) {
            self.count(Fault::Unfit);
        }
        let told = match answer {
            Ok(class) => Told::Chosen { job, machine: idx, class },
            Err(objection) => Told::NotChosen { job, machine: idx, objection },
        };
        let delay = self.random.millis(1, 2_000);
        self.after(delay, Event::Tell(generation, told));
    }

    /// Begins with the next point.
    fn compute_next(&mut self, idx: MachineIdx, connection: Connection) {
        let (slowness, jitter) = (self.machines[idx].plan.slowness, 0.9 + 0.2 * self.random.unit());
        let Some(work) = self.machines[idx].works.get_mut(&connection) else { return };
        if matches!(work.fate, Some((Fault::Hang | Fault::Mute, at)) if at == work.n_done) {
            return;
        }
        let took = self.plan.jobs[work.job].point_cost.mul_f64(slowness * jitter);
        work.compute += took;
        self.after(took, Event::Computed(idx, connection, took));
    }

    /// Sends a point that is computed, and goes on.
    pub(super) fn computed(&mut self, idx: MachineIdx, connection: Connection, took: Duration) {
        let Some(work) = self.machines[idx].works.get(&connection) else { return };
        let (job, n_done, fate, is_cut) = (work.job, work.n_done, work.fate, work.is_cut);
        let is_poisoned = self.plan.jobs[job].poisoned == Some(work.tile.idx);
        if is_cut {
            self.machines[idx].works.remove(&connection);
            return;
        }
        if is_poisoned || matches!(fate, Some((Fault::ReportedFailure, at)) if at == n_done) {
            if is_poisoned {
                self.count(Fault::Poison);
            }
            return self.hand_back(idx, connection, Setback::Failed);
        }
        *self.served.entry(self.plan.jobs[job].client.clone()).or_default() += took;
        self.served_by_job[job] += took;
        self.send_point(idx, connection);
        let machine = &mut self.machines[idx];
        let is_draining = machine.state == State::Draining;
        let Some(work) = machine.works.get_mut(&connection) else { return };
        work.n_done += 1;
        if work.n_done == work.places.len() {
            let (attempt, compute) = (connection.1, work.compute);
            self.end_work(idx, connection, Told::Finished { attempt, compute });
        } else if is_draining {
            self.hand_back(idx, connection, Setback::Declined);
        } else {
            self.compute_next(idx, connection);
        }
    }

    fn hand_back(&mut self, idx: MachineIdx, connection: Connection, setback: Setback) {
        self.end_work(idx, connection, Told::Broken { attempt: connection.1, setback });
    }

    fn end_work(&mut self, idx: MachineIdx, connection: Connection, last: Told) {
        let Some(work) = self.machines[idx].works.remove(&connection) else { return };
        if work.is_cut {
            return;
        }
        let delay = work.last_arrival.saturating_sub(self.now) + self.random.millis(1, 20);
        self.tell(idx, connection.0, last, delay);
    }

    fn send_point(&mut self, idx: MachineIdx, connection: Connection) {
        let Some(work) = self.machines[idx].works.get(&connection) else { return };
        let (n_done, attempt, fate) = (work.n_done, connection.1, work.fate);
        let plan = &self.plan.jobs[work.job];
        let place = work.places[n_done] as usize;
        let Some((row, column)) = work.tile.points().nth(place) else { return };
        let right = plan.value(row, column);
        let wrong = PointValues { main: plan.value(row + 1000, column).main, also: None };
        let point = |ticket: u64, idx: usize, values| Told::Point { attempt, ticket, idx, values };
        let good = point(attempt.0, n_done, right);
        let messages = match fate.filter(|(_, at)| *at == n_done).map(|(fault, _)| fault) {
            Some(Fault::WrongTicket) => vec![point(attempt.0 + 1, n_done, right)],
            Some(Fault::OutOfRange) => vec![point(attempt.0, work.places.len() + n_done, right)],
            Some(Fault::Omission) => vec![],
            Some(Fault::WrongValue) => vec![point(attempt.0, n_done, wrong)],
            Some(Fault::Contradiction) => vec![good, point(attempt.0, n_done, wrong)],
            _ if self.strikes(Fault::Loss, 1.0) => vec![],
            _ if self.strikes(Fault::Duplicate, 1.0) => vec![good.clone(), good],
            _ if attempt.0 > 1 && self.strikes(Fault::StaleTicket, 1.0) => {
                let old = 1 + self.random.below(attempt.0 - 1);
                vec![point(old, n_done, right), good]
            }
            _ => vec![good],
        };
        for message in messages {
            self.send_message(idx, connection, message);
        }
    }

    fn send_message(&mut self, idx: MachineIdx, connection: Connection, told: Told) {
        let mut delay = self.random.millis(1, 20);
        if self.strikes(Fault::Delay, 1.0) {
            delay += self.random.millis(100, 5_000);
        }
        let (now, machine) = (self.now, &mut self.machines[idx]);
        let is_dumb = now < machine.dumb_until;
        let Some(work) = machine.works.get_mut(&connection) else { return };
        work.is_cut |= is_dumb;
        if !work.is_cut {
            work.last_arrival = work.last_arrival.max(now + delay);
            self.tell(idx, connection.0, told, delay);
        }
    }

    /// Says what is alive, and gives up what nobody waits for.
    pub(super) fn beat(&mut self, idx: MachineIdx) {
        let connections: Vec<Connection> = self.machines[idx].works.keys().copied().collect();
        for connection in connections {
            let Some(work) = self.machines[idx].works.get(&connection) else { continue };
            let is_mute = matches!(work.fate, Some((Fault::Mute, at)) if at == work.n_done);
            let is_lost = work.is_cut || connection.0 != self.generation;
            if is_lost && self.random.chance(0.5) {
                self.machines[idx].works.remove(&connection);
            } else if !is_mute {
                self.send_message(idx, connection, Told::Beat { attempt: connection.1 });
            }
        }
        self.after(HEARTBEAT, Event::Beat(idx));
    }

    /// What may happen to an evaluator in a second.
    pub(super) fn trouble_machine(&mut self, idx: MachineIdx) {
        let until = self.now + self.random.millis(1_000, 90_000);
        if self.machines[idx].state == State::Up {
            if self.strikes(Fault::Crash, 1.0) {
                self.crash(idx, true);
            } else if self.strikes(Fault::SilentCrash, 1.0) {
                self.crash(idx, false);
            } else if self.strikes(Fault::Drain, 1.0) {
                self.drain(idx);
            }
        }
        if self.strikes(Fault::CutTo, 1.0) {
            self.machines[idx].deaf_until = until;
        }
        if self.strikes(Fault::CutFrom, 1.0) {
            self.machines[idx].dumb_until = until;
        }
        if self.strikes(Fault::CutBoth, 1.0) {
            (self.machines[idx].deaf_until, self.machines[idx].dumb_until) = (until, until);
        }
        if self.strikes(Fault::Storeless, 1.0) {
            self.machines[idx].storeless_until = until;
        }
    }

    fn crash(&mut self, idx: MachineIdx, is_noticed: bool) {
        let works = std::mem::take(&mut self.machines[idx].works);
        self.machines[idx].state = State::Down;
        for (connection, work) in works {
            if is_noticed && !work.is_cut {
                let delay = self.random.millis(1, 3_000);
                let told = Told::Broken { attempt: connection.1, setback: Setback::Lost };
                self.tell(idx, connection.0, told, delay);
            }
        }
        let pause = self.random.millis(500, 60_000);
        self.after(pause, Event::Restart(idx));
    }

    fn drain(&mut self, idx: MachineIdx) {
        self.machines[idx].state = State::Draining;
        let delay = self.random.millis(1, 500);
        let generation = self.generation;
        self.tell(idx, generation, Told::Draining { machine: idx }, delay);
        let pause = self.random.millis(1_000, 20_000);
        self.after(pause, Event::Stop(idx));
    }

    /// The grace of an evaluator that drains is over.
    pub(super) fn stop(&mut self, idx: MachineIdx) {
        if self.machines[idx].state == State::Draining {
            self.crash(idx, true);
        }
    }

    pub(super) fn restart(&mut self, idx: MachineIdx) {
        if self.machines[idx].state != State::Down {
            return;
        }
        self.count(Fault::Restart);
        self.machines[idx].state = State::Up;
        if self.machines[idx].plan.is_fickle && self.random.chance(0.5) {
            let others: Vec<Classes> = self.plan.machines.iter().map(|machine| machine.classes.clone()).collect();
            let classes = others[self.random.index(others.len())].clone();
            if classes != self.machines[idx].classes {
                self.count(Fault::OtherClass);
                self.machines[idx].classes = classes;
            }
        }
    }
}

/// A faulty evaluator draws one of several ways to fail, each of which is the rarer for it.
const FATE_FACTOR: f64 = 8.0;
