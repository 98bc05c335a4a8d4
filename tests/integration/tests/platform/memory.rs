//! An evaluator that has little memory.

use relief_api::surface::v1::SurfaceSpec;
use relief_test_support::{CHECKPOINT, DATASET, Program, Sandbox, axis, in_float32, surface_spec};

/// Limits in MiB, of which one at least leaves room for a plane of LeNet-5 and for less than its usual micro-batches, for
/// two threads or for many.
const LIMITS: [&str; 8] = ["24", "16", "12", "8", "6", "5", "4", "3"];

#[tokio::test]
async fn an_evaluator_with_little_memory_computes_fewer_images_at_once_and_the_same_bits() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).arg("--engine=cpu").start().await?;
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let axes = || (axis(-1.0, 1.0, 4), axis(-1.0, 1.0, 4));
    let spec =
        || SurfaceSpec { fresh: true, ..in_float32(surface_spec(CHECKPOINT, DATASET, axes(), Some(100), (2, 2))) };
    let expected = client.computed("roomy", spec()).await?;
    drop(coordinator);

    for limit in LIMITS {
        let launch = sandbox.launch(Program::Evaluator).arg("--engine=cpu").arg("--memory-limit").arg(limit);
        let evaluator = launch.start().await?;
        let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
        let client = coordinator.client()?;
        assert_eq!(client.computed(&format!("limit-{limit}"), spec()).await?, expected, "{limit} MiB");
        if evaluator.has_logged("smaller micro-batches") {
            return Ok(());
        }
    }
    anyhow::bail!("no limit made an evaluator compute fewer images at once")
}
