//! Heat maps: a coloured cell around each grid point, with a colour bar.

use std::collections::BTreeMap;

use super::colormap::{Color, VIRIDIS, viridis_idx};
use super::field::{Field, Missing, Range};
use super::frame::{self, Frame, Side, WIDTH};
use super::note::{self, Note, Sign};
use super::number::short;
use super::scene::{Point, Rect, Scene, Size};
use super::tick;
use crate::plot::{LossScale, PlotError, PlotSpec};

const BAR_WIDTH: f64 = 16.0;
const BAR_GAP: f64 = 16.0;
const POINTER: f64 = 11.0;

/// Draws the cells of `field` as SVG.
pub(super) fn draw(field: &Field<'_>, spec: &PlotSpec) -> Result<String, PlotError> {
    let mut scene = Scene::new()?;
    let (columns, rows) = (edges(field.x), edges(field.y));
    let (x, y) = (ends(&columns), ends(&rows));
    let losses = field.range.widened();
    let y_ticks = tick::linear(y.lo, y.hi, 8);
    let loss_ticks = match field.scale {
        _ if field.range.is_point() => tick::Ticks {
            major: vec![tick::Tick { position: field.range.lo, label: short(field.losses.lo) }],
            minor: Vec::new(),
        },
        LossScale::Linear => tick::linear(losses.lo, losses.hi, 8),
        LossScale::Log => tick::logarithmic(losses.lo, losses.hi, 8),
    };
    let left = frame::vertical_axis_width(&scene, &y_ticks);
    let right = WIDTH - frame::vertical_axis_width(&scene, &loss_ticks) - BAR_WIDTH - BAR_GAP;
    let top = frame::draw_header(&mut scene, spec.title.as_deref(), None, left, right) + 2.0;
    let bottom = top + frame::height_in_proportion(right - left, x, y);
    let frame = Frame { area: Rect { left, top, right, bottom }, x, y };

    draw_cells(&mut scene, &frame, field, &columns, &rows);
    let centre = frame::draw_centre(&mut scene, &frame);
    frame::draw_box(&mut scene, frame.area);
    frame::draw_side_axis(&mut scene, &frame, Side::Left, &y_ticks, &spec.y_label, Color::INK);
    let x_ticks = frame::horizontal_ticks(&scene, x, right - left);
    let below = frame::draw_bottom_axis(&mut scene, &frame, &x_ticks, &spec.x_label);
    let bar = Rect { left: right + BAR_GAP, right: right + BAR_GAP + BAR_WIDTH, top, bottom };
    let bar = draw_bar(&mut scene, bar, losses, field.clip.is_some());
    frame::draw_side_axis(&mut scene, &bar, Side::Right, &loss_ticks, &spec.loss_label, Color::INK);

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
    Ok(scene.into_svg(Size { width: WIDTH, height }, spec.width, title, &description))
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

fn draw_cells(scene: &mut Scene, frame: &Frame, field: &Field<'_>, columns: &[f64], rows: &[f64]) {
    let fill = |position: &Result<f64, Missing>| match position {
        Ok(_) if field.range.is_point() => Fill::Loss(viridis_idx(0.5)),
        Ok(position) => Fill::Loss(viridis_idx(field.range.share(*position))),
        Err(reason) => Fill::Missing(*reason),
    };
    let mut rects: BTreeMap<Fill, Vec<Rect>> = BTreeMap::new();
    for (row, positions) in field.positions.chunks(field.n_columns()).enumerate() {
        let (top, bottom) = (frame.y(rows[row + 1]), frame.y(rows[row]));
        let mut column = 0;
        // Neighbours of one colour are one rectangle.
        for run in positions.chunk_by(|a, b| fill(a) == fill(b)) {
            let (left, right) = (frame.x(columns[column]), frame.x(columns[column + run.len()]));
            rects.entry(fill(&run[0])).or_default().push(Rect { left, top, right, bottom });
            column += run.len();
        }
    }
    for (fill, rects) in rects {
        let color = match fill {
            Fill::Missing(reason) => note::missing_color(reason),
            Fill::Loss(idx) => Color(VIRIDIS[idx]),
        };
        scene.fill(&rects, color);
    }
}

/// Draws the colour bar within `bar`, with a pointed end if losses above are clipped; returns its frame.
fn draw_bar(scene: &mut Scene, bar: Rect, losses: Range, is_clipped: bool) -> Frame {
    let area = if is_clipped { Rect { top: bar.top + POINTER, ..bar } } else { bar };
    let frame = Frame { area, x: Range { lo: 0.0, hi: 1.0 }, y: losses };
    let step = area.height() / VIRIDIS.len() as f64;
    for (idx, color) in VIRIDIS.iter().enumerate() {
        let bottom = area.bottom - step * idx as f64;
        scene.fill(&[Rect { top: bottom - step, bottom, ..area }], Color(*color));
    }
    if is_clipped {
        let tip = Point { x: area.centre().x, y: bar.top };
        let (left, right) = (Point { x: area.left, y: area.top }, Point { x: area.right, y: area.top });
        scene.polygon(&[left, tip, right], Color(VIRIDIS[VIRIDIS.len() - 1]));
        let stroke = frame::axis_stroke();
        scene.polyline(&[left, tip, right], false, stroke);
    }
    frame::draw_box(scene, area);
    frame
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
