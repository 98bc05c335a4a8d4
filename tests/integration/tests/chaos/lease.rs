//! Several coordinators on one store.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use relief_api::job::v1::JobState;
use relief_api::surface::v1::SurfaceSpec;
use relief_api::surface::v1::{CancelSurfaceRequest, CreateSurfaceRequest, DeleteSurfaceRequest};
use relief_api::{ApiError, ErrorReason};
use relief_test_support::{
    CHECKPOINT, DATASET, FileStamp, Process, Program, Sandbox, axis, stamps, surface_spec, within,
};

use crate::chance::Chance;

fn spec(side: u32) -> SurfaceSpec {
    let axes = (axis(-1.0, 1.0, side), axis(-1.0, 1.0, side));
    SurfaceSpec { fresh: true, ..surface_spec(CHECKPOINT, DATASET, axes, Some(200), (2, 2)) }
}

struct Pair {
    first: Process,
    second: Process,
    evaluator: Process,
    sandbox: Sandbox,
}

/// Two coordinators, of which the first leads.
async fn pair(lease_seconds: u64) -> anyhow::Result<Pair> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let launch = || {
        let launch = sandbox.launch_coordinator(&[&evaluator.endpoint()]);
        launch.arg("--lease").arg(lease_seconds.to_string())
    };
    let first = launch().start().await?;
    Sandbox::furnish(&first.client()?).await?;
    let second = launch().start().await?;
    Ok(Pair { first, second, evaluator, sandbox })
}

async fn leads(process: &Process, epoch: u64) -> anyhow::Result<()> {
    let is_it = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        let fields = event.get("fields")?;
        (fields.get("message")? == "leading" && fields.get("epoch")?.as_u64()? >= epoch).then_some(())
    };
    process.logged(&format!("it leads in epoch {epoch}"), is_it).await
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> anyhow::Result<ApiError> {
    Ok(ApiError::from_status(&answer.err().context("it was not refused")?))
}

#[tokio::test]
async fn one_of_two_coordinators_leads_and_the_other_reads_and_names_it() -> anyhow::Result<()> {
    let Pair { first, second, .. } = &pair(10).await?;
    let (leader, standby) = (first.client()?, second.client()?);
    let computed = leader.computed("made", spec(3)).await?;

    assert_eq!(standby.values("made").await?, computed);
    assert_eq!(standby.succeeded("made").await?.points_done, 9, "what has ended is watched everywhere");
    leader.create_surface("long", spec(200)).await?;
    leader.watch("long").await?.until("tiles are done", |status| status.tiles_done > 2).await?;
    let status = standby.surface("long").await?.status.context("no status")?;
    assert!(status.state() == JobState::Running && status.tiles_done > 2, "{status:?}");

    let new = || CreateSurfaceRequest { spec: Some(spec(3)), ..CreateSurfaceRequest::default() };
    let cancel = || CancelSurfaceRequest { name: "long".to_owned() };
    let delete = || DeleteSurfaceRequest { name: "made".to_owned() };
    for refused in [
        refusal(standby.surfaces().create_surface(new()).await)?,
        refusal(standby.surfaces().cancel_surface(cancel()).await)?,
        refusal(standby.surfaces().delete_surface(delete()).await)?,
        refusal(standby.catalog().import_direction(tokio_stream::iter(Vec::new())).await)?,
        refusal(standby.watch("long").await.map_err(|error| {
            error.downcast::<tonic::Status>().unwrap_or_else(|error| tonic::Status::unknown(error.to_string()))
        }))?,
    ] {
        assert_eq!(refused.reason, ErrorReason::NotLeader, "{refused:?}");
        assert_eq!(refused.leader, Some(first.endpoint()));
        assert!(refused.message.contains(&first.endpoint()), "{refused:?}");
    }
    within("it is cancelled", leader.surfaces().cancel_surface(cancel())).await??;
    Ok(())
}

#[tokio::test]
async fn another_takes_over_from_a_leader_that_is_killed() -> anyhow::Result<()> {
    // Longer than the test waits: on this machine the death of a process is seen.
    let Pair { mut first, second, evaluator: _evaluator, sandbox } = pair(600).await?;
    let expected = first.client()?.computed("undisturbed", spec(12)).await?;
    first.client()?.create_surface("interrupted", spec(12)).await?;
    let mut watch = first.client()?.watch("interrupted").await?;
    watch.until("the first tiles are done", |status| status.tiles_done > 2).await?;
    first.kill().await?;
    leads(&second, 2).await?;
    let client = second.client()?;
    client.succeeded("interrupted").await?;
    assert_eq!(client.values("interrupted").await?, expected);
    drop(sandbox);
    Ok(())
}

