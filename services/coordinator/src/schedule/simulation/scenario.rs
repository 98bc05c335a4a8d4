//! Worlds made for one question each.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use relief_api::{ApiError, ErrorReason};
use relief_core::Digest;

use super::machine::MachineIdx;
use super::plan::{JobPlan, MachinePlan, Plan, class, classes};
use super::random::Random;
use super::trace::Trace;
use super::world::World;
use crate::schedule::placement::N_HELD;
use crate::schedule::{Action, Class, Classes, End, JobKey, NewJob, Objection, Scheduler, Setback, Settings, Tiles};

const POINT_COST: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(3_600);

fn job(client: &str, n_rows: u32, n_columns: u32) -> JobPlan {
    JobPlan::new(client, n_rows * 2, n_columns * 2, (2, 2), POINT_COST)
}

fn world(plan: Plan) -> World {
    World::new(plan, Random::new(1), Trace::new(false))
}

fn run(plan: Plan) -> World {
    let mut world = world(plan);
    world.run();
    world
}

fn hung() -> MachinePlan {
    MachinePlan { is_hung: true, ..MachinePlan::good(1) }
}

#[test]
fn backlogged_clients_and_their_jobs_share_by_weight() {
    const FOR: Duration = Duration::from_secs(1_000);
    for seed in 0..4 {
        let mut random = Random::new(seed);
        let jobs: Vec<JobPlan> = (0..8)
            .map(|idx: u64| {
                let mut job = job(&format!("client-{}", idx % 3), 150, 150);
                job.client_weight = 1 + ((seed + idx) % 3) as u32 * 2;
                job.weight = 1 + random.below(4) as u32;
                job.subject = random.below(6);
                job.point_cost = random.millis(50, 200);
                job
            })
            .collect();
        // Whoever comes first brings the weight of its client.
        let weights = [0, 1, 2].map(|client| jobs[client].client_weight);
        let plan = Plan::calm(jobs.clone(), vec![MachinePlan::good(2); 4], LONG);
        let mut world = world(plan);
        world.run_until(FOR);
        // At any time a client may have been given all slots for a tile, and be ahead by what it gets for not changing
        // what evaluators hold; and be behind by the same for each of the others. A tile has 4 points.
        let ahead = 8.0 * 4.0 * 0.2 * 1.1 + Settings::default().affinity_slack.as_secs_f64();
        let check = |what: &str, shares: &[(f64, u32)]| {
            for (served, weight) in shares {
                for (other, other_weight) in shares {
                    let (weight, other_weight) = (f64::from(*weight), f64::from(*other_weight));
                    let difference = served / weight - other / other_weight;
                    let bound = ahead * (1.0 / weight + 1.0 / other_weight);
                    assert!(difference <= bound, "seed {seed}: {what} differ by {difference}, not {bound}: {shares:?}");
                }
                assert!(*served > 4.0 * ahead, "too little happened to say anything: {shares:?}");
            }
        };
        let served = |client: usize| world.served[&*format!("client-{client}")].as_secs_f64();
        check("clients", &[0, 1, 2].map(|client| (served(client), weights[client])));
        for client in 0..3 {
            let of_client = (client..jobs.len()).step_by(3);
            let shares: Vec<(f64, u32)> =
                of_client.map(|job| (world.served_by_job[job].as_secs_f64(), jobs[job].weight)).collect();
            check("jobs", &shares);
        }
    }
}

#[test]
fn whatever_an_evaluator_alone_has_done_is_coarse_to_fine() {
    let world = run(Plan::calm(vec![job("a", 13, 17)], vec![MachinePlan::good(1)], LONG));
    let level = |tile: u64| (tile / 17).trailing_zeros().min((tile % 17).trailing_zeros());
    let levels: Vec<u32> = world.started.iter().map(|started| level(started.tile)).collect();
    assert_eq!(levels.len(), 13 * 17);
    assert!(levels.is_sorted_by(|coarse, fine| coarse >= fine), "{levels:?}");
    assert!(levels.iter().collect::<BTreeSet<_>>().len() > 3);
}

/// How often evaluators were given what they did not hold, and how many tiles they did.
fn switches(affinity_slack: Duration) -> (usize, usize) {
    let jobs: Vec<JobPlan> =
        (0..24).map(|subject| JobPlan { subject, ..job(&format!("client-{subject}"), 60, 60) }).collect();
    let mut plan = Plan::calm(jobs, vec![MachinePlan::good(1); 3], LONG);
    plan.settings.affinity_slack = affinity_slack;
    let mut world = world(plan);
    world.run_until(Duration::from_secs(300));
    let mut held = vec![VecDeque::new(); 3];
    let mut n_switches = 0;
    for started in &world.started {
        let (subject, held) = (world.plan.jobs[started.job].subject, &mut held[started.evaluator]);
        n_switches += usize::from(!held.contains(&subject));
        held.retain(|other| *other != subject);
        held.push_front(subject);
        held.truncate(N_HELD);
    }
    (n_switches, world.started.len())
}

