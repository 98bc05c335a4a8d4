//! `relief plot`: pictures.

use bytes::Bytes;
use relief_api::catalog::v1::Split;
use relief_api::convert::surface::split_to_wire;
use relief_api::plot::v1::{LossScale, PlotKind, RenderSurfaceRequest};

use crate::cli::{PlotCommand, PlotSurfaceArguments};
use crate::client::Client;
use crate::file;

pub(crate) async fn run(command: PlotCommand, client: &Client) -> anyhow::Result<()> {
    let PlotCommand::Surface(PlotSurfaceArguments { name, kind, split, log, title, out }) = command;
    let request = RenderSurfaceRequest {
        surface: name.to_string(),
        kind: kind.map_or(PlotKind::Unspecified, PlotKind::from).into(),
        scale: if log { LossScale::Log } else { LossScale::Linear }.into(),
        format: out.format.into(),
        title,
        split: split.map_or(Split::Unspecified, split_to_wire).into(),
    };
    file::write(&out.path, &render(client, request).await?)
}

/// Returns the picture's file.
pub(crate) async fn render(client: &Client, request: RenderSurfaceRequest) -> anyhow::Result<Bytes> {
    let response = client.plots().render_surface(request).await.map_err(|status| client.plots.refused(status))?;
    Ok(response.into_inner().content)
}
