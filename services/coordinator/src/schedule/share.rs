//! Whose turn it is: weighted fair shares of the evaluators' time, first between clients, then between the jobs of one.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng, 1996) at both levels: each client, and each job within its client,
//! has a virtual time that grows by the cost of what it is given, divided by its weight, and whoever is behind is next.
//! Who was idle comes back at the present virtual time, not with what it did not use. A job's priority orders the jobs
//! of its client only: it never takes anything from others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::schedule::JobKey;

/// Time divided by weight, in microseconds.
type VirtualTime = u64;

/// Who shares: the name of a client, shared cheaply by its jobs.
pub(crate) type ClientName = std::sync::Arc<str>;

/// The place of a job among those of its client, the first being next.
type Turn = (Reverse<i32>, VirtualTime, JobKey);

#[derive(Debug)]
struct JobShare {
    client: ClientName,
    priority: i32,
    weight: u32,
    time: VirtualTime,
    is_runnable: bool,
}

#[derive(Debug)]
struct ClientShare {
    weight: u32,
    time: VirtualTime,
    /// The virtual time of the jobs that were served last.
    clock: VirtualTime,
    n_jobs: usize,
    n_running: usize,
    turns: BTreeSet<Turn>,
}

/// The jobs of the numeric classes that evaluators have in common, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Shares {
    jobs: BTreeMap<JobKey, JobShare>,
    clients: BTreeMap<ClientName, ClientShare>,
    /// The clients that have something to run and may run it.
    turns: BTreeSet<(VirtualTime, ClientName)>,
    clock: VirtualTime,
    max_running_per_client: usize,
}

impl Shares {
    /// Returns no jobs; of each client at most so many tiles run at once.
    pub(crate) fn new(max_running_per_client: usize) -> Self {
        Self {
            jobs: BTreeMap::new(),
            clients: BTreeMap::new(),
            turns: BTreeSet::new(),
            clock: 0,
            max_running_per_client,
        }
    }

    /// Adds a job that has nothing to run yet.
    pub(crate) fn add(&mut self, key: JobKey, client: &ClientName, client_weight: u32, priority: i32, weight: u32) {
        self.forget_idle();
        let clock = self.clock;
        let entry = self.clients.entry(client.clone()).or_insert_with(|| ClientShare {
            weight: client_weight.max(1),
            time: clock,
            clock: 0,
            n_jobs: 0,
            n_running: 0,
            turns: BTreeSet::new(),
        });
        entry.n_jobs += 1;
        let job =
            JobShare { client: client.clone(), priority, weight: weight.max(1), time: entry.clock, is_runnable: false };
        self.jobs.insert(key, job);
    }

    /// Takes over the jobs of others, because from now on they share the same evaluators.
    pub(crate) fn absorb(&mut self, others: Self) {
        // The times of the two have nothing to do with each other: what is kept is how far each is ahead of its turn.
        let moved =
            |time: VirtualTime, from: VirtualTime, to: VirtualTime| to.saturating_add(time).saturating_sub(from);
        let mut clocks = BTreeMap::new();
        for (name, theirs) in others.clients {
            let time = moved(theirs.time, others.clock, self.clock);
            let ours = self.clients.entry(name.clone()).or_insert_with(|| ClientShare {
                weight: theirs.weight,
                time,
                clock: theirs.clock,
                n_jobs: 0,
                n_running: 0,
                turns: BTreeSet::new(),
            });
            let before = ours.time;
            ours.time = before.max(time);
            ours.n_jobs += theirs.n_jobs;
            ours.n_running += theirs.n_running;
            let (from, to) = (theirs.clock, ours.clock);
            ours.turns
                .extend(theirs.turns.into_iter().map(|(priority, time, key)| (priority, moved(time, from, to), key)));
            clocks.insert(name.clone(), (from, to));
            self.reorder(&name, before);
        }
        for (key, mut job) in others.jobs {
            if let Some((from, to)) = clocks.get(&job.client) {
                job.time = moved(job.time, *from, *to);
            }
            self.jobs.insert(key, job);
        }
    }

    /// Removes a job of which nothing runs any more.
    pub(crate) fn remove(&mut self, key: JobKey) {
        self.set_runnable(key, false);
        let Some(job) = self.jobs.remove(&key) else { return };
        let Some(client) = self.clients.get_mut(&job.client) else { return };
        client.n_jobs -= 1;
        self.forget_idle();
    }

    /// Forgets clients without jobs, except for those that are ahead of their turn: who brings one job after the other
    /// would otherwise never pay for what it got.
    fn forget_idle(&mut self) {
        let (clock, is_empty) = (self.clock, self.jobs.is_empty());
        self.clients.retain(|_, client| client.n_jobs > 0 || (!is_empty && client.time > clock));
    }

