//! What the services cost beyond the engine: a surface through `relief up` in turn with the bare loop over its points.
//!
//! A round runs half of the points by the loop, then the whole surface through the services, then the other half by the
//! loop, so that a machine that slows down slows both; many short rounds do so better than a few long ones. The time of
//! a surface is from its request to its success: planning, tiles, storing and reporting are in it, and where the
//! precision is left open its choice, but not loading, which a first surface does that is not counted. That of the loop
//! is its points', with the parameters and the samples in memory.

use std::time::Instant;

use anyhow::Context as _;
use relief_api::catalog::v1::Split;
use relief_api::job::v1::JobState;
use relief_api::surface::v1::{NumericRequest, Precision as WirePrecision, SurfaceSpec, WatchSurfaceRequest};
use relief_core::{Engine, Numerics, Precision};
use relief_nn::Device;
use relief_store::encode_checkpoint;
use relief_test_support::{Client, DATASET, Program, Sandbox, SplitImages, axis, surface_spec};

use crate::engine::{Landscape, Setup, Subject};
use crate::statistic::Spread;

/// The shape of the samples, those of Fashion-MNIST.
const SHAPE: &str = "1x28x28";
const N_CLASSES: usize = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The network
    #[arg(long, value_name = "NAME", default_value = "resnet20")]
    network: String,

    /// Rows and columns of the surface
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(2..=1000))]
    side: u32,

    /// Samples
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=5000))]
    samples: u32,

    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// The precision that surfaces are asked for in
    #[arg(long, value_enum, default_value_t = Asked::F32)]
    precision: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Asked {
    /// In float32
    F32,
    /// What the evaluator finds best for each surface; the bare loop computes in what it found for the first
    Auto,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { network, side, samples, rounds, precision } = arguments;
    let landscape = Landscape::of(&network, SHAPE.parse()?, N_CLASSES, samples as usize)?;
    let sandbox = Sandbox::new()?;
    let platform = sandbox.launch(Program::Relief).start().await?;
    let client = platform.client()?;
    client.import_dataset(DATASET, &SplitImages::first(Split::Train, samples)?).await?;
    let network_id = format!("{network}-{SHAPE}-{N_CLASSES}");
    client.import_checkpoint("settled", &network_id, &encode_checkpoint(&landscape.origin)?).await?;

    let start = Instant::now();
    let class = compute(&client, "first", spec(&network_id, side, precision)).await?;
    let first = start.elapsed().as_secs_f64();
    let chosen = Numerics::of_class(&class).filter(|_| precision == Asked::Auto);
    let numerics = chosen.unwrap_or(Numerics { engine: Engine::Cpu, precision: Precision::F32 });
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
    println!("{network}, {side} x {side} points on {samples} samples, {threads} threads; the bare loop in {numerics}");
    println!("A first surface through the services, with loading: {first:.2} s\n");
    println!("| round | bare loop, s | services, s | services / bare loop | computed in |\n|---:|---:|---:|---:|---|");
    let (mut ratios, mut sums, mut has_others) = (Vec::new(), [0.0; 2], false);
    for round in 0..rounds {
        let middle = n_points / 2;
        let before = bare(0, middle).await?;
        let start = Instant::now();
        let class = compute(&client, &format!("round-{round}"), spec(&network_id, side, precision)).await?;
        let services = start.elapsed().as_secs_f64();
        let bare = before + bare(middle, n_points).await?;
        ratios.push(services / bare);
        sums = [sums[0] + services, sums[1] + bare];
        has_others |= Numerics::of_class(&class) != Some(numerics);
        println!("| {} | {bare:.2} | {services:.2} | {:.3} | {class} |", round + 1, services / bare);
    }
    let Spread { median, lowest, highest } = Spread::of(&ratios).context("no rounds")?;
    let of_sums = sums[0] / sums[1];
    println!("\nmedian of the ratios: {median:.3} ({lowest:.3}-{highest:.3}); ratio of the sums: {of_sums:.3}");
    if has_others {
        println!("Not all of these surfaces were computed in {numerics}, as the bare loop was.");
    }
    Ok(())
}

/// A surface that has no point of those before.
fn spec(network: &str, side: u32, precision: Asked) -> SurfaceSpec {
    let precision = match precision {
        Asked::F32 => WirePrecision::F32,
        Asked::Auto => WirePrecision::Unspecified,
    };
    let numerics = NumericRequest { engine: 0, precision: precision.into() };
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

/// Waits as long as it takes; returns the numeric class.
async fn compute(client: &Client, id: &str, spec: SurfaceSpec) -> anyhow::Result<String> {
    client.create_surface(id, spec).await?;
    let request = WatchSurfaceRequest { name: id.to_owned(), after_revision: 0 };
    let mut changes = client.surfaces().watch_surface(request).await?.into_inner();
    while let Some(change) = changes.message().await? {
        let surface = change.surface.context("no surface")?;
        let status = surface.status.context("no status")?;
        match status.state() {
            JobState::Pending | JobState::Running | JobState::Unspecified => {}
            JobState::Succeeded => return Ok(surface.provenance.context("no provenance")?.numeric_class),
            _ => anyhow::bail!("{id} did not succeed: {status:?}"),
        }
    }
    anyhow::bail!("the server stopped reporting on {id}")
}
