//! `relief.plot.v1.PlotService`.

mod figure;
mod run;
mod several;
mod trajectory;

use bytes::Bytes;
use relief_api::convert::UnknownNumber;
use relief_api::convert::surface::split_from_wire;
use relief_api::plot::v1 as wire;
use relief_api::plot::v1::plot_service_server::PlotService;
use relief_api::{ApiError, ErrorReason};
use relief_core::{DatasetSlice, DirectionSpec, NameError, PointFlag, Split, SurfaceId, SurfaceSpec, SurfaceValues};
use relief_rpc::MAX_MESSAGE_BYTES;
use relief_store::Store;
use tonic::{Request, Response, Status};

use crate::plot::{
    Camera, LONGEST_SIDE, LossScale, Palette, Panel, Picture, PlotError, PlotFormat, PlotKind, PlotSpec, Projection,
    Theme,
};

/// The largest file that an answer has room for.
const MAX_CONTENT_BYTES: usize = MAX_MESSAGE_BYTES - (1 << 10);

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
        let (content, media_type) = alone(panel(&self.store, &request.into_inner()).await?).await?;
        Ok(Response::new(wire::RenderSurfaceResponse { content, media_type }))
    }

    async fn render_trajectory(
        &self,
        request: Request<wire::RenderTrajectoryRequest>,
    ) -> Result<Response<wire::RenderTrajectoryResponse>, Status> {
        let (content, media_type) = alone(trajectory::panel(&self.store, &request.into_inner()).await?).await?;
        Ok(Response::new(wire::RenderTrajectoryResponse { content, media_type }))
    }

    async fn render_runs(
        &self,
        request: Request<wire::RenderRunsRequest>,
    ) -> Result<Response<wire::RenderRunsResponse>, Status> {
        let (content, media_type) = alone(run::panel(&self.store, &request.into_inner()).await?).await?;
        Ok(Response::new(wire::RenderRunsResponse { content, media_type }))
    }

    async fn render_surfaces(
        &self,
        request: Request<wire::RenderSurfacesRequest>,
    ) -> Result<Response<wire::RenderSurfacesResponse>, Status> {
        let (content, media_type) = alone(several::panel(&self.store, &request.into_inner()).await?).await?;
        Ok(Response::new(wire::RenderSurfacesResponse { content, media_type }))
    }

    async fn render_figure(
        &self,
        request: Request<wire::RenderFigureRequest>,
    ) -> Result<Response<wire::RenderFigureResponse>, Status> {
        let (content, media_type) = figure::render(&self.store, request.into_inner()).await?;
        Ok(Response::new(wire::RenderFigureResponse { content, media_type }))
    }
}

/// A surface as it is now.
///
/// # Errors
/// With the field that is wrong, or when there is nothing to draw yet.
async fn panel(store: &Store, request: &wire::RenderSurfaceRequest) -> Result<Panel, ApiError> {
    let id: SurfaceId =
        request.surface.parse().map_err(|error: NameError| ApiError::field("surface", error.to_string()))?;
    let record = store.get_surface(&id).await?;
    let split = split(request.split, &record.spec)?;
    let spec = plot_spec(request, &record.spec, split)?;
    if spec.kind == PlotKind::Convexity {
        let Some(curvature) = store.read_curvature(&record).await? else {
            let message = format!("{id} carries no curvature: its group has no arrays lambda_min and lambda_max");
            return Err(ApiError::new(ErrorReason::WrongState, message));
        };
        return Ok(Panel { picture: Picture::Convexity(curvature), spec });
    }
    let values = of_split(store.read_values(&record).await?, split);
    if values.main.flags.iter().all(|flag| *flag == PointFlag::Never) {
        let message = format!("{id} has no computed point yet; draw it when its first tile is done");
        return Err(ApiError::new(ErrorReason::WrongState, message));
    }
    Ok(Panel { picture: Picture::Surface(values), spec })
}

/// Draws a panel as a picture of its own.
async fn alone(panel: Panel) -> Result<(Bytes, String), ApiError> {
    drawn(panel.spec.format, move || panel.draw()).await
}

/// Draws aside, and returns the file with its media type.
async fn drawn(
    format: PlotFormat,
    draw: impl FnOnce() -> Result<Vec<u8>, PlotError> + Send + 'static,
) -> Result<(Bytes, String), ApiError> {
    // A big picture takes a second or more, which is not for the threads that answer calls.
    let drawn = tokio::task::spawn_blocking(draw).await;
    let content = drawn.map_err(|error| ApiError::new(ErrorReason::Internal, error.to_string()))?.map_err(refused)?;
    if content.len() > MAX_CONTENT_BYTES {
        let message = format!(
            "the {format} would be {} MB, and a message holds {} at most; choose another format",
            content.len() / 1_000_000,
            MAX_CONTENT_BYTES / 1_000_000
        );
        return Err(ApiError::field("format", message));
    }
    Ok((content.into(), format.media_type().to_owned()))
}

