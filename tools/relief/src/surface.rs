//! `relief surface`: loss surfaces and curves.

mod view;

use std::cell::Cell;

use relief_api::catalog::v1::Split as WireSplit;
use relief_api::convert::job::state_from_wire;
use relief_api::convert::numerics::numerics_to_wire;
use relief_api::convert::surface::{batch_norm_to_wire, direction_to_wire, split_to_wire};
use relief_api::surface::v1::{
    self as wire, CancelSurfaceRequest, CreateSurfaceRequest, DeleteSurfaceRequest, GetSurfaceRequest,
    ListSurfacesRequest, Surface, SurfaceSpec, WatchSurfaceRequest,
};
use relief_core::{Axis, CheckpointName, DirectionSpec, SurfaceId};
use serde_json::json;

use crate::cli::{CreateArguments, ExportArguments, SurfaceCommand};
use crate::client::{Client, list_all};
use crate::error::CommandError;
use crate::job::{self, Job, Step};
use crate::output::{self, Output};
use crate::run::get as get_run;
use crate::{direction, export, file, values};
pub(crate) use view::to_json;

pub(crate) async fn run(command: SurfaceCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        SurfaceCommand::Create(arguments) => {
            if let Some(flag) = arguments.idle_flag() {
                let text = format!("{flag} has no effect here, as no direction is random; leave it out");
                return Err(CommandError::WrongUse(text).into());
            }
            let dataset = match &arguments.dataset {
                Some(dataset) => dataset.to_string(),
                None => dataset_of(client, &arguments.checkpoint).await?,
            };
            let spec = with_directions(client, &arguments, spec(&arguments, dataset)?).await?;
            if arguments.dry_run {
                return dry_run(client, output, spec).await;
            }
            let surface = create(client, spec).await?;
            output.print(|| to_json(&surface), || surface.name.clone())?;
            if arguments.watch { watch(client, &surface.name).await } else { Ok(()) }
        }
        SurfaceCommand::Get { name, norms: false } => print(client, output, &name).await,
        SurfaceCommand::Get { name, norms: true } => {
            let geometry = get(client, &name).await?.geometry.unwrap_or_default();
            output.print(|| view::geometry_json(&geometry), || view::norms(&geometry))
        }
        SurfaceCommand::Watch { name } => {
            watch(client, &name.to_string()).await?;
            print(client, output, &name).await
        }
        SurfaceCommand::Cancel { name } => cancel(client, output, &name).await,
        SurfaceCommand::Delete { name } => delete(client, &name).await,
        SurfaceCommand::List => list(client, output).await,
        SurfaceCommand::Export(arguments) => export(client, &arguments).await,
        SurfaceCommand::Directions { name, out } => direction::export(client, &name, &out).await,
    }
}

pub(crate) async fn create(client: &Client, spec: SurfaceSpec) -> anyhow::Result<Surface> {
    let request = CreateSurfaceRequest { spec: Some(spec), ..CreateSurfaceRequest::default() };
    let response = client.surfaces().create_surface(request).await.map_err(|status| client.surfaces.refused(status))?;
    Ok(client.surfaces.required("surface", response.into_inner().surface)?)
}

/// Says what a surface would take.
async fn dry_run(client: &Client, output: Output, spec: SurfaceSpec) -> anyhow::Result<()> {
    let request = CreateSurfaceRequest { spec: Some(spec), validate_only: true, ..CreateSurfaceRequest::default() };
    let response = client.surfaces().create_surface(request).await.map_err(|status| client.surfaces.refused(status))?;
    let response = response.into_inner();
    let surface = client.surfaces.required("surface", response.surface)?;
    let plan = client.surfaces.required("plan", response.plan)?;
    output.print(|| json!({"surface": to_json(&surface), "plan": view::plan_json(&plan)}), || view::plan(&plan))
}

async fn watch(client: &Client, name: &str) -> anyhow::Result<()> {
    job::until_interrupted(job(name, name), follow(client, name, name)).await
}

pub(crate) fn job<'a>(name: &'a str, label: &'a str) -> Job<'a> {
    Job { noun: "surface", name, label, unit: "points" }
}

