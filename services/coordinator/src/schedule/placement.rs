//! Who does what next: tiles to evaluators, in fair turns.

use std::cmp::Reverse;
use std::time::Duration;

use relief_core::{Digest, Tile};

use super::state::{Attempt, Domain, Job, Presence, Timer};
use super::{Action, AttemptId, Class, DomainIdx, EvaluatorIdx, JobKey, Scheduler};

/// Subjects that an evaluator is taken to hold: as many planes as it keeps.
pub(super) const N_HELD: usize = 4;
/// Evaluators that are looked at for one that holds the subject of a job.
const N_LOOKED_AT: usize = 8;
/// A job with so many tiles that the store has not taken gets no more.
const MAX_UNSTORED: usize = 64;
/// What a point is taken to cost before any was measured.
const UNKNOWN_COST: f64 = 0.05;
/// The weight of the newest measurement.
const NEWEST: f64 = 0.2;

impl Scheduler {
    /// Puts an evaluator among the free ones, or takes it away.
    pub(super) fn refresh_evaluator(&mut self, idx: EvaluatorIdx) {
        let now = self.now;
        let Some(evaluator) = self.evaluators.get_mut(&idx) else { return };
        let n_running = evaluator.running.len();
        let is_free = evaluator.presence == Presence::Up && n_running < evaluator.limit && evaluator.free_from <= now;
        let place = is_free.then_some(n_running);
        let before = std::mem::replace(&mut evaluator.place, place);
        if before == place {
            return;
        }
        let classes = evaluator.classes.clone();
        for class in classes.iter() {
            let free = &mut self.pool(class).free;
            before.map(|place| free.remove(&(place, idx)));
            place.map(|place| free.insert((place, idx)));
        }
    }

