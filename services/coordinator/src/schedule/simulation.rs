//! The scheduler in a world in which everything goes wrong that can, with a clock that is a number and chance that is a
//! seed: the same seed is the same world.
//!
//! `RELIEF_SIMULATION_SEEDS` says how many worlds are run; `RELIEF_SIMULATION_SEED` runs one and prints what happens.

mod fault;
mod ledger;
mod machine;
mod plan;
mod process;
mod random;
mod scenario;
mod store;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::schedule::End;

use fault::{Fault, Faults};
use plan::Plan;
use random::Random;
use trace::Trace;
use world::World;

const N_SEEDS: u64 = 1_200;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn stormy_world(seed: u64, is_printed: bool) -> World {
    let mut random = Random::new(seed);
    let plan = Plan::stormy(&mut random);
    World::new(plan, random, Trace::new(is_printed))
}

/// Runs the world of `seed` to its end; names the seed where something does not hold.
fn run(seed: u64, is_printed: bool) -> World {
    let run = AssertUnwindSafe(|| {
        let mut world = stormy_world(seed, is_printed);
        world.run();
        world
    });
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        panic!(
            "seed {seed}: {}\nreplay with: RELIEF_SIMULATION_SEED={seed} cargo nextest run --cargo-profile release \
             --workspace -E 'test(simulation)'",
            text.unwrap_or_default()
        )
    })
}

#[test]
fn whatever_goes_wrong_every_job_ends_as_it_should() {
    if let Some(seed) = variable("RELIEF_SIMULATION_SEED") {
        run(seed, true);
        return;
    }
    let n_seeds = variable("RELIEF_SIMULATION_SEEDS").unwrap_or(N_SEEDS);
    let mut faults = Faults::new();
    let (mut n_jobs, mut n_failed, mut n_given_up) = (0, 0, 0);
    for seed in 0..n_seeds {
        let world = run(seed, false);
        faults.add(&world.faults);
        for (job, plan) in world.jobs() {
            n_jobs += 1;
            let has_failed = matches!(world.end(job), Some(End::Failed(_)));
            let may_succeed = plan.poisoned.is_none() && !plan.is_refused;
            n_failed += u64::from(has_failed);
            n_given_up += u64::from(has_failed && may_succeed);
        }
    }
    if n_seeds >= N_SEEDS {
        for fault in Fault::ALL {
            assert!(faults.of(*fault) > 0, "in {n_seeds} worlds {fault:?} did not happen");
        }
    }
    assert!(n_given_up * 50 <= n_jobs, "of {n_jobs} jobs {n_given_up} failed that might have succeeded");
    assert!(n_failed > n_given_up || n_seeds < N_SEEDS, "nothing failed that had to");
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in [1, 7, 42] {
        let [first, second] = [run(seed, false), run(seed, false)].map(|world| world.trace.hash());
        assert_eq!(first, second);
    }
    assert_ne!(run(1, false).trace.hash(), run(2, false).trace.hash());
}