    /// Says whether a job has a tile that could be given out now.
    pub(crate) fn set_runnable(&mut self, key: JobKey, is_runnable: bool) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        if job.is_runnable == is_runnable {
            return;
        }
        job.is_runnable = is_runnable;
        let Some(client) = self.clients.get_mut(&job.client) else { return };
        let was_idle = client.turns.is_empty();
        let (name, before) = (job.client.clone(), client.time);
        if is_runnable {
            job.time = job.time.max(client.clock);
            client.turns.insert((Reverse(job.priority), job.time, key));
            if was_idle {
                client.time = client.time.max(self.clock);
            }
        } else {
            client.turns.remove(&(Reverse(job.priority), job.time, key));
        }
        self.reorder(&name, before);
    }

    /// Whether nobody has anything that may run now.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.turns.is_empty()
    }

    /// The jobs that may be given something, whose turn it is first.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = JobKey> + '_ {
        let jobs = |(_, name): &'_ (VirtualTime, ClientName)| {
            self.clients.get(name).into_iter().flat_map(|client| client.turns.iter().map(|(_, _, key)| *key))
        };
        self.turns.iter().flat_map(jobs)
    }

    /// Whether a job may be preferred to the one whose turn it is, because by that nobody gets more than `slack` ahead.
    pub(crate) fn is_within(&self, key: JobKey, slack: Duration) -> bool {
        let Some(job) = self.jobs.get(&key).filter(|job| job.is_runnable) else { return false };
        let Some(client) = self.clients.get(&job.client) else { return false };
        let (Some((first, _)), Some((priority, first_job, _))) = (self.turns.first(), client.turns.first()) else {
            return false;
        };
        self.turns.contains(&(client.time, job.client.clone()))
            && client.time <= first.saturating_add(virtual_time(slack, client.weight))
            && *priority == Reverse(job.priority)
            && job.time <= first_job.saturating_add(virtual_time(slack, job.weight))
    }

    /// Charges a job for a tile of `cost` that it is given.
    pub(crate) fn start(&mut self, key: JobKey, cost: Duration) {
        let Some(client) = self.jobs.get(&key).and_then(|job| self.clients.get(&job.client)) else { return };
        self.clock = self.clock.max(client.time);
        self.charge(key, cost, Duration::ZERO, 1);
    }

    /// Corrects the cost of a tile that has come to its end.
    pub(crate) fn end(&mut self, key: JobKey, charged: Duration, cost: Duration) {
        self.charge(key, cost, charged, -1);
    }

    fn charge(&mut self, key: JobKey, cost: Duration, refund: Duration, n_started: isize) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Some(client) = self.clients.get_mut(&job.client) else { return };
        let (name, before) = (job.client.clone(), client.time);
        let of = |time: VirtualTime, weight| {
            time.saturating_add(virtual_time(cost, weight)).saturating_sub(virtual_time(refund, weight))
        };
        if job.is_runnable {
            client.turns.remove(&(Reverse(job.priority), job.time, key));
        }
        if n_started > 0 {
            client.clock = client.clock.max(job.time);
        }
        job.time = of(job.time, job.weight);
        if job.is_runnable {
            client.turns.insert((Reverse(job.priority), job.time, key));
        }
        client.time = of(client.time, client.weight);
        client.n_running = client.n_running.saturating_add_signed(n_started);
        self.reorder(&name, before);
    }

    /// Puts a client where it belongs, which stood at `before`.
    fn reorder(&mut self, name: &ClientName, before: VirtualTime) {
        let Some(client) = self.clients.get(name) else { return };
        self.turns.remove(&(before, name.clone()));
        if !client.turns.is_empty() && client.n_running < self.max_running_per_client {
            self.turns.insert((client.time, name.clone()));
        }
    }
}

