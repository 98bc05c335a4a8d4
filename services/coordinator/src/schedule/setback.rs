//! What follows when an attempt brings less than was asked, or takes too long.

use std::cmp::Reverse;
use std::time::Duration;

use relief_api::{ApiError, ErrorReason};

use super::state::{Attempt, Presence, Timer};
use super::tiles::{Setback, Verdict};
use super::{Action, AttemptId, End, EvaluatorIdx, JobKey, MAX_PAUSE, MIN_PAUSE, Scheduler};

/// An attempt is a straggler when it has taken so many times what its like take.
const STRAGGLER: f64 = 3.0;
/// An attempt is stuck when it has brought nothing for so many times what its like take in all.
const STUCK: f64 = 10.0;
/// An evaluator that failed so often in a row is left alone for a while.
const MAX_FAILURES_IN_A_ROW: u32 = 3;

impl Scheduler {
    pub(super) fn set_back(&mut self, id: AttemptId, setback: Setback, error: ApiError) {
        let Some(attempt) = self.close(id, None) else { return };
        let Attempt { job: key, tile, evaluator: idx, places, .. } = attempt;
        self.note_behaviour(idx, setback);
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Some(class) = job.class.clone() else { return };
        if job.end.is_some() || !job.tiles.attempts(tile).contains(&id) {
            // The tile is through without it.
            self.refresh_job(key);
            return;
        }
        job.tiles.give_back(tile, id);
        let setback = match setback {
            Setback::Memory if places.len() == 1 => Setback::Failed,
            setback => setback,
        };
        let alive = self.pools.get(&class).map(|pool| &pool.alive);
        let is_other = |failed: &[EvaluatorIdx]| alive.is_some_and(|alive| alive.iter().any(|e| !failed.contains(e)));
        let verdict = job.tiles.set_back(tile, idx, setback, is_other);
        let mut paused_for = None;
        match setback {
            Setback::Memory => job.max_points = job.max_points.min(places.len() / 2).max(1),
            Setback::Failed | Setback::Lost => paused_for = job.budget.spend(),
            Setback::Storeless => paused_for = Some(MIN_PAUSE * 5),
            Setback::Declined | Setback::Full => {}
        }
        if let Some(pause) = paused_for {
            let message = error.message.clone();
            job.trouble = Some(match setback {
                Setback::Storeless => message,
                _ => format!("too many attempts failed, the next one is in {:.1} s: {message}", pause.as_secs_f64()),
            });
            job.paused_until = now + pause;
            self.timers.push(Reverse((now + pause, Timer::Job(key))));
        }
        self.changed.insert(key);
        self.refresh_job(key);
        if verdict == Verdict::GiveUp {
            let message = format!("tile {tile} failed too often, the last time with: {}", error.message);
            self.end_job(now, key, End::Failed(ApiError::new(ErrorReason::EvaluationFailed, message)));
        }
    }

    /// What a setback says about the evaluator.
    pub(super) fn note_behaviour(&mut self, idx: EvaluatorIdx, setback: Setback) {
        let now = self.now;
        let Some(evaluator) = self.evaluators.get_mut(&idx) else { return };
        match setback {
            Setback::Lost | Setback::Declined => {
                if evaluator.presence == Presence::Up {
                    self.actions.push(Action::Probe { evaluator: idx });
                    self.set_presence(idx, Presence::Silent);
                }
                return;
            }
            Setback::Full => evaluator.limit = evaluator.running.len().max(1),
            Setback::Failed => {
                evaluator.n_failures += 1;
                if evaluator.n_failures < MAX_FAILURES_IN_A_ROW {
                    return;
                }
            }
            // Others may reach it.
            Setback::Storeless => {}
            Setback::Memory => return,
        }
        evaluator.free_from = now + evaluator.pause;
        evaluator.pause = (evaluator.pause * 2).min(MAX_PAUSE);
        let at = evaluator.free_from;
        self.timers.push(Reverse((at, Timer::Evaluator(idx))));
        self.refresh_evaluator(idx);
    }

    pub(super) fn check_silence(&mut self, id: AttemptId) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let timeout = self.settings.stall_timeout;
        // One that says for ever that it is alive, and nothing else, would keep its tile and its room for ever.
        let stuck_after = self.stuck_after(attempt).unwrap_or(Duration::MAX);
        let (silent, idle) = (self.now - attempt.heard, self.now - attempt.progressed);
        let message = if silent >= timeout {
            format!("the evaluator was silent for {:.0} s", silent.as_secs_f64())
        } else if idle >= stuck_after {
            format!("the evaluator brought nothing for {:.0} s", idle.as_secs_f64())
        } else {
            let due = attempt.heard + timeout;
            self.timers.push(Reverse((due, Timer::Stall(id))));
            return;
        };
        self.actions.push(Action::Abort { attempt: id });
        self.set_back(id, Setback::Lost, ApiError::new(ErrorReason::EvaluationFailed, message));
    }

    /// How long an attempt may bring nothing; none when it is not known how long its like take.
    pub(super) fn stuck_after(&self, attempt: &Attempt) -> Option<Duration> {
        let job = self.jobs.get(&attempt.job)?;
        let per_point = job.wall_per_point.or_else(|| self.cost_by_network(job))?;
        let expected = Duration::from_secs_f64(per_point * attempt.places.len() as f64 * STUCK);
        Some(expected.max(self.settings.stall_timeout))
    }

    /// Starts further attempts at what takes suspiciously long, where nothing else is to be done.
    pub(super) fn hedge(&mut self, key: JobKey) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.is_watched = false;
        let (Some(class), None) = (job.class.clone(), &job.end) else { return };
        // Whoever is free after this may take nothing of what waits.
        self.place();
        for (tile, busy) in self.stragglers(key) {
            let Some(pool) = self.pools.get(&class) else { return };
            let Some(idx) = pool.free.iter().map(|(_, idx)| *idx).find(|idx| !busy.contains(idx)) else { continue };
            let id = self.next_attempt();
            let given = self.jobs.get_mut(&key).and_then(|job| job.tiles.hedge(tile, id, job.max_points));
            if let Some(given) = given {
                self.open(id, key, idx, given);
            }
        }
        self.refresh_job(key);
    }

    /// The tiles of a job all of whose attempts take suspiciously long, the longer the more there are; and who is at
    /// them.
    pub(super) fn stragglers(&self, key: JobKey) -> Vec<(u32, Vec<EvaluatorIdx>)> {
        let Some(job) = self.jobs.get(&key) else { return Vec::new() };
        // Before anything was measured, a straggler is one that has taken so long that it nearly counts as stalled.
        let unknown = self.settings.stall_timeout.as_secs_f64() / STRAGGLER;
        let is_straggler = |attempt: &Attempt, n_attempts: usize| {
            let expected = job.wall_per_point.map_or(unknown, |wall| wall * attempt.places.len() as f64);
            let bound = Duration::from_secs_f64(expected * STRAGGLER).max(self.settings.min_hedge);
            self.now >= attempt.started + bound * 2_u32.pow(n_attempts.clamp(1, 16) as u32 - 1)
        };
        let busy = |tile: u32| {
            let attempts: Vec<&Attempt> =
                job.tiles.attempts(tile).iter().filter_map(|id| self.attempts.get(id)).collect();
            let is_late = attempts.iter().all(|attempt| is_straggler(attempt, attempts.len()));
            is_late.then(|| (tile, attempts.iter().map(|attempt| attempt.evaluator).collect()))
        };
        job.tiles.running().filter_map(busy).collect()
    }
}
