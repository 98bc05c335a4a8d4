//! Many who watch one surface.

use relief_api::job::v1::JobState;
use relief_api::surface::v1::SurfaceSpec;
use relief_test_support::{CHECKPOINT, Client, DATASET, Program, Sandbox, axis, surface_spec, within};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_watch_one_surface_and_nobody_waits_for_a_slow_one() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let axes = (axis(-1.0, 1.0, 20), axis(-1.0, 1.0, 20));
    let spec = SurfaceSpec { fresh: true, ..surface_spec(CHECKPOINT, DATASET, axes, Some(50), (1, 1)) };
    client.create_surface("watched", spec).await?;

    // Has a connection of its own, and reads nothing from it.
    let mut slow = Client::new(&coordinator.endpoint())?.watch("watched").await?;
    let mut watches = JoinSet::new();
    for _ in 1..100 {
        let mut watch = client.watch("watched").await?;
        watches.spawn(async move {
            let last = watch.until("the surface succeeds", |status| status.state() == JobState::Succeeded).await?;
            anyhow::ensure!(watch.end().await?.is_none(), "a watch ends in order");
            anyhow::Ok(last)
        });
    }
    let ends = within("the others see the end", watches.join_all()).await?;
    assert_eq!(ends.len(), 99);
    for end in ends {
        let end = end?;
        assert_eq!((end.points_done, end.tiles_done), (400, 400));
    }
    // The slow one has missed changes, not the end.
    let end = slow.until("the slow one sees the end", |status| status.state() == JobState::Succeeded).await?;
    assert_eq!(end.points_done, 400);
    assert!(slow.end().await?.is_none());
    Ok(())
}
