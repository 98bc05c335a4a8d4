//! `relief.plot.v1.PlotService`.

use relief_api::convert::UnknownNumber;
use relief_api::convert::surface::split_from_wire;
use relief_api::plot::v1 as wire;
use relief_api::plot::v1::plot_service_server::PlotService;
use relief_api::{ApiError, ErrorReason};
use relief_core::{DirectionSpec, NameError, PointFlag, Split, SurfaceId, SurfaceSpec, SurfaceValues};
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
        let split = split(request.split, &record.spec)?;
        let spec = plot_spec(&request, &record.spec, split)?;
        let media_type = match spec.format {
            PlotFormat::Svg => "image/svg+xml",
            PlotFormat::Png => "image/png",
        };
        let values = of_split(self.store.read_values(&record).await.map_err(ApiError::from)?, split);
        if values.main.flags.iter().all(|flag| *flag == PointFlag::Never) {
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

/// The one split to draw; none for what the kind draws of all there are.
fn split(number: i32, surface: &SurfaceSpec) -> Result<Option<Split>, ApiError> {
    if number == 0 {
        return Ok(None);
    }
    let split = split_from_wire(number).map_err(|unknown| ApiError::field("split", unknown.to_string()))?;
    if split != surface.data.split && Some(split) != surface.also {
        let there: Vec<&str> = std::iter::once(surface.data.split).chain(surface.also).map(Split::as_str).collect();
        let message =
            format!("the surface has no values of the {} split, only {}", split.as_str(), there.join(" and "));
        return Err(ApiError::field("split", message));
    }
    Ok(Some(split))
}

fn of_split(mut values: SurfaceValues, split: Option<Split>) -> SurfaceValues {
    let Some(split) = split else { return values };
    match values.also.take() {
        Some(also) if also.split == split => SurfaceValues { main: also, ..values },
        _ => values,
    }
}

fn plot_spec(
    request: &wire::RenderSurfaceRequest,
    surface: &SurfaceSpec,
    split: Option<Split>,
) -> Result<PlotSpec, ApiError> {
    let unknown = |field: &str, number, known| ApiError::field(field, UnknownNumber { number, known }.to_string());
    let kind = match wire::PlotKind::try_from(request.kind) {
        Ok(wire::PlotKind::Unspecified) if surface.grid.n_rows() > 1 => PlotKind::Contour,
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
    let title = if request.title.is_empty() { default_title(surface, kind, split) } else { request.title.clone() };
    let plain = PlotSpec::new(kind);
    let x_label = direction_label(surface, &surface.plane.x).unwrap_or(plain.x_label.clone());
    let y_label = surface.plane.y.as_ref().and_then(|y| direction_label(surface, y)).unwrap_or(plain.y_label.clone());
    Ok(PlotSpec { scale, format, title: Some(title), x_label, y_label, ..plain })
}

/// What an axis that leads to a checkpoint is called; none for others.
fn direction_label(surface: &SurfaceSpec, direction: &DirectionSpec) -> Option<String> {
    match direction {
        DirectionSpec::Towards { checkpoint } => Some(format!("from {} (0) to {checkpoint} (1)", surface.plane.origin)),
        DirectionSpec::Random { .. } | DirectionSpec::Stored { .. } => None,
    }
}

fn default_title(surface: &SurfaceSpec, kind: PlotKind, split: Option<Split>) -> String {
    let splits = match (kind, split, surface.also) {
        (PlotKind::Curve, None, Some(also)) => format!("{} and {}", surface.data.split.as_str(), also.as_str()),
        (_, split, _) => split.unwrap_or(surface.data.split).as_str().to_owned(),
    };
    let samples = match surface.data.limit {
        Some(limit) => format!("first {limit} {splits} samples"),
        None => format!("{splits} split"),
    };
    let data = surface.data.dataset.as_str();
    format!("{} at {} on {data} ({samples})", surface.network.as_str(), surface.plane.origin)
}