#[tokio::test]
async fn a_leader_that_is_stopped_hands_over_at_once() -> anyhow::Result<()> {
    let Pair { mut first, second, evaluator: _evaluator, sandbox } = pair(600).await?;
    first.terminate()?;
    assert_eq!(first.ended().await?.code(), Some(0));
    leads(&second, 2).await?;
    assert_eq!(second.client()?.computed("next", spec(3)).await?.n_known(), 9);
    drop(sandbox);
    Ok(())
}

type Stamps = BTreeMap<PathBuf, FileStamp>;

/// The surfaces as they are stored, and what happened to them.
fn stored(sandbox: &Sandbox) -> anyhow::Result<(Stamps, Stamps)> {
    let of = |part| stamps(&sandbox.store().join(part));
    Ok((of("surfaces")?, of("changes")?))
}

/// Fails when anything that was there has changed, or anything is new but a chunk with the bytes that it has in the
/// undisturbed surface: one that was on its way when its writer was suspended.
fn has_changed_nothing(sandbox: &Sandbox, before: &(Stamps, Stamps)) -> anyhow::Result<()> {
    let after = stored(sandbox)?;
    ensure!(after.1 == before.1, "a state was changed");
    for (path, stamp) in &before.0 {
        ensure!(after.0.get(path) == Some(stamp), "{} has changed", path.display());
    }
    let surfaces = sandbox.store().join("surfaces");
    for path in after.0.keys().filter(|path| !before.0.contains_key(*path)) {
        let chunk = path.strip_prefix("contested.zarr").with_context(|| format!("{} is new", path.display()))?;
        let expected = std::fs::read(surfaces.join("undisturbed.zarr").join(chunk))?;
        let is_chunk = chunk.components().any(|part| part.as_os_str() == "c");
        ensure!(is_chunk && std::fs::read(surfaces.join(path))? == expected, "{} is new", path.display());
    }
    Ok(())
}

#[tokio::test]
async fn a_leader_that_was_suspended_changes_nothing_when_it_wakes() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let mut n_interrupted = 0;
    let outcome = async {
        for round in 0..4 {
            n_interrupted += usize::from(suspended(&mut chance, round).await?);
        }
        ensure!(n_interrupted > 0, "no surface was interrupted");
        Ok(())
    };
    let outcome = outcome.await;
    chance.told(outcome)
}

/// Suspends the leader somewhere in a surface, whether in its midst is returned; has the other one end the surface, in a
/// way that depends on the round; wakes the first.
async fn suspended(chance: &mut Chance, round: usize) -> anyhow::Result<bool> {
    const LEASE_SECONDS: u64 = 2;
    let Pair { mut first, second, evaluator: _evaluator, sandbox } = pair(LEASE_SECONDS).await?;
    let leader = first.client()?;
    let expected = leader.computed("undisturbed", spec(10)).await?;
    leader.create_surface("contested", spec(10)).await?;
    let n_tiles = 1 + chance.below(18) as u64;
    let mut watch = leader.watch("contested").await?;
    watch.until("some tiles are done", |status| status.tiles_done >= n_tiles).await?;
    // Not always just after a tile.
    tokio::time::sleep(chance.millis(1, 60)).await;
    first.pause()?;
    let start = std::time::Instant::now();
    leads(&second, 2).await?;
    let took = start.elapsed();
    // On a busy machine a process may have to wait for its turn beside.
    ensure!(took < Duration::from_secs(LEASE_SECONDS + 13), "the take-over took {took:?}");

    let client = second.client()?;
    let n_done = client.surface("contested").await?.status.context("no status")?.tiles_done;
    let (cancel, delete) =
        (CancelSurfaceRequest { name: "contested".to_owned() }, DeleteSurfaceRequest { name: "contested".to_owned() });
    match round {
        0 | 1 => {
            client.succeeded("contested").await?;
            ensure!(client.values("contested").await? == expected, "the surface came out otherwise");
        }
        2 => {
            // One that has ended before cannot be cancelled.
            let answer = within("it is cancelled", client.surfaces().cancel_surface(cancel)).await?;
            ensure!(answer.is_ok() || refusal(answer)?.reason == ErrorReason::WrongState);
        }
        _ => drop(within("it is deleted", client.surfaces().delete_surface(delete)).await??),
    }
    let before = stored(&sandbox)?;
    first.go_on()?;
    let standing_by = |line: &str| line.contains("another coordinator leads now").then_some(());
    first.logged("it stands by", standing_by).await?;
    // What it had on its way would be stored by now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    has_changed_nothing(&sandbox, &before)?;
    let refused = refusal(
        leader
            .surfaces()
            .create_surface(CreateSurfaceRequest { spec: Some(spec(3)), ..CreateSurfaceRequest::default() })
            .await,
    )?;
    ensure!(refused.reason == ErrorReason::NotLeader, "{refused:?}");
    ensure!(client.computed("later", spec(10)).await? == expected, "the next surface came out otherwise");
    Ok(n_done > 0 && n_done < 25)
}
