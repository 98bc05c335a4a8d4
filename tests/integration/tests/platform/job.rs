//! The life of a surface as its user has it in hand.

use anyhow::Context as _;
use relief_api::ErrorReason;
use relief_api::job::v1::JobState;
use relief_api::surface::v1::{
    CancelSurfaceRequest, CreateSurfaceRequest, DeleteSurfaceRequest, GetSurfaceRequest, SurfaceSpec,
    WatchSurfaceRequest,
};
use relief_test_support::{
    CHECKPOINT, Client, DATASET, Process, Program, Refusal, Sandbox, axis, contents, surface_spec, within,
};

struct Running {
    sandbox: Sandbox,
    client: Client,
    _processes: [Process; 2],
}

/// A coordinator with one evaluator, and the dataset and checkpoint of [`spec`].
async fn running() -> anyhow::Result<Running> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    Ok(Running { sandbox, client, _processes: [coordinator, evaluator] })
}

fn spec(n: u32) -> SurfaceSpec {
    let axes = (axis(-1.0, 1.0, n), axis(-1.0, 1.0, n));
    SurfaceSpec { fresh: true, ..surface_spec(CHECKPOINT, DATASET, axes, Some(200), (2, 2)) }
}

/// Takes minutes.
fn endless() -> SurfaceSpec {
    spec(300)
}

async fn cancel(client: &Client, id: &str) -> anyhow::Result<Result<JobState, tonic::Status>> {
    let request = CancelSurfaceRequest { name: id.to_owned() };
    let answer = within("the surface is cancelled", client.surfaces().cancel_surface(request)).await?;
    Ok(answer.map(|answer| answer.into_inner().surface.and_then(|s| s.status).unwrap_or_default().state()))
}

async fn delete(client: &Client, id: &str) -> anyhow::Result<Result<(), tonic::Status>> {
    let request = DeleteSurfaceRequest { name: id.to_owned() };
    Ok(within("the surface is deleted", client.surfaces().delete_surface(request)).await?.map(drop))
}

#[tokio::test]
async fn a_running_surface_is_cancelled_once_and_keeps_its_finished_tiles() -> anyhow::Result<()> {
    let Running { client, .. } = &running().await?;
    client.create_surface("long", endless()).await?;
    let mut watch = client.watch("long").await?;
    watch.until("the first tiles are done", |status| status.tiles_done > 0).await?;
    assert_eq!(cancel(client, "long").await??, JobState::Cancelled);

    let last = watch.until("the watch tells the end", |status| status.state() == JobState::Cancelled).await?;
    assert!(watch.end().await?.is_none(), "a watch ends in order after a final state");
    assert!(last.tiles_done > 0 && last.tiles_done < last.tiles_total && last.tiles_running == 0, "{last:?}");
    let values = client.values("long").await?;
    assert!(values.n_known() >= 4 && values.n_known() < 300 * 300);

    let again = Refusal::of("a second cancellation", cancel(client, "long").await?)?;
    assert_eq!(again.reason, ErrorReason::WrongState);
    assert!(again.message.contains("cancelled"), "{}", again.message);
    // Its evaluator is free for others.
    assert_eq!(client.computed("next", spec(3)).await?.n_known(), 9);
    Ok(())
}

#[tokio::test]
async fn a_running_surface_is_stopped_and_deleted_and_others_are_as_they_were() -> anyhow::Result<()> {
    let Running { sandbox, client, .. } = &running().await?;
    client.computed("other", spec(3)).await?;
    let before = contents(&sandbox.store())?;
    client.create_surface("long", endless()).await?;
    let mut watch = client.watch("long").await?;
    watch.until("the first tiles are done", |status| status.tiles_done > 0).await?;
    delete(client, "long").await??;

    watch.until("the watch tells the end", |status| status.state() == JobState::Cancelled).await?;
    let request = GetSurfaceRequest { name: "long".to_owned() };
    let gone = Refusal::of("a deleted surface", client.surfaces().get_surface(request).await)?;
    assert_eq!(gone.reason, ErrorReason::NotFound);
    assert_eq!(Refusal::of("a second deletion", delete(client, "long").await?)?.reason, ErrorReason::NotFound);
    // The evaluator works for others again, so nothing of the deleted surface is on its way any more.
    client.computed("next", spec(3)).await?;
    delete(client, "next").await??;
    let mut after = contents(&sandbox.store())?;
    // What keeps a process that was suspended meanwhile from bringing something of them back.
    let is_fence = |path: &std::path::Path| {
        let path = path.display().to_string();
        path.starts_with("changes/long.") || path.starts_with("changes/next.")
    };
    assert!(after.keys().any(|path| is_fence(path)));
    after.retain(|path, _| !is_fence(path));
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert!(after == before, "other objects have changed");
    Ok(())
}

#[tokio::test]
async fn a_finished_surface_is_watched_and_deleted_and_its_name_is_free_again() -> anyhow::Result<()> {
    let Running { client, .. } = &running().await?;
    let values = client.computed("done", spec(3)).await?;

    let mut watch = client.watch("done").await?;
    let status = watch.until("the final state", |_| true).await?;
    assert_eq!((status.state(), status.points_done, status.tiles_done), (JobState::Succeeded, 9, 4));
    assert!(watch.end().await?.is_none());
    // A watcher that was cut off may ask for what comes after the last change that it saw.
    let request = WatchSurfaceRequest { name: "done".to_owned(), after_revision: 1_000_000 };
    let mut changes = within("the watch", client.surfaces().watch_surface(request)).await??.into_inner();
    let change = within("the final state", changes.message()).await??.context("no final state")?;
    assert_eq!(change.surface.and_then(|surface| surface.status).context("no status")?.state(), JobState::Succeeded);

    let too_late = Refusal::of("the cancellation of a finished surface", cancel(client, "done").await?)?;
    assert_eq!(too_late.reason, ErrorReason::WrongState);
    let request =
        CreateSurfaceRequest { spec: Some(spec(4)), surface_id: "done".to_owned(), ..CreateSurfaceRequest::default() };
    let taken = Refusal::of("a taken name", client.surfaces().create_surface(request).await)?;
    assert_eq!(taken.reason, ErrorReason::AlreadyExists);
    assert_eq!(client.values("done").await?, values, "the surface that had the name first is as it was");

    delete(client, "done").await??;
    assert_eq!(client.computed("done", spec(4)).await?.n_known(), 16);
    Ok(())
}
