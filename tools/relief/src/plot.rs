//! `relief plot`: pictures.

use bytes::Bytes;
use relief_api::catalog::v1::Split;
use relief_api::convert::surface::split_to_wire;
use relief_api::plot::v1::{
    BandSpread, LossScale, PlotKind, PlotPalette, PlotProjection, PlotTheme, RenderRunsRequest, RenderSurfaceRequest,
    RenderSurfacesRequest, RenderTrajectoryRequest, RunPlotKind, SurfacesLayout,
};

use crate::cli::{PlotCommand, PlotRunArguments, PlotSurfaceArguments, PlotSurfacesArguments, PlotTrajectoryArguments};
use crate::client::Client;
use crate::file;

pub(crate) async fn run(command: PlotCommand, client: &Client) -> anyhow::Result<()> {
    match command {
        PlotCommand::Surface(arguments) => surface(client, arguments).await,
        PlotCommand::Trajectory(arguments) => trajectory(client, arguments).await,
        PlotCommand::Run(arguments) => runs(client, arguments).await,
        PlotCommand::Surfaces(arguments) => surfaces(client, arguments).await,
    }
}

async fn surface(client: &Client, arguments: PlotSurfaceArguments) -> anyhow::Result<()> {
    let PlotSurfaceArguments {
        name,
        kind,
        split,
        log,
        title,
        theme,
        palette,
        width,
        dpi,
        azimuth,
        elevation,
        orthographic,
        loss_max,
        out,
    } = arguments;
    let projection = if orthographic { PlotProjection::Orthographic } else { PlotProjection::Perspective };
    let request = RenderSurfaceRequest {
        surface: name.to_string(),
        kind: kind.map_or(PlotKind::Unspecified, PlotKind::from).into(),
        scale: if log { LossScale::Log } else { LossScale::Linear }.into(),
        format: out.format.into(),
        title,
        split: split.map_or(Split::Unspecified, split_to_wire).into(),
        theme: PlotTheme::from(theme).into(),
        palette: PlotPalette::from(palette).into(),
        width,
        dpi,
        azimuth,
        elevation,
        projection: projection.into(),
        loss_max,
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
    let PlotTrajectoryArguments { name, split, log, title, theme, palette, width, dpi, loss_max, out } = arguments;
    let request = RenderTrajectoryRequest {
        trajectory: name.to_string(),
        scale: if log { LossScale::Log } else { LossScale::Linear }.into(),
        format: out.format.into(),
        title,
        split: split.map_or(Split::Unspecified, split_to_wire).into(),
        theme: PlotTheme::from(theme).into(),
        palette: PlotPalette::from(palette).into(),
        width,
        dpi,
        loss_max,
    };
    let response = client.plots().render_trajectory(request).await.map_err(|status| client.plots.refused(status))?;
    file::write(&out.path, &response.into_inner().content)
}

async fn runs(client: &Client, arguments: PlotRunArguments) -> anyhow::Result<()> {
    let PlotRunArguments { runs, kind, labels, epochs, log, title, theme, width, dpi, out } = arguments;
    let request = RenderRunsRequest {
        runs: runs.iter().map(ToString::to_string).collect(),
        kind: RunPlotKind::from(kind).into(),
        scale: if log { LossScale::Log } else { LossScale::Linear }.into(),
        format: out.format.into(),
        title,
        labels,
        epochs,
        theme: PlotTheme::from(theme).into(),
        width,
        dpi,
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
        log,
        title,
        theme,
        palette,
        width,
        dpi,
        azimuth,
        elevation,
        orthographic,
        loss_max,
        out,
    } = arguments;
    let projection = if orthographic { PlotProjection::Orthographic } else { PlotProjection::Perspective };
    let request = RenderSurfacesRequest {
        surfaces: names.iter().map(ToString::to_string).collect(),
        layout: layout.map_or(SurfacesLayout::Unspecified, SurfacesLayout::from).into(),
        kind: kind.map_or(PlotKind::Unspecified, PlotKind::from).into(),
        scale: if log { LossScale::Log } else { LossScale::Linear }.into(),
        format: out.format.into(),
        title,
        labels,
        split: split.map_or(Split::Unspecified, split_to_wire).into(),
        columns,
        spread: BandSpread::from(spread).into(),
        accuracy,
        theme: PlotTheme::from(theme).into(),
        palette: PlotPalette::from(palette).into(),
        width,
        dpi,
        azimuth,
        elevation,
        projection: projection.into(),
        loss_max,
    };
    let response = client.plots().render_surfaces(request).await.map_err(|status| client.plots.refused(status))?;
    file::write(&out.path, &response.into_inner().content)
}