#[test]
fn evaluators_seldom_change_what_they_hold() {
    let (strict, n_strict) = switches(Duration::ZERO);
    let (lenient, n_lenient) = switches(Settings::default().affinity_slack);
    assert!(n_strict.abs_diff(n_lenient) * 50 < n_strict, "{n_strict} and {n_lenient} tiles");
    assert!(lenient * 5 < strict, "{lenient} changes with slack and {strict} without, of {n_strict} tiles");
}

#[test]
fn an_evaluator_that_hangs_does_not_keep_a_job_from_its_end() {
    let with = |machines: Vec<MachinePlan>| run(Plan::calm(vec![job("a", 10, 10)], machines, LONG));
    let good = [MachinePlan::good(1), MachinePlan::good(1)];
    let alone = with(good.to_vec());
    let beside = with([&[hung()][..], &good].concat());
    assert_eq!(beside.end(0), Some(&End::Succeeded));
    // A straggler is looked for every two seconds, and is one after two.
    let late = beside.ended_at(0).saturating_sub(alone.ended_at(0));
    assert!(late < Duration::from_secs(6), "{late:?} later");
    assert!(beside.started.iter().any(|started| started.evaluator == 0), "it was given something");
}

#[test]
fn a_tile_outlives_several_evaluators_that_hang() {
    let world = run(Plan::calm(vec![job("a", 1, 1)], vec![hung(), hung(), MachinePlan::good(1)], LONG));
    let evaluators: Vec<MachineIdx> = world.started.iter().map(|started| started.evaluator).collect();
    assert_eq!(evaluators, [0, 1, 2]);
    assert!(world.ended_at(0) < Duration::from_secs(100), "{:?}", world.ended_at(0));
}

#[test]
fn what_hangs_is_done_elsewhere_though_there_is_always_something_else_to_do() {
    let backlog = JobPlan { at: Duration::from_secs(1), ..job("b", 100, 100) };
    let mut world = world(Plan::calm(vec![job("a", 1, 1), backlog], vec![hung(), MachinePlan::good(1)], LONG));
    world.run_until(Duration::from_secs(90));
    assert_eq!(world.started.first().map(|started| (started.job, started.evaluator)), Some((0, 0)));
    assert_eq!((world.end(0), world.end(1)), (Some(&End::Succeeded), None));
}

#[test]
fn an_evaluator_without_the_store_does_not_hold_up_what_others_can_do() {
    let storeless = MachinePlan { is_storeless: true, ..MachinePlan::good(4) };
    let world = run(Plan::calm(vec![job("a", 1, 1)], vec![storeless, MachinePlan::good(1)], LONG));
    assert!(world.ended_at(0) < Duration::from_secs(10), "{:?}", world.ended_at(0));
}

/// A job of two tiles.
fn new_job(class: Option<Class>) -> NewJob {
    let plan = job("a", 1, 2);
    NewJob {
        client: plan.client.clone(),
        client_weight: 1,
        priority: 0,
        weight: 1,
        class,
        subject: plan.subject(),
        network: Digest::of(b"network"),
        samples_per_point: 1,
        tiles: Tiles::new(plan.tiles, &BTreeSet::new(), 0),
    }
}

/// A scheduler with evaluators of one slot each and a job of two tiles, of which each evaluator has one.
fn two_evaluators_with_a_tile_each() -> (Scheduler, Vec<Action>) {
    let mut scheduler = Scheduler::new(Settings::default());
    let (now, class) = (Duration::ZERO, class(0));
    (0..2).for_each(|idx| scheduler.evaluator_up(now, idx, &classes(&[0]), 1));
    let key = scheduler.add_job(now, new_job(Some(class.clone())));
    scheduler.job_begun(now, key, class, &[], 0);
    let actions = scheduler.take_actions();
    let is_start = |action: &&Action| matches!(action, Action::Start { .. });
    let starts: Vec<Action> = actions.iter().filter(is_start).cloned().collect();
    assert_eq!(starts.len(), 2);
    (scheduler, starts)
}

/// Where the first attempt is given something that starts in the first minute, all the while `each` second.
fn next_start(scheduler: &mut Scheduler, each: impl Fn(&mut Scheduler, Duration)) -> Option<(u64, MachineIdx)> {
    (1..60).map(Duration::from_secs).find_map(|now| {
        each(scheduler, now);
        scheduler.tick(now);
        scheduler.take_actions().into_iter().find_map(|action| match action {
            Action::Start { tile, evaluator, .. } => Some((tile.idx, evaluator)),
            _ => None,
        })
    })
}