fn virtual_time(time: Duration, weight: u32) -> VirtualTime {
    // Half a million years of one evaluator.
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX) / u64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Duration = Duration::from_secs(1);

    fn shares(jobs: &[(u64, &str, i32, u32)]) -> Shares {
        let mut shares = Shares::new(usize::MAX);
        for (key, client, priority, weight) in jobs {
            shares.add(JobKey(*key), &(*client).into(), 1, *priority, *weight);
            shares.set_runnable(JobKey(*key), true);
        }
        shares
    }

    fn serve(shares: &mut Shares) -> Option<u64> {
        let key = shares.in_turn().next()?;
        shares.start(key, COST);
        shares.end(key, COST, COST);
        Some(key.0)
    }

    fn served(shares: &mut Shares, n_times: usize) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for key in (0..n_times).filter_map(|_| serve(shares)) {
            *counts.entry(key).or_default() += 1;
        }
        counts
    }

    #[test]
    fn clients_share_alike_however_many_jobs_they_have() {
        let mut shares = shares(&[(0, "a", 0, 1), (1, "a", 0, 1), (2, "a", 0, 1), (3, "b", 0, 1)]);
        assert_eq!(served(&mut shares, 60), BTreeMap::from([(0, 10), (1, 10), (2, 10), (3, 30)]));
    }

    #[test]
    fn the_jobs_of_a_client_share_by_weight() {
        let mut shares = shares(&[(0, "a", 0, 3), (1, "a", 0, 1)]);
        assert_eq!(served(&mut shares, 40), BTreeMap::from([(0, 30), (1, 10)]));
    }

    #[test]
    fn priority_orders_the_jobs_of_its_client_only() {
        let mut shares = shares(&[(0, "a", 0, 1), (1, "a", 5, 1), (2, "b", 0, 1)]);
        assert_eq!(served(&mut shares, 20), BTreeMap::from([(1, 10), (2, 10)]));
        shares.set_runnable(JobKey(1), false);
        assert_eq!(served(&mut shares, 20), BTreeMap::from([(0, 10), (2, 10)]));
    }

    #[test]
    fn who_was_idle_does_not_get_what_it_missed() {
        let mut shares = shares(&[(0, "a", 0, 1), (1, "b", 0, 1)]);
        shares.set_runnable(JobKey(1), false);
        served(&mut shares, 100);
        shares.set_runnable(JobKey(1), true);
        assert_eq!(served(&mut shares, 20), BTreeMap::from([(0, 10), (1, 10)]));
    }

    #[test]
    fn one_job_after_the_other_gets_no_more_than_many_at_once() {
        let mut shares = shares(&[(0, "a", 0, 1), (1, "b", 0, 1)]);
        let (mut of_a, mut of_b) = (Duration::ZERO, Duration::ZERO);
        for key in 2..200 {
            let next = shares.in_turn().next().expect("a job");
            match next {
                JobKey(1) => {
                    shares.start(JobKey(1), COST);
                    shares.end(JobKey(1), COST, COST);
                    of_b += COST;
                }
                job => {
                    shares.start(job, COST * 20);
                    shares.end(job, COST * 20, COST * 20);
                    of_a += COST * 20;
                    shares.remove(job);
                    shares.add(JobKey(key), &"a".into(), 1, 0, 1);
                    shares.set_runnable(JobKey(key), true);
                }
            }
        }
        assert!(of_a.abs_diff(of_b) <= COST * 20, "{of_a:?} against {of_b:?}");
    }

    #[test]
    fn a_client_at_its_limit_waits_for_its_own() {
        let mut shares = shares(&[(0, "a", 0, 1), (1, "b", 0, 1)]);
        shares.max_running_per_client = 1;
        shares.start(JobKey(0), COST);
        assert_eq!(shares.in_turn().collect::<Vec<_>>(), [JobKey(1)]);
        shares.start(JobKey(1), COST);
        assert!(shares.turns.is_empty());
        shares.end(JobKey(0), COST, COST);
        assert_eq!(shares.in_turn().collect::<Vec<_>>(), [JobKey(0)]);
    }

    #[test]
    fn cost_is_corrected_when_it_is_known() {
        let mut shares = shares(&[(0, "a", 0, 1), (1, "b", 0, 1)]);
        shares.start(JobKey(0), COST);
        shares.end(JobKey(0), COST, COST * 10);
        assert_eq!(served(&mut shares, 10), BTreeMap::from([(1, 10)]));
    }

    #[test]
    fn another_is_preferred_only_as_long_as_it_gets_little_ahead() {
        let mut shares = shares(&[(0, "a", 0, 1), (1, "b", 0, 1)]);
        let mut n_preferred = 0;
        while shares.is_within(JobKey(1), COST * 3) {
            shares.start(JobKey(1), COST);
            n_preferred += 1;
        }
        assert_eq!(n_preferred, 4);
    }

    #[test]
    fn those_who_come_to_share_the_same_evaluators_share_them_alike() {
        let mut shares = shares(&[(0, "a", 0, 1), (1, "b", 0, 1)]);
        let mut others = Shares::new(usize::MAX);
        for (key, client) in [(2, "b"), (3, "c")] {
            others.add(JobKey(key), &client.into(), 1, 0, 1);
            others.set_runnable(JobKey(key), true);
        }
        // What each had of evaluators that the others could not use is nothing to make up for.
        served(&mut shares, 1000);
        served(&mut others, 10);
        shares.absorb(others);
        assert_eq!(served(&mut shares, 60), BTreeMap::from([(0, 20), (1, 10), (2, 10), (3, 20)]));
        (0..4).for_each(|key| shares.remove(JobKey(key)));
        assert!(shares.turns.is_empty() && shares.clients.is_empty() && shares.jobs.is_empty());
    }

    #[test]
    fn who_is_removed_leaves_nothing() {
        let mut shares = shares(&[(0, "a", 0, 1)]);
        shares.remove(JobKey(0));
        assert!(shares.turns.is_empty() && shares.clients.is_empty() && shares.jobs.is_empty());
    }
}
