//! What must hold, checked against everything that one process of the coordinator is told and does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use relief_api::ErrorReason;
use relief_core::{PointValues, Tile};

use super::plan::{JobPlan, bits};
use crate::schedule::storing::{MAX_STORING, MAX_STORING_PER_JOB};
use crate::schedule::tiles::{MAX_FAILURES, MAX_LOSSES};
use crate::schedule::{Action, AttemptId, Class, Classes, ClientName, End, EvaluatorIdx, Objection, Setback, Settings};

/// The number of a job in the plan.
pub(super) type JobIdx = usize;

/// An attempt from its start to its end.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) job: JobIdx,
    pub(super) tile: u64,
    pub(super) evaluator: EvaluatorIdx,
    pub(super) places: Vec<u32>,
    is_hedge: bool,
    /// When it was heard of, and when it brought something, in time that the process did not sleep through.
    heard: Duration,
    progressed: Duration,
}

/// An evaluator as the process was told of it.
#[derive(Debug)]
struct Seat {
    classes: Classes,
    slots: usize,
    takes_work: bool,
}

impl Seat {
    fn has(&self, class: &Class) -> bool {
        self.classes.contains(class)
    }
}

#[derive(Debug, Default)]
struct Toll {
    failures: Vec<EvaluatorIdx>,
    n_losses: usize,
}

#[derive(Debug, Default)]
struct Account {
    /// Who is asked what to compute it in, what was chosen, and who failed at that.
    asked: Option<EvaluatorIdx>,
    chosen: Option<Class>,
    failed_choices: Vec<EvaluatorIdx>,
    class: Option<Class>,
    /// The first answers.
    answers: BTreeMap<u64, Vec<Option<PointValues>>>,
    /// Tiles that were given to the store, are on their way there, and are known to be there.
    handed: BTreeSet<u64>,
    storing: BTreeSet<u64>,
    stored: BTreeSet<u64>,
    tolls: BTreeMap<u64, Toll>,
    wish: Option<End>,
    has_ended: bool,
}

/// What the next actions must hold beside what always must.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Why attempts may be aborted.
    pub(super) cause: Cause,
    aborts: Vec<AttemptId>,
    alarm: Option<(JobIdx, u64, PointValues, PointValues)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Cause {
    #[default]
    Other,
    /// Only time has passed.
    Tick,
    /// Evaluators are gone.
    Gone(EvaluatorIdx),
}

/// The books of one process.
#[derive(Debug)]
pub(super) struct Ledger {
    settings: Settings,
    /// The time, without that which the process slept through.
    pub(super) awake: Duration,
    open: BTreeMap<AttemptId, Open>,
    seats: BTreeMap<EvaluatorIdx, Seat>,
    accounts: BTreeMap<JobIdx, Account>,
    /// The classes that evaluators were seen to have in common, directly or by way of others.
    domains: Vec<BTreeSet<Class>>,
}