#[test]
fn a_tile_that_waits_for_an_evaluator_that_hangs_does_not_wait_for_ever() {
    let (mut scheduler, starts) = two_evaluators_with_a_tile_each();
    let [Action::Start { attempt: hangs, tile, .. }, Action::Start { attempt: fails, evaluator, .. }] = &starts[..]
    else {
        panic!("{starts:?}")
    };
    let error = ApiError::new(ErrorReason::EvaluationFailed, "it failed");
    scheduler.broken(Duration::ZERO, *fails, Setback::Failed, error);
    // What failed is left to the other one, which is at its tile for ever: that tile is done here, so that it has room.
    let next = next_start(&mut scheduler, |scheduler, now| scheduler.heartbeat(now, *hangs));
    assert_eq!(next, Some((tile.idx, *evaluator)));
}

#[test]
fn a_tile_does_not_wait_for_an_evaluator_that_is_always_full() {
    let (mut scheduler, starts) = two_evaluators_with_a_tile_each();
    let [Action::Start { attempt: full, .. }, Action::Start { attempt: fails, evaluator, tile, .. }] = &starts[..]
    else {
        panic!("{starts:?}")
    };
    let error = |reason| ApiError::new(reason, "it went wrong");
    scheduler.broken(Duration::ZERO, *full, Setback::Full, error(ErrorReason::QueueFull));
    scheduler.broken(Duration::ZERO, *fails, Setback::Failed, error(ErrorReason::EvaluationFailed));
    let started: Vec<Action> = scheduler.take_actions();
    let is_there = |action: &Action| match action {
        Action::Start { evaluator: there, tile: started, .. } => there == evaluator && started == tile,
        _ => false,
    };
    assert!(started.iter().any(is_there), "{started:?}");
}

#[test]
fn an_evaluator_that_leaves_out_points_has_failed() {
    let (mut scheduler, starts) = two_evaluators_with_a_tile_each();
    let Some(Action::Start { attempt, job, .. }) = starts.first() else { panic!("{starts:?}") };
    scheduler.finished(Duration::ZERO, *attempt, POINT_COST);
    assert_eq!(scheduler.progress(*job).map(|progress| progress.tally.tiles_retried), Some(1));
}

#[test]
fn a_job_is_computed_by_those_that_have_its_class_and_no_others() {
    let offers = [&[0, 1][..], &[1, 2], &[2, 0], &[2]].map(classes);
    let machines = offers.iter().cloned().map(|classes| MachinePlan { classes, ..MachinePlan::good(1) }).collect();
    let jobs: Vec<JobPlan> = (0..3)
        .map(|idx: u64| JobPlan { class: Some(class(idx)), subject: idx, ..job(&format!("client-{idx}"), 20, 20) })
        .collect();
    let world = run(Plan::calm(jobs, machines, LONG));
    for started in &world.started {
        let class = class(started.job as u64);
        assert!(offers[started.evaluator].contains(&class), "evaluator {} lacks {class}", started.evaluator);
    }
    let evaluators: BTreeSet<MachineIdx> = world.started.iter().map(|started| started.evaluator).collect();
    assert_eq!(evaluators.len(), offers.len(), "one was left out");
    // Those that have several classes are not kept for one of them.
    let n_pairs = world.started.iter().map(|started| (started.job, started.evaluator)).collect::<BTreeSet<_>>().len();
    assert!(n_pairs > offers.len(), "{n_pairs}");
}

#[test]
fn clients_share_evaluators_alike_whatever_the_classes_of_their_jobs() {
    let machine = || MachinePlan { classes: classes(&[0, 1, 2]), ..MachinePlan::good(1) };
    let jobs: Vec<JobPlan> = (0..3)
        .map(|idx: u64| {
            let mut job = JobPlan { class: Some(class(idx)), subject: idx, ..job(&format!("client-{idx}"), 90, 90) };
            job.client_weight = 1 + idx as u32;
            job
        })
        .collect();
    let mut world = world(Plan::calm(jobs, vec![machine(), machine()], LONG));
    world.run_until(Duration::from_secs(600));
    let parts: Vec<f64> =
        (0..3).map(|idx| world.served[&*format!("client-{idx}")].as_secs_f64() / f64::from(1 + idx)).collect();
    let (least, most) =
        parts.iter().fold((f64::MAX, 0.0_f64), |(least, most), part| (least.min(*part), most.max(*part)));
    // Within what a client gets for not changing what evaluators hold.
    assert!(most - least <= 3.0 * Settings::default().affinity_slack.as_secs_f64(), "{parts:?}");
    assert!(least > 60.0, "{parts:?}");
}

