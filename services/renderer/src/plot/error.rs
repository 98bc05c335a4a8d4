//! Why a picture cannot be drawn.

use crate::plot::PlotKind;

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
    /// The PNG cannot be encoded.
    #[error("encoding the PNG failed: {reason}")]
    Png {
        /// What the encoder said.
        reason: String,
    },
}
