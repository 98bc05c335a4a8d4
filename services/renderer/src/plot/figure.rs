//! Figures: several pictures of any kind in rows and columns of one.

use relief_core::{Curvature, SplitValues, SurfaceValues};

use super::field::{SharedScale, check_shape};
use super::frame::{self, MARGIN, WIDTH};
use super::panel::{MOST_PIXELS, columns_for};
use super::run::{Run, RunKind};
use super::scene::{Drawing, Point, Scene, Size};
use super::several::{MOST_COLUMNS, NamedSurface, SurfacesSpec};
use super::trajectory::{Path, Trajectory};
use super::weight::WeightCounts;
use super::{check_kind, convexity, encode, run, several, trajectory, weight};
use super::{draw, draw_convexity, draw_runs, draw_surfaces, draw_trajectory, draw_weights};
use crate::plot::{PlotError, PlotFormat, PlotKind, PlotSpec, Theme};

/// The most panels of a figure.
const MOST_PANELS: usize = 24;
/// The pixels of a column where there are several.
const COLUMN_PIXELS: u32 = 480;
/// What lies between two panels, besides their margins.
const GAP: f64 = 6.0;

/// What a picture is of.
#[derive(Debug, Clone, PartialEq)]
pub enum Picture {
    /// A surface or a curve.
    Surface(SurfaceValues),
    /// How far from convex a surface is.
    Convexity(Curvature),
    /// The paths of training over a surface.
    Trajectory {
        /// The surface; may have no points.
        surface: SurfaceValues,
        /// The paths, 1 or more.
        paths: Vec<Path>,
        /// The shares of the paths' variation along the axes, 0 to 1 each.
        explained: Option<[f64; 2]>,
    },
    /// How runs went.
    Runs(Vec<Run>, RunKind),
    /// How the weights of checkpoints are distributed.
    Weights(Vec<WeightCounts>),
    /// Several surfaces on a scale of their own.
    Surfaces(Vec<NamedSurface>, SurfacesSpec),
}

/// A picture with how it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What it is of.
    pub picture: Picture,
    /// How it is drawn.
    pub spec: PlotSpec,
}

/// What a figure depends on besides its panels.
#[derive(Debug, Clone, PartialEq)]
pub struct FigureSpec {
    /// How many panels stand side by side, 1 to 8; about as many as stand below each other with none.
    pub n_columns: Option<u32>,
    /// The line above all of them.
    pub title: Option<String>,
    /// The file format: SVG, PNG or PDF.
    pub format: PlotFormat,
    /// Background and text, of the panels too.
    pub theme: Theme,
    /// The width in pixels; 480 for each column, or 640 for one, with none.
    pub width: Option<u32>,
    /// As of [`PlotSpec`].
    pub pixel_ratio: f64,
    /// Whether the losses of surfaces and trajectories stand on one scale and in one palette.
    pub has_shared_scale: bool,
}

impl Picture {
    /// What it is called.
    fn name(&self) -> &'static str {
        match self {
            Self::Surface(_) | Self::Convexity(_) => "surface",
            Self::Trajectory { .. } => "trajectory",
            Self::Runs(..) | Self::Weights(_) => "runs",
            Self::Surfaces(..) => "surfaces",
        }
    }
}

impl Panel {
    /// Draws the panel as a picture of its own, as [`draw`], [`draw_convexity`], [`draw_trajectory`], [`draw_runs`],
    /// [`draw_weights`] and [`draw_surfaces`] do.
    ///
    /// # Errors
    /// Theirs.
    pub fn draw(&self) -> Result<Vec<u8>, PlotError> {
        let spec = &self.spec;
        match &self.picture {
            Picture::Surface(values) => draw(values, spec),
            Picture::Convexity(curvature) => draw_convexity(curvature, spec),
            Picture::Trajectory { surface, paths, explained } => draw_trajectory(surface, paths, *explained, spec),
            Picture::Runs(runs, kind) => draw_runs(runs, *kind, spec),
            Picture::Weights(weights) => draw_weights(weights, spec),
            Picture::Surfaces(surfaces, several) => draw_surfaces(surfaces, several, spec),
        }
    }

