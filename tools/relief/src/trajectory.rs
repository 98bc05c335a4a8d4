//! `relief trajectory`: optimisers' paths in planes through parameter space.

mod file;
mod view;

use std::cell::Cell;

use relief_api::catalog::v1::Split as WireSplit;
use relief_api::convert::job::state_from_wire;
use relief_api::convert::numerics::numerics_to_wire;
use relief_api::convert::surface::split_to_wire;
use relief_api::convert::trajectory::axes_to_wire;
use relief_api::surface::v1::direction::Source;
use relief_api::surface::v1::{DatasetSlice, Ignore as WireIgnore, Scheduling};
use relief_api::trajectory::v1::{
    self as wire, CancelTrajectoryRequest, CreateTrajectoryRequest, DeleteTrajectoryRequest, GetTrajectoryRequest,
    ListTrajectoriesRequest, Path, Trajectory, TrajectorySpec, TrajectoryStage, WatchTrajectoryRequest,
};
use relief_core::{DirectionName, Ignore, TrajectoryAxes, TrajectoryId};
use serde_json::json;

use crate::cli::{AxesKind, CreateTrajectoryArguments, TrajectoryCommand};
use crate::client::{Client, list_all};
use crate::error::CommandError;
use crate::job::{self, Job, Step};
use crate::output::{self, Output};
use crate::run::get as get_run;
use crate::{direction, plot};
pub(crate) use view::to_json;

pub(crate) async fn run(command: TrajectoryCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        TrajectoryCommand::Create(arguments) => {
            if let Some(flag) = arguments.idle_flag() {
                let text = format!("{flag} has no effect with these --axes; leave it out, or choose others");
                return Err(CommandError::WrongUse(text).into());
            }
            let dataset = match &arguments.dataset {
                Some(dataset) => dataset.to_string(),
                None => dataset_of(client, &arguments).await?,
            };
            let axes = axes(client, &arguments).await?;
            let spec = spec(&arguments, axes, dataset);
            let trajectory = create(client, spec, arguments.dry_run).await?;
            let text = || match arguments.dry_run {
                true => view::plan(&trajectory),
                false => trajectory.name.clone(),
            };
            output.print(|| to_json(&trajectory), text)?;
            if arguments.watch { watch(client, &trajectory.name).await } else { Ok(()) }
        }
        TrajectoryCommand::Get { name } => print(client, output, &name).await,
        TrajectoryCommand::Watch { name } => {
            watch(client, &name.to_string()).await?;
            print(client, output, &name).await
        }
        TrajectoryCommand::Cancel { name } => cancel(client, output, &name).await,
        TrajectoryCommand::Delete { name } => delete(client, &name).await,
        TrajectoryCommand::List => list(client, output).await,
        TrajectoryCommand::Export(arguments) => {
            let trajectory = get(client, &arguments.name).await?;
            crate::file::write(&arguments.out, &file::encode(&trajectory, arguments.format)?)
        }
        TrajectoryCommand::Plot(arguments) => plot::trajectory(client, arguments).await,
    }
}

async fn create(client: &Client, spec: TrajectorySpec, validate_only: bool) -> anyhow::Result<Trajectory> {
    let request = CreateTrajectoryRequest { spec: Some(spec), validate_only, ..CreateTrajectoryRequest::default() };
    let response = client.trajectories().create_trajectory(request).await;
    let response = response.map_err(|status| client.trajectories.refused(status))?;
    Ok(client.trajectories.required("trajectory", response.into_inner().trajectory)?)
}

async fn watch(client: &Client, name: &str) -> anyhow::Result<()> {
    job::until_interrupted(job(name, name), follow(client, name, name)).await
}

pub(crate) fn job<'a>(name: &'a str, label: &'a str) -> Job<'a> {
    Job { noun: "trajectory", name, label, unit: "steps" }
}

/// Shows the progress of a trajectory under `label` until it has succeeded. A server that goes away is waited for.
pub(crate) async fn follow(client: &Client, name: &str, label: &str) -> anyhow::Result<()> {
    let told = Cell::new(false);
    job::follow_through(&told, || async {
        let request = WatchTrajectoryRequest { name: name.to_owned(), after_revision: 0 };
        let changes = client.trajectories().watch_trajectory(request).await;
        let changes = changes.map_err(|status| client.trajectories.refused(status))?.into_inner();
        let step = |change: wire::WatchTrajectoryResponse| {
            told.set(true);
            change.trajectory.map(|trajectory| step(&trajectory))
        };
        job::follow(&client.trajectories, job(name, label), changes, step).await
    })
    .await
}

