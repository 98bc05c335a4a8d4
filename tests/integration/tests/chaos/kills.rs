//! SIGKILL for every part, at any time.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use relief_api::job::v1::JobState;
use relief_api::surface::v1::{
    CancelSurfaceRequest, DeleteSurfaceRequest, GetSurfaceRequest, GetSurfaceResponse, SurfaceSpec,
};
use relief_test_support::Client;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::cluster::{Cluster, Part, Shape, create, insist, spec, succeeded, undisturbed, values};

/// The surfaces that are computed at the same time.
const N_AT_ONCE: usize = 3;

fn n_surfaces() -> usize {
    env::var("RELIEF_CHAOS_SURFACES").ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surfaces_come_out_the_same_while_every_part_is_killed() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let outcome = disturbed(&mut chance, n_surfaces()).await;
    chance.told(outcome)
}

async fn disturbed(chance: &mut Chance, n_surfaces: usize) -> anyhow::Result<()> {
    let specs: Vec<SurfaceSpec> = (0..n_surfaces as u64).map(|seed| spec(12, seed)).collect();
    let expected = undisturbed(&specs).await?;
    let mut cluster = Cluster::start(Shape::default()).await?;
    let clients = cluster.clients()?;

    let mut surfaces = JoinSet::new();
    let mut kills = BTreeMap::<Part, usize>::new();
    let (mut n_begun, mut n_done) = (0, 0);
    let n_parts = cluster.parts().len();
    while n_done < n_surfaces || !surfaces.is_empty() {
        // More surfaces than were asked for where they are too fast for every part to be killed meanwhile.
        let is_spared = kills.len() < n_parts || kills.values().sum::<usize>() < n_surfaces;
        while surfaces.len() < N_AT_ONCE && (n_begun < n_surfaces || is_spared) {
            let of = n_begun % n_surfaces;
            surfaces.spawn(compute(clients.clone(), n_begun, specs[of].clone()));
            n_begun += 1;
        }
        tokio::select! {
            Some(done) = surfaces.join_next() => {
                let (idx, values) = done??;
                ensure!(values == expected[idx % n_surfaces], "surface {idx} came out otherwise");
                n_done += 1;
            }
            () = tokio::time::sleep(chance.millis(300, 1500)) => strike(&mut cluster, chance, &mut kills).await?,
        }
    }
    for idx in 0..n_begun {
        let expected = &expected[idx % n_surfaces];
        ensure!(values(&clients, &name(idx)).await? == *expected, "surface {idx} has changed after its end");
    }
    ensure!(kills.len() == n_parts, "not every part was killed: {kills:?}");
    ensure!(kills.values().sum::<usize>() >= n_surfaces, "few kills: {kills:?}");
    Ok(())
}

fn name(idx: usize) -> String {
    format!("storm-{idx}")
}

async fn compute(
    clients: Vec<Client>,
    idx: usize,
    spec: SurfaceSpec,
) -> anyhow::Result<(usize, relief_test_support::Values)> {
    create(&clients, &name(idx), &spec).await?;
    succeeded(&clients, &name(idx)).await?;
    Ok((idx, values(&clients, &name(idx)).await?))
}

/// Kills a part, or two at once, and has them come back a little later.
async fn strike(cluster: &mut Cluster, chance: &mut Chance, kills: &mut BTreeMap<Part, usize>) -> anyhow::Result<()> {
    let parts = cluster.parts();
    let n_victims = 1 + chance.below(2);
    let victims: Vec<Part> = (0..n_victims).map(|_| parts[chance.below(parts.len())]).collect();
    for victim in &victims {
        if cluster.kill(*victim).await? {
            *kills.entry(*victim).or_default() += 1;
        }
    }
    tokio::time::sleep(chance.millis(1, 700).min(Duration::from_secs(1))).await;
    cluster.revive_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cancelled_or_deleted_stays_so_when_every_coordinator_is_killed() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(Shape::default()).await?;
    let clients = cluster.clients()?;
    for name in ["cancelled", "deleted", "kept"] {
        create(&clients, name, &spec(40, 1)).await?;
    }
    let cancel = CancelSurfaceRequest { name: "cancelled".to_owned() };
    clients[0].surfaces().cancel_surface(cancel).await?;
    let delete = DeleteSurfaceRequest { name: "deleted".to_owned() };
    clients[0].surfaces().delete_surface(delete).await?;
    for coordinator in [Part::Coordinator(0), Part::Coordinator(1)] {
        cluster.kill(coordinator).await?;
    }
    for coordinator in [Part::Coordinator(1), Part::Coordinator(0)] {
        cluster.revive(coordinator).await?;
    }
    let show = |name: &str| {
        let request = GetSurfaceRequest { name: name.to_owned() };
        let clients = clients.clone();
        async move {
            let call = |client: Client| {
                let request = request.clone();
                async move { client.surfaces().get_surface(request).await }
            };
            insist(&clients, "it is shown", call).await
        }
    };
    let state = |answer: tonic::Response<GetSurfaceResponse>| {
        answer.into_inner().surface.and_then(|surface| surface.status).map(|status| status.state())
    };
    ensure!(state(show("cancelled").await?) == Some(JobState::Cancelled));
    let gone = show("deleted").await.err().context("it is there")?;
    ensure!(gone.to_string().contains("there is no surfaces/deleted"), "{gone:#}");
    let kept = state(show("kept").await?);
    ensure!(matches!(kept, Some(JobState::Pending | JobState::Running)), "{kept:?}");
    Ok(())
}
