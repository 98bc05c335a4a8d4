//! `relief figure`: the figures of Li et al. 2018, made from runs that are there.

mod choice;
mod panel;
mod recipe;

use relief_api::catalog::v1::GetDatasetRequest;
use relief_api::convert::job::state_from_wire;
use relief_api::plot::v1::figure_panel::Picture;
use relief_api::plot::v1::{
    FigurePanel, LossScale, PlotKind, RenderFigureRequest, RenderRunsRequest, RenderSurfaceRequest,
    RenderSurfacesRequest, RenderTrajectoryRequest, RunPlotKind, SurfacesLayout,
};
use relief_api::surface::v1::{CreateSurfaceRequest, ListSurfacesRequest, Surface, SurfaceSpec};
use relief_api::trajectory::v1::{CreateTrajectoryRequest, TrajectorySpec};
use relief_api::{ApiError, ErrorReason};
use relief_core::{DatasetId, Digest, JobState};
use serde_json::json;

use crate::cli::{FigureArguments, LossArguments};
use crate::client::{Client, list_all};
use crate::error::CommandError;
use crate::output::{self, Output};
use crate::{file, job, plot, run as runs, surface, trajectory};
use choice::Chosen;
use panel::{Content, Ingredients, Panel, Plan};
use recipe::{CATALOGUE, Entry};

/// More panels have no room in one picture.
const MOST_PANELS: usize = 24;

pub(crate) async fn run(arguments: FigureArguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let Some(entry) = arguments.name.and_then(Entry::of) else { return list(output) };
    if let Some(out) = &arguments.out {
        plot::check_still(out)?;
    }
    let choices = entry.choices(&arguments)?;
    let (dataset, chosen) = choice::choose(client, entry, &choices, arguments.dataset.as_ref()).await?;
    let has_test = has_test(client, &chosen).await?;
    let ingredients =
        Ingredients { entry, arguments: &arguments, choices: &choices, dataset: &dataset, runs: &chosen, has_test };
    let plan = ingredients.plan()?;
    if plan.panels.len() > MOST_PANELS {
        let n_panels = plan.panels.len();
        let text = format!("{} would have {n_panels} panels; it has room for {MOST_PANELS}: choose fewer", entry.word);
        return Err(CommandError::WrongUse(text).into());
    }
    if arguments.dry_run {
        return describe(&plan, &chosen, output);
    }
    let Some(out) = &arguments.out else {
        return Err(CommandError::WrongUse("--out is missing; it names the file to write".to_owned()).into());
    };
    for Chosen { wanted, id, .. } in &chosen {
        output::note(&format!("{}: {id}", choices.label(wanted)));
    }
    let begun = begin(client, &plan.panels, &stamp(client, &dataset, &chosen).await?).await?;
    follow(client, entry, &begun).await?;
    let Plan { n_columns, is_shared, title, panels } = plan;
    let losses = &arguments.losses;
    let panels = panels
        .into_iter()
        .zip(begun)
        .map(|(panel, begun)| FigurePanel { picture: Some(picture(panel, begun, losses)) });
    let request = RenderFigureRequest {
        panels: panels.collect(),
        columns: n_columns,
        title,
        format: out.format.into(),
        theme: arguments.style.theme(),
        width: arguments.style.width,
        dpi: arguments.style.dpi,
        shared_scale: is_shared,
    };
    file::write(&out.path, &plot::figure(client, request).await?)
}

fn list(output: Output) -> anyhow::Result<()> {
    let row = |entry: &Entry| vec![entry.word.to_owned(), format!("fig{}", entry.number), entry.shows.to_owned()];
    output.print(
        || {
            let figure = |entry: &Entry| json!({"name": entry.word, "number": entry.number, "shows": entry.shows});
            json!({"figures": CATALOGUE.iter().map(figure).collect::<Vec<_>>()})
        },
        || output::table(&["NAME", "NUMBER", "SHOWS"], &CATALOGUE.iter().map(row).collect::<Vec<_>>()),
    )
}

/// Says what a figure would take.
fn describe(plan: &Plan, chosen: &[Chosen], output: Output) -> anyhow::Result<()> {
    let panels = || plan.panels.iter().map(|panel| (panel.title.clone(), panel.content.described()));
    output.print(
        || {
            json!({
                "title": plan.title,
                "runs": chosen.iter().map(|run| run.id.to_string()).collect::<Vec<_>>(),
                "panels": panels().map(|(title, shows)| json!({"title": title, "shows": shows})).collect::<Vec<_>>(),
            })
        },
        || {
            let rows: Vec<Vec<String>> = panels().map(|(title, shows)| vec![title, shows]).collect();
            let runs: Vec<String> = chosen.iter().map(|run| run.id.to_string()).collect();
            format!("{}\nof {}\n{}", plan.title, runs.join(", "), output::table(&["PANEL", "SHOWS"], &rows))
        },
    )
}