/// Shows the progress of a surface under `label` until it has succeeded. A server that goes away is waited for: the
/// surface goes on when it, or another one, is back.
pub(crate) async fn follow(client: &Client, name: &str, label: &str) -> anyhow::Result<()> {
    let is_told_of = Cell::new(false);
    job::follow_through(&is_told_of, || follow_once(client, name, label, &is_told_of)).await
}

async fn follow_once(client: &Client, name: &str, label: &str, is_told_of: &Cell<bool>) -> anyhow::Result<()> {
    let request = WatchSurfaceRequest { name: name.to_owned(), after_revision: 0 };
    let changes =
        client.surfaces().watch_surface(request).await.map_err(|status| client.surfaces.refused(status))?.into_inner();
    let step = |change: wire::WatchSurfaceResponse| {
        is_told_of.set(true);
        change.surface.map(|surface| step(&surface))
    };
    job::follow(&client.surfaces, job(name, label), changes, step).await
}

fn step(surface: &Surface) -> Step {
    let status = surface.status.clone().unwrap_or_default();
    let rate = Some(status.points_per_second).filter(|rate| *rate > 0.0).map(|rate| format!("{rate:.1} points/s"));
    let count = |n: u64, what: &str| Some(format!("{n} {what}")).filter(|_| n > 0);
    let detail = [
        rate,
        count(status.points_reused, "computed before"),
        count(status.points_non_finite, "not finite"),
        count(status.tiles_retried, "tiles retried"),
        count(status.points_disputed, "POINTS DISPUTED"),
        Some(status.waiting_reason).filter(|reason| !reason.is_empty()).map(|reason| format!("waiting: {reason}")),
    ];
    Step {
        state: state_from_wire(status.state),
        done: status.points_done,
        total: status.points_total,
        detail: detail.into_iter().flatten().collect::<Vec<_>>().join(", "),
        eta_seconds: status.eta.map(|eta| eta.seconds as f64 + f64::from(eta.nanos) * 1e-9),
        error: status.error,
    }
}

async fn get(client: &Client, name: &SurfaceId) -> anyhow::Result<Surface> {
    let request = GetSurfaceRequest { name: name.to_string() };
    let response = client.surfaces().get_surface(request).await.map_err(|status| client.surfaces.refused(status))?;
    Ok(client.surfaces.required("surface", response.into_inner().surface)?)
}

async fn print(client: &Client, output: Output, name: &SurfaceId) -> anyhow::Result<()> {
    let surface = get(client, name).await?;
    output.print(|| to_json(&surface), || view::description(&surface))
}

async fn cancel(client: &Client, output: Output, name: &SurfaceId) -> anyhow::Result<()> {
    let request = CancelSurfaceRequest { name: name.to_string() };
    let response = client.surfaces().cancel_surface(request).await.map_err(|status| client.surfaces.refused(status))?;
    let surface = client.surfaces.required("surface", response.into_inner().surface)?;
    output.print(|| to_json(&surface), || view::description(&surface))
}

async fn delete(client: &Client, name: &SurfaceId) -> anyhow::Result<()> {
    let request = DeleteSurfaceRequest { name: name.to_string() };
    client.surfaces().delete_surface(request).await.map_err(|status| client.surfaces.refused(status))?;
    output::note(&format!("{name} is deleted"));
    Ok(())
}

async fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let surfaces = list_all!(client, surfaces.list_surfaces, ListSurfacesRequest, surfaces);
    output.print(|| json!({"surfaces": surfaces.iter().map(to_json).collect::<Vec<_>>()}), || view::table(&surfaces))
}

async fn export(client: &Client, ExportArguments { name, format, out }: &ExportArguments) -> anyhow::Result<()> {
    let values = values::read(client, name).await?;
    file::write(out, &export::encode(&values, *format)?)?;
    if !values.is_complete() {
        output::note(&format!("{name} is not complete; what is not computed is marked so in the file"));
    }
    Ok(())
}

/// Stores the directions that are given as files, and has `spec` name them.
async fn with_directions(
    client: &Client,
    arguments: &CreateArguments,
    mut spec: SurfaceSpec,
) -> anyhow::Result<SurfaceSpec> {
    let plane = spec.plane.get_or_insert_default();
    if let Some(path) = &arguments.x_direction {
        plane.x = Some(direction::import(client, path).await?);
    }
    if let Some(path) = &arguments.y_direction {
        plane.y = Some(direction::import(client, path).await?);
    }
    Ok(spec)
}

