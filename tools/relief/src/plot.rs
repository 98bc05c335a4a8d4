//! `relief plot`: pictures.

use bytes::Bytes;
use relief_api::catalog::v1::Split as WireSplit;
use relief_api::convert::surface::split_to_wire;
use relief_api::plot::v1::figure_panel::Picture;
use relief_api::plot::v1::{
    BandSpread, FigurePanel, PlotFormat, PlotKind, RenderFigureRequest, RenderRunsRequest, RenderSurfaceRequest,
    RenderSurfacesRequest, RenderTrajectoryRequest, RunPlotKind, SurfacesLayout,
};
use relief_core::Split;

use crate::cli::{
    PanelName, PlotCommand, PlotFile, PlotPanelsArguments, PlotRunArguments, PlotSurfaceArguments,
    PlotSurfacesArguments, PlotTrajectoryArguments, RunPlotKind as RunPlotChoice, scale,
};
use crate::client::Client;
use crate::error::CommandError;
use crate::file;

pub(crate) async fn run(command: PlotCommand, client: &Client) -> anyhow::Result<()> {
    match command {
        PlotCommand::Surface(arguments) => surface(client, arguments).await,
        PlotCommand::Trajectory(arguments) => trajectory(client, arguments).await,
        PlotCommand::Run(arguments) => runs(client, arguments).await,
        PlotCommand::Surfaces(arguments) => surfaces(client, arguments).await,
        PlotCommand::Panels(arguments) => panels(client, arguments).await,
    }
}

/// The number of a split, that of none being left open.
fn split_number(split: Option<Split>) -> i32 {
    split.map_or(WireSplit::Unspecified, split_to_wire).into()
}

async fn surface(client: &Client, arguments: PlotSurfaceArguments) -> anyhow::Result<()> {
    let PlotSurfaceArguments { name, kind, split, title, losses, camera, style, out } = arguments;
    let request = RenderSurfaceRequest {
        surface: name.to_string(),
        kind: kind.map_or(PlotKind::Unspecified, PlotKind::from).into(),
        scale: losses.scale(),
        format: out.format.into(),
        title,
        split: split_number(split),
        theme: style.theme(),
        palette: losses.palette(),
        width: style.width,
        dpi: style.dpi,
        azimuth: camera.azimuth,
        elevation: camera.elevation,
        projection: camera.projection(),
        loss_max: losses.loss_max,
    };
    file::write(&out.path, &render(client, request).await?)
}

/// Returns the picture's file.
pub(crate) async fn render(client: &Client, request: RenderSurfaceRequest) -> anyhow::Result<Bytes> {
    let response = client.plots().render_surface(request).await.map_err(|status| client.plots.refused(status))?;
    Ok(response.into_inner().content)
}

/// Draws a trajectory.
pub(crate) async fn trajectory(client: &Client, arguments: PlotTrajectoryArguments) -> anyhow::Result<()> {
    let PlotTrajectoryArguments { name, split, title, losses, style, out } = arguments;
    let request = RenderTrajectoryRequest {
        trajectory: name.to_string(),
        scale: losses.scale(),
        format: out.format.into(),
        title,
        split: split_number(split),
        theme: style.theme(),
        palette: losses.palette(),
        width: style.width,
        dpi: style.dpi,
        loss_max: losses.loss_max,
    };
    let response = client.plots().render_trajectory(request).await.map_err(|status| client.plots.refused(status))?;
    file::write(&out.path, &response.into_inner().content)
}

async fn runs(client: &Client, arguments: PlotRunArguments) -> anyhow::Result<()> {
    let PlotRunArguments { runs, kind, labels, epochs, log, title, style, out } = arguments;
    let request = RenderRunsRequest {
        runs: runs.iter().map(ToString::to_string).collect(),
        kind: RunPlotKind::from(kind).into(),
        scale: scale(log),
        format: out.format.into(),
        title,
        labels,
        epochs,
        theme: style.theme(),
        width: style.width,
        dpi: style.dpi,
    };
    let response = client.plots().render_runs(request).await.map_err(|status| client.plots.refused(status))?;
    file::write(&out.path, &response.into_inner().content)
}

