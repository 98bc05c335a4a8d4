//! Drawing: from the values of a surface to the bytes of a picture.

mod animation;
mod axes;
mod bar;
mod colormap;
mod contour;
mod convexity;
mod curve;
mod error;
mod field;
mod figure;
mod filled;
mod frame;
mod heatmap;
mod html;
mod isoline;
mod label;
mod level;
mod mesh;
mod note;
mod number;
mod palette;
mod panel;
mod pdf;
mod raster;
mod region;
mod run;
mod scene;
mod several;
mod solid;
mod spec;
mod surface;
mod tick;
mod trace;
mod trajectory;
mod typeface;
mod view;
mod weight;
mod zbuffer;

pub use error::PlotError;
pub use field::SharedScale;
pub use figure::{FigureSpec, Panel, Picture, draw_figure};
pub use run::{Run, RunEpoch, RunKind, RunStep};
pub use several::{Layout, NamedSurface, Spread, SurfacesSpec};
pub use spec::{Camera, LONGEST_SIDE, LossScale, Palette, PlotFormat, PlotKind, PlotSpec, Projection, Theme};
pub use trajectory::{Path, PathPoint};
pub use weight::WeightCounts;

use std::time::Duration;

use field::Field;
use mesh::Mesh;
use relief_core::{Curvature, SurfaceValues};
use scene::Drawing;
use surface::{Facets, Floor};
use trajectory::Trajectory;

/// How long each picture of an animation is shown.
const FRAME_TIME: Duration = Duration::from_millis(90);
/// How long the last picture of a trajectory is shown.
const LAST_TIME: Duration = Duration::from_secs(2);
/// The pictures of a turn.
const TURN_FRAMES: usize = 45;
/// The most pictures of a trajectory.
const GROWTH_FRAMES: usize = 60;

/// Draws `values` as `spec` says and returns the bytes of the file. A PNG is `spec.width * spec.pixel_ratio` pixels
/// wide; the height follows from the kind and the axes.
///
/// # Errors
/// When the specification or the shape of the values is wrong, the kind does not suit the surface (a curve has one row,
/// the others have two rows and columns or more) or the format (GIF, VTP, OBJ and STL are of a surface), or no value
/// can be drawn on the scale.
///
/// A curve draws a second split too, dashed; the others draw the main one.
pub fn draw(values: &SurfaceValues, spec: &PlotSpec) -> Result<Vec<u8>, PlotError> {
    spec.check()?;
    field::check_shape(values)?;
    check_kind(values, spec.kind)?;
    if spec.kind == PlotKind::Convexity {
        return Err(PlotError::ConvexityOfLosses);
    }
    if (spec.format.is_solid() || spec.format == PlotFormat::Gif) && spec.kind != PlotKind::Surface {
        let PlotSpec { format, kind, .. } = *spec;
        let is_curve = kind == PlotKind::Curve;
        return Err(if is_curve {
            PlotError::CurveFormat { format }
        } else {
            PlotError::KindOfFormat { format, kind }
        });
    }
    let field = Field::new(values, &values.main, spec)?;
    match spec.format {
        PlotFormat::Html if spec.kind == PlotKind::Surface => Ok(html::surface(values, &field, spec)),
        PlotFormat::Html => html::picture(&drawing(values, &field, spec)?, values, &[], spec),
        PlotFormat::Gif => turning(&field, spec),
        PlotFormat::Vtp => solid::vtp(values, &field, spec),
        PlotFormat::Obj => solid::obj(&field, spec),
        PlotFormat::Stl => solid::stl(&field, spec),
        PlotFormat::Svg | PlotFormat::Png | PlotFormat::Pdf => {
            encode(&drawing(values, &field, spec)?, spec.format, spec.pixel_ratio)
        }
    }
}

/// Draws where the loss is how far from convex: the ratio of its extreme curvatures in a coloured cell for each point,
/// all maps on one scale from 0 to 0.5. The kind of `spec` is convexity.
///
/// # Errors
/// When the specification or the shape of the curvature is wrong, no point has both eigenvalues, or the format is one
/// that only a surface has.
pub fn draw_convexity(curvature: &Curvature, spec: &PlotSpec) -> Result<Vec<u8>, PlotError> {
    spec.check()?;
    let values = convexity::ratios(curvature);
    convexity::check(&values, spec)?;
    let drawing = convexity::draw(&values, spec)?;
    match spec.format {
        PlotFormat::Html => html::picture(&drawing, &values, &[], spec),
        _ => encode(&drawing, spec.format, spec.pixel_ratio),
    }
}

/// Draws `paths` over the contours of `surface`, and below them the losses along the paths: at each checkpoint, and of
/// the surface below it where it has one. `explained` holds the shares of the paths' variation that lie along the axes,
/// 0 to 1 each. The surface may be partly computed, or not at all, and have no points. The kind of `spec` is contour.
///
/// # Errors
/// When the specification, the shape of the surface or a number of a path is wrong, no loss of a computed surface can
/// be drawn on the scale, or the format is one that only a surface has.
pub fn draw_trajectory(
    surface: &SurfaceValues,
    paths: &[Path],
    explained: Option<[f64; 2]>,
    spec: &PlotSpec,
) -> Result<Vec<u8>, PlotError> {
    spec.check()?;
    if spec.format.is_solid() {
        return Err(PlotError::TrajectoryFormat { format: spec.format });
    }
    trajectory::check(paths, explained, spec)?;
    let trajectory = Trajectory::new(surface, paths, explained, spec)?;
    let n_steps = trajectory.n_steps();
    match spec.format {
        PlotFormat::Gif => growing(&trajectory),
        PlotFormat::Html => html::picture(&trajectory.draw(n_steps)?, surface, paths, spec),
        _ => encode(&trajectory.draw(n_steps)?, spec.format, spec.pixel_ratio),
    }
}

