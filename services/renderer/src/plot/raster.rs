//! From SVG to PNG.

use resvg::tiny_skia::{Color, Pixmap, Transform};
use usvg::{Options, Tree};

use crate::plot::PlotError;

/// Returns `svg` as a PNG file with `pixel_ratio` device pixels for each pixel of the SVG, on white. Reads no fonts.
pub(super) fn png(svg: &str, pixel_ratio: f64) -> Result<Vec<u8>, PlotError> {
    let tree = Tree::from_str(svg, &Options::default()).map_err(|source| PlotError::Svg(Box::new(source)))?;
    let ratio = pixel_ratio as f32;
    let width = (tree.size().width() * ratio).round().max(1.0) as u32;
    let height = (tree.size().height() * ratio).round().max(1.0) as u32;
    let mut pixmap = Pixmap::new(width, height).ok_or(PlotError::Raster { width, height })?;
    pixmap.fill(Color::WHITE);
    resvg::render(&tree, Transform::from_scale(ratio, ratio), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|source| PlotError::Png { reason: source.to_string() })
}
