//! From a drawing to pixels.

use resvg::tiny_skia::{Color, FilterQuality, Pixmap, PixmapPaint, Transform};
use usvg::{Options, Tree};

use super::scene::{Drawing, Layer};
use crate::plot::PlotError;

/// The length of a CSS pixel: 96 to the inch, in metres.
const METRES_PER_PIXEL: f64 = 0.0254 / 96.0;

/// Returns `drawing` as a PNG file with `pixel_ratio` device pixels for each pixel of the drawing. Reads no fonts.
pub(super) fn png(drawing: &Drawing, pixel_ratio: f64) -> Result<Vec<u8>, PlotError> {
    let png = pixels(drawing, pixel_ratio)?.encode_png();
    let png = png.map_err(|source| PlotError::Png { reason: source.to_string() })?;
    Ok(with_density(png, (pixel_ratio / METRES_PER_PIXEL).round() as u32))
}

/// Returns `drawing` as opaque pixels, `pixel_ratio` for each of its own.
pub(super) fn pixels(drawing: &Drawing, pixel_ratio: f64) -> Result<Pixmap, PlotError> {
    let ratio = pixel_ratio as f32;
    let width = (drawing.width as f32 * ratio).round().max(1.0) as u32;
    let height = (drawing.height() as f32 * ratio).round().max(1.0) as u32;
    let mut pixmap = Pixmap::new(width, height).ok_or(PlotError::Raster { width, height })?;
    let [_, red, green, blue] = drawing.paper().0.to_be_bytes();
    pixmap.fill(Color::from_rgba8(red, green, blue, 255));
    let unit = (f64::from(drawing.width) / drawing.size().width * pixel_ratio) as f32;
    for layer in drawing.layers() {
        match layer {
            Layer::Markup(svg) => {
                let tree =
                    Tree::from_str(&svg, &Options::default()).map_err(|source| PlotError::Svg(Box::new(source)))?;
                resvg::render(&tree, Transform::from_scale(ratio, ratio), &mut pixmap.as_mut());
            }
            Layer::Pixels(image, area) => {
                let (x, y) = (area.left as f32 * unit, area.top as f32 * unit);
                let scale_x = area.width() as f32 * unit / image.width() as f32;
                let scale_y = area.height() as f32 * unit / image.height() as f32;
                let paint = PixmapPaint { quality: FilterQuality::Bilinear, ..PixmapPaint::default() };
                let transform = Transform::from_row(scale_x, 0.0, 0.0, scale_y, x, y);
                pixmap.draw_pixmap(0, 0, image.as_ref(), &paint, transform, None);
            }
        }
    }
    Ok(pixmap)
}

/// Returns `png` with a chunk that says how many of its pixels make a metre, so that it is printed at its size.
fn with_density(mut png: Vec<u8>, per_metre: u32) -> Vec<u8> {
    // The signature and the header chunk, of fixed lengths, come first.
    const AFTER_HEADER: usize = 8 + 25;
    if png.len() < AFTER_HEADER {
        return png;
    }
    let mut body = b"pHYs".to_vec();
    body.extend(per_metre.to_be_bytes());
    body.extend(per_metre.to_be_bytes());
    body.push(1);
    let mut crc = flate2::Crc::new();
    crc.update(&body);
    let mut chunk = 9_u32.to_be_bytes().to_vec();
    chunk.extend(body);
    chunk.extend(crc.sum().to_be_bytes());
    png.splice(AFTER_HEADER..AFTER_HEADER, chunk);
    png
}
