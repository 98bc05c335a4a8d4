//! `relief.plot.v1.PlotService`.

use relief_api::convert::UnknownNumber;
use relief_api::plot::v1 as wire;
use relief_api::plot::v1::plot_service_server::PlotService;
use relief_api::{ApiError, ErrorReason};
use relief_core::{NameError, PointFlag, SurfaceId, SurfaceSpec};
use relief_store::Store;
use tonic::{Request, Response, Status};

use crate::plot::{LossScale, PlotFormat, PlotKind, PlotSpec, draw};

/// Serves pictures.
#[derive(Debug, Clone)]
pub(crate) struct PlotHandler {
    pub(crate) store: Store,
}

#[tonic::async_trait]
impl PlotService for PlotHandler {
    async fn render_surface(
        &self,
        request: Request<wire::RenderSurfaceRequest>,
    ) -> Result<Response<wire::RenderSurfaceResponse>, Status> {
        let request = request.into_inner();
        let id: SurfaceId =
            request.surface.parse().map_err(|error: NameError| ApiError::field("surface", error.to_string()))?;
        let record = self.store.get_surface(&id).await.map_err(ApiError::from)?;
        let spec = plot_spec(&request, &record.spec)?;
        let media_type = match spec.format {
            PlotFormat::Svg => "image/svg+xml",
            PlotFormat::Png => "image/png",
        };
        let values = self.store.read_surface(&id).await.map_err(ApiError::from)?;
        if values.flags.iter().all(|flag| *flag == PointFlag::Never) {
            let message = format!("{id} has no computed point yet; draw it when its first tile is done");
            return Err(ApiError::new(ErrorReason::WrongState, message).into());
        }
        // A big picture takes a second or more, which is not for the threads that answer calls.
        let drawn = tokio::task::spawn_blocking(move || draw(&values, &spec)).await;
        let content = drawn
            .map_err(|error| ApiError::new(ErrorReason::Internal, error.to_string()))?
            .map_err(|error| ApiError::field("kind", error.to_string()))?;
        Ok(Response::new(wire::RenderSurfaceResponse { content: content.into(), media_type: media_type.to_owned() }))
    }
}

fn plot_spec(request: &wire::RenderSurfaceRequest, surface: &SurfaceSpec) -> Result<PlotSpec, ApiError> {
    let unknown = |field: &str, number, known| ApiError::field(field, UnknownNumber { number, known }.to_string());
    let kind = match wire::PlotKind::try_from(request.kind) {
        Ok(wire::PlotKind::Unspecified) if surface.grid.y.is_some() => PlotKind::Contour,
        Ok(wire::PlotKind::Unspecified | wire::PlotKind::Curve) => PlotKind::Curve,
        Ok(wire::PlotKind::Contour) => PlotKind::Contour,
        Ok(wire::PlotKind::Heatmap) => PlotKind::Heatmap,
        Err(_) => return Err(unknown("kind", request.kind, "1 curve, 2 contour, 3 heatmap")),
    };
    let scale = match wire::LossScale::try_from(request.scale) {
        Ok(wire::LossScale::Unspecified | wire::LossScale::Linear) => LossScale::Linear,
        Ok(wire::LossScale::Log) => LossScale::Log,
        Err(_) => return Err(unknown("scale", request.scale, "1 linear, 2 log")),
    };
    let format = match wire::PlotFormat::try_from(request.format) {
        Ok(wire::PlotFormat::Unspecified | wire::PlotFormat::Svg) => PlotFormat::Svg,
        Ok(wire::PlotFormat::Png) => PlotFormat::Png,
        Err(_) => return Err(unknown("format", request.format, "1 SVG, 2 PNG")),
    };
    let title = if request.title.is_empty() { default_title(surface) } else { request.title.clone() };
    Ok(PlotSpec { scale, format, title: Some(title), ..PlotSpec::new(kind) })
}

fn default_title(surface: &SurfaceSpec) -> String {
    let samples = match surface.data.limit {
        Some(limit) => format!("first {limit} {} samples", surface.data.split.as_str()),
        None => format!("{} split", surface.data.split.as_str()),
    };
    let data = surface.data.dataset.as_str();
    format!("{} at {} on {data} ({samples})", surface.network.as_str(), surface.plane.origin)
}