    /// The losses that stand on a scale which may be shared: all that are drawn of a surface or below a path.
    fn losses(&self) -> Vec<(&SurfaceValues, &SplitValues)> {
        let (Picture::Surface(values) | Picture::Trajectory { surface: values, .. }) = &self.picture else {
            return Vec::new();
        };
        let n_splits = if self.spec.kind == PlotKind::Curve { 2 } else { 1 };
        match check_shape(values) {
            Ok(()) => values.splits().take(n_splits).map(|split| (values, split)).collect(),
            Err(_) => Vec::new(),
        }
    }
}

/// Draws a picture as part of a still one.
fn drawing(picture: &Picture, spec: &PlotSpec) -> Result<Drawing, PlotError> {
    spec.check()?;
    match picture {
        Picture::Surface(values) => {
            check_shape(values)?;
            check_kind(values, spec.kind)?;
            super::drawing(values, &super::Field::new(values, &values.main, spec)?, spec)
        }
        Picture::Convexity(curvature) => {
            let values = convexity::ratios(curvature);
            convexity::check(&values, spec)?;
            convexity::draw(&values, spec)
        }
        Picture::Trajectory { surface, paths, explained } => {
            trajectory::check(paths, *explained, spec)?;
            let trajectory = Trajectory::new(surface, paths, *explained, spec)?;
            trajectory.draw(trajectory.n_steps())
        }
        Picture::Runs(runs, kind) => {
            run::check(runs.len(), spec)?;
            run::draw(runs, *kind, spec)
        }
        Picture::Weights(weights) => {
            run::check(weights.len(), spec)?;
            weight::draw(weights, spec)
        }
        Picture::Surfaces(surfaces, several) => {
            several::check(surfaces, several, spec)?;
            several::draw(surfaces, several, spec)
        }
    }
}

/// Draws 1 to 24 `panels` in rows and columns. Their format, theme, width and pixel ratio are those of `figure`.
///
/// # Errors
/// When a specification is wrong, a panel cannot be drawn, the format is neither SVG nor PNG nor PDF, or the picture
/// would be too high.
pub fn draw_figure(panels: &[Panel], figure: &FigureSpec) -> Result<Vec<u8>, PlotError> {
    if !matches!(figure.format, PlotFormat::Svg | PlotFormat::Png | PlotFormat::Pdf) {
        return Err(PlotError::FigureFormat { format: figure.format });
    }
    if panels.is_empty() || panels.len() > MOST_PANELS {
        return Err(PlotError::NumberOfPanels { n_panels: panels.len(), most: MOST_PANELS });
    }
    let n_columns = match figure.n_columns {
        Some(n_columns) if n_columns == 0 || n_columns > MOST_COLUMNS => {
            return Err(PlotError::Columns { n_columns, most: MOST_COLUMNS });
        }
        Some(n_columns) => n_columns as usize,
        None => columns_for(panels.len()),
    };
    let n_columns = n_columns.min(panels.len());
    let width = figure.width.unwrap_or(if n_columns == 1 { WIDTH as u32 } else { COLUMN_PIXELS * n_columns as u32 });
    let whole = PlotSpec {
        format: figure.format,
        theme: figure.theme,
        title: figure.title.clone(),
        width,
        pixel_ratio: figure.pixel_ratio,
        ..PlotSpec::new(PlotKind::Contour)
    };
    whole.check()?;
    let of_panel = |panel_idx: usize, source| PlotError::OfPanel {
        panel_idx,
        picture: panels[panel_idx].picture.name(),
        source: Box::new(source),
    };
    for (panel_idx, panel) in panels.iter().enumerate() {
        panel.spec.check().map_err(|source| of_panel(panel_idx, source))?;
    }
    let shared = if figure.has_shared_scale { shared_scale(panels)? } else { None };
    let mut drawings = Vec::with_capacity(panels.len());
    for (panel_idx, panel) in panels.iter().enumerate() {
        let shared = shared.filter(|_| !panel.losses().is_empty());
        let spec = PlotSpec {
            format: whole.format,
            theme: whole.theme,
            width: (width / n_columns as u32).max(1),
            pixel_ratio: whole.pixel_ratio,
            // The shared scale is clipped, not each of its pictures.
            loss_max: panel.spec.loss_max.filter(|_| shared.is_none()),
            shared,
            ..panel.spec.clone()
        };
        drawings.push(drawing(&panel.picture, &spec).map_err(|source| of_panel(panel_idx, source))?);
    }
    let drawing = arranged(drawings, n_columns, &whole)?;
    encode(&drawing, whole.format, whole.pixel_ratio)
}

