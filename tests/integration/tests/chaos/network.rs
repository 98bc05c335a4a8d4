//! Loss, delay and resets between the parts.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use relief_test_support::{Proxy, Traffic};
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::cluster::{Cluster, Shape, create, spec, succeeded, undisturbed, values};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surfaces_come_out_the_same_over_a_network_that_loses_delays_and_resets() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let outcome = disturbed(&mut chance).await;
    chance.told(outcome)
}

async fn disturbed(chance: &mut Chance) -> anyhow::Result<()> {
    const N_SURFACES: usize = 3;
    let specs: Vec<_> = (0..N_SURFACES as u64).map(|seed| spec(12, seed)).collect();
    let expected = undisturbed(&specs).await?;
    let shape = Shape { n_coordinators: 1, n_evaluators: 2, has_proxies: true, stall_seconds: 5, ..Shape::default() };
    let cluster = Cluster::start(shape).await?;
    let clients = cluster.clients()?;
    let mut surfaces = JoinSet::new();
    let mut n_begun = 0;
    let store = cluster.store_proxy.as_ref().context("a proxy in front of the store")?;
    let proxies: Vec<&Proxy> = cluster.evaluator_proxies.iter().chain([store]).collect();
    let mut faults = BTreeMap::<&str, usize>::new();
    let total = |count: fn(&Proxy) -> u64| proxies.iter().map(|proxy| count(proxy)).sum::<u64>();
    let mut n_done = 0;
    let mut round = 0;
    while n_done < N_SURFACES || !surfaces.is_empty() {
        // More surfaces than were asked for where they are too fast for every fault to meet something.
        let has_met = [Proxy::n_resets, Proxy::n_delayed, Proxy::n_lost_bytes, Proxy::n_slowed, Proxy::n_cut];
        let is_spared = has_met.into_iter().any(|count| total(count) == 0);
        while surfaces.len() < N_SURFACES && (n_begun < N_SURFACES || is_spared) {
            let (clients, idx, spec) = (clients.clone(), n_begun, specs[n_begun % N_SURFACES].clone());
            surfaces.spawn(async move {
                let name = format!("storm-{idx}");
                create(&clients, &name, &spec).await?;
                succeeded(&clients, &name).await?;
                anyhow::Ok((idx, values(&clients, &name).await?))
            });
            n_begun += 1;
        }
        tokio::select! {
            Some(done) = surfaces.join_next() => {
                let (idx, values) = done??;
                ensure!(values == expected[idx % N_SURFACES], "surface {idx} came out otherwise");
                n_done += 1;
            }
            () = tokio::time::sleep(chance.millis(100, 500)) => {
                // Every kind in turn, at a place that chance says.
                let proxy = proxies[chance.below(proxies.len())];
                let (kind, traffic, lasts) = match round % 5 {
                    0 => ("reset", Traffic::Flow, Duration::ZERO),
                    1 => ("delay", Traffic::Delay(Duration::from_millis(150)), chance.millis(500, 1500)),
                    2 => ("loss", Traffic::Lost, chance.millis(500, 3000)),
                    3 => ("cut", Traffic::Cut(chance.below(4000) as u64), chance.millis(200, 800)),
                    _ => ("slow", Traffic::Slow(20_000), chance.millis(500, 1500)),
                };
                round += 1;
                *faults.entry(kind).or_default() += 1;
                proxy.set_traffic(traffic);
                if kind == "reset" || kind == "cut" {
                    proxy.reset();
                }
                tokio::time::sleep(lasts).await;
                proxy.set_traffic(Traffic::Flow);
                if kind == "loss" {
                    // What was lost leaves streams that never go on.
                    proxy.reset();
                }
            }
        }
    }
    ensure!(faults.len() == 5, "not every fault was injected: {faults:?}");
    ensure!(total(Proxy::n_resets) > 0 && total(Proxy::n_delayed) > 0, "no reset or no delay met anything");
    ensure!(total(Proxy::n_lost_bytes) > 0 && total(Proxy::n_slowed) > 0, "nothing was lost or slowed down");
    ensure!(total(Proxy::n_cut) > 0, "nothing was cut");
    Ok(())
}
