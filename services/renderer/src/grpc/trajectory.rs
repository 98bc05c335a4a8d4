//! Pictures of trajectories.

use relief_api::catalog::v1::Split as WireSplit;
use relief_api::convert::surface::split_from_wire;
use relief_api::plot::v1 as wire;
use relief_api::{ApiError, ErrorReason};
use relief_core::{
    Grid, NameError, PointValues, Split, SplitValues, Stop, SurfaceValues, TrajectoryAxes, TrajectoryId, TrajectorySpec,
};
use relief_store::{Store, StoreErrorKind, TrajectoryAxesRecord, TrajectoryRecord};

use super::{of_split, samples_label, style};
use crate::plot::{Panel, Path, PathPoint, Picture, PlotSpec};

/// A trajectory as it is now.
///
/// # Errors
/// With the field that is wrong, or when it is not known yet where the paths lie.
pub(super) async fn panel(store: &Store, request: &wire::RenderTrajectoryRequest) -> Result<Panel, ApiError> {
    let id: TrajectoryId =
        request.trajectory.parse().map_err(|error: NameError| ApiError::field("trajectory", error.to_string()))?;
    let record = store.get_trajectory(&id).await?;
    let spec = plot_spec(request, &record.spec)?;
    let split = split(request.split, &record.spec)?;
    let Some(axes) = store.find_trajectory_axes(&record).await? else {
        let message = match &record.outcome {
            Some(outcome) => format!("{id} is {} and has no plane to draw", outcome.state),
            None => format!("where the paths of {id} lie is not known yet; draw it when its axes are"),
        };
        return Err(ApiError::new(ErrorReason::WrongState, message));
    };
    let values = store.stop_values(&record).await?;
    let surface = of_split(surface_values(store, &record, axes.grid).await?, Some(split));
    let paths = paths(&record.spec, &axes, &values, split);
    // Rounding may lead beyond what a share can be.
    let explained = Some(axes.projection.explained.map(|share| share.clamp(0.0, 1.0)));
    Ok(Panel { picture: Picture::Trajectory { surface, paths, explained }, spec })
}

fn split(number: i32, spec: &TrajectorySpec) -> Result<Split, ApiError> {
    if number == i32::from(WireSplit::Unspecified) {
        return Ok(spec.data.split);
    }
    let split = split_from_wire(number).map_err(|unknown| ApiError::field("split", unknown.to_string()))?;
    if split != spec.data.split && Some(split) != spec.also {
        let there: Vec<&str> = std::iter::once(spec.data.split).chain(spec.also).map(Split::as_str).collect();
        let message =
            format!("the trajectory has no losses of the {} split, only {}", split.as_str(), there.join(" and "));
        return Err(ApiError::field("split", message));
    }
    Ok(split)
}

/// The surface as far as it is computed; one that is not there yet, or no more, has no values.
async fn surface_values(store: &Store, record: &TrajectoryRecord, grid: Grid) -> Result<SurfaceValues, ApiError> {
    match store.read_surface(&record.provenance.surface).await {
        Ok(values) => Ok(values),
        Err(error) if error.kind() == StoreErrorKind::NotFound => {
            let (x, y) = (grid.x.coordinates(), grid.y.map_or_else(|| vec![0.0], |y| y.coordinates()));
            let main = SplitValues::unknown(record.spec.data.split, x.len() * y.len());
            Ok(SurfaceValues { x, y, main, also: None })
        }
        Err(error) => Err(error.into()),
    }
}

fn paths(
    spec: &TrajectorySpec,
    axes: &TrajectoryAxesRecord,
    values: &[Option<PointValues>],
    split: Split,
) -> Vec<Path> {
    let mut paths: Vec<Path> =
        spec.paths.iter().map(|path| Path { name: path.name.clone(), points: Vec::new() }).collect();
    for (idx, ((path, stop), projected)) in spec.stops().zip(&axes.projection.stops).enumerate() {
        let values = values.get(idx).copied().flatten();
        let loss = values.and_then(|values| match split == spec.data.split {
            true => Some(values.main.loss),
            false => values.also.map(|also| also.loss),
        });
        let Stop { epoch, .. } = stop;
        paths[path].points.push(PathPoint {
            x: projected.x,
            y: projected.y,
            epoch: epoch.map(f64::from),
            off_plane: projected.off_plane.clamp(0.0, 1.0),
            loss,
            is_drop: projected.is_drop,
        });
    }
    paths
}

fn plot_spec(request: &wire::RenderTrajectoryRequest, trajectory: &TrajectorySpec) -> Result<PlotSpec, ApiError> {
    let like = wire::RenderSurfaceRequest {
        kind: wire::PlotKind::Contour.into(),
        scale: request.scale,
        format: request.format,
        theme: request.theme,
        palette: request.palette,
        width: request.width,
        dpi: request.dpi,
        loss_max: request.loss_max,
        ..wire::RenderSurfaceRequest::default()
    };
    let title = if request.title.is_empty() { default_title(trajectory) } else { request.title.clone() };
    let [x_label, y_label] = match trajectory.axes {
        TrajectoryAxes::Pca { .. } => ["principal component 1", "principal component 2"],
        TrajectoryAxes::Random { .. } => ["random direction x", "random direction y"],
        TrajectoryAxes::StartEnd { .. } => ["from the end to the start", "random direction"],
        TrajectoryAxes::Directions { .. } => ["direction x", "direction y"],
    };
    let (x_label, y_label) = (x_label.to_owned(), y_label.to_owned());
    Ok(PlotSpec { title: Some(title), x_label, y_label, ..style(&like, trajectory.n_rows)? })
}

fn default_title(spec: &TrajectorySpec) -> String {
    let names: Vec<&str> = spec.paths.iter().map(|path| path.name.as_str()).collect();
    let samples = samples_label(&spec.data, spec.data.split.as_str());
    format!("{} along {} on {samples}", spec.network.as_str(), names.join(", "))
}