/// Whether the runs were evaluated on test samples too.
async fn has_test(client: &Client, chosen: &[Chosen]) -> anyhow::Result<bool> {
    let Some(first) = chosen.first() else { return Ok(false) };
    let run = runs::get(client, &first.id.to_string()).await?;
    Ok(run.snapshots.last().is_some_and(|snapshot| snapshot.test_loss.is_some()))
}

/// What a panel is drawn from: the names of surfaces or of a trajectory.
#[derive(Debug, Clone, PartialEq)]
enum Begun {
    Surfaces(Vec<String>),
    Trajectory(String),
    Nothing,
}

/// What tells runs and a dataset from others that have had their names.
async fn stamp(client: &Client, dataset: &DatasetId, chosen: &[Chosen]) -> anyhow::Result<String> {
    let request = GetDatasetRequest { name: dataset.to_string() };
    let response = client.catalog().get_dataset(request).await.map_err(|status| client.catalog.refused(status))?;
    let digest = client.catalog.required("dataset", response.into_inner().dataset)?.digest;
    let created = chosen.iter().map(|run| run.created.as_str());
    Ok(std::iter::once(digest.as_str()).chain(created).collect::<Vec<_>>().join(" "))
}

/// Has everything computed that panels show.
async fn begin(client: &Client, panels: &[Panel], stamp: &str) -> anyhow::Result<Vec<Begun>> {
    let mut begun = Vec::with_capacity(panels.len());
    for panel in panels {
        begun.push(match &panel.content {
            Content::Surface(spec, _) => Begun::Surfaces(vec![begin_surface(client, spec, stamp).await?]),
            Content::Overlay(curves) => {
                let mut names = Vec::with_capacity(curves.len());
                for (_, spec) in curves {
                    names.push(begin_surface(client, spec, stamp).await?);
                }
                Begun::Surfaces(names)
            }
            Content::Trajectory(spec) => Begun::Trajectory(begin_trajectory(client, spec, stamp).await?),
            Content::Runs(..) => Begun::Nothing,
            Content::Curvature(origin) => Begun::Surfaces(vec![with_curvature(client, origin).await?]),
        });
    }
    Ok(begun)
}

/// By what the request for `spec` is known, so that the same figure is made of the same surfaces. A request whose job
/// failed stays with it: the next `attempt` is another.
fn request_id(spec: &impl std::fmt::Debug, stamp: &str, attempt: u32) -> String {
    format!("figure-{}-{attempt}", Digest::of(format!("{spec:?} {stamp}").as_bytes()))
}

fn has_failed(state: i32) -> bool {
    let state = state_from_wire(state).unwrap_or_default();
    state.is_final() && state != JobState::Succeeded
}

async fn begin_surface(client: &Client, spec: &SurfaceSpec, stamp: &str) -> anyhow::Result<String> {
    let mut attempt = 1;
    loop {
        let (request_id, spec) = (request_id(spec, stamp, attempt), Some(spec.clone()));
        let request = CreateSurfaceRequest { spec, request_id, ..CreateSurfaceRequest::default() };
        let response = client.surfaces().create_surface(request).await;
        let response = response.map_err(|status| client.surfaces.refused(status))?.into_inner();
        let surface = client.surfaces.required("surface", response.surface)?;
        if !surface.status.is_some_and(|status| has_failed(status.state)) {
            return Ok(surface.name);
        }
        attempt += 1;
    }
}

async fn begin_trajectory(client: &Client, spec: &TrajectorySpec, stamp: &str) -> anyhow::Result<String> {
    let mut attempt = 1;
    loop {
        let (request_id, spec) = (request_id(spec, stamp, attempt), Some(spec.clone()));
        let request = CreateTrajectoryRequest { spec, request_id, ..CreateTrajectoryRequest::default() };
        let response = client.trajectories().create_trajectory(request).await;
        let response = response.map_err(|status| client.trajectories.refused(status))?.into_inner();
        let trajectory = client.trajectories.required("trajectory", response.trajectory)?;
        if !trajectory.status.is_some_and(|status| has_failed(status.state)) {
            return Ok(trajectory.name);
        }
        attempt += 1;
    }
}

