//! Grids of every shape, on one split and on both.

use anyhow::Context as _;
use relief_api::catalog::v1::Split;
use relief_api::surface::v1::{Axis, SurfaceSpec};
use relief_test_support::{CHECKPOINT, DATASET, Program, Sandbox, Values, axis, surface_spec};

fn spec(x: Axis, y: Axis, tile: (u32, u32)) -> SurfaceSpec {
    SurfaceSpec { fresh: true, ..surface_spec(CHECKPOINT, DATASET, (x, y), Some(40), tile) }
}

fn curve(x: Axis) -> SurfaceSpec {
    let mut spec = spec(x, x, (1, 3));
    spec.y = None;
    spec.plane.get_or_insert_default().y = None;
    spec
}

#[tokio::test]
async fn rectangles_axes_that_begin_or_end_at_0_and_single_rows_have_the_values_of_the_plane() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let platform = sandbox.launch(Program::Relief).start().await?;
    let client = platform.client()?;
    Sandbox::furnish(&client).await?;
    let checkpoint = sandbox.store().join(format!("checkpoints/{CHECKPOINT}/checkpoint.safetensors"));
    let before = std::fs::read(&checkpoint)?;
    let whole = client.computed("whole", spec(axis(-1.0, 1.0, 5), axis(-1.0, 1.0, 5), (5, 5))).await?;
    let digests = async |id: &str| -> anyhow::Result<Vec<String>> {
        Ok(client.surface(id).await?.provenance.context("no provenance")?.direction_digests)
    };
    let directions = digests("whole").await?;
    for (id, x, y, tile) in [
        ("wide", axis(-1.0, 1.0, 5), axis(-0.5, 0.5, 3), (2, 2)),
        ("tall", axis(-0.5, 0.0, 2), axis(-1.0, 1.0, 5), (3, 2)),
        ("begins", axis(0.0, 1.0, 3), axis(0.0, 0.5, 2), (1, 1)),
        ("ends", axis(-1.0, 0.0, 3), axis(-0.5, 0.0, 2), (2, 2)),
        ("row", axis(-1.0, 1.0, 5), axis(0.5, 0.5, 1), (4, 4)),
        ("column", axis(-0.5, -0.5, 1), axis(-1.0, 1.0, 5), (2, 1)),
        ("point", axis(0.0, 0.0, 1), axis(0.0, 0.0, 1), (1, 1)),
    ] {
        let values = client.computed(id, spec(x, y, tile)).await?;
        assert_eq!((values.x.len(), values.y.len()), (x.count as usize, y.count as usize), "{id}");
        assert_eq!(values.loss.len(), values.x.len() * values.y.len(), "{id}");
        assert_eq!(digests(id).await?, directions, "{id}: a direction depends on no grid and no tile");
        for a in values.x.clone() {
            for b in values.y.clone() {
                let (a, b) = (f64::from_bits(a), f64::from_bits(b));
                assert_eq!(values.at(a, b)?, whole.at(a, b)?, "{id} at ({a}, {b})");
            }
        }
    }
    let line = client.computed("line", curve(axis(-1.0, 0.0, 3))).await?;
    assert_eq!(line.y, [0.0_f64.to_bits()]);
    for a in [-1.0, -0.5, 0.0] {
        assert_eq!(line.at(a, 0.0)?, whole.at(a, 0.0)?);
    }
    assert!(std::fs::read(&checkpoint)? == before, "the checkpoint was changed");
    Ok(())
}

#[tokio::test]
async fn both_splits_in_one_pass_have_the_values_of_each_alone() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let platform = sandbox.launch(Program::Relief).start().await?;
    let client = platform.client()?;
    Sandbox::furnish(&client).await?;
    let of = |split: Split| {
        let mut spec = curve(axis(-1.0, 1.0, 7));
        spec.data.get_or_insert_default().split = split.into();
        spec
    };
    let both = SurfaceSpec { also_split: Split::Test.into(), ..of(Split::Train) };
    let Values { loss, also_loss, .. } = client.computed("both", both.clone()).await?;
    let surface = client.surface("both").await?;
    assert!(!surface.provenance.context("no provenance")?.also_digest.is_empty());
    assert_eq!(client.computed("train", of(Split::Train)).await?.loss, loss);
    assert_eq!(client.computed("test", of(Split::Test)).await?.loss, also_loss);
    assert_ne!(loss, also_loss);

    // What each has is taken from each.
    client.delete_surface("both").await?;
    let again = client.computed("again", SurfaceSpec { fresh: false, ..both }).await?;
    assert_eq!((again.loss, again.also_loss), (loss, also_loss));
    let surface = client.surface("again").await?;
    assert_eq!(surface.status.context("no status")?.points_reused, 7);
    assert_eq!(surface.provenance.context("no provenance")?.reused_from, ["surfaces/test", "surfaces/train"]);
    Ok(())
}
