//! What is remembered of jobs, attempts and evaluators.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use relief_core::Digest;

use super::budget::RetryBudget;
use super::choice::Choice;
use super::rate::RateMeter;
use super::share::{ClientName, Shares};
use super::tiles::Tiles;
use super::{AttemptId, Class, Classes, DomainIdx, End, EvaluatorIdx, JobKey, MIN_PAUSE, NewJob};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Stall(AttemptId),
    Evaluator(EvaluatorIdx),
    Job(JobKey),
    Store(JobKey),
    Hedge(JobKey),
    Choice(JobKey),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It takes work.
    Up,
    /// It is in doubt and gets no work until it is known to be up.
    Silent,
    /// It finishes what it has.
    Draining,
}

#[derive(Debug)]
pub(super) struct Evaluator {
    /// What it computes in, the best first.
    pub(super) classes: Classes,
    pub(super) slots: usize,
    /// What it takes at once at present, at most its slots.
    pub(super) limit: usize,
    pub(super) presence: Presence,
    pub(super) running: BTreeSet<AttemptId>,
    /// The subjects of its last tiles, each in its class, the last one first.
    pub(super) held: VecDeque<(Class, Digest)>,
    /// It gets nothing before.
    pub(super) free_from: Duration,
    pub(super) pause: Duration,
    pub(super) n_failures: u32,
    /// Its place among the free ones, where it has one.
    pub(super) place: Option<usize>,
}

/// The classes that evaluators have in common, directly or by way of others: whatever is given out in one of them is
/// taken from the rest, so that their jobs share.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) shares: Shares,
    pub(super) classes: BTreeSet<Class>,
}

/// The evaluators and the jobs of one class.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) domain: DomainIdx,
    /// Those that take work, now or when they have room.
    pub(super) alive: BTreeSet<EvaluatorIdx>,
    /// Those with room, by the number of tiles that run there.
    pub(super) free: BTreeSet<(usize, EvaluatorIdx)>,
    /// The runnable jobs of each subject.
    pub(super) subjects: BTreeMap<Digest, BTreeSet<JobKey>>,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) client: ClientName,
    pub(super) client_weight: u32,
    pub(super) priority: i32,
    pub(super) weight: u32,
    pub(super) class: Option<Class>,
    pub(super) subject: Digest,
    pub(super) network: Digest,
    pub(super) samples_per_point: u64,
    /// How far the choice of its class is, while it has none.
    pub(super) choice: Choice,
    pub(super) is_beginning: bool,
    pub(super) has_begun: bool,
    pub(super) has_started: bool,
    pub(super) tiles: Tiles,
    pub(super) attempts: BTreeSet<AttemptId>,
    pub(super) budget: RetryBudget,
    /// Nothing of it is given out before.
    pub(super) paused_until: Duration,
    /// Nothing of it is stored before.
    pub(super) stored_from: Duration,
    pub(super) store_pause: Duration,
    pub(super) trouble: Option<String>,
    /// The most points of one request.
    pub(super) max_points: usize,
    /// From the request for a point to its answer, in seconds.
    pub(super) wall_per_point: Option<f64>,
    /// An evaluator's time for a point, in seconds.
    pub(super) cost_per_point: Option<f64>,
    pub(super) rate: RateMeter,
    pub(super) is_runnable: bool,
    pub(super) is_ready: bool,
    pub(super) is_watched: bool,
    pub(super) end: Option<End>,
    pub(super) is_end_told: bool,
}

impl Job {
    pub(super) fn new(new: NewJob) -> Self {
        let NewJob { client, client_weight, priority, weight, class: _, subject, network, samples_per_point, tiles } =
            new;
        Self {
            client,
            client_weight,
            priority,
            weight,
            class: None,
            subject,
            network,
            samples_per_point,
            choice: Choice::default(),
            is_beginning: false,
            has_begun: false,
            has_started: false,
            tiles,
            attempts: BTreeSet::new(),
            budget: RetryBudget::default(),
            paused_until: Duration::ZERO,
            stored_from: Duration::ZERO,
            store_pause: MIN_PAUSE,
            trouble: None,
            max_points: usize::MAX,
            wall_per_point: None,
            cost_per_point: None,
            rate: RateMeter::default(),
            is_runnable: false,
            is_ready: false,
            is_watched: false,
            end: None,
            is_end_told: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) job: JobKey,
    pub(super) tile: u32,
    pub(super) evaluator: EvaluatorIdx,
    pub(super) places: Vec<u32>,
    pub(super) started: Duration,
    pub(super) heard: Duration,
    /// When it brought its last point.
    pub(super) progressed: Duration,
    pub(super) charged: Duration,
    pub(super) n_answers: usize,
}
