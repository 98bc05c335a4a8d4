//! `relief quickstart`: from nothing to the loss surface of a network that was just trained, over real gRPC.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use relief_api::convert::surface::{direction_to_wire, split_to_wire};
use relief_api::plot::v1::{LossScale, PlotFormat, PlotKind, RenderSurfaceRequest};
use relief_api::surface::v1::{self as wire, SurfaceSpec};
use relief_api::training::v1::RunSpec;
use relief_core::{Axis, DirectionSpec, Ignore, Normalization, NumericRequest, Split};
use relief_store::embedded::FASHION_MNIST_6K;
use serde_json::{Value, json};

use crate::cli::{ExportFormat, QuickstartArguments};
use crate::client::Client;
use crate::error::CommandError;
use crate::output::{self, Output};
use crate::platform::{self, Platform};
use crate::progress::Progress;
use crate::{export, file, plot, run, surface, train, values};

const NETWORK: &str = "lenet5";
const N_EPOCHS: u32 = 5;
const N_SAMPLES: u64 = 1_000;
const SIDE: u32 = 25;
const CURVE: u32 = 51;

pub(crate) async fn run(QuickstartArguments { out }: QuickstartArguments, output: Output) -> anyhow::Result<()> {
    let shutdown = relief_runtime::shutdown_on_signal().context("cannot handle signals")?;
    let store = platform::open_local(&out.join("store")).await?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let platform = Platform::start(store, listen, NumericRequest::default(), shutdown.clone()).await?;
    platform.ready().await;
    let client = Client::new(platform.endpoint().clone().into())?;
    let demonstrated = tokio::select! {
        demonstrated = demonstrate(&client, &out) => demonstrated,
        () = shutdown.cancelled() => Err(CommandError::Interrupted.into()),
    };
    // When the services failed, that is the reason for everything else.
    platform.stop().await?;
    let result = demonstrated?;
    output.print(|| result.to_json(), || result.description())
}

/// What was made.
struct Outcome {
    run: String,
    surface: String,
    curve: String,
    files: Vec<PathBuf>,
}

impl Outcome {
    fn to_json(&self) -> Value {
        json!({"run": self.run, "surface": self.surface, "curve": self.curve, "files": self.files})
    }

    fn description(&self) -> String {
        self.files.iter().map(|file| format!("{}\n", file.display())).collect()
    }
}

async fn demonstrate(client: &Client, out: &Path) -> anyhow::Result<Outcome> {
    let run = train::create(client, run_spec()).await?.name;
    run::follow(client, &run, &format!("1/4 train {NETWORK}")).await?;
    let snapshots = run::get(client, &run).await?.snapshots;
    output::note(run::snapshot_table(&snapshots).trim_end());
    let origin = snapshots.last().context("the run wrote no snapshot")?.name.clone();

    let axis = |count| Axis::new(-1.0, 1.0, count);
    let surface = compute(client, surface_spec(&origin, axis(SIDE)?, Some(axis(SIDE)?)), "2/4 surface").await?;
    let curve = compute(client, surface_spec(&origin, axis(CURVE)?, None), "3/4 curve").await?;
    let files = write_files(client, out, &surface, &curve).await?;
    Ok(Outcome { run, surface, curve, files })
}

async fn compute(client: &Client, spec: SurfaceSpec, label: &str) -> anyhow::Result<String> {
    let name = surface::create(client, spec).await?.name;
    surface::follow(client, &name, label).await?;
    Ok(name)
}

fn run_spec() -> RunSpec {
    RunSpec {
        network: NETWORK.to_owned(),
        dataset: FASHION_MNIST_6K.to_owned(),
        epochs: N_EPOCHS,
        batch_size: Some(32),
        rate: Some(0.02),
        momentum: None,
        weight_decay: None,
        milestones: vec![N_EPOCHS - 1],
        seed: 0,
    }
}

fn surface_spec(origin: &str, x: Axis, y: Option<Axis>) -> SurfaceSpec {
    let random = DirectionSpec::Random { seed: 0, normalization: Normalization::Filter, ignore: Ignore::BiasBn };
    let direction = direction_to_wire(&random);
    SurfaceSpec {
        network: NETWORK.to_owned(),
        plane: Some(wire::Plane {
            origin: origin.to_owned(),
            y: y.map(|_| direction.clone()),
            x: Some(direction),
            ..wire::Plane::default()
        }),
        x: Some(surface::axis(x)),
        y: y.map(surface::axis),
        data: Some(wire::DatasetSlice {
            dataset: FASHION_MNIST_6K.to_owned(),
            split: split_to_wire(Split::Train).into(),
            limit: Some(N_SAMPLES),
        }),
        ..SurfaceSpec::default()
    }
}

/// Writes the values and the pictures below `out`, over those of an earlier time, and returns their paths.
async fn write_files(client: &Client, out: &Path, surface: &str, curve: &str) -> anyhow::Result<Vec<PathBuf>> {
    let plots = out.join("plots");
    std::fs::create_dir_all(&plots).with_context(|| format!("cannot make {}", plots.display()))?;
    let pictures = [
        (surface, "surface-contour", PlotKind::Contour, LossScale::Linear),
        (surface, "surface-contour-log", PlotKind::Contour, LossScale::Log),
        (surface, "surface-heatmap-log", PlotKind::Heatmap, LossScale::Log),
        (surface, "surface-3d-log", PlotKind::Surface, LossScale::Log),
        (curve, "curve", PlotKind::Curve, LossScale::Linear),
    ];
    const FLAT: &[(PlotFormat, &str)] = &[(PlotFormat::Svg, "svg"), (PlotFormat::Png, "png")];
    const SPATIAL: &[(PlotFormat, &str)] = &[(PlotFormat::Png, "png"), (PlotFormat::Html, "html")];
    let formats = |kind: PlotKind| if kind == PlotKind::Surface { SPATIAL } else { FLAT };
    let n_pictures = pictures.iter().map(|(_, _, kind, _)| formats(*kind).len() as u64).sum();
    let mut progress = Progress::new("4/4 plots");
    let mut files = Vec::new();
    for (name, stem, kind, scale) in pictures {
        for (format, extension) in formats(kind) {
            progress.show(files.len() as u64, n_pictures, "pictures", "");
            let request = RenderSurfaceRequest {
                surface: name.to_owned(),
                kind: kind.into(),
                scale: scale.into(),
                format: (*format).into(),
                ..RenderSurfaceRequest::default()
            };
            let path = plots.join(format!("{stem}.{extension}"));
            file::write(&path, &plot::render(client, request).await?)?;
            files.push(path);
        }
    }
    progress.finish(&format!("{n_pictures} pictures"));
    for (name, stem) in [(surface, "surface"), (curve, "curve")] {
        let path = out.join(format!("{stem}.json"));
        let values = values::read(client, &name.parse()?).await?;
        file::write(&path, &export::encode(&values, ExportFormat::Json)?)?;
        files.push(path);
    }
    Ok(files)
}
