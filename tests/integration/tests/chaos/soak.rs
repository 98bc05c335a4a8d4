//! Half an hour of mixed work with kills, and what it leaves behind.
//!
//! `cargo xtask soak` runs it; `RELIEF_SOAK_MINUTES` says for how long.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use relief_api::surface::v1::{CancelSurfaceRequest, DeleteSurfaceRequest, SurfaceSpec};
use relief_test_support::{Client, Values};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::cluster::{Cluster, Part, Shape, create, insist, spec, succeeded, undisturbed, values};

/// Work that is done at the same time.
const N_AT_ONCE: usize = 4;
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: u64,
    resident_mib: f64,
    n_files: usize,
}

fn sample(start: Instant, id: u32) -> anyhow::Result<Sample> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = resident.trim().trim_end_matches("kB").trim().parse()?;
    let n_files = fs::read_dir(format!("/proc/{id}/fd"))?.count();
    Ok(Sample { seconds: start.elapsed().as_secs(), resident_mib: kib / 1024.0, n_files })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half an hour; `cargo xtask soak` runs it"]
async fn half_an_hour_of_mixed_work_with_kills_leaves_memory_and_files_flat() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let minutes = env::var("RELIEF_SOAK_MINUTES").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let outcome = soak(&mut chance, Duration::from_secs(60 * minutes)).await;
    chance.told(outcome)
}

async fn soak(chance: &mut Chance, lasts: Duration) -> anyhow::Result<()> {
    let specs: Vec<SurfaceSpec> = [(4, 0), (8, 1), (12, 2), (16, 3)].map(|(side, seed)| spec(side, seed)).into();
    let expected = undisturbed(&specs).await?;
    let mut cluster = Cluster::start(Shape::default()).await?;
    let clients = cluster.clients()?;
    let start = Instant::now();
    let (mut jobs, mut n_started, mut n_ended) = (JoinSet::new(), 0, BTreeMap::<&str, usize>::new());
    let mut kills = BTreeMap::<Part, usize>::new();
    let mut samples = Vec::new();
    let mut sampling = tokio::time::interval(SAMPLE_INTERVAL);
    // The first coordinator leads, and is spared, so that what it holds over the whole time is seen.
    let victims: Vec<Part> = cluster.parts().into_iter().filter(|part| *part != Part::Coordinator(0)).collect();
    while start.elapsed() < lasts || !jobs.is_empty() {
        while jobs.len() < N_AT_ONCE && start.elapsed() < lasts {
            let (idx, way) = (chance.below(specs.len()), chance.below(10));
            let job = work(clients.clone(), n_started, specs[idx].clone(), expected[idx].clone(), way);
            jobs.spawn(job);
            n_started += 1;
        }
        tokio::select! {
            Some(ended) = jobs.join_next() => *n_ended.entry(ended??).or_default() += 1,
            _ = sampling.tick() => {
                let id = cluster.process(Part::Coordinator(0))?.id().context("the leader has ended")?;
                samples.push(sample(start, id)?);
                report(&samples, &n_ended, &kills)?;
            }
            () = tokio::time::sleep(chance.millis(2000, 6000)) => {
                let victim = victims[chance.below(victims.len())];
                if cluster.kill(victim).await? {
                    *kills.entry(victim).or_default() += 1;
                }
                tokio::time::sleep(chance.millis(1, 500)).await;
                cluster.revive_all().await?;
            }
        }
    }
    report(&samples, &n_ended, &kills)?;
    let third = samples.len() / 3;
    ensure!(third > 0, "too short to say anything");
    let median = |samples: &[Sample], of: fn(&Sample) -> f64| {
        let mut all: Vec<f64> = samples.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let (early, late) = (&samples[third..2 * third], &samples[samples.len() - third..]);
    let memory = |samples| median(samples, |sample| sample.resident_mib);
    let files = |samples| median(samples, |sample| sample.n_files as f64);
    ensure!(memory(late) < 1.25 * memory(early) + 16.0, "memory grows: {} to {} MiB", memory(early), memory(late));
    ensure!(files(late) <= files(early) + 16.0, "files grow: {} to {}", files(early), files(late));
    Ok(())
}

/// Has a surface computed, cancelled or deleted, as `way` says.
async fn work(
    clients: Vec<Client>,
    idx: usize,
    spec: SurfaceSpec,
    expected: Values,
    way: usize,
) -> anyhow::Result<&'static str> {
    let name = format!("soak-{idx}");
    create(&clients, &name, &spec).await?;
    match way {
        0 => {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let request = CancelSurfaceRequest { name: name.clone() };
            let call = |client: Client| {
                let request = request.clone();
                async move { client.surfaces().cancel_surface(request).await }
            };
            // It may have ended before.
            let is_cancelled = insist(&clients, "it is cancelled", call).await.is_ok();
            return Ok(if is_cancelled { "cancelled" } else { "ended first" });
        }
        1 => tokio::time::sleep(Duration::from_millis(500)).await,
        _ => {
            succeeded(&clients, &name).await?;
            ensure!(values(&clients, &name).await? == expected, "{name} came out otherwise");
        }
    }
    let request = DeleteSurfaceRequest { name: name.clone() };
    let call = |client: Client| {
        let request = request.clone();
        async move {
            match client.surfaces().delete_surface(request).await {
                // A call whose answer was lost had done it.
                Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
                answer => answer.map(drop),
            }
        }
    };
    insist(&clients, "it is deleted", call).await?;
    Ok(if way == 1 { "deleted at work" } else { "succeeded, then deleted" })
}

/// Writes a table of what was measured to the folder that `RELIEF_SOAK_REPORT` names, or to the temporary one.
fn report(samples: &[Sample], ended: &BTreeMap<&str, usize>, kills: &BTreeMap<Part, usize>) -> anyhow::Result<()> {
    let folder = env::var_os("RELIEF_SOAK_REPORT").map_or_else(env::temp_dir, |folder| Path::new(&folder).to_owned());
    let mut text = format!("jobs {ended:?}\nkills {kills:?}\nseconds,resident_mib,files\n");
    for Sample { seconds, resident_mib, n_files } in samples {
        writeln!(text, "{seconds},{resident_mib:.1},{n_files}")?;
    }
    fs::write(folder.join("relief-soak.csv"), text)?;
    Ok(())
}