fn step(trajectory: &Trajectory) -> Step {
    let status = trajectory.status.clone().unwrap_or_default();
    let stage = match TrajectoryStage::try_from(status.stage) {
        Ok(TrajectoryStage::Gram) => "products of checkpoints".to_owned(),
        Ok(TrajectoryStage::Directions) => "axes".to_owned(),
        Ok(TrajectoryStage::Losses) => {
            let (points, stops) = (status.points_done, status.stops_done);
            format!("{points}/{} points, {stops}/{} stops", status.points_total, status.stops_total)
        }
        _ => String::new(),
    };
    let rate = Some(status.points_per_second).filter(|rate| *rate > 0.0).map(|rate| format!("{rate:.1} points/s"));
    let detail = [
        Some(stage).filter(|stage| !stage.is_empty()),
        rate,
        Some(status.retries).filter(|n| *n > 0).map(|n| format!("{n} requests made again")),
        Some(status.waiting_reason).filter(|reason| !reason.is_empty()).map(|reason| format!("waiting: {reason}")),
    ];
    Step {
        state: state_from_wire(status.state),
        done: status.gram_tiles_done + status.points_done + status.stops_done,
        total: status.gram_tiles_total + status.points_total + status.stops_total,
        detail: detail.into_iter().flatten().collect::<Vec<_>>().join(", "),
        eta_seconds: status.eta.map(|eta| eta.seconds as f64 + f64::from(eta.nanos) * 1e-9),
        error: status.error,
    }
}

pub(crate) async fn get(client: &Client, name: &TrajectoryId) -> anyhow::Result<Trajectory> {
    let request = GetTrajectoryRequest { name: name.to_string() };
    let response = client.trajectories().get_trajectory(request).await;
    let response = response.map_err(|status| client.trajectories.refused(status))?;
    Ok(client.trajectories.required("trajectory", response.into_inner().trajectory)?)
}

async fn print(client: &Client, output: Output, name: &TrajectoryId) -> anyhow::Result<()> {
    let trajectory = get(client, name).await?;
    output.print(|| to_json(&trajectory), || view::description(&trajectory))
}

async fn cancel(client: &Client, output: Output, name: &TrajectoryId) -> anyhow::Result<()> {
    let request = CancelTrajectoryRequest { name: name.to_string() };
    let response = client.trajectories().cancel_trajectory(request).await;
    let response = response.map_err(|status| client.trajectories.refused(status))?;
    let trajectory = client.trajectories.required("trajectory", response.into_inner().trajectory)?;
    output.print(|| to_json(&trajectory), || view::description(&trajectory))
}

async fn delete(client: &Client, name: &TrajectoryId) -> anyhow::Result<()> {
    let request = DeleteTrajectoryRequest { name: name.to_string() };
    client.trajectories().delete_trajectory(request).await.map_err(|status| client.trajectories.refused(status))?;
    output::note(&format!("{name} is deleted"));
    Ok(())
}

async fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let all = list_all!(client, trajectories.list_trajectories, ListTrajectoriesRequest, trajectories);
    output.print(|| json!({"trajectories": all.iter().map(to_json).collect::<Vec<_>>()}), || view::table(&all))
}

/// The dataset that the run was trained on.
async fn dataset_of(client: &Client, arguments: &CreateTrajectoryArguments) -> anyhow::Result<String> {
    use relief_core::CheckpointName::Snapshot;
    let run = match (&arguments.run, arguments.checkpoints.last()) {
        (Some(run), _) | (None, Some(Snapshot { run, .. })) => run,
        _ => {
            let text = "--dataset is missing; the last checkpoint is no snapshot of a run, which would tell it";
            return Err(CommandError::WrongUse(text.to_owned()).into());
        }
    };
    let dataset = get_run(client, &run.to_string()).await?.spec.unwrap_or_default().dataset;
    output::note(&format!("on {dataset}, as {run}"));
    Ok(dataset)
}

