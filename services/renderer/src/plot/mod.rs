//! Drawing: from the values of a surface to the bytes of a picture.

mod colormap;
mod contour;
mod curve;
mod error;
mod field;
mod frame;
mod heatmap;
mod isoline;
mod label;
mod level;
mod note;
mod number;
mod raster;
mod scene;
mod spec;
mod tick;
mod trace;
mod typeface;

pub use error::PlotError;
pub use spec::{LossScale, PlotFormat, PlotKind, PlotSpec};

use field::Field;
use relief_core::SurfaceValues;

/// Draws `values` as `spec` says and returns the bytes of the picture: an SVG document in UTF-8, or a PNG file of
/// `spec.width * spec.pixel_ratio` pixels' width. The height follows from the kind and the axes.
///
/// # Errors
/// When the specification or the shape of the values is wrong, the kind does not suit the surface (a curve has one row,
/// a contour and a heat map have two rows and columns or more), or no value can be drawn on the scale.
///
/// A curve draws a second split too, dashed; the others draw the main one.
pub fn draw(values: &SurfaceValues, spec: &PlotSpec) -> Result<Vec<u8>, PlotError> {
    spec.check()?;
    field::check_shape(values)?;
    check_kind(values, spec.kind)?;
    let field = Field::new(values, &values.main, spec)?;
    let svg = match spec.kind {
        PlotKind::Curve => curve::draw(values, &field, spec)?,
        PlotKind::Contour => contour::draw(&field, spec)?,
        PlotKind::Heatmap => heatmap::draw(&field, spec)?,
    };
    match spec.format {
        PlotFormat::Svg => Ok(svg.into_bytes()),
        PlotFormat::Png => raster::png(&svg, spec.pixel_ratio),
    }
}

fn check_kind(values: &SurfaceValues, kind: PlotKind) -> Result<(), PlotError> {
    let (n_rows, n_columns) = (values.n_rows(), values.n_columns());
    match kind {
        PlotKind::Curve if n_rows != 1 => Err(PlotError::NotACurve { n_rows, n_columns }),
        PlotKind::Contour | PlotKind::Heatmap if n_rows == 1 => Err(PlotError::NotASurface { kind, n_columns }),
        PlotKind::Contour | PlotKind::Heatmap if n_columns == 1 => Err(PlotError::SingleColumn { kind, n_rows }),
        _ => Ok(()),
    }
}