/// Draws `surfaces`, 1 to 24 of them, in one picture, all on one scale of the loss: over each other, as a mean with the
/// band that they spread over, or in panels side by side. What cannot be drawn of each is left out, and the picture
/// says so. All are of the kind of `spec`.
///
/// # Errors
/// When a specification or the shape of a surface is wrong, the kind does not suit one of them or the layout, curves of
/// a band have different grids, the format is neither SVG nor PNG nor PDF, or no value can be drawn on the scale.
pub fn draw_surfaces(surfaces: &[NamedSurface], several: &SurfacesSpec, spec: &PlotSpec) -> Result<Vec<u8>, PlotError> {
    spec.check()?;
    several::check(surfaces, several, spec)?;
    let drawing = several::draw(surfaces, several, spec)?;
    encode(&drawing, spec.format, spec.pixel_ratio)
}

/// Draws `runs`, 1 to 6 of them, over their epochs: of `spec` the scale is that of the loss or of the norm. Where there
/// are several, each has a colour. What is not finite is a gap, and the picture says how many values are.
///
/// # Errors
/// When the specification or the epochs are wrong, the format is one that only a surface has, or nothing can be drawn
/// on the scale.
pub fn draw_runs(runs: &[Run], kind: RunKind, spec: &PlotSpec) -> Result<Vec<u8>, PlotError> {
    spec.check()?;
    run::check(runs.len(), spec)?;
    of_runs(&run::draw(runs, kind, spec)?, spec)
}

/// Draws how many weights of each of 1 to 6 checkpoints have which value; of `spec` the scale is that of the counts.
///
/// # Errors
/// When the specification is wrong, the format is one that only a surface has, or no weight is finite.
pub fn draw_weights(weights: &[WeightCounts], spec: &PlotSpec) -> Result<Vec<u8>, PlotError> {
    spec.check()?;
    run::check(weights.len(), spec)?;
    of_runs(&weight::draw(weights, spec)?, spec)
}

fn of_runs(drawing: &Drawing, spec: &PlotSpec) -> Result<Vec<u8>, PlotError> {
    match spec.format {
        PlotFormat::Html => html::picture(drawing, &SurfaceValues::default(), &[], spec),
        _ => encode(drawing, spec.format, spec.pixel_ratio),
    }
}

fn drawing(values: &SurfaceValues, field: &Field<'_>, spec: &PlotSpec) -> Result<Drawing, PlotError> {
    match spec.kind {
        PlotKind::Curve => curve::draw(values, field, spec),
        PlotKind::Contour => contour::draw(field, spec),
        PlotKind::Heatmap => heatmap::draw(field, spec),
        PlotKind::FilledContour => filled::draw(field, spec),
        PlotKind::Surface => surface::draw(field, spec),
        PlotKind::Convexity => Err(PlotError::ConvexityOfLosses),
    }
}

fn encode(drawing: &Drawing, format: PlotFormat, pixel_ratio: f64) -> Result<Vec<u8>, PlotError> {
    match format {
        PlotFormat::Png => raster::png(drawing, pixel_ratio),
        PlotFormat::Pdf => pdf::pdf(drawing),
        _ => Ok(drawing.svg()?.into_bytes()),
    }
}

/// Returns a GIF of the surface turning once.
fn turning(field: &Field<'_>, spec: &PlotSpec) -> Result<Vec<u8>, PlotError> {
    let mesh = Mesh::of(field);
    let floor = Floor::of(field, &mesh, spec);
    let azimuth = |idx: usize| (spec.camera.azimuth + 360.0 * idx as f64 / TURN_FRAMES as f64) % 360.0;
    let cameras: Vec<Camera> = (0..TURN_FRAMES).map(|idx| Camera { azimuth: azimuth(idx), ..spec.camera }).collect();
    let facets = Facets::Pixels(f64::from(spec.width) / frame::WIDTH);
    let drawings = (0..TURN_FRAMES).map(|idx| surface::draw_turned(field, &mesh, &floor, spec, &cameras, idx, facets));
    animation::gif(drawings.map(|drawing| Ok((raster::pixels(&drawing?, 1.0)?, FRAME_TIME))))
}

/// Returns a GIF of the paths growing.
fn growing(trajectory: &Trajectory<'_>) -> Result<Vec<u8>, PlotError> {
    let n_steps = trajectory.n_steps();
    let n_frames = n_steps.min(GROWTH_FRAMES);
    let pictures = (1..=n_frames).map(|frame| {
        let time = if frame == n_frames { LAST_TIME } else { FRAME_TIME };
        Ok((raster::pixels(&trajectory.draw((n_steps * frame).div_ceil(n_frames))?, 1.0)?, time))
    });
    animation::gif(pictures)
}

fn check_kind(values: &SurfaceValues, kind: PlotKind) -> Result<(), PlotError> {
    let (n_rows, n_columns) = (values.n_rows(), values.n_columns());
    match kind {
        PlotKind::Curve if n_rows != 1 => Err(PlotError::NotACurve { n_rows, n_columns }),
        PlotKind::Curve => Ok(()),
        _ if n_rows == 1 => Err(PlotError::NotASurface { kind, n_columns }),
        _ if n_columns == 1 => Err(PlotError::SingleColumn { kind, n_rows }),
        _ => Ok(()),
    }
}