/// The dataset that a snapshot was trained on.
async fn dataset_of(client: &Client, checkpoint: &CheckpointName) -> anyhow::Result<String> {
    let CheckpointName::Snapshot { run, .. } = checkpoint else {
        let text = format!("--dataset is missing; {checkpoint} is no snapshot of a run, which would tell it");
        return Err(CommandError::WrongUse(text).into());
    };
    let dataset = get_run(client, &run.to_string()).await?.spec.unwrap_or_default().dataset;
    output::note(&format!("on {dataset}, as {run}"));
    Ok(dataset)
}

fn spec(arguments: &CreateArguments, dataset: String) -> anyhow::Result<SurfaceSpec> {
    let (normalization, ignore) = (arguments.normalization.unwrap_or_default(), arguments.ignore.unwrap_or_default());
    let seed = arguments.seed.unwrap_or_default();
    let direction = |to: &Option<CheckpointName>| {
        direction_to_wire(&match to.clone() {
            Some(checkpoint) => DirectionSpec::Towards { checkpoint },
            None => DirectionSpec::Random { seed, normalization, ignore },
        })
    };
    Ok(SurfaceSpec {
        network: arguments.network.as_ref().map(ToString::to_string).unwrap_or_default(),
        plane: Some(wire::Plane {
            origin: arguments.checkpoint.to_string(),
            x: Some(direction(&arguments.to)),
            y: arguments.y.map(|_| direction(&arguments.y_to)),
            batch_norm: arguments.batch_norm.map_or(wire::BatchNormMode::Unspecified, batch_norm_to_wire).into(),
        }),
        x: Some(axis(arguments.x()?)),
        y: arguments.y.map(axis),
        data: Some(wire::DatasetSlice {
            dataset,
            split: split_to_wire(arguments.split.main).into(),
            limit: arguments.limit,
        }),
        also_split: arguments.split.also.map_or(WireSplit::Unspecified, split_to_wire).into(),
        tile: arguments.tile.map(|tile| wire::TileShape { rows: tile.rows, columns: tile.columns }),
        fresh: arguments.fresh,
        scheduling: Some(wire::Scheduling {
            client: arguments.client.as_str().to_owned(),
            priority: arguments.priority,
            weight: arguments.weight,
        }),
        numerics: numerics_to_wire(arguments.numerics.request()),
    })
}

