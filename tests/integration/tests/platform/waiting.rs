//! Work without anybody to do it.

use relief_api::job::v1::JobState;
use relief_test_support::{CHECKPOINT, DATASET, Program, Reservation, Sandbox, axis, surface_spec};

#[tokio::test]
async fn a_surface_waits_for_its_evaluator_and_says_so() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let absent = Reservation::new()?;
    let coordinator = sandbox.launch_coordinator(&[&absent.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let spec = surface_spec(CHECKPOINT, DATASET, (axis(-1.0, 1.0, 3), axis(-1.0, 1.0, 3)), Some(10), (2, 2));
    client.create_surface("patient", spec).await?;

    let mut watch = client.watch("patient").await?;
    let waiting = watch.until("a reason to wait", |status| !status.waiting_reason.is_empty()).await?;
    assert_eq!((waiting.state(), waiting.tiles_running), (JobState::Pending, 0));
    assert!(waiting.waiting_reason.contains(&absent.endpoint()), "{}", waiting.waiting_reason);

    let evaluator = sandbox.launch_at(Program::Evaluator, &absent.address().to_string()).start().await?;
    assert_eq!(evaluator.address(), absent.address());
    let end = watch.until("the surface succeeds", |status| status.state() == JobState::Succeeded).await?;
    assert_eq!((end.points_done, end.waiting_reason.as_str()), (9, ""));
    assert_eq!(client.values("patient").await?.n_known(), 9);
    Ok(())
}

#[tokio::test]
async fn a_coordinator_without_evaluators_says_so() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let coordinator = sandbox.launch_coordinator(&[]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let spec = surface_spec(CHECKPOINT, DATASET, (axis(-1.0, 1.0, 3), axis(-1.0, 1.0, 3)), Some(10), (2, 2));
    client.create_surface("hopeless", spec).await?;
    let mut watch = client.watch("hopeless").await?;
    let waiting = watch.until("a reason to wait", |status| !status.waiting_reason.is_empty()).await?;
    assert_eq!(waiting.waiting_reason, "no evaluator is configured");
    Ok(())
}