/// The newest surface around `origin` that carries eigenvalues.
async fn with_curvature(client: &Client, origin: &str) -> anyhow::Result<String> {
    let surfaces = list_all!(client, surfaces.list_surfaces, ListSurfacesRequest, surfaces);
    let is_around = |surface: &&Surface| {
        let spec = surface.spec.as_ref();
        spec.is_some_and(|spec| spec.y.is_some() && spec.plane.as_ref().is_some_and(|plane| plane.origin == origin))
    };
    for surface in surfaces.iter().filter(is_around) {
        let request = RenderSurfaceRequest {
            surface: surface.name.clone(),
            kind: PlotKind::Convexity.into(),
            ..RenderSurfaceRequest::default()
        };
        match client.plots().render_surface(request).await {
            Ok(_) => return Ok(surface.name.clone()),
            Err(status) if ApiError::from_status(&status).reason == ErrorReason::WrongState => {}
            Err(status) => return Err(client.plots.refused(status).into()),
        }
    }
    let text = format!(
        "no surface around {origin} carries eigenvalues: the arrays lambda_min and lambda_max of its group, with the \
         shape and the chunks of its loss"
    );
    Err(CommandError::WrongUse(text).into())
}

/// Shows the progress of everything that was begun until all of it is done.
async fn follow(client: &Client, entry: &Entry, begun: &[Begun]) -> anyhow::Result<()> {
    let jobs: Vec<(&str, bool)> = begun
        .iter()
        .flat_map(|begun| match begun {
            Begun::Surfaces(names) => names.iter().map(|name| (name.as_str(), false)).collect(),
            Begun::Trajectory(name) => vec![(name.as_str(), true)],
            Begun::Nothing => Vec::new(),
        })
        .collect();
    for (idx, (name, is_trajectory)) in jobs.iter().enumerate() {
        let label = format!("{} {}/{}", entry.word, idx + 1, jobs.len());
        if *is_trajectory {
            let job = trajectory::job(name, &label);
            job::until_interrupted(job, trajectory::follow(client, name, &label)).await?;
        } else {
            let job = surface::job(name, &label);
            job::until_interrupted(job, surface::follow(client, name, &label)).await?;
        }
    }
    Ok(())
}

/// The picture of a panel.
fn picture(panel: Panel, begun: Begun, losses: &LossArguments) -> Picture {
    let Panel { title, content } = panel;
    let first = match &begun {
        Begun::Surfaces(names) => names.first().cloned().unwrap_or_default(),
        Begun::Trajectory(name) => name.clone(),
        Begun::Nothing => String::new(),
    };
    match content {
        Content::Surface(_, kind) => Picture::Surface(RenderSurfaceRequest {
            surface: first,
            kind: kind.into(),
            scale: losses.scale(),
            title,
            palette: losses.palette(),
            loss_max: losses.loss_max,
            ..RenderSurfaceRequest::default()
        }),
        Content::Curvature(_) => Picture::Surface(RenderSurfaceRequest {
            surface: first,
            kind: PlotKind::Convexity.into(),
            title,
            palette: losses.palette(),
            ..RenderSurfaceRequest::default()
        }),
        Content::Overlay(curves) => Picture::Surfaces(RenderSurfacesRequest {
            surfaces: match begun {
                Begun::Surfaces(names) => names,
                _ => Vec::new(),
            },
            layout: SurfacesLayout::Overlay.into(),
            scale: losses.scale(),
            title,
            labels: curves.into_iter().map(|(label, _)| label).collect(),
            palette: losses.palette(),
            loss_max: losses.loss_max,
            ..RenderSurfacesRequest::default()
        }),
        Content::Trajectory(_) => Picture::Trajectory(RenderTrajectoryRequest {
            trajectory: first,
            scale: losses.scale(),
            title,
            palette: losses.palette(),
            loss_max: losses.loss_max,
            ..RenderTrajectoryRequest::default()
        }),
        Content::Runs(runs, kind) => {
            let (labels, runs) = runs.into_iter().unzip();
            // Norms and counts are not losses: their logarithm is the kind's own choice.
            let scale = match kind {
                RunPlotKind::WeightHistogram => LossScale::Log.into(),
                RunPlotKind::WeightNorm => LossScale::Linear.into(),
                _ => losses.scale(),
            };
            Picture::Runs(RenderRunsRequest {
                runs,
                kind: kind.into(),
                scale,
                title,
                labels,
                ..RenderRunsRequest::default()
            })
        }
    }
}