async fn surfaces(client: &Client, arguments: PlotSurfacesArguments) -> anyhow::Result<()> {
    let PlotSurfacesArguments {
        names,
        labels,
        layout,
        columns,
        spread,
        accuracy,
        kind,
        split,
        title,
        losses,
        camera,
        style,
        out,
    } = arguments;
    let request = RenderSurfacesRequest {
        surfaces: names.iter().map(ToString::to_string).collect(),
        layout: layout.map_or(SurfacesLayout::Unspecified, SurfacesLayout::from).into(),
        kind: kind.map_or(PlotKind::Unspecified, PlotKind::from).into(),
        scale: losses.scale(),
        format: out.format.into(),
        title,
        labels,
        split: split_number(split),
        columns,
        spread: BandSpread::from(spread).into(),
        accuracy,
        theme: style.theme(),
        palette: losses.palette(),
        width: style.width,
        dpi: style.dpi,
        azimuth: camera.azimuth,
        elevation: camera.elevation,
        projection: camera.projection(),
        loss_max: losses.loss_max,
    };
    let response = client.plots().render_surfaces(request).await.map_err(|status| client.plots.refused(status))?;
    file::write(&out.path, &response.into_inner().content)
}

async fn panels(client: &Client, arguments: PlotPanelsArguments) -> anyhow::Result<()> {
    check_still(&arguments.out)?;
    let PlotPanelsArguments {
        names,
        titles,
        columns,
        shared_scale,
        kind,
        run_kind,
        split,
        title,
        losses,
        camera,
        style,
        out,
    } = arguments;
    if !titles.is_empty() && titles.len() != names.len() {
        let (n_titles, n_panels) = (titles.len(), names.len());
        let text = format!("--titles holds {n_titles} titles for {n_panels} panels; it must hold one for each");
        return Err(CommandError::WrongUse(text).into());
    }
    let picture = |(idx, name): (usize, PanelName)| {
        let title = titles.get(idx).cloned().unwrap_or_default();
        // The logarithm is that of losses.
        let run_scale = scale(losses.log && run_kind == RunPlotChoice::Training);
        match name {
            PanelName::Surface(name) => Picture::Surface(RenderSurfaceRequest {
                surface: name.to_string(),
                kind: kind.map_or(PlotKind::Unspecified, PlotKind::from).into(),
                scale: losses.scale(),
                title,
                split: split_number(split),
                palette: losses.palette(),
                azimuth: camera.azimuth,
                elevation: camera.elevation,
                projection: camera.projection(),
                loss_max: losses.loss_max,
                ..RenderSurfaceRequest::default()
            }),
            PanelName::Trajectory(name) => Picture::Trajectory(RenderTrajectoryRequest {
                trajectory: name.to_string(),
                scale: losses.scale(),
                title,
                split: split_number(split),
                palette: losses.palette(),
                loss_max: losses.loss_max,
                ..RenderTrajectoryRequest::default()
            }),
            PanelName::Run(name) => Picture::Runs(RenderRunsRequest {
                runs: vec![name.to_string()],
                kind: RunPlotKind::from(run_kind).into(),
                scale: run_scale,
                title,
                ..RenderRunsRequest::default()
            }),
        }
    };
    let panels = names.into_iter().enumerate().map(picture).map(|picture| FigurePanel { picture: Some(picture) });
    let request = RenderFigureRequest {
        panels: panels.collect(),
        columns,
        title,
        format: out.format.into(),
        theme: style.theme(),
        width: style.width,
        dpi: style.dpi,
        shared_scale,
    };
    file::write(&out.path, &figure(client, request).await?)
}

/// Checks that a file is of a form that several pictures in one have.
pub(crate) fn check_still(out: &PlotFile) -> Result<(), CommandError> {
    if matches!(out.format, PlotFormat::Svg | PlotFormat::Png | PlotFormat::Pdf) {
        return Ok(());
    }
    let text = format!("--out is {}; several pictures in one are drawn as .svg, .png or .pdf", out.path.display());
    Err(CommandError::WrongUse(text))
}

/// Returns the file of a picture of several.
pub(crate) async fn figure(client: &Client, request: RenderFigureRequest) -> anyhow::Result<Bytes> {
    let response = client.plots().render_figure(request).await.map_err(|status| client.plots.refused(status))?;
    Ok(response.into_inner().content)
}
