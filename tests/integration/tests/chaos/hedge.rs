//! An evaluator that stands still.

use anyhow::ensure;
use relief_api::job::v1::JobState;
use relief_test_support::{Program, Sandbox};

use crate::cluster::{spec, undisturbed};

#[tokio::test]
async fn what_an_evaluator_that_stands_still_was_given_is_done_by_another() -> anyhow::Result<()> {
    let spec = spec(12, 9);
    let expected = undisturbed(std::slice::from_ref(&spec)).await?.remove(0);
    let sandbox = Sandbox::new()?;
    let mut slow = sandbox.launch(Program::Evaluator).start().await?;
    let fast = sandbox.launch(Program::Evaluator).start().await?;
    let launch = sandbox.launch_coordinator(&[&slow.endpoint(), &fast.endpoint()]);
    // Long before its silence counts as a failure.
    let coordinator = launch.arg("--stall-timeout").arg("600").start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    client.create_surface("held-up", spec).await?;
    let mut watch = client.watch("held-up").await?;
    watch.until("both are at work", |status| status.tiles_done > 3).await?;
    slow.pause()?;
    let end = watch.until("the surface succeeds", |status| status.state() == JobState::Succeeded).await?;
    ensure!(end.tiles_hedged + end.tiles_retried > 0, "nothing was done again: {end:?}");
    ensure!(end.points_disputed == 0, "{end:?}");
    ensure!(client.values("held-up").await? == expected, "the surface came out otherwise");
    slow.go_on()?;
    Ok(())
}