/// The scale of all panels that have losses on one; none if none has.
fn shared_scale(panels: &[Panel]) -> Result<Option<SharedScale>, PlotError> {
    let sharing: Vec<(usize, &Panel)> =
        panels.iter().enumerate().filter(|(_, panel)| !panel.losses().is_empty()).collect();
    let Some((_, first)) = sharing.first() else { return Ok(None) };
    let is_other = |panel: &Panel| (panel.spec.scale, panel.spec.palette) != (first.spec.scale, first.spec.palette);
    if let Some((panel_idx, _)) = sharing.iter().find(|(_, panel)| is_other(panel)) {
        return Err(PlotError::UnlikeScales { panel_idx: *panel_idx });
    }
    // A limit is one of all only if it leaves nothing out that a panel would show.
    let limits: Option<Vec<f64>> = sharing.iter().map(|(_, panel)| panel.spec.loss_max).collect();
    let loss_max = limits.and_then(|limits| limits.into_iter().max_by(f64::total_cmp));
    let losses: Vec<_> = sharing.iter().flat_map(|(_, panel)| panel.losses()).collect();
    Ok(SharedScale::of(&losses, &PlotSpec { loss_max, shared: None, ..first.spec.clone() }))
}

/// Puts `drawings` into rows of `n_columns`.
fn arranged(drawings: Vec<Drawing>, n_columns: usize, spec: &PlotSpec) -> Result<Drawing, PlotError> {
    let mut scene = Scene::new(spec.theme)?;
    let column = drawings.iter().map(|drawing| drawing.size().width).fold(0.0, f64::max);
    let width = column * n_columns as f64 + GAP * (n_columns - 1) as f64;
    let mut top = 0.0;
    if spec.title.is_some() {
        let room = width - 2.0 * MARGIN;
        top = frame::draw_centred_header(&mut scene, spec.title.as_deref(), None, 0.5 * width, room);
    }
    let names: Vec<String> = drawings.iter().map(|drawing| drawing.title.clone()).collect();
    let described: Vec<String> = drawings.iter().map(|drawing| drawing.description.clone()).collect();
    let mut row_bottom = top;
    for (idx, drawing) in drawings.into_iter().enumerate() {
        if idx > 0 && idx.is_multiple_of(n_columns) {
            top = row_bottom + GAP;
        }
        let size = drawing.size();
        let left = (idx % n_columns) as f64 * (column + GAP) + 0.5 * (column - size.width);
        row_bottom = row_bottom.max(top + size.height);
        scene.place(drawing, Point { x: left, y: top });
    }
    let title = spec.title.clone().unwrap_or_else(|| names.join("; "));
    let description = format!("{} panels. {}", described.len(), described.join(" "));
    let drawing = scene.into_drawing(Size { width, height: row_bottom }, spec.width, &title, &description);
    let height = drawing.height() * if spec.format == PlotFormat::Png { spec.pixel_ratio } else { 1.0 };
    if height > MOST_PIXELS {
        return Err(PlotError::TooHigh { height, most: MOST_PIXELS });
    }
    Ok(drawing)
}
