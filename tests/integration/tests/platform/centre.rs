//! The centre of a surface is the network itself.

use anyhow::Context as _;
use relief_api::catalog::v1::Split;
use relief_api::surface::v1::DatasetSlice;
use relief_api::training::v1::RunSpec;
use relief_test_support::{DATASET, Program, Sandbox, SplitImages, axis, in_float32, surface_spec};

#[tokio::test]
async fn the_centre_has_the_loss_and_accuracy_that_the_run_found_for_its_snapshot() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let trainer = sandbox.launch(Program::Trainer).start().await?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    // The last batch of each split is a short one.
    client.import_dataset(DATASET, &SplitImages::first(Split::Train, 300)?).await?;
    client.import_dataset(DATASET, &SplitImages::first(Split::Test, 150)?).await?;
    let spec = RunSpec { network: "lenet5".into(), dataset: DATASET.into(), epochs: 2, ..RunSpec::default() };
    let run = trainer.client()?.train("short", spec).await?;

    let mut losses = Vec::new();
    for snapshot in [run.snapshots.first().context("no snapshots")?, run.snapshots.last().context("no snapshots")?] {
        let found = [
            (Split::Train, snapshot.train_loss, snapshot.train_accuracy),
            (
                Split::Test,
                snapshot.test_loss.context("no loss on the test split")?,
                snapshot.test_accuracy.context("no accuracy on the test split")?,
            ),
        ];
        for (split, loss, accuracy) in found {
            let mut spec =
                surface_spec(&snapshot.name, DATASET, (axis(-1.0, 1.0, 3), axis(-1.0, 1.0, 3)), None, (2, 2));
            spec = in_float32(spec);
            spec.data = Some(DatasetSlice { dataset: DATASET.into(), split: split.into(), limit: None });
            let id = format!("e{}-{}", snapshot.epoch, split.as_str_name().to_lowercase());
            let values = client.computed(&id, spec).await?;
            let centre = values.at(0.0, 0.0)?;
            assert_eq!(centre.0.to_bits(), loss.to_bits(), "{id}: {} is not the run's {loss}", centre.0);
            assert_eq!(centre.1.to_bits(), accuracy.to_bits(), "{id}: {} is not the run's {accuracy}", centre.1);
            assert_ne!(values.at(1.0, 1.0)?.0.to_bits(), loss.to_bits(), "{id}: the surface is flat");
            losses.push(loss.to_bits());
        }
    }
    losses.sort_unstable();
    losses.dedup();
    assert_eq!(losses.len(), 4, "snapshots and splits are told apart");
    Ok(())
}