    /// Puts a job among the runnable ones, or takes it away; watches it while something of it runs.
    pub(super) fn refresh_job(&mut self, key: JobKey) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Some(class) = job.class.clone().filter(|_| job.has_begun) else { return };
        let is_open = job.end.is_none();
        let is_runnable = is_open
            && job.tiles.is_anything_waiting()
            && job.tiles.n_unstored() < MAX_UNSTORED
            && job.paused_until <= now;
        if is_open && !job.attempts.is_empty() && !std::mem::replace(&mut job.is_watched, true) {
            self.timers.push(Reverse((now + self.settings.min_hedge, Timer::Hedge(key))));
        }
        if std::mem::replace(&mut job.is_runnable, is_runnable) == is_runnable {
            return;
        }
        let subject = job.subject;
        if let Some(shares) = self.shares(&class) {
            shares.set_runnable(key, is_runnable);
        }
        let pool = self.pool(&class);
        let keys = pool.subjects.entry(subject).or_default();
        match is_runnable {
            true => drop(keys.insert(key)),
            false => drop(keys.remove(&key)),
        }
        if keys.is_empty() {
            pool.subjects.remove(&subject);
        }
    }

    /// Gives tiles to evaluators as long as there are both.
    pub(super) fn place(&mut self) {
        let domains: Vec<DomainIdx> = self.domains.keys().copied().collect();
        for domain in domains {
            while let Some((key, idx, tile)) = self.pick(domain) {
                self.start(key, idx, tile);
            }
        }
    }

    /// Who does what next in the classes of a domain.
    pub(super) fn pick(&self, domain: DomainIdx) -> Option<(JobKey, EvaluatorIdx, u32)> {
        let domain = self.domains.get(&domain)?;
        let has_room = |class| self.pools.get(class).is_some_and(|pool| !pool.free.is_empty());
        if !domain.classes.iter().any(has_room) {
            return None;
        }
        let of_job = |key| {
            let job = self.jobs.get(&key)?;
            let class = job.class.as_ref()?;
            Some((job, class, self.pools.get(class)?))
        };
        for key in domain.shares.in_turn() {
            let Some((job, class, pool)) = of_job(key) else { continue };
            let evaluators: Vec<EvaluatorIdx> = pool.free.iter().take(N_LOOKED_AT).map(|(_, idx)| *idx).collect();
            let is_held = |(other, subject): &(Class, Digest)| *subject == job.subject && other == class;
            let holds = |idx: &EvaluatorIdx| self.evaluators.get(idx).is_some_and(|e| e.held.iter().any(is_held));
            let (holders, others): (Vec<EvaluatorIdx>, Vec<EvaluatorIdx>) =
                evaluators.iter().partition(|idx| holds(idx));
            if let Some(pick) = holders.iter().find_map(|idx| Some((key, *idx, self.tile_for(key, *idx)?))) {
                return Some(pick);
            }
            // The others are looked at only when none of the first may take what waits.
            let rest = pool.free.iter().skip(N_LOOKED_AT).map(|(_, idx)| idx);
            let mut others = others.iter().chain(rest);
            let Some(pick) = others.find_map(|idx| Some((key, *idx, self.tile_for(key, *idx)?))) else { continue };
            let (_, idx, _) = pick;
            return Some(self.held_instead(domain, idx).unwrap_or(pick));
        }
        None
    }

    /// The tile of a job that an evaluator is given next.
    fn tile_for(&self, key: JobKey, idx: EvaluatorIdx) -> Option<u32> {
        let job = self.jobs.get(&key)?;
        let alive = &self.pools.get(job.class.as_ref()?)?.alive;
        // One that is left alone for a while is nobody to wait for: it may go on like that for ever.
        let takes_work = |idx: &EvaluatorIdx| self.evaluators.get(idx).is_some_and(|e| e.free_from <= self.now);
        let is_other =
            |avoided: &[EvaluatorIdx]| alive.iter().any(|other| !avoided.contains(other) && takes_work(other));
        job.tiles.next_for(idx, is_other)
    }

    /// A job that needs nothing loaded by an evaluator, and whose turn it nearly is.
    pub(super) fn held_instead(&self, domain: &Domain, idx: EvaluatorIdx) -> Option<(JobKey, EvaluatorIdx, u32)> {
        let held = &self.evaluators.get(&idx)?.held;
        let slack = self.settings.affinity_slack;
        let of_subject = |(class, subject): &(Class, Digest)| self.pools.get(class)?.subjects.get(subject);
        let mut keys = held.iter().filter_map(of_subject).flatten().take(N_LOOKED_AT);
        keys.find_map(|key| {
            domain.shares.is_within(*key, slack).then(|| Some((*key, idx, self.tile_for(*key, idx)?))).flatten()
        })
    }

    pub(super) fn next_attempt(&mut self) -> AttemptId {
        // Counted from 1, so that an answer that names nothing is nobody's.
        self.n_attempts += 1;
        AttemptId(self.n_attempts)
    }

    pub(super) fn start(&mut self, key: JobKey, idx: EvaluatorIdx, tile: u32) {
        let id = self.next_attempt();
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let max_points = job.max_points;
        if let Some(given) = job.tiles.give(tile, id, max_points) {
            self.open(id, key, idx, given);
        }
    }

    pub(super) fn open(&mut self, id: AttemptId, key: JobKey, idx: EvaluatorIdx, given: (Tile, Vec<u32>, u32)) {
        let (tile, places, n_attempts) = given;
        let (now, cost) = (self.now, self.expected_cost(key, places.len()));
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Some(class) = job.class.clone() else { return };
        let subject = job.subject;
        job.has_started = true;
        job.attempts.insert(id);
        job.rate.note(now, job.tiles.tally().points_done);
        if let Some(shares) = self.shares(&class) {
            shares.start(key, cost);
        }
        if let Some(evaluator) = self.evaluators.get_mut(&idx) {
            let held = (class, subject);
            evaluator.running.insert(id);
            evaluator.held.retain(|other| *other != held);
            evaluator.held.push_front(held);
            evaluator.held.truncate(N_HELD);
        }
        let attempt = Attempt {
            job: key,
            tile: tile.idx as u32,
            evaluator: idx,
            places: places.clone(),
            started: now,
            heard: now,
            progressed: now,
            charged: cost,
            n_answers: 0,
        };
        self.attempts.insert(id, attempt);
        self.timers.push(Reverse((now + self.settings.stall_timeout, Timer::Stall(id))));
        self.actions.push(Action::Start { attempt: id, job: key, evaluator: idx, tile, places, n_attempts });
        self.changed.insert(key);
        self.refresh_evaluator(idx);
        self.refresh_job(key);
    }

    /// Ends an attempt, whatever becomes of its tile. It cost `compute`, or of what was charged the part that was done.
    pub(super) fn close(&mut self, id: AttemptId, compute: Option<Duration>) -> Option<Attempt> {
        let attempt = self.attempts.remove(&id)?;
        if let Some(evaluator) = self.evaluators.get_mut(&attempt.evaluator) {
            evaluator.running.remove(&id);
        }
        self.refresh_evaluator(attempt.evaluator);
        let cost = compute.unwrap_or_else(|| {
            let share = attempt.n_answers.min(attempt.places.len()) as f64 / attempt.places.len().max(1) as f64;
            attempt.charged.mul_f64(share)
        });
        if let Some(job) = self.jobs.get_mut(&attempt.job) {
            job.attempts.remove(&id);
            if let Some(class) = job.class.clone()
                && let Some(shares) = self.shares(&class)
            {
                shares.end(attempt.job, attempt.charged, cost);
            }
        }
        Some(attempt)
    }

    /// All points of a tile are known, the last one by `by`, which is still to say that it is through.
    pub(super) fn complete(&mut self, key: JobKey, tile: u32, by: AttemptId) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        for attempt in job.tiles.complete(tile) {
            if attempt != by {
                self.actions.push(Action::Abort { attempt });
                self.close(attempt, None);
            }
        }
        self.enqueue(key);
        self.refresh_job(key);
    }

    pub(super) fn cost_by_network(&self, job: &Job) -> Option<f64> {
        Some(self.cost_of_sample(job.class.as_ref()?, job.network)? * job.samples_per_point as f64)
    }

    pub(super) fn expected_cost(&self, key: JobKey, n_points: usize) -> Duration {
        let Some(job) = self.jobs.get(&key) else { return Duration::ZERO };
        let per_point = job.cost_per_point.or_else(|| self.cost_by_network(job)).unwrap_or(UNKNOWN_COST);
        Duration::from_secs_f64(per_point * n_points as f64)
    }

    pub(super) fn measure(&mut self, key: JobKey, n_points: usize, wall: Duration, compute: Duration) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let n_points = n_points.max(1) as f64;
        let cost = compute.as_secs_f64() / n_points;
        job.wall_per_point = Some(averaged(job.wall_per_point, wall.as_secs_f64() / n_points));
        job.cost_per_point = Some(averaged(job.cost_per_point, cost));
        let Some(class) = job.class.clone() else { return };
        let per_sample = cost / job.samples_per_point.max(1) as f64;
        let known = self.costs.entry((class, job.network)).or_insert(per_sample);
        *known = averaged(Some(*known), per_sample);
    }
}

fn averaged(known: Option<f64>, newest: f64) -> f64 {
    known.map_or(newest, |known| known + NEWEST * (newest - known))
}
