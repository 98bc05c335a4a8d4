//! What the services cost beyond the engine: a surface through `relief up` in turn with the bare loop over its points.
//!
//! A round runs half of the points by the loop, then the whole surface through the services, then the other half by the
//! loop, so that a machine that slows down slows both. The time of a surface is from its request to its success:
//! planning, loading, tiles, storing and reporting are in it. That of the loop is its points', with the parameters and
//! the samples in memory.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use relief_api::catalog::v1::Split;
use relief_api::job::v1::JobState;
use relief_api::surface::v1::{NumericRequest, Precision as WirePrecision, SurfaceSpec, WatchSurfaceRequest};
use relief_core::{Engine, Numerics, Precision};
use relief_nn::Device;
use relief_store::encode_checkpoint;
use relief_test_support::{Client, DATASET, Program, Sandbox, SplitImages, axis, surface_spec};

use crate::engine::{Landscape, Setup, Subject};
use crate::statistic::median;

/// The shape of the samples, those of Fashion-MNIST.
const SHAPE: &str = "1x28x28";
const N_CLASSES: usize = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The network
    #[arg(long, value_name = "NAME", default_value = "resnet20")]
    network: String,

    /// Rows and columns of the surface
    #[arg(long, value_name = "N", default_value_t = 25)]
    side: u32,

    /// Samples, at most 5000
    #[arg(long, value_name = "N", default_value_t = 1000)]
    samples: u32,

    /// Rounds; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { network, side, samples, rounds } = arguments;
    ensure!(side > 1 && rounds > 0, "a surface of one side or no round measures nothing");
    ensure!((1..=5000).contains(&samples), "there are 1 to 5000 samples, not {samples}");
    let landscape = Landscape::of(&network, SHAPE.parse()?, N_CLASSES, samples as usize)?;
    let sandbox = Sandbox::new()?;
    let platform = sandbox.launch(Program::Relief).start().await?;
    let client = platform.client()?;
    client.import_dataset(DATASET, &SplitImages::first(Split::Train, samples)?).await?;
    let network_id = format!("{network}-{SHAPE}-{N_CLASSES}");
    client.import_checkpoint("settled", &network_id, &encode_checkpoint(&landscape.origin)?).await?;

    let numerics = Numerics { engine: Engine::Cpu, precision: Precision::F32 };
    // As many as an evaluator has.
    let threads = std::thread::available_parallelism()?;
    let device = Device::cpu_with_threads(threads);
    let setup = Setup { word: "the bare loop".to_owned(), numerics, device, threads, is_slow: false };
    let subject = Subject::own(&setup, &landscape, samples as usize)?;
    let n_points = side * side;
    let bare = async |from: u32, to: u32| {
        let subject = subject.clone();
        tokio::task::spawn_blocking(move || {
            let start = Instant::now();
            for idx in from..to {
                let at = |step: u32| 2.0 * f64::from(step) / f64::from(side - 1) - 1.0;
                subject.point(&[at(idx % side), at(idx / side)])?;
            }
            anyhow::Ok(start.elapsed().as_secs_f64())
        })
        .await?
    };
    bare(0, side.min(5)).await?;
    println!("{network}, {side} x {side} points on {samples} samples, {threads} threads, f32\n");
    println!("| round | bare loop, s | services, s | services / bare loop |\n|---:|---:|---:|---:|");
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let middle = n_points / 2;
        let before = bare(0, middle).await?;
        let start = Instant::now();
        compute(&client, &format!("round-{round}"), spec(&network_id, side)).await?;
        let services = start.elapsed().as_secs_f64();
        let bare = before + bare(middle, n_points).await?;
        ratios.push(services / bare);
        println!("| {} | {bare:.1} | {services:.1} | {:.3} |", round + 1, services / bare);
    }
    println!("\nmedian: {:.3}", median(&ratios));
    Ok(())
}

/// A surface that has no point of those before.
fn spec(network: &str, side: u32) -> SurfaceSpec {
    let numerics = NumericRequest { engine: 0, precision: WirePrecision::F32.into() };
    let whole = (axis(-1.0, 1.0, side), axis(-1.0, 1.0, side));
    SurfaceSpec {
        network: network.to_owned(),
        numerics: Some(numerics),
        fresh: true,
        // As the coordinator cuts it.
        tile: None,
        ..surface_spec("checkpoints/settled", DATASET, whole, None, (1, 1))
    }
}

/// Waits as long as it takes.
async fn compute(client: &Client, id: &str, spec: SurfaceSpec) -> anyhow::Result<()> {
    client.create_surface(id, spec).await?;
    let request = WatchSurfaceRequest { name: id.to_owned(), after_revision: 0 };
    let mut changes = client.surfaces().watch_surface(request).await?.into_inner();
    while let Some(change) = changes.message().await? {
        let status = change.surface.and_then(|surface| surface.status).context("no status")?;
        match status.state() {
            JobState::Pending | JobState::Running | JobState::Unspecified => {}
            JobState::Succeeded => return Ok(()),
            _ => anyhow::bail!("{id} did not succeed: {status:?}"),
        }
    }
    anyhow::bail!("the server stopped reporting on {id}")
}
