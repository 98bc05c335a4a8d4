//! Heat maps: a coloured cell around each grid point, with a colour bar.

use std::collections::BTreeMap;

use resvg::tiny_skia::{IntSize, Pixmap};

use super::bar::{self, Bar};
use super::colormap::{self, Color, map_idx};
use super::field::{Field, Missing, Range};
use super::frame::{self, Frame, Side, WIDTH};
use super::note::{self, Note, Sign};
use super::number::short;
use super::scene::{Drawing, Rect, Scene, Size};
use super::tick;
use crate::plot::{PlotError, PlotFormat, PlotSpec};

/// Up to so many cells are shapes; more become pixels.
const MOST_SHAPES: usize = 61 * 61;
/// The pixels of cells within a scalable picture, for each scene unit.
const PIXELS_PER_UNIT: f64 = 4.0;

/// Draws the cells of `field`.
pub(super) fn draw(field: &Field<'_>, spec: &PlotSpec) -> Result<Drawing, PlotError> {
    let mut scene = Scene::new(spec.theme)?;
    let (columns, rows) = (edges(field.x), edges(field.y));
    let (x, y) = (ends(&columns), ends(&rows));
    let ink = scene.tones.ink;
    let y_ticks = tick::linear(y.lo, y.hi, 8);
    let bar = Bar::new(field, spec);
    let left = frame::vertical_axis_width(&scene, &y_ticks);
    let right = bar.left_neighbour_right(&scene);
    let top = frame::draw_header(&mut scene, spec.title.as_deref(), None, left, right) + 2.0;
    let bottom = top + frame::height_in_proportion(right - left, x, y);
    let frame = Frame { area: Rect { left, top, right, bottom }, x, y };

    let cells = Cells { field, columns: &columns, rows: &rows, map: colormap::map(spec.palette) };
    cells.draw(&mut scene, &frame, spec, WIDTH)?;
    let centre = frame::draw_centre(&mut scene, &frame);
    frame::draw_box(&mut scene, frame.area);
    frame::draw_side_axis(&mut scene, &frame, Side::Left, &y_ticks, &spec.y_label, ink);
    let x_ticks = frame::horizontal_ticks(&scene, x, right - left);
    let below = frame::draw_bottom_axis(&mut scene, &frame, &x_ticks, &spec.x_label);
    bar.draw(&mut scene, frame.area, &bar::continuous(spec));

    let mut notes = Vec::new();
    if centre.is_some() {
        notes.push(Note { sign: Sign::Cross, text: "the checkpoint, at (0, 0)".to_owned() });
    }
    notes.extend(note::omissions(field));
    let height = note::draw(&mut scene, &notes, left, below);
    let description = format!(
        "Heat map of the {} over {} ({} to {}) and {} ({} to {}), from {} to {}.{}",
        spec.loss_label,
        spec.x_label,
        short(field.x[0]),
        short(field.x[field.n_columns() - 1]),
        spec.y_label,
        short(field.y[0]),
        short(field.y[field.n_rows() - 1]),
        short(field.losses.lo),
        short(field.losses.hi),
        note::described(&notes),
    );
    let title = spec.title.as_deref().unwrap_or(&spec.loss_label);
    let size = Size { width: WIDTH, height };
    Ok(scene.into_drawing(size, spec.width, title, &description).with_hover(frame))
}

/// Draws the cells of `field` into `area`, in a picture of `width` scene units; returns their frame.
pub(super) fn draw_cells(
    scene: &mut Scene,
    area: Rect,
    field: &Field<'_>,
    spec: &PlotSpec,
    width: f64,
) -> Result<Frame, PlotError> {
    let (columns, rows) = (edges(field.x), edges(field.y));
    let frame = Frame { area, x: ends(&columns), y: ends(&rows) };
    let cells = Cells { field, columns: &columns, rows: &rows, map: colormap::map(spec.palette) };
    cells.draw(scene, &frame, spec, width)?;
    Ok(frame)
}

/// What cells around `coordinates` reach over.
pub(super) fn reach(coordinates: &[f64]) -> Range {
    ends(&edges(coordinates))
}

/// The edges of cells around `coordinates`: half-way between neighbours, and as far beyond the ends.
fn edges(coordinates: &[f64]) -> Vec<f64> {
    let n_cells = coordinates.len();
    let middle = |a: f64, b: f64| 0.5 * a + 0.5 * b;
    let inner = coordinates.windows(2).map(|pair| middle(pair[0], pair[1]));
    let first = 1.5 * coordinates[0] - 0.5 * coordinates[1];
    let last = 1.5 * coordinates[n_cells - 1] - 0.5 * coordinates[n_cells - 2];
    std::iter::once(first).chain(inner).chain(std::iter::once(last)).collect()
}

fn ends(edges: &[f64]) -> Range {
    Range { lo: edges[0], hi: edges[edges.len() - 1] }
}

