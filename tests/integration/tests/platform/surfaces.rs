//! The main job: a network is trained, its surface is computed by several evaluators and drawn.

use anyhow::Context as _;
use relief_api::catalog::v1::Split;
use relief_api::job::v1::JobState;
use relief_api::plot::v1::{PlotFormat, RenderSurfaceRequest};
use relief_api::surface::v1::SurfaceSpec;
use relief_api::training::v1::RunSpec;
use relief_test_support::{Client, DATASET, Program, Sandbox, SplitImages, axis, surface_spec, within};

const ORIGIN: &str = "runs/short/snapshots/1";

/// Big enough to be far from its end when a process is killed after the first tiles.
fn big(tile: (u32, u32)) -> SurfaceSpec {
    let spec = surface_spec(ORIGIN, DATASET, (axis(-1.0, 1.0, 13), axis(-0.5, 0.75, 9)), Some(1000), tile);
    // One after the other would have the points of the one before.
    SurfaceSpec { fresh: true, ..spec }
}

async fn rendered(client: &Client, surface: &str, format: PlotFormat) -> anyhow::Result<(Vec<u8>, String)> {
    let request =
        RenderSurfaceRequest { surface: surface.to_owned(), format: format.into(), ..RenderSurfaceRequest::default() };
    let picture = within("the picture is drawn", client.plots().render_surface(request)).await??.into_inner();
    Ok((picture.content.to_vec(), picture.media_type))
}

#[tokio::test]
async fn a_surface_survives_the_kill_of_an_evaluator_with_the_bits_of_one_process_and_of_other_tiles()
-> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let trainer = sandbox.launch(Program::Trainer).start().await?;
    let renderer = sandbox.launch(Program::Renderer).start().await?;
    let survivor = sandbox.launch(Program::Evaluator).start().await?;
    let mut victim = sandbox.launch(Program::Evaluator).start().await?;
    let coordinator = sandbox.launch_coordinator(&[&survivor.endpoint(), &victim.endpoint()]).start().await?;
    let client = coordinator.client()?;
    client.import_dataset(DATASET, &SplitImages::first(Split::Train, 1000)?).await?;
    let spec = RunSpec { network: "lenet5".into(), dataset: DATASET.into(), epochs: 1, ..RunSpec::default() };
    trainer.client()?.train("short", spec).await?;

    let copy = sandbox.copy()?;
    let platform = copy.launch(Program::Relief).start().await?;
    let one_process = platform.client()?.computed("baseline", big((2, 2))).await?;
    assert_eq!(one_process.n_known(), 13 * 9);
    drop(platform);

    client.create_surface("bitten", big((2, 2))).await?;
    let mut watch = client.watch("bitten").await?;
    let middle = watch.until("the first tiles are done", |status| status.tiles_done > 0).await?;
    victim.kill().await?;
    let at_kill = client.surface("bitten").await?.status.context("no status")?;
    assert!(at_kill.tiles_done < at_kill.tiles_total, "the kill came too late: {at_kill:?}, after {middle:?}");

    let end = client.succeeded("bitten").await?;
    assert!(end.tiles_retried >= 1, "the kill hit no tile: {end:?}");
    assert_eq!((end.tiles_done, end.points_done), (end.tiles_total, end.points_total));
    let came_back = |line: &str| line.contains("a tile comes back") && line.contains(&victim.endpoint());
    coordinator.logged("a tile of the victim comes back", |line| came_back(line).then_some(())).await?;
    assert_eq!(client.values("bitten").await?, one_process);

    assert_eq!(client.computed("other-tiles", big((4, 5))).await?, one_process);

    let (png, media_type) = rendered(&renderer.client()?, "bitten", PlotFormat::Png).await?;
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && media_type == "image/png");
    let (svg, media_type) = rendered(&renderer.client()?, "bitten", PlotFormat::Svg).await?;
    let svg = String::from_utf8(svg)?;
    assert!(svg.contains("<svg") && svg.trim_end().ends_with("</svg>") && media_type == "image/svg+xml");
    assert_eq!(client.surface("bitten").await?.status.context("no status")?.state(), JobState::Succeeded);
    Ok(())
}