/// Whom the scheduler asks what to compute jobs in.
fn asked(scheduler: &mut Scheduler) -> Vec<(JobKey, MachineIdx)> {
    let asked = |action| match action {
        Action::Choose { job, evaluator } => Some((job, evaluator)),
        _ => None,
    };
    scheduler.take_actions().into_iter().filter_map(asked).collect()
}

fn waiting_reason(scheduler: &Scheduler, job: JobKey) -> String {
    scheduler.progress(job).and_then(|progress| progress.trouble).unwrap_or_default()
}

#[test]
fn those_that_offer_what_most_do_are_asked_first_and_the_choice_is_what_the_job_begins_in() {
    let mut scheduler = Scheduler::new(Settings::default());
    let now = Duration::ZERO;
    let (rare, usual): (Classes, Classes) = (classes(&[2]), classes(&[0, 1]));
    for (idx, offer) in [&rare, &usual, &usual].into_iter().enumerate() {
        scheduler.evaluator_up(now, idx, offer, 1);
    }
    let key = scheduler.add_job(now, new_job(None));
    assert_eq!(asked(&mut scheduler), [(key, 1)]);
    // What it has become meanwhile does not offer what it chose.
    scheduler.evaluator_up(now, 1, &rare, 1);
    scheduler.chosen(now, key, 1, class(1));
    assert_eq!(asked(&mut scheduler), [(key, 0)]);
    scheduler.chosen(now, key, 0, class(2));
    let actions = scheduler.take_actions();
    assert!(actions.contains(&Action::Begin { job: key, class: class(2) }), "{actions:?}");
}

#[test]
fn a_job_that_nobody_can_compute_as_asked_says_so_and_begins_when_somebody_comes() {
    let mut scheduler = Scheduler::new(Settings::default());
    let now = Duration::ZERO;
    (0..2).for_each(|idx| scheduler.evaluator_up(now, idx, &classes(&[0]), 1));
    scheduler.evaluator_up(now, 2, &classes(&[1]), 1);
    let key = scheduler.add_job(now, new_job(None));
    let error = |text: &str| ApiError::new(ErrorReason::NumericsUnavailable, text);
    assert_eq!(asked(&mut scheduler), [(key, 0)]);
    scheduler.not_chosen(now, key, 0, Objection::Unfit, &error("only zeros"));
    // The other one of the same offer would say the same.
    assert_eq!(asked(&mut scheduler), [(key, 2)]);
    scheduler.not_chosen(now, key, 2, Objection::Unfit, &error("only ones"));
    assert_eq!(asked(&mut scheduler), []);
    let reason = waiting_reason(&scheduler, key);
    assert!(reason.contains("only zeros; only ones"), "{reason}");
    scheduler.evaluator_down(now, 2, "it is gone");
    let reason = waiting_reason(&scheduler, key);
    assert!(reason.contains("only zeros") && !reason.contains("only ones"), "{reason}");
    scheduler.evaluator_up(now, 2, &classes(&[2, 0]), 1);
    assert_eq!(asked(&mut scheduler), [(key, 2)]);
}

#[test]
fn a_choice_that_fails_everywhere_fails_its_job_and_one_that_is_put_off_is_asked_for_again() {
    let mut scheduler = Scheduler::new(Settings::default());
    let mut now = Duration::ZERO;
    (0..2).for_each(|idx| scheduler.evaluator_up(now, idx, &classes(&[0]), 1));
    let key = scheduler.add_job(now, new_job(None));
    let error = ApiError::new(ErrorReason::QueueFull, "it is full");
    for setback in [Setback::Full, Setback::Storeless] {
        let [(_, idx)] = asked(&mut scheduler)[..] else { panic!("nobody is asked") };
        scheduler.not_chosen(now, key, idx, Objection::Setback(setback), &error);
    }
    assert_eq!(asked(&mut scheduler), []);
    assert!(waiting_reason(&scheduler, key).contains("it is full"));
    let error = ApiError::new(ErrorReason::DataCorrupt, "the network is damaged");
    let mut n_failures = 0;
    let end = loop {
        let actions = scheduler.take_actions();
        if actions.is_empty() {
            now = scheduler.next_timer().expect("it is asked for again").max(now);
            scheduler.tick(now);
        }
        let mut end = None;
        for action in actions {
            match action {
                Action::Choose { evaluator, .. } => {
                    n_failures += 1;
                    scheduler.not_chosen(now, key, evaluator, Objection::Setback(Setback::Failed), &error);
                }
                Action::End { end: told, .. } => end = Some(told),
                _ => {}
            }
        }
        if let Some(end) = end {
            break end;
        }
    };
    assert_eq!(n_failures, 3);
    assert!(matches!(&end, End::Failed(error) if error.message.ends_with("the network is damaged")), "{end:?}");
}