/// What spans the plane; directions that are given as files are stored first.
async fn axes(client: &Client, arguments: &CreateTrajectoryArguments) -> anyhow::Result<TrajectoryAxes> {
    let (seed, normalization) = (arguments.seed.unwrap_or_default(), arguments.normalization.unwrap_or_default());
    Ok(match arguments.axes {
        AxesKind::Pca => TrajectoryAxes::Pca { centered: arguments.centered, of_all: arguments.together },
        AxesKind::Random => TrajectoryAxes::Random { seed, normalization },
        AxesKind::StartEndRandom => TrajectoryAxes::StartEnd { seed, normalization },
        AxesKind::Directions => {
            let (Some(x), Some(y)) = (&arguments.x_direction, &arguments.y_direction) else {
                let text = "--axes directions needs --x-direction and --y-direction";
                return Err(CommandError::WrongUse(text.to_owned()).into());
            };
            let digest = async |path| {
                let stored = direction::import(client, path).await?;
                let name = match stored.source {
                    Some(Source::Stored(stored)) => stored.name,
                    _ => String::new(),
                };
                anyhow::Ok(name.parse::<DirectionName>()?.0)
            };
            TrajectoryAxes::Directions { x: digest(x).await?, y: digest(y).await? }
        }
    })
}

fn spec(arguments: &CreateTrajectoryArguments, axes: TrajectoryAxes, dataset: String) -> TrajectorySpec {
    let of_run = |run: &relief_core::RunId| Path { run: run.to_string(), ..Path::default() };
    let main = match &arguments.run {
        Some(run) => of_run(run),
        None => {
            Path { checkpoints: arguments.checkpoints.iter().map(ToString::to_string).collect(), ..Path::default() }
        }
    };
    let ignore = match arguments.ignore {
        Ignore::BiasBn => WireIgnore::BiasBn,
        Ignore::None => WireIgnore::None,
    };
    TrajectorySpec {
        network: arguments.network.as_ref().map(ToString::to_string).unwrap_or_default(),
        paths: std::iter::once(main).chain(arguments.also.iter().map(of_run)).collect(),
        axes: Some(axes_to_wire(&axes)),
        ignore: ignore.into(),
        margin: Some(arguments.margin),
        columns: arguments.grid.columns,
        rows: arguments.grid.rows,
        data: Some(DatasetSlice { dataset, split: split_to_wire(arguments.split.main).into(), limit: arguments.limit }),
        also_split: arguments.split.also.map_or(WireSplit::Unspecified, split_to_wire).into(),
        numerics: numerics_to_wire(arguments.numerics.request()),
        scheduling: Some(Scheduling {
            client: arguments.client.as_str().to_owned(),
            priority: arguments.priority,
            weight: arguments.weight,
        }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use relief_api::convert::trajectory::{StopsRequest, spec_from_wire};

    use super::*;
    use crate::cli::{Cli, Command};

    fn arguments(more: &[&str]) -> Box<CreateTrajectoryArguments> {
        let base = ["relief", "trajectory", "create"];
        match Cli::try_parse_from(base.iter().chain(more)).expect("right use").command {
            Command::Trajectory(TrajectoryCommand::Create(arguments)) => arguments,
            command => panic!("another command: {command:?}"),
        }
    }

    #[test]
    fn a_request_is_what_the_flags_say() {
        let arguments =
            arguments(&["--run=a", "--also=b,c", "--together", "--grid=9x7", "--split=both", "--ignore=none"]);
        let axes = TrajectoryAxes::Pca { centered: false, of_all: true };
        let request = spec_from_wire(Some(spec(&arguments, axes.clone(), "d".to_owned()))).expect("a valid request");
        let runs: Vec<StopsRequest> = request.paths.iter().map(|path| path.stops.clone()).collect();
        let expected = ["a", "b", "c"].map(|run| StopsRequest::Run(run.parse().expect("a name")));
        assert_eq!(runs, expected);
        assert_eq!((request.n_columns, request.n_rows, request.axes), (9, 7, axes));
        assert_eq!(request.ignore, Ignore::None);
        assert!(request.also.is_some());
    }

    #[test]
    fn flags_that_the_axes_have_no_use_for_are_refused() {
        assert_eq!(arguments(&["--run=a", "--seed=3"]).idle_flag(), Some("--seed"));
        assert_eq!(arguments(&["--run=a", "--axes=random", "--seed=3"]).idle_flag(), None);
        assert_eq!(arguments(&["--run=a", "--axes=start-end+random", "--centered"]).idle_flag(), Some("--centered"));
        let neither = Cli::try_parse_from(["relief", "trajectory", "create"]);
        assert!(neither.is_err());
        let both = ["relief", "trajectory", "create", "--run=a", "--checkpoints=b,c"];
        assert!(Cli::try_parse_from(both).is_err());
    }
}
