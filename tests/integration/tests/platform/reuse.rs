//! Points that were computed once are not computed again, whoever asks for them.

use anyhow::Context as _;
use relief_api::surface::v1::direction::Source;
use relief_api::surface::v1::{
    BatchNormMode, Direction, Engine, Normalization, NumericRequest, Plane, Precision, RandomDirection, Surface,
    SurfaceSpec, SurfaceStatus,
};
use relief_store::encode_checkpoint;
use relief_test_support::{
    CHECKPOINT, Client, DATASET, Program, Sandbox, axis, network_id, surface_spec, tensors_of_seed,
};

fn spec(side: u32) -> SurfaceSpec {
    surface_spec(CHECKPOINT, DATASET, (axis(-1.0, 1.0, side), axis(-1.0, 1.0, side)), Some(60), (3, 4))
}

async fn status(client: &Client, surface: &str) -> anyhow::Result<(Surface, SurfaceStatus)> {
    let surface = client.surface(surface).await?;
    let status = surface.status.clone().context("no status")?;
    Ok((surface, status))
}

/// How many points of `spec` were taken from others.
async fn reused(client: &Client, id: &str, spec: SurfaceSpec) -> anyhow::Result<u64> {
    client.computed(id, spec).await?;
    let (_, status) = status(client, id).await?;
    assert_eq!(status.points_done, status.points_total);
    Ok(status.points_reused)
}

#[tokio::test]
async fn a_finer_surface_computes_only_its_new_points_and_has_the_bits_of_one_that_computes_all() -> anyhow::Result<()>
{
    let sandbox = Sandbox::new()?;
    let platform = sandbox.launch(Program::Relief).start().await?;
    let client = platform.client()?;
    Sandbox::furnish(&client).await?;
    let fresh = sandbox.copy()?;

    assert_eq!(reused(&client, "coarse", spec(5)).await?, 0);
    let fine = client.computed("fine", spec(9)).await?;
    let (described, counted) = status(&client, "fine").await?;
    assert_eq!((counted.points_reused, counted.points_total), (25, 81));
    assert_eq!(described.provenance.context("no provenance")?.reused_from, ["surfaces/coarse"]);
    platform.logged("points are reused", |line| line.contains("points are reused").then_some(())).await?;

    let alone = fresh.launch(Program::Relief).start().await?;
    assert_eq!(alone.client()?.computed("fine", spec(9)).await?, fine);

    // All of it is known now: nothing is computed, and a restart forgets nothing of that.
    assert_eq!(client.computed("again", spec(9)).await?, fine);
    assert_eq!(status(&client, "again").await?.1.points_reused, 81);
    drop((platform, client));
    let platform = sandbox.launch(Program::Relief).start().await?;
    assert_eq!(status(&platform.client()?, "fine").await?.1.points_reused, 25);
    Ok(())
}

#[tokio::test]
async fn nothing_is_reused_where_the_request_differs() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let platform = sandbox.launch(Program::Relief).start().await?;
    let client = platform.client()?;
    Sandbox::furnish(&client).await?;
    assert_eq!(reused(&client, "first", spec(3)).await?, 0);
    assert_eq!(reused(&client, "same", spec(3)).await?, 9);

    let random = |random: RandomDirection| Some(Direction { source: Some(Source::Random(random)) });
    let with_plane = |change: &dyn Fn(&mut Plane)| {
        let mut spec = spec(3);
        change(spec.plane.get_or_insert_default());
        spec
    };
    let with_limit = |limit: Option<u64>| {
        let mut spec = spec(3);
        spec.data.get_or_insert_default().limit = limit;
        spec
    };
    let with_numerics = |engine: Engine, precision: Precision| {
        let numerics = NumericRequest { engine: engine.into(), precision: precision.into() };
        SurfaceSpec { numerics: Some(numerics), ..spec(3) }
    };
    let layer = RandomDirection { seed: 7, normalization: Normalization::Layer.into(), ..RandomDirection::default() };
    for (id, other) in [
        ("seed", with_plane(&|plane| plane.y = random(RandomDirection { seed: 8, ..RandomDirection::default() }))),
        ("normalization", with_plane(&|plane| plane.x = random(layer))),
        ("mode", with_plane(&|plane| plane.batch_norm = BatchNormMode::Recomputed.into())),
        (
            "towards",
            with_plane(&|plane| plane.x = Some(Direction { source: Some(Source::Towards(CHECKPOINT.into())) })),
        ),
        ("limit", with_limit(Some(61))),
        ("split", SurfaceSpec { also_split: 2, ..spec(3) }),
        // Computed in something else.
        ("engine", with_numerics(Engine::Burn, Precision::Unspecified)),
    ] {
        assert_eq!(reused(&client, id, other).await?, 0, "{id}");
    }
    // Another checkpoint under the name of one that is gone.
    client.delete_checkpoint(CHECKPOINT).await?;
    client.import_checkpoint(CHECKPOINT, network_id(), &encode_checkpoint(&tensors_of_seed(2)?)?).await?;
    assert_eq!(reused(&client, "checkpoint", spec(3)).await?, 0);
    // Both sides of a slice that ends beyond the data are all of it.
    assert_eq!(reused(&client, "all", with_limit(None)).await?, 0);
    assert_eq!(reused(&client, "beyond", with_limit(Some(10_000))).await?, 9);
    Ok(())
}