pub(crate) fn axis(axis: Axis) -> wire::Axis {
    wire::Axis { min: axis.min(), max: axis.max(), count: axis.count() }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use relief_api::convert::surface::spec_from_wire;
    use relief_core::{BatchNormMode, Engine, Ignore, Normalization, NumericRequest, Precision, Split};

    use super::*;
    use crate::cli::{Cli, Command};

    fn asked(more: &[&str]) -> SurfaceSpec {
        asked_for(&[&["--x=-1:1:5"], more].concat())
    }

    fn asked_for(more: &[&str]) -> SurfaceSpec {
        let base = ["relief", "surface", "create", "--network", "n", "--checkpoint", "c", "--dataset", "d"];
        match Cli::try_parse_from(base.iter().chain(more)).expect("right use").command {
            Command::Surface(SurfaceCommand::Create(arguments)) => {
                spec(&arguments, "d".to_owned()).expect("a good axis")
            }
            command => panic!("another command: {command:?}"),
        }
    }

    #[test]
    fn a_request_is_what_the_flags_say() {
        let flags = "--y 0:1:3 --normalization layer --ignore none --seed 7 --split test --limit 9 --tile 2x3";
        let spec = spec_from_wire(Some(asked(&flags.split(' ').collect::<Vec<_>>()))).expect("a valid request");
        assert_eq!(spec.plane.origin.to_string(), "checkpoints/c");
        let direction = DirectionSpec::Random { seed: 7, normalization: Normalization::Layer, ignore: Ignore::None };
        assert_eq!((&spec.plane.x, spec.plane.y.as_ref()), (&direction, Some(&direction)));
        assert_eq!((spec.grid.n_columns(), spec.grid.n_rows()), (5, 3));
        assert_eq!((spec.data.split, spec.data.limit), (Split::Test, Some(9)));
        assert_eq!(spec.tile.to_string(), "2x3");
    }

    #[test]
    fn numerics_are_left_open_unless_they_are_asked_for() {
        assert_eq!(asked(&[]).numerics, None);
        let flags = ["--engine=burn", "--precision", "split-bf16"];
        let spec = spec_from_wire(Some(asked(&flags))).expect("a valid request");
        let expected = NumericRequest { engine: Some(Engine::Burn), precision: Some(Precision::SplitBf16) };
        assert_eq!(spec.numerics, expected);
    }

    #[test]
    fn the_way_to_a_checkpoint_is_an_interpolation() {
        let spec = spec_from_wire(Some(asked(&["--to", "d", "--split", "both"]))).expect("a valid request");
        assert_eq!(spec.plane.x, DirectionSpec::Towards { checkpoint: "d".parse().expect("a name") });
        assert_eq!(spec.plane.batch_norm, BatchNormMode::Interpolated);
        assert_eq!((spec.data.split, spec.also), (Split::Train, Some(Split::Test)));
        let flags = ["--to", "d", "--y=0:1:2", "--y-to=e", "--batch-norm", "frozen"];
        let spec = spec_from_wire(Some(asked(&flags))).expect("a valid request");
        assert_eq!(spec.plane.y, Some(DirectionSpec::Towards { checkpoint: "e".parse().expect("a name") }));
        assert_eq!(spec.plane.batch_norm, BatchNormMode::Frozen);
        let from = ["relief", "surface", "create", "--from", "a", "--to", "b", "--x=-0.5:1.5:401"];
        assert!(Cli::try_parse_from(from).is_ok());
    }

    #[test]
    fn flags_of_random_directions_are_refused_where_there_are_none() {
        let idle = |more: &[&str]| {
            let base = ["relief", "surface", "create", "--checkpoint", "c", "--dataset", "d", "--x=-1:1:5"];
            match Cli::try_parse_from(base.iter().chain(more)).expect("right use").command {
                Command::Surface(SurfaceCommand::Create(arguments)) => arguments.idle_flag(),
                command => panic!("another command: {command:?}"),
            }
        };
        assert_eq!(idle(&["--to", "e", "--seed", "1"]), Some("--seed"));
        assert_eq!(idle(&["--to", "e", "--y=0:1:2", "--y-to", "f", "--ignore", "none"]), Some("--ignore"));
        assert_eq!(idle(&["--x-direction", "x", "--normalization", "layer"]), Some("--normalization"));
        assert_eq!(idle(&["--to", "e", "--y=0:1:2", "--seed", "1"]), None);
        assert_eq!(idle(&["--seed", "1"]), None);
    }

    #[test]
    fn the_first_axis_is_what_published_figures_have_unless_it_is_given() {
        let x = |more: &[&str]| asked_for(more).x.map(|x| (x.min, x.max, x.count));
        assert_eq!(x(&[]), Some((-1.0, 1.0, 401)));
        assert_eq!(x(&["--y=0:1:3"]), Some((-1.0, 1.0, 51)));
        assert_eq!(x(&["--to", "e"]), Some((-0.5, 1.5, 401)));
        assert_eq!(x(&["--to", "e", "--x=0:1:3"]), Some((0.0, 1.0, 3)));
    }

    #[test]
    fn one_axis_makes_a_curve() {
        let spec = spec_from_wire(Some(asked(&[]))).expect("a valid request");
        assert!(spec.grid.y.is_none() && spec.plane.y.is_none());
    }

    #[test]
    fn progress_says_why_nothing_happens() {
        let status = wire::SurfaceStatus {
            points_total: 9,
            points_done: 3,
            points_reused: 2,
            points_per_second: 2.0,
            tiles_retried: 1,
            waiting_reason: "no evaluator is reachable".to_owned(),
            ..wire::SurfaceStatus::default()
        };
        let step = step(&Surface { status: Some(status), ..Surface::default() });
        assert_eq!(step.detail, "2.0 points/s, 2 computed before, 1 tiles retried, waiting: no evaluator is reachable");
    }
}
