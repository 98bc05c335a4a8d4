//! Why a picture cannot be drawn.

use crate::plot::{PlotFormat, PlotKind};

/// Why a picture cannot be drawn. Each message names the field and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The width is out of range.
    #[error("width is {width} px; it must be 1 to 8192")]
    Width {
        /// The width given, in pixels.
        width: u32,
    },
    /// The pixel ratio is out of range.
    #[error("pixel_ratio is {pixel_ratio}; it must be 0.1 to 10")]
    PixelRatio {
        /// The ratio given.
        pixel_ratio: f64,
    },
    /// The PNG would be too large.
    #[error("width {width} times pixel_ratio {pixel_ratio} is beyond 8192 pixels; lower one of them")]
    Pixels {
        /// The width given, in pixels.
        width: u32,
        /// The ratio given.
        pixel_ratio: f64,
    },
    /// The camera's azimuth is out of range.
    #[error("azimuth is {azimuth} degrees; it must be -360 to 360")]
    Azimuth {
        /// The azimuth given, in degrees.
        azimuth: f64,
    },
    /// The camera's elevation is out of range.
    #[error("elevation is {elevation} degrees; it must be 0 (level) to 90 (from above)")]
    Elevation {
        /// The elevation given, in degrees.
        elevation: f64,
    },
    /// The GIF would be too large.
    #[error("width is {width} px; a GIF has {most} at most")]
    AnimationWidth {
        /// The width given, in pixels.
        width: u32,
        /// The widest that is drawn, in pixels.
        most: u32,
    },
    /// The format does not suit the kind.
    #[error("format is {format}, which a {kind} does not have; choose the kind surface")]
    KindOfFormat {
        /// The format asked for.
        format: PlotFormat,
        /// The kind of picture asked for.
        kind: PlotKind,
    },
    /// A curve has no such format.
    #[error("format is {format}; a curve is drawn as SVG, PNG, PDF or HTML")]
    CurveFormat {
        /// The format asked for.
        format: PlotFormat,
    },
    /// What has losses only is to be drawn as a convexity map.
    #[error("kind is convexity map, which is drawn of the curvature that a surface carries, not of its losses")]
    ConvexityOfLosses,
    /// Curvature is to be drawn as another kind.
    #[error("kind is {kind}; curvature is drawn as a convexity map")]
    ConvexityKind {
        /// The kind of picture asked for.
        kind: PlotKind,
    },
    /// A convexity map has no such format.
    #[error("format is {format}; a convexity map is drawn as SVG, PNG, PDF or HTML")]
    ConvexityFormat {
        /// The format asked for.
        format: PlotFormat,
    },
    /// A convexity map has no logarithm.
    #[error("scale is log; a convexity map is linear, from 0 to 0.5")]
    ConvexityScale,
    /// No curvature is computed.
    #[error("none of the {n_points} points has both eigenvalues; there is nothing to draw")]
    NoCurvature {
        /// The number of grid points.
        n_points: usize,
    },
    /// A figure has no such format.
    #[error("format is {format}; a figure is drawn as SVG, PNG or PDF")]
    FigureFormat {
        /// The format asked for.
        format: PlotFormat,
    },
    /// There is no panel, or more than have room in one picture.
    #[error("panels holds {n_panels} panels; it must hold 1 to {most}")]
    NumberOfPanels {
        /// The number of panels given.
        n_panels: usize,
        /// The most that have room.
        most: usize,
    },
    /// One of several panels cannot be drawn.
    #[error("panels[{panel_idx}].{picture}: {source}")]
    OfPanel {
        /// Which panel.
        panel_idx: usize,
        /// What it shows.
        picture: &'static str,
        /// Why.
        source: Box<Self>,
    },
    /// Losses that are to stand on one scale are of different scales or palettes.
    #[error("panels[{panel_idx}] has another scale or palette than the first with losses; one scale needs one of each")]
    UnlikeScales {
        /// Which panel.
        panel_idx: usize,
    },
    /// A convexity map has one limit.
    #[error("loss_max is {loss_max}; a convexity map has no losses, and ends at 0.5: leave it out")]
    ConvexityLimit {
        /// The limit given.
        loss_max: f64,
    },
    /// A trajectory has no such format.
    #[error("format is {format}; a trajectory is drawn as SVG, PNG, PDF, HTML or GIF")]
    TrajectoryFormat {
        /// The format asked for.
        format: PlotFormat,
    },
    /// A run has no such format.
    #[error("format is {format}; a run is drawn as SVG, PNG, PDF or HTML")]
    RunFormat {
        /// The format asked for.
        format: PlotFormat,
    },
    /// There is no run, or more than can be told apart.
    #[error("runs holds {n_runs} runs; it must hold 1 to {most}")]
    NumberOfRuns {
        /// The number of runs given.
        n_runs: usize,
        /// The most that can be told apart.
        most: usize,
    },
    /// A run has no epoch.
    #[error("runs[{run_idx}].epochs is empty; it must hold 1 epoch or more")]
    EmptyRun {
        /// Which run.
        run_idx: usize,
    },
    /// The epochs of a run do not rise.
    #[error("runs[{run_idx}].epochs[{epoch_idx}].epoch is {epoch}; it must be a finite number above the one before")]
    RunEpoch {
        /// Which run.
        run_idx: usize,
        /// Which of its epochs.
        epoch_idx: usize,
        /// The number given.
        epoch: f64,
    },
    /// None of the values of runs can be drawn on the scale.
    #[error("none of the {n_values} {values} {lack}; there is nothing to draw")]
    NoRunValue {
        /// What the values are.
        values: &'static str,
        /// How many there are.
        n_values: usize,
        /// What they lack.
        lack: &'static str,
    },
    /// Several surfaces have no such format.
    #[error("format is {format}; several surfaces are drawn as SVG, PNG or PDF")]
    SurfacesFormat {
        /// The format asked for.
        format: PlotFormat,
    },
    /// There is no surface, or more than have room in one picture.
    #[error("surfaces holds {n_surfaces} surfaces; it must hold 1 to {most}")]
    NumberOfSurfaces {
        /// The number of surfaces given.
        n_surfaces: usize,
        /// The most that have room.
        most: usize,
    },
    /// There is no column of panels, or more than have room.
    #[error("n_columns is {n_columns}; it must be 1 to {most}")]
    Columns {
        /// The number of columns asked for.
        n_columns: u32,
        /// The most that have room.
        most: u32,
    },
    /// Surfaces that are no curves are to be drawn over each other.
    #[error("layout is overlay or band, which only curves have, but kind is {kind}; choose panels")]
    LayoutOfKind {
        /// The kind of picture asked for.
        kind: PlotKind,
    },
    /// One curve has no spread.
    #[error("surfaces holds 1 curve; a band is of 2 or more: choose overlay")]
    BandOfOne,
    /// Curves of a band are not of one grid.
    #[error(
        "surfaces[{surface_idx}] is over {points}, but surfaces[0] over {first}; a band needs one grid: choose overlay"
    )]
    BandGrid {
        /// Which surface.
        surface_idx: usize,
        /// Its grid, min:max:count.
        points: String,
        /// The grid of the first.
        first: String,
    },
    /// One of several surfaces cannot be drawn.
    #[error("surfaces[{surface_idx}]: {source}")]
    OfSurface {
        /// Which surface.
        surface_idx: usize,
        /// Why.
        source: Box<Self>,
    },
    /// The picture would be too high.
    #[error(
        "the picture would be {height:.0} pixels high; it has {most} at most: choose more columns or a smaller width"
    )]
    TooHigh {
        /// Its height in pixels.
        height: f64,
        /// The most that it has.
        most: f64,
    },
    /// The surface has points, but no cell.
    #[error("no cell has four corners that can be drawn, of {n_points} points that can; there is no surface yet")]
    NoCell {
        /// The number of points that can be drawn.
        n_points: usize,
    },
    /// The limit of the losses is no number.
    #[error("loss_max is {loss_max}; it must be a finite number")]
    LossMaxNotFinite {
        /// The limit given.
        loss_max: f64,
    },
    /// The limit of the losses leaves nothing to draw.
    #[error("loss_max is {loss_max}, but the least loss that can be drawn is {least}; loss_max must be above it")]
    LossMaxTooLow {
        /// The limit given.
        loss_max: f64,
        /// The least loss that can be drawn.
        least: f64,
    },
    /// An array does not have a value for each grid point.
    #[error("{array} holds {length} values; {n_rows} rows and {n_columns} columns need {}", n_rows * n_columns)]
    Shape {
        /// The array's name.
        array: &'static str,
        /// The number of values it holds.
        length: usize,
        /// The number of rows of the grid.
        n_rows: usize,
        /// The number of columns of the grid.
        n_columns: usize,
    },
    /// There is no grid point.
    #[error("the surface has no points; it needs at least 1")]
    NoPoints,
    /// The coordinates of an axis are not finite or do not rise.
    #[error("the coordinates of axis {axis} are not finite numbers in rising order")]
    Coordinates {
        /// The axis' name.
        axis: char,
    },
    /// A surface of several rows is to be drawn as a curve.
    #[error("a curve has 1 row, this surface has {n_rows} rows of {n_columns} points; draw a contour or a heatmap")]
    NotACurve {
        /// The number of rows of the grid.
        n_rows: usize,
        /// The number of columns of the grid.
        n_columns: usize,
    },
    /// A curve is to be drawn as a surface.
    #[error("a {kind} needs at least 2 rows, this is a curve of 1 row and {n_columns} points; draw a curve")]
    NotASurface {
        /// The kind of picture asked for.
        kind: PlotKind,
        /// The number of columns of the grid.
        n_columns: usize,
    },
    /// A surface of one column is to be drawn.
    #[error(
        "a {kind} needs at least 2 columns, this surface has 1 column of {n_rows} points; use two axes with a range"
    )]
    SingleColumn {
        /// The kind of picture asked for.
        kind: PlotKind,
        /// The number of rows of the grid.
        n_rows: usize,
    },
    /// No point is computed yet.
    #[error("none of the {n_points} points is computed yet; wait for the first ones")]
    NothingComputed {
        /// The number of grid points.
        n_points: usize,
    },
    /// Every computed loss is NaN or infinite.
    #[error("none of the {n_computed} computed losses is a finite number; there is nothing to draw")]
    NothingFinite {
        /// The number of computed points.
        n_computed: usize,
    },
    /// Nothing can be drawn on a log scale.
    #[error("none of the {n_finite} finite losses is above 0, which the log scale needs; use the linear scale")]
    NothingPositive {
        /// The number of finite losses.
        n_finite: usize,
    },
    /// A trajectory is to be drawn over something else than contours.
    #[error("kind is {kind}; a trajectory is drawn over a contour")]
    TrajectoryKind {
        /// The kind of picture asked for.
        kind: PlotKind,
    },
    /// There is no path, or more than can be told apart.
    #[error("paths holds {n_paths} paths; it must hold 1 to {most}")]
    NumberOfPaths {
        /// The number of paths given.
        n_paths: usize,
        /// The most that can be told apart.
        most: usize,
    },
    /// A path has no point.
    #[error("paths[{path_idx}].points is empty; it must hold 1 point or more")]
    EmptyPath {
        /// Which path.
        path_idx: usize,
    },
    /// A number of a path's point is out of range.
    #[error("paths[{path_idx}].points[{point_idx}].{field} is {value}; it must be {right}")]
    PathPoint {
        /// Which path.
        path_idx: usize,
        /// Which of its points.
        point_idx: usize,
        /// The name of the number.
        field: &'static str,
        /// The number given.
        value: f64,
        /// What would be right.
        right: &'static str,
    },
    /// A share of the variation is out of range.
    #[error("explained holds {share}; it must hold shares from 0 to 1")]
    Explained {
        /// The share given.
        share: f64,
    },
    /// The embedded typeface cannot be read.
    #[error("reading the embedded typeface failed")]
    Typeface(#[source] ttf_parser::FaceParsingError),
    /// The SVG cannot be read back.
    #[error("reading the drawn SVG for rasterisation failed")]
    Svg(#[source] Box<usvg::Error>),
    /// The raster cannot be allocated.
    #[error("a raster of {width} x {height} pixels cannot be made")]
    Raster {
        /// The width in device pixels.
        width: u32,
        /// The height in device pixels.
        height: u32,
    },
    /// The PDF cannot be made.
    #[error("making the PDF failed: {reason}")]
    Pdf {
        /// What the converter said.
        reason: String,
    },
    /// The GIF cannot be encoded.
    #[error("encoding the GIF failed: {reason}")]
    Gif {
        /// What the encoder said.
        reason: String,
    },
    /// Values cannot be compressed.
    #[error("compressing the values failed")]
    Compress(#[source] std::io::Error),
    /// The PNG cannot be encoded.
    #[error("encoding the PNG failed: {reason}")]
    Png {
        /// What the encoder said.
        reason: String,
    },
}
