//! What a job is computed in, where its record does not say: whom to ask, and what follows from the answers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use relief_api::{ApiError, ErrorReason};

use super::state::Timer;
use super::tiles::{MAX_FAILURES, Setback};
use super::{Action, Class, Classes, End, EvaluatorIdx, JobKey, MAX_PAUSE, MIN_PAUSE, Scheduler};

/// The most offers that a reason to wait names.
const N_NAMED: usize = 4;

/// What an evaluator says instead of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objection {
    /// It has nothing that is asked for, and so has no other that offers the same.
    Unfit,
    /// It did not come to an answer.
    Setback(Setback),
}

/// How far the choice of a job's class is.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Who is asked at present.
    asked: Option<EvaluatorIdx>,
    /// What those offer that have nothing for it, and what they said.
    unfit: BTreeMap<Classes, String>,
    /// Those that are not asked again before the pause is over.
    passed: BTreeSet<EvaluatorIdx>,
    failures: Vec<EvaluatorIdx>,
    is_paused: bool,
    pause: Duration,
}

impl Choice {
    /// Whether an evaluator that is there again may be asked at once.
    pub(super) fn welcome(&mut self, idx: EvaluatorIdx) {
        self.passed.remove(&idx);
    }
}

impl Scheduler {
    /// Asks an evaluator what a job is best computed in, unless that is done or known already: those first that offer
    /// what most do, and of these one that has little to do.
    pub(super) fn ask(&mut self, key: JobKey) {
        let Some(job) = self.jobs.get(&key) else { return };
        if job.end.is_some() || job.is_beginning || job.choice.asked.is_some() {
            return;
        }
        let choice = &job.choice;
        let mut groups: Vec<_> = self.groups.iter().filter(|(offer, _)| !choice.unfit.contains_key(*offer)).collect();
        groups.sort_by_key(|(_, members)| (Reverse(members.len()), members.first().copied()));
        let load = |idx: &EvaluatorIdx| {
            let n_running = self.evaluators.get(idx).map_or(0, |evaluator| evaluator.running.len());
            (choice.failures.contains(idx), n_running, *idx)
        };
        let candidate = |members: &BTreeSet<EvaluatorIdx>| {
            members.iter().filter(|idx| !choice.passed.contains(*idx)).min_by_key(|idx| load(idx)).copied()
        };
        let next = groups.iter().find_map(|(_, members)| candidate(members));
        let (is_anybody_fit, trouble) = (!groups.is_empty(), self.why_unfit(key));
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&key) else { return };
        if let Some(idx) = next {
            job.choice.asked = Some(idx);
            self.actions.push(Action::Choose { job: key, evaluator: idx });
        } else if !is_anybody_fit {
            if job.trouble != trouble {
                job.trouble = trouble;
                self.changed.insert(key);
            }
        } else if !std::mem::replace(&mut job.choice.is_paused, true) {
            job.choice.pause = (job.choice.pause * 2).clamp(MIN_PAUSE, MAX_PAUSE);
            self.timers.push(Reverse((now + job.choice.pause, Timer::Choice(key))));
        }
    }

    /// Why nobody who is there can compute a job as it is asked for.
    fn why_unfit(&self, key: JobKey) -> Option<String> {
        let job = self.jobs.get(&key)?;
        let said: Vec<&str> = self
            .groups
            .keys()
            .filter_map(|offer| job.choice.unfit.get(offer))
            .take(N_NAMED)
            .map(String::as_str)
            .collect();
        (!said.is_empty()).then(|| format!("no evaluator that answers offers what is asked for: {}", said.join("; ")))
    }

    /// Asks again after a pause.
    pub(super) fn end_pause(&mut self, key: JobKey) {
        if let Some(job) = self.jobs.get_mut(&key) {
            job.choice.is_paused = false;
            job.choice.passed.clear();
        }
        self.ask(key);
    }

    /// Notes that an evaluator has chosen what a job is computed in.
    pub(crate) fn chosen(&mut self, now: Duration, key: JobKey, idx: EvaluatorIdx, class: Class) {
        self.advance(now);
        if !self.was_asked(key, idx) {
            return;
        }
        // One that has become another meanwhile would pin what nobody may have.
        if self.evaluators.get(&idx).is_some_and(|evaluator| evaluator.classes.contains(&class)) {
            self.classless.remove(&key);
            self.begin(key, class);
        } else {
            self.pass_over(key, idx);
            self.ask(key);
        }
    }

    /// Notes why an evaluator has not chosen what a job is computed in.
    pub(crate) fn not_chosen(
        &mut self,
        now: Duration,
        key: JobKey,
        idx: EvaluatorIdx,
        objection: Objection,
        error: &ApiError,
    ) {
        self.advance(now);
        if !self.was_asked(key, idx) {
            return;
        }
        let offer = self.evaluators.get(&idx).map(|evaluator| evaluator.classes.clone());
        let Some(job) = self.jobs.get_mut(&key) else { return };
        match (objection, offer) {
            (Objection::Unfit, Some(offer)) => drop(job.choice.unfit.insert(offer, error.message.clone())),
            (Objection::Unfit, None) => {}
            (Objection::Setback(setback), _) => {
                job.trouble = Some(format!("it is not known yet what to compute it in: {}", error.message));
                self.changed.insert(key);
                self.pass_over(key, idx);
                match setback {
                    Setback::Failed | Setback::Memory => self.note_failed_choice(key, idx, error),
                    Setback::Lost | Setback::Declined => self.note_behaviour(idx, setback),
                    Setback::Full | Setback::Storeless => {}
                }
            }
        }
        self.ask(key);
    }

    fn was_asked(&mut self, key: JobKey, idx: EvaluatorIdx) -> bool {
        let Some(job) = self.jobs.get_mut(&key).filter(|job| job.choice.asked == Some(idx)) else { return false };
        job.choice.asked = None;
        job.end.is_none()
    }

    fn pass_over(&mut self, key: JobKey, idx: EvaluatorIdx) {
        if let Some(job) = self.jobs.get_mut(&key) {
            job.choice.passed.insert(idx);
        }
    }

    /// As a tile, a choice may fail on three evaluators, or three times on all that there are.
    fn note_failed_choice(&mut self, key: JobKey, idx: EvaluatorIdx, error: &ApiError) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.choice.failures.push(idx);
        let choice = &job.choice;
        let n_evaluators = choice.failures.iter().collect::<BTreeSet<_>>().len();
        let fit = self.groups.iter().filter(|(offer, _)| !choice.unfit.contains_key(*offer));
        let is_other = fit.flat_map(|(_, members)| members).any(|other| !choice.failures.contains(other));
        if n_evaluators >= MAX_FAILURES || (choice.failures.len() >= MAX_FAILURES && !is_other) {
            let message = format!("what to compute it in could not be chosen, the last time because {}", error.message);
            self.end_job(now, key, End::Failed(ApiError::new(ErrorReason::EvaluationFailed, message)));
        }
    }
}
