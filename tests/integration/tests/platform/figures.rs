//! Figures made from runs that are there, through the command line.

use anyhow::Context as _;
use relief_api::catalog::v1::Split;
use relief_core::{Curvature, SurfaceId};
use relief_store::Store;
use relief_test_support::{CommandLine, DATASET, Program, Sandbox, SplitImages};

/// Small enough for a test.
const SMALL: [&str; 7] =
    ["--grid=5x4", "--points=7", "--limit=40", "--repeats=3", "--precision=f32", "--weight-decays=5e-4", "--log"];

async fn train(relief: &CommandLine, batch: &str) -> anyhow::Result<String> {
    let run = ["train", "--network=lenet5", "--epochs=3", "--milestones=2", "--rate=0.05", "--watch"];
    relief.run(&[&run[..], &["--dataset", DATASET, "--batch", batch]].concat()).await
}

fn says(svg: &str, text: &str) -> bool {
    svg.contains(&format!("aria-label=\"{text}\""))
}

#[tokio::test]
async fn every_figure_is_made_from_runs_that_are_there() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let platform = sandbox.launch(Program::Relief).start().await?;
    let client = platform.client()?;
    client.import_dataset(DATASET, &SplitImages::first(Split::Train, 200)?).await?;
    client.import_dataset(DATASET, &SplitImages::first(Split::Test, 100)?).await?;
    let relief = CommandLine::at(&platform);
    let (small, large) = (train(&relief, "20").await?, train(&relief, "100").await?);

    let path = |name: &str| sandbox.path().join(format!("{name}.svg")).display().to_string();
    let made = async |name: &str, more: &[&str]| -> anyhow::Result<String> {
        let out = path(name);
        let figure = ["figure", name, "--networks=lenet5", "--out", &out];
        relief.run(&[&figure[..], &SMALL, more].concat()).await.with_context(|| format!("{name} is not made"))?;
        Ok(std::fs::read_to_string(&out)?)
    };
    let both = ["--batches=20,100"];
    let one = ["--batches=20"];
    for (name, batches, texts) in [
        ("landscapes", &both[..], &["batch 20", "batch 100"][..]),
        ("interpolation", &both, &["batch 20, at 0, to batch 100, at 1", "train", "test"]),
        ("minima", &both, &["batch 20", "batch 100", "train", "test"]),
        ("normalizations", &both, &["batch 20, not normalised, enlarged", "batch 100, normalised by filter"]),
        ("minima-2d", &both, &["batch 20", "batch 100"]),
        ("depth", &both, &["batch 20", "batch 100"]),
        ("width", &one, &["lenet5"]),
        ("repeats", &one, &["seed 0", "seed 2"]),
        ("repeats-2d", &one, &["seed 0", "seed 2"]),
        ("weights", &both, &["epoch", "iteration", "the weights", "learning rate lowered"]),
        ("training", &both, &["batch 20", "error (%)"]),
        ("random-planes", &one, &["two random directions", "start to end, and a random direction"]),
        ("paths", &both, &["batch 20", "batch 100", "start", "epoch"]),
    ] {
        let svg = made(name, batches).await?;
        for text in texts {
            assert!(says(&svg, text), "{name}: {text}");
        }
    }
    assert!(says(&made("paths", &both).await?, "lenet5, weight decay 0.0005, on fashion"), "no title");

    // What was computed for a figure is found again.
    let surfaces = async || relief.run(&["surface", "list"]).await;
    let before = surfaces().await?;
    made("minima-2d", &["--batches=20,100", "--theme=dark"]).await?;
    assert_eq!(surfaces().await?, before);

    // A convexity map is of a surface that carries eigenvalues.
    let convexity =
        ["figure", "convexity", "--networks=lenet5", "--batches=20", "--weight-decays=5e-4", "--out", &path("c")];
    let refused = relief.said(&convexity).await?;
    assert!(!refused.status.success());
    assert!(refused.stderr.contains(&format!("no surface around {small}/snapshots/3 carries eigenvalues")));
    let store = Store::open(&format!("file://{}", sandbox.store().display()))?;
    let mut carried = false;
    for line in before.lines().skip(1) {
        let id: SurfaceId = line.split_whitespace().next().context("a name")?.parse()?;
        let record = store.get_surface(&id).await?;
        let grid = record.spec.grid;
        if grid.n_rows() == 1 || !record.spec.plane.origin.to_string().starts_with(&small) {
            continue;
        }
        let n_points = (grid.n_rows() * grid.n_columns()) as usize;
        let lambda_min = (0..n_points).map(|idx| -(idx as f64)).collect();
        let curvature = Curvature { lambda_min, lambda_max: vec![100.0; n_points], ..Curvature::default() };
        store.put_curvature(&record, &curvature).await?;
        carried = true;
        break;
    }
    assert!(carried, "no surface around {small}");
    relief.run(&convexity).await?;
    assert!(says(&std::fs::read_to_string(path("c"))?, "|\u{3bb}min / \u{3bb}max|"));

    // Anything stands beside anything.
    let surface = before.lines().nth(1).and_then(|line| line.split_whitespace().next()).context("a surface")?;
    let names = format!("{surface},{small},{large}");
    let panels = ["plot", "panels", &names, "--titles=one,two,three", "--columns=3", "--out", &path("panels")];
    relief.run(&panels).await?;
    let svg = std::fs::read_to_string(path("panels"))?;
    assert!(["one", "two", "three"].iter().all(|title| says(&svg, title)));
    Ok(())
}