/// What the caller is told of a picture that cannot be drawn: which field is wrong, or that the fault is here.
fn refused(error: PlotError) -> ApiError {
    let message = error.to_string();
    match error {
        PlotError::Width { .. } | PlotError::AnimationWidth { .. } | PlotError::TooHigh { .. } => {
            ApiError::field("width", message)
        }
        PlotError::PixelRatio { .. } | PlotError::Pixels { .. } => ApiError::field("dpi", message),
        PlotError::Azimuth { .. } => ApiError::field("azimuth", message),
        PlotError::Elevation { .. } => ApiError::field("elevation", message),
        PlotError::LossMaxNotFinite { .. } | PlotError::LossMaxTooLow { .. } | PlotError::ConvexityLimit { .. } => {
            ApiError::field("loss_max", message)
        }
        PlotError::KindOfFormat { .. }
        | PlotError::CurveFormat { .. }
        | PlotError::TrajectoryFormat { .. }
        | PlotError::RunFormat { .. }
        | PlotError::ConvexityFormat { .. }
        | PlotError::FigureFormat { .. }
        | PlotError::SurfacesFormat { .. } => ApiError::field("format", message),
        PlotError::NumberOfPanels { .. } => ApiError::field("panels", message),
        PlotError::OfPanel { panel_idx, picture, source } => figure::of_panel(panel_idx, picture, refused(*source)),
        PlotError::UnlikeScales { .. } => ApiError::field("shared_scale", message),
        PlotError::NumberOfRuns { .. } => ApiError::field("runs", message),
        PlotError::NumberOfSurfaces { .. } | PlotError::BandGrid { .. } | PlotError::BandOfOne => {
            ApiError::field("surfaces", message)
        }
        PlotError::Columns { .. } => ApiError::field("columns", message),
        PlotError::LayoutOfKind { .. } => ApiError::field("layout", message),
        PlotError::NothingPositive { .. } | PlotError::ConvexityScale => ApiError::field("scale", message),
        PlotError::NoCell { .. } | PlotError::NoCurvature { .. } | PlotError::NoRunValue { .. } => {
            ApiError::new(ErrorReason::WrongState, message)
        }
        PlotError::Shape { .. }
        | PlotError::EmptyRun { .. }
        | PlotError::RunEpoch { .. }
        | PlotError::Coordinates { .. }
        | PlotError::Typeface(_)
        | PlotError::Svg(_)
        | PlotError::Raster { .. }
        | PlotError::Png { .. }
        | PlotError::Pdf { .. }
        | PlotError::Gif { .. }
        | PlotError::Compress(_) => ApiError::new(ErrorReason::Internal, message),
        _ => ApiError::field("kind", message),
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
    let styled = style(request, surface.grid.n_rows())?;
    let title = match request.title.as_str() {
        "" => default_title(surface, styled.kind, split),
        title => title.to_owned(),
    };
    let x_label = direction_label(surface, &surface.plane.x).unwrap_or(styled.x_label.clone());
    let y_label = surface.plane.y.as_ref().and_then(|y| direction_label(surface, y)).unwrap_or(styled.y_label.clone());
    Ok(PlotSpec { title: Some(title), x_label, y_label, ..styled })
}

/// Everything that a request says of how a grid of `n_rows` rows is drawn, but the words.
fn style(request: &wire::RenderSurfaceRequest, n_rows: u32) -> Result<PlotSpec, ApiError> {
    let unknown = |field: &str, number, known| ApiError::field(field, UnknownNumber { number, known }.to_string());
    let format = match wire::PlotFormat::try_from(request.format) {
        Ok(wire::PlotFormat::Unspecified | wire::PlotFormat::Svg) => PlotFormat::Svg,
        Ok(wire::PlotFormat::Png) => PlotFormat::Png,
        Ok(wire::PlotFormat::Pdf) => PlotFormat::Pdf,
        Ok(wire::PlotFormat::Html) => PlotFormat::Html,
        Ok(wire::PlotFormat::Gif) => PlotFormat::Gif,
        Ok(wire::PlotFormat::Vtp) => PlotFormat::Vtp,
        Ok(wire::PlotFormat::Obj) => PlotFormat::Obj,
        Ok(wire::PlotFormat::Stl) => PlotFormat::Stl,
        Err(_) => {
            let known = "1 SVG, 2 PNG, 3 PDF, 4 HTML, 5 GIF, 6 VTP, 7 OBJ, 8 STL";
            return Err(unknown("format", request.format, known));
        }
    };
    let is_spatial = format.is_solid() || matches!(format, PlotFormat::Gif | PlotFormat::Html);
    let kind = match wire::PlotKind::try_from(request.kind) {
        Ok(wire::PlotKind::Unspecified) if n_rows > 1 && is_spatial => PlotKind::Surface,
        Ok(wire::PlotKind::Unspecified) if n_rows > 1 => PlotKind::Contour,
        Ok(wire::PlotKind::Unspecified | wire::PlotKind::Curve) => PlotKind::Curve,
        Ok(wire::PlotKind::Contour) => PlotKind::Contour,
        Ok(wire::PlotKind::Heatmap) => PlotKind::Heatmap,
        Ok(wire::PlotKind::FilledContour) => PlotKind::FilledContour,
        Ok(wire::PlotKind::Surface) => PlotKind::Surface,
        Ok(wire::PlotKind::Convexity) => PlotKind::Convexity,
        Err(_) => {
            let known = "1 curve, 2 contour, 3 heatmap, 4 filled contour, 5 surface, 6 convexity";
            return Err(unknown("kind", request.kind, known));
        }
    };
    let scale = match wire::LossScale::try_from(request.scale) {
        Ok(wire::LossScale::Unspecified | wire::LossScale::Linear) => LossScale::Linear,
        Ok(wire::LossScale::Log) => LossScale::Log,
        Err(_) => return Err(unknown("scale", request.scale, "1 linear, 2 log")),
    };
    let theme = match wire::PlotTheme::try_from(request.theme) {
        Ok(wire::PlotTheme::Unspecified | wire::PlotTheme::Paper) => Theme::Paper,
        Ok(wire::PlotTheme::Dark) => Theme::Dark,
        Err(_) => return Err(unknown("theme", request.theme, "1 paper, 2 dark")),
    };
    let palette = match wire::PlotPalette::try_from(request.palette) {
        Ok(wire::PlotPalette::Unspecified | wire::PlotPalette::Viridis) => Palette::Viridis,
        Ok(wire::PlotPalette::Cividis) => Palette::Cividis,
        Ok(wire::PlotPalette::Magma) => Palette::Magma,
        Err(_) => return Err(unknown("palette", request.palette, "1 viridis, 2 cividis, 3 magma")),
    };
    let projection = match wire::PlotProjection::try_from(request.projection) {
        Ok(wire::PlotProjection::Unspecified | wire::PlotProjection::Perspective) => Projection::Perspective,
        Ok(wire::PlotProjection::Orthographic) => Projection::Orthographic,
        Err(_) => return Err(unknown("projection", request.projection, "1 perspective, 2 orthographic")),
    };
    let plain = PlotSpec::new(kind);
    let camera = Camera {
        azimuth: request.azimuth.unwrap_or(plain.camera.azimuth),
        elevation: request.elevation.unwrap_or(plain.camera.elevation),
        projection,
    };
    let width = request.width.unwrap_or(plain.width);
    let pixel_ratio = request.dpi.map_or(Ok(plain.pixel_ratio), |dpi| pixel_ratio(dpi, width, format))?;
    let loss_max = request.loss_max;
    Ok(PlotSpec { scale, format, width, pixel_ratio, loss_max, theme, palette, camera, ..plain })
}

/// The dots of a picture for each of its pixels, of which 96 make an inch.
fn pixel_ratio(dpi: f64, width: u32, format: PlotFormat) -> Result<f64, ApiError> {
    const PIXELS_PER_INCH: f64 = 96.0;
    if !(10.0..=960.0).contains(&dpi) {
        return Err(ApiError::field("dpi", format!("it is {dpi}; it must be 10 to 960")));
    }
    let most = (PIXELS_PER_INCH * f64::from(LONGEST_SIDE) / f64::from(width.max(1))).floor();
    if format == PlotFormat::Png && dpi > most {
        let message = format!("it is {dpi}, at which a PNG {width} pixels wide is too large; it must be 10 to {most}");
        return Err(ApiError::field("dpi", message));
    }
    Ok(dpi / PIXELS_PER_INCH)
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
    format!("{} at {} on {}", surface.network.as_str(), surface.plane.origin, samples_label(&surface.data, &splits))
}

/// The samples of `splits`, in words.
fn samples_label(data: &DatasetSlice, splits: &str) -> String {
    match data.limit {
        Some(limit) => format!("{} (first {limit} {splits} samples)", data.dataset.as_str()),
        None => format!("{} ({splits} split)", data.dataset.as_str()),
    }
}