impl Ledger {
    pub(super) fn new(settings: Settings) -> Self {
        let awake = Duration::ZERO;
        let (open, seats, accounts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { settings, awake, open, seats, accounts, domains: Vec::new() }
    }

    pub(super) fn open(&self, attempt: AttemptId) -> Option<&Open> {
        self.open.get(&attempt)
    }

    // What the process is told.

    pub(super) fn job_added(&mut self, job: JobIdx, stored: &BTreeSet<u64>) {
        self.accounts.insert(job, Account { stored: stored.clone(), ..Account::default() });
    }

    /// Notes an answer to the question in what to compute a job.
    pub(super) fn answered(
        &mut self,
        job: JobIdx,
        evaluator: EvaluatorIdx,
        class: Option<&Class>,
        objection: Option<Objection>,
    ) {
        let account = self.accounts.get_mut(&job).expect("a job that was added");
        assert_eq!(account.asked.take(), Some(evaluator), "job {job} hears of one that was not asked");
        account.chosen = class.filter(|class| self.seats.get(&evaluator).is_some_and(|seat| seat.has(class))).cloned();
        if objection == Some(Objection::Setback(Setback::Failed)) {
            account.failed_choices.push(evaluator);
        }
    }

    pub(super) fn job_begun(&mut self, job: JobIdx, plan: &JobPlan, class: &Class) {
        let account = self.accounts.get_mut(&job).expect("a job that was added");
        account.class = Some(class.clone());
        for tile in plan.tiles.tiles().filter(|tile| !account.stored.contains(&tile.idx)) {
            account.answers.insert(tile.idx, plan.known(&tile));
        }
    }

    pub(super) fn wished(&mut self, job: JobIdx, end: End) {
        self.accounts.get_mut(&job).expect("a job that was added").wish.get_or_insert(end);
    }

    pub(super) fn up(&mut self, evaluator: EvaluatorIdx, classes: &Classes, slots: usize) -> Expected {
        let before = self.seats.insert(evaluator, Seat { classes: classes.clone(), slots, takes_work: true });
        let mut domain: BTreeSet<Class> = classes.iter().cloned().collect();
        let is_apart = |other: &BTreeSet<Class>| classes.iter().all(|class| !other.contains(class));
        for linked in self.domains.extract_if(.., |other| !is_apart(other)) {
            domain.extend(linked);
        }
        self.domains.push(domain);
        match before.is_some_and(|before| before.classes != *classes) {
            true => self.gone(evaluator),
            false => Expected::default(),
        }
    }

    pub(super) fn draining(&mut self, evaluator: EvaluatorIdx) -> Expected {
        if let Some(seat) = self.seats.get_mut(&evaluator) {
            seat.takes_work = false;
        }
        Expected::default()
    }

    pub(super) fn down(&mut self, evaluator: EvaluatorIdx) -> Expected {
        self.seats.remove(&evaluator);
        self.gone(evaluator)
    }

    fn gone(&self, evaluator: EvaluatorIdx) -> Expected {
        Expected { cause: Cause::Gone(evaluator), ..Expected::default() }
    }

    pub(super) fn point(&mut self, id: AttemptId, ticket: u64, idx: usize, values: PointValues) -> Expected {
        let Some(open) = self.open.get_mut(&id) else { return Expected::default() };
        open.heard = self.awake;
        let (job, tile) = (open.job, open.tile);
        let Some(place) = open.places.get(idx).copied().filter(|_| ticket == id.0) else {
            self.fail(id);
            return Expected { aborts: vec![id], ..Expected::default() };
        };
        open.progressed = self.awake;
        let account = self.accounts.get_mut(&job).expect("a job that was added");
        let known = &mut account.answers.get_mut(&tile).expect("a tile of the job")[place as usize];
        match *known {
            None => {
                *known = Some(values);
                return Expected { aborts: self.losers(id, job, tile), ..Expected::default() };
            }
            // Of a tile that is stored nothing is held to compare with.
            Some(first) if bits(&first) != bits(&values) && !account.stored.contains(&tile) => {
                return Expected { alarm: Some((job, tile, first, values)), ..Expected::default() };
            }
            Some(_) => {}
        }
        Expected::default()
    }

    /// Those that are at a tile of which all is known, but for the one that brought the last of it.
    fn losers(&self, winner: AttemptId, job: JobIdx, tile: u64) -> Vec<AttemptId> {
        if self.accounts[&job].answers[&tile].iter().any(Option::is_none) {
            return Vec::new();
        }
        let rivals = self.open.iter().filter(|(id, open)| **id != winner && (open.job, open.tile) == (job, tile));
        rivals.map(|(id, _)| *id).collect()
    }

    pub(super) fn heartbeat(&mut self, id: AttemptId) -> Expected {
        if let Some(open) = self.open.get_mut(&id) {
            open.heard = self.awake;
        }
        Expected::default()
    }

    pub(super) fn finished(&mut self, id: AttemptId) -> Expected {
        let Some(open) = self.open.get(&id) else { return Expected::default() };
        let answers = &self.accounts[&open.job].answers[&open.tile];
        match open.places.iter().all(|place| answers[*place as usize].is_some()) {
            true => drop(self.open.remove(&id)),
            false => {
                self.fail(id);
                self.open.remove(&id);
            }
        }
        Expected::default()
    }

    pub(super) fn broken(&mut self, id: AttemptId, setback: Setback) -> Expected {
        let Some(open) = self.open.get(&id) else { return Expected::default() };
        match setback {
            Setback::Failed => self.fail(id),
            Setback::Memory if open.places.len() == 1 => self.fail(id),
            Setback::Lost => self.lose(id),
            _ => {}
        }
        self.open.remove(&id);
        Expected::default()
    }

    pub(super) fn put_answered(&mut self, job: JobIdx, tile: u64, is_stored: bool) {
        let account = self.accounts.get_mut(&job).expect("a job that was added");
        assert!(account.storing.remove(&tile), "tile {tile} of job {job} was not on its way to the store");
        if is_stored {
            account.stored.insert(tile);
        }
    }

    fn fail(&mut self, id: AttemptId) {
        let evaluator = self.open[&id].evaluator;
        self.toll(id).failures.push(evaluator);
    }

    fn lose(&mut self, id: AttemptId) {
        self.toll(id).n_losses += 1;
    }

    fn toll(&mut self, id: AttemptId) -> &mut Toll {
        let open = &self.open[&id];
        self.accounts.get_mut(&open.job).expect("a job that was added").tolls.entry(open.tile).or_default()
    }

    // What it does.

    pub(super) fn asked(&mut self, job: JobIdx, evaluator: EvaluatorIdx) {
        let seat = self.seats.get(&evaluator).expect("an evaluator that is asked is there");
        assert!(seat.takes_work, "evaluator {evaluator} takes no work and is asked about job {job}");
        let account = self.accounts.get_mut(&job).expect("a job that was added");
        assert!(!account.has_ended && account.class.is_none(), "job {job} needs no class any more");
        assert_eq!(account.chosen, None, "what job {job} is computed in is chosen twice");
        assert_eq!(account.asked.replace(evaluator), None, "two are asked about job {job}");
    }

    pub(super) fn begins(&self, job: JobIdx, class: &Class, is_pinned: bool) {
        let account = &self.accounts[&job];
        assert!(is_pinned || account.chosen.as_ref() == Some(class), "job {job} begins in what nobody chose");
    }

    pub(super) fn started(
        &mut self,
        id: AttemptId,
        (job, jobs): (JobIdx, &[JobPlan]),
        evaluator: EvaluatorIdx,
        tile: &Tile,
        places: &[u32],
    ) {
        let seat = self.seats.get(&evaluator).expect("an attempt runs where an evaluator is");
        assert!(seat.takes_work, "evaluator {evaluator} takes no work and is given tile {} of job {job}", tile.idx);
        let n_running = self.open.values().filter(|open| open.evaluator == evaluator).count();
        assert!(n_running < seat.slots, "evaluator {evaluator} is given more than its {} slots", seat.slots);
        let account = &self.accounts[&job];
        let class = account.class.as_ref().expect("a job that has begun has a class");
        assert!(seat.has(class), "job {job} runs on an evaluator that lacks its class");
        assert!(!account.has_ended, "job {job} has ended and tile {} of it starts", tile.idx);
        let is_new = !account.stored.contains(&tile.idx) && !account.handed.contains(&tile.idx);
        assert!(is_new, "tile {} of job {job} is done and starts again", tile.idx);
        self.check_places(&account.answers[&tile.idx], places);
        let running: Vec<&Open> = self.open.values().filter(|open| (open.job, open.tile) == (job, tile.idx)).collect();
        assert!(running.iter().all(|open| open.evaluator != evaluator), "two attempts at a tile in one place");
        let is_hedge = !running.is_empty();
        let n_running = self.n_running(class, &jobs[job].client, jobs);
        let limit = self.settings.max_running_per_client;
        assert!(is_hedge || n_running < limit, "{n_running} tiles of a client are running and {limit} may");
        let (heard, progressed) = (self.awake, self.awake);
        let open = Open { job, tile: tile.idx, evaluator, places: places.to_vec(), is_hedge, heard, progressed };
        assert!(self.open.insert(id, open).is_none(), "attempt {} is there already", id.0);
    }

    fn check_places(&self, answers: &[Option<PointValues>], places: &[u32]) {
        let n_distinct = places.iter().collect::<BTreeSet<_>>().len();
        assert!(
            !places.is_empty() && n_distinct == places.len(),
            "points are asked for twice, or none are: {places:?}"
        );
        let are_missing = places.iter().all(|place| answers[*place as usize].is_none());
        assert!(are_missing, "points are asked for that are known: {places:?}");
    }

    pub(super) fn is_hedge(&self, id: AttemptId) -> bool {
        self.open.get(&id).is_some_and(|open| open.is_hedge)
    }

    /// The tiles of a client that run, hedges apart, in `class` or one that evaluators have in common with it.
    fn n_running(&self, class: &Class, client: &ClientName, jobs: &[JobPlan]) -> usize {
        let alone = BTreeSet::from([class.clone()]);
        let domain = self.domains.iter().find(|domain| domain.contains(class)).unwrap_or(&alone);
        let is_of_client = |open: &&Open| jobs[open.job].client == *client && !open.is_hedge;
        let is_in_domain = |open: &&Open| self.accounts[&open.job].class.as_ref().is_some_and(|c| domain.contains(c));
        self.open.values().filter(is_of_client).filter(is_in_domain).count()
    }

    /// Whether a client has as many tiles running as it may.
    pub(super) fn is_at_limit(&self, jobs: &[JobPlan]) -> bool {
        let limit = self.settings.max_running_per_client;
        let is_at_limit = |open: &Open| {
            let class = self.accounts[&open.job].class.as_ref();
            class.is_some_and(|class| self.n_running(class, &jobs[open.job].client, jobs) >= limit)
        };
        limit < usize::MAX && self.open.values().any(is_at_limit)
    }

    /// Notes that an attempt is aborted; returns whether for its silence.
    pub(super) fn aborted(&mut self, id: AttemptId, cause: Cause, is_ending: bool) -> bool {
        let open = self.open.get(&id).expect("only what runs is aborted");
        let is_through = self.accounts[&open.job].answers[&open.tile].iter().all(Option::is_some);
        let evaluator = open.evaluator;
        let mut is_silence = false;
        match cause {
            Cause::Tick if !is_ending && !is_through => {
                let timeout = self.settings.stall_timeout;
                let (silent, idle) = (self.awake - open.heard, self.awake - open.progressed);
                assert!(
                    silent >= timeout || idle >= timeout,
                    "attempt {} is taken for dead, but was heard of {silent:?} ago and got on {idle:?} ago",
                    id.0
                );
                is_silence = true;
                self.lose(id);
            }
            Cause::Tick if !is_ending => is_silence = true,
            // What failed first is why the job ends.
            Cause::Tick | Cause::Gone(_) if is_ending && !is_through => self.lose(id),
            Cause::Gone(gone) if gone == evaluator && !is_through => self.lose(id),
            _ => {}
        }
        self.open.remove(&id);
        is_silence
    }

    pub(super) fn store(&mut self, job: JobIdx, tile: u64, values: &[PointValues]) {
        let account = self.accounts.get_mut(&job).expect("a job that was added");
        assert!(!account.has_ended, "job {job} has ended and tile {tile} of it is stored");
        assert!(!account.stored.contains(&tile), "tile {tile} of job {job} is stored twice");
        assert!(account.storing.insert(tile), "tile {tile} of job {job} is on its way to the store already");
        account.handed.insert(tile);
        let first: Vec<_> = account.answers[&tile].iter().flatten().map(bits).collect();
        let given: Vec<_> = values.iter().map(bits).collect();
        assert_eq!(first, given, "tile {tile} of job {job} is not stored as it was answered first");
        assert!(account.storing.len() <= MAX_STORING_PER_JOB, "job {job} stores too much at once");
        let n_storing: usize = self.accounts.values().map(|account| account.storing.len()).sum();
        assert!(n_storing <= MAX_STORING, "too much is stored at once");
    }

    pub(super) fn probed(&mut self, evaluator: EvaluatorIdx) {
        self.seats.get_mut(&evaluator).expect("an evaluator that was told of").takes_work = false;
    }

    pub(super) fn ended(&mut self, job: JobIdx, plan: &JobPlan, end: &End) {
        assert!(self.open.values().all(|open| open.job != job), "job {job} has ended and goes on");
        let account = self.accounts.get_mut(&job).expect("a job that was added");
        assert!(!std::mem::replace(&mut account.has_ended, true), "job {job} ends twice");
        assert!(account.storing.is_empty(), "job {job} ends while tiles of it are on their way to the store");
        match end {
            End::Succeeded => {
                let n_stored = account.stored.len() as u64;
                assert_eq!(n_stored, plan.tiles.n_tiles(), "job {job} has succeeded and is not stored");
            }
            End::Cancelled | End::Removed => assert_eq!(account.wish.as_ref(), Some(end), "nobody asked for it"),
            End::Failed(error) => assert!(is_justified(account, plan, error.reason), "job {job} failed: {error:?}"),
        }
    }

    /// Checks the actions of one event against what it had to bring about.
    pub(super) fn check(&self, expected: &Expected, actions: &[Action]) {
        let aborts: Vec<AttemptId> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Abort { attempt } => Some(*attempt),
                _ => None,
            })
            .collect();
        for abort in &expected.aborts {
            assert!(aborts.contains(abort), "nothing of attempt {} is wanted any more and it goes on", abort.0);
        }
        if let Cause::Gone(evaluator) = expected.cause {
            let mut left = self.open.iter().filter(|(id, open)| open.evaluator == evaluator && !aborts.contains(id));
            assert!(left.next().is_none(), "evaluator {evaluator} is gone and attempts go on there");
        }
        let alarms: Vec<_> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Alarm { tile, first, second, .. } => Some((*tile, bits(first), bits(second))),
                _ => None,
            })
            .collect();
        let due = expected.alarm.iter().map(|(_, tile, first, second)| (*tile, bits(first), bits(second)));
        assert!(alarms.iter().copied().eq(due), "alarms {alarms:?} where {:?} was due", expected.alarm);
    }
}

impl Expected {
    pub(super) fn is_disputed(&self) -> bool {
        self.alarm.is_some()
    }

    pub(super) fn of(cause: Cause) -> Self {
        Self { cause, ..Self::default() }
    }
}

/// Whether a job may fail for `reason`.
fn is_justified(account: &Account, plan: &JobPlan, reason: ErrorReason) -> bool {
    let is_worn = |toll: &Toll| toll.failures.len() >= MAX_FAILURES || toll.n_losses >= MAX_LOSSES;
    match reason {
        ErrorReason::EvaluationFailed => {
            let is_chosen_in_vain = account.class.is_none() && account.failed_choices.len() >= MAX_FAILURES;
            plan.poisoned.is_some() || is_chosen_in_vain || account.tolls.values().any(is_worn)
        }
        ErrorReason::DataCorrupt => plan.is_refused,
        _ => false,
    }
}