#[tokio::test]
async fn a_surface_that_was_interrupted_goes_on_with_the_points_that_it_had_found() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let evaluator = sandbox.launch(Program::Evaluator).start().await?;
    let mut coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    Sandbox::furnish(&client).await?;
    let spec = |side| surface_spec(CHECKPOINT, DATASET, (axis(-1.0, 1.0, side), axis(-1.0, 1.0, side)), None, (2, 2));
    client.computed("coarse", spec(9)).await?;
    client.create_surface("fine", spec(17)).await?;
    let mut watch = client.watch("fine").await?;
    let middle = watch.until("the first tiles are done", |status| status.tiles_done > 0).await?;
    coordinator.kill().await?;
    assert!(middle.tiles_done < middle.tiles_total, "the kill came too late");

    let coordinator = sandbox.launch_coordinator(&[&evaluator.endpoint()]).start().await?;
    let client = coordinator.client()?;
    let end = client.succeeded("fine").await?;
    assert_eq!((end.points_reused, end.points_done), (81, 17 * 17));
    let fine = client.values("fine").await?;
    assert_eq!(client.computed("fresh", SurfaceSpec { fresh: true, ..spec(17) }).await?, fine);
    Ok(())
}

#[tokio::test]
async fn a_diverged_checkpoint_has_a_surface_of_nan_that_can_be_read_and_stopped() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let platform = sandbox.launch(Program::Relief).start().await?;
    let client = platform.client()?;
    Sandbox::furnish(&client).await?;
    let mut diverged = tensors_of_seed(2)?;
    diverged.values_mut().for_each(|tensor| tensor.data_mut().fill(f32::NAN));
    client.import_checkpoint("diverged", network_id(), &encode_checkpoint(&diverged)?).await?;
    let plain = RandomDirection { normalization: Normalization::None.into(), ..RandomDirection::default() };
    let mut from = spec(3);
    let plane = from.plane.get_or_insert_default();
    plane.origin = "diverged".to_owned();
    (plane.x, plane.y) = {
        let direction = Some(Direction { source: Some(Source::Random(plain)) });
        (direction.clone(), direction)
    };
    let mut to = spec(3);
    let plane = to.plane.get_or_insert_default();
    plane.x = Some(Direction { source: Some(Source::Towards("diverged".to_owned())) });
    for (id, spec, n_finite) in [("from", from, 0), ("to", to, 3)] {
        client.computed(id, spec).await?;
        let (surface, status) = status(&client, id).await?;
        // Towards it, the column at 0 is the origin's own.
        assert_eq!(status.points_total - status.points_non_finite, n_finite, "{id}");
        assert!(surface.geometry.is_some_and(|geometry| geometry.axes.len() == 2), "{id}");
    }
    // Scaled to NaN, a random direction would be nothing to walk along.
    let mut scaled = spec(3);
    scaled.plane.get_or_insert_default().origin = "diverged".to_owned();
    let refused = client.create_surface("scaled", scaled).await.expect_err("nothing to scale to").to_string();
    assert!(refused.contains("spec.plane.origin") && refused.contains("finite"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_direction_that_is_given_back_as_a_file_finds_the_points_of_its_seed() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let platform = sandbox.launch(Program::Relief).start().await?;
    let client = platform.client()?;
    Sandbox::furnish(&client).await?;
    let drawn = client.computed("drawn", spec(3)).await?;
    let (surface, _) = status(&client, "drawn").await?;
    let digests = surface.provenance.context("no provenance")?.direction_digests;
    assert_eq!(digests.len(), 2);
    let stored = |digest: &String| {
        let stored = relief_api::surface::v1::StoredDirection { name: format!("directions/{digest}") };
        Some(Direction { source: Some(Source::Stored(stored)) })
    };
    let mut given = spec(3);
    let plane = given.plane.get_or_insert_default();
    (plane.x, plane.y) = (stored(&digests[0]), stored(&digests[1]));
    assert_eq!(client.computed("given", given).await?, drawn);
    assert_eq!(status(&client, "given").await?.1.points_reused, 9);
    Ok(())
}