/// What a cell is filled with, in drawing order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fill {
    Missing(Missing),
    Loss(usize),
}

/// The cells of a heat map.
struct Cells<'a> {
    field: &'a Field<'a>,
    columns: &'a [f64],
    rows: &'a [f64],
    map: &'a [u32; 256],
}

impl Cells<'_> {
    fn fill(&self, position: Result<f64, Missing>) -> Fill {
        match position {
            Ok(_) if self.field.range.is_point() => Fill::Loss(map_idx(0.5)),
            Ok(position) => Fill::Loss(map_idx(self.field.range.share(position))),
            Err(reason) => Fill::Missing(reason),
        }
    }

    fn color(&self, scene: &Scene, fill: Fill) -> Color {
        match fill {
            Fill::Missing(reason) => scene.tones.missing(reason),
            Fill::Loss(idx) => Color(self.map[idx]),
        }
    }

    /// Draws the cells in a picture of `width` scene units.
    fn draw(&self, scene: &mut Scene, frame: &Frame, spec: &PlotSpec, width: f64) -> Result<(), PlotError> {
        if self.field.positions.len() > MOST_SHAPES {
            return self.draw_pixels(scene, frame, spec, width);
        }
        // Where edges are smoothed, as in a PDF, neighbours that only meet leave a seam.
        let overlap = if spec.format == PlotFormat::Pdf { 0.35 } else { 0.0 };
        self.draw_shapes(scene, frame, overlap);
        Ok(())
    }

    fn draw_shapes(&self, scene: &mut Scene, frame: &Frame, overlap: f64) {
        let mut rects: BTreeMap<Fill, Vec<Rect>> = BTreeMap::new();
        for (row, positions) in self.field.positions.chunks(self.field.n_columns()).enumerate() {
            let (top, bottom) = (frame.y(self.rows[row + 1]), frame.y(self.rows[row]));
            let mut column = 0;
            // Neighbours of one colour are one rectangle.
            for run in positions.chunk_by(|a, b| self.fill(*a) == self.fill(*b)) {
                let (left, right) = (frame.x(self.columns[column]), frame.x(self.columns[column + run.len()]));
                let (right, bottom) =
                    ((right + overlap).min(frame.area.right), (bottom + overlap).min(frame.area.bottom));
                rects.entry(self.fill(run[0])).or_default().push(Rect { left, top, right, bottom });
                column += run.len();
            }
        }
        for (fill, rects) in rects {
            let color = self.color(scene, fill);
            scene.fill(&rects, color);
        }
    }

    fn draw_pixels(&self, scene: &mut Scene, frame: &Frame, spec: &PlotSpec, width: f64) -> Result<(), PlotError> {
        let area = frame.area;
        let per_unit = match spec.format {
            PlotFormat::Png => spec.pixel_ratio * f64::from(spec.width) / width,
            _ => PIXELS_PER_UNIT,
        };
        let count = |extent: f64| (extent * per_unit).round().max(1.0) as usize;
        let (width, height) = (count(area.width()), count(area.height()));
        // The cell that each pixel's middle lies in.
        let cells = |edges: &[f64], n_pixels: usize, coordinate: &dyn Fn(f64) -> f64| -> Vec<usize> {
            let at = |pixel: usize| coordinate((pixel as f64 + 0.5) / n_pixels as f64);
            let cell = |pixel| edges.partition_point(|edge| *edge <= at(pixel)).clamp(1, edges.len() - 1) - 1;
            (0..n_pixels).map(cell).collect()
        };
        let between = |range: Range, share: f64| range.lo + (range.hi - range.lo) * share;
        let columns = cells(self.columns, width, &|share| between(frame.x, share));
        let rows = cells(self.rows, height, &|share| between(frame.y, 1.0 - share));
        let mut data = Vec::with_capacity(4 * width * height);
        for row in rows {
            for column in &columns {
                let fill = self.fill(self.field.positions[row * self.field.n_columns() + column]);
                let [_, red, green, blue] = self.color(scene, fill).0.to_be_bytes();
                data.extend([red, green, blue, 255]);
            }
        }
        let sides = (u32::try_from(width).unwrap_or(u32::MAX), u32::try_from(height).unwrap_or(u32::MAX));
        let pixels = IntSize::from_wh(sides.0, sides.1).and_then(|size| Pixmap::from_vec(data, size));
        scene.image(pixels.ok_or(PlotError::Raster { width: sides.0, height: sides.1 })?, area);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_centred_at_their_points() {
        assert_eq!(edges(&[-1.0, 0.0, 1.0]), [-1.5, -0.5, 0.5, 1.5]);
        assert_eq!(edges(&[0.0, 1.0, 3.0]), [-0.5, 0.5, 2.0, 4.0]);
    }
}
