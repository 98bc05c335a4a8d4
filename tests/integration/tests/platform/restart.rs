//! What the store has is what a coordinator knows.

use anyhow::Context as _;
use relief_api::surface::v1::SurfaceSpec;
use relief_test_support::{CHECKPOINT, DATASET, Program, Sandbox, axis, stamps, surface_spec};

#[tokio::test]
async fn a_surface_goes_on_where_a_killed_coordinator_left_it() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let mut coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let axes = || (axis(-1.0, 1.0, 16), axis(-1.0, 1.0, 16));
    let spec = || SurfaceSpec { fresh: true, ..surface_spec(CHECKPOINT, DATASET, axes(), None, (2, 2)) };
    let undisturbed = client.computed("undisturbed", spec()).await?;
    assert_eq!(undisturbed.n_known(), 256);

    let created = client.create_surface("interrupted", spec()).await?.status.context("no status")?;
    let mut watch = client.watch("interrupted").await?;
    watch.until("the first tiles are done", |status| status.tiles_done > 0).await?;
    coordinator.kill().await?;

    // The loss of a tile is its commit.
    let chunks = sandbox.store().join("surfaces/interrupted.zarr/loss/c");
    let behind = stamps(&chunks)?;
    assert!(!behind.is_empty() && (behind.len() as u64) < created.tiles_total, "the kill came too late");
    let values_behind = stamps(&sandbox.store().join("surfaces/undisturbed.zarr"))?;

    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    let end = client.succeeded("interrupted").await?;
    let taken_up = coordinator.logged("the surface is taken up again", tiles_done_at_start).await?;
    assert_eq!(taken_up, behind.len() as u64, "tiles that are stored are not to be computed again");
    assert_eq!((end.tiles_done, end.points_done), (created.tiles_total, created.points_total));
    assert_eq!(client.values("interrupted").await?, undisturbed);

    let after = stamps(&chunks)?;
    assert_eq!(after.len() as u64, created.tiles_total);
    for (path, stamp) in &behind {
        assert_eq!(after.get(path), Some(stamp), "{} was written again", path.display());
    }
    assert_eq!(stamps(&sandbox.store().join("surfaces/undisturbed.zarr"))?, values_behind);
    Ok(())
}

#[tokio::test]
async fn a_damaged_surface_does_not_keep_a_coordinator_from_its_work() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let mut coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let spec = || surface_spec(CHECKPOINT, DATASET, (axis(-1.0, 1.0, 3), axis(-1.0, 1.0, 3)), None, (2, 2));
    let before = client.computed("damaged", spec()).await?;
    coordinator.kill().await?;
    std::fs::write(sandbox.store().join("surfaces/damaged.zarr/zarr.json"), "{")?;

    // Serving, which the start waits for, comes after unfinished surfaces were looked for.
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    assert_eq!(client.computed("whole", spec()).await?, before);
    coordinator.logged("the damage is told", |line| line.contains("damaged.zarr").then_some(())).await?;
    Ok(())
}

fn tiles_done_at_start(line: &str) -> Option<u64> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = event.get("fields")?;
    (fields.get("message")? == "surface taken up again").then(|| fields.get("tiles_done")?.as_u64()).flatten()
}