#[tokio::test]
async fn a_figure_without_its_runs_says_what_is_missing_and_computes_nothing() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let platform = sandbox.launch(Program::Relief).start().await?;
    let relief = CommandLine::at(&platform);
    let out = sandbox.path().join("f.svg").display().to_string();
    let nothing = relief.said(&["figure", "fig9", "--out", &out]).await?;
    assert!(
        !nothing.status.success() && nothing.stderr.contains("minima is made from finished runs, and there is none")
    );

    platform.client()?.import_dataset(DATASET, &SplitImages::first(Split::Train, 100)?).await?;
    let small = train(&relief, "20").await?;
    let missing = relief.said(&["figure", "fig9", "--networks=lenet5", "--batches=20,100", "--out", &out]).await?;
    assert!(!missing.status.success());
    for part in [
        "minima (fig9) needs runs that are not there:",
        "batch 100, weight decay 0.0005",
        &format!("relief train --network lenet5 --dataset {DATASET} --batch 20 --weight-decay 0 "),
        &format!("{small}: lenet5-1x28x28-10, batch 20, weight decay 0.0005"),
    ] {
        assert!(missing.stderr.contains(part), "{part}:\n{}", missing.stderr);
    }
    let wrong = ["figure", "interpolation", "--networks=lenet5", "--batches=20", "--weight-decays=5e-4", "--out", &out];
    let wrong = relief.said(&wrong).await?;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stderr.contains("--batches holds 1; interpolation is between two, a small and a large one"));
    let dry = ["figure", "paths", "--networks=lenet5", "--batches=20", "--weight-decays=5e-4", "--dry-run"];
    let dry = relief.run(&dry).await?;
    assert!(dry.contains(&format!("the path of {small}, 51 x 51 points around it")), "{dry}");
    assert!(!std::fs::exists(&out)?);
    let html = ["figure", "paths", "--networks=lenet5", "--batches=20", "--weight-decays=5e-4", "--out", "paths.html"];
    let html = relief.said(&html).await?;
    assert_eq!(html.status.code(), Some(2));
    assert!(html.stderr.contains("--out is paths.html; several pictures in one are drawn as .svg, .png or .pdf"));
    assert_eq!(relief.run(&["surface", "list"]).await?.lines().count(), 1);
    assert!(relief.run(&["figure"]).await?.contains("random-planes   fig18"));
    Ok(())
}
