//! Contours: labelled lines of equal loss over two directions, as in Li et al. 2018, figure 5.

use super::bar;
use super::field::{Field, Missing, Range};
use super::frame::{self, Frame, Side, WIDTH};
use super::isoline::{Isoline, isolines};
use super::label::{self, Label, Labelled};
use super::level::{Level, levels};
use super::note::{self, Note, Sign};
use super::number::{apart, short};
use super::scene::{Anchor, Drawing, Point, Rect, Scene, Size, Stroke, TextStyle};
use super::tick;
use super::trace::{Trace, thinned};
use crate::plot::{PlotError, PlotSpec};

const LABEL_SIZE: f64 = 10.5;
const LINE_WIDTH: f64 = 1.3;
const MAJOR_WIDTH: f64 = 2.0;

/// Draws the contours of `field`.
pub(super) fn draw(field: &Field<'_>, spec: &PlotSpec) -> Result<Drawing, PlotError> {
    let mut scene = Scene::new(spec.theme)?;
    let ink = scene.tones.ink;
    let (x, y) = (ends(field.x), ends(field.y));
    let y_ticks = tick::linear(y.lo, y.hi, 8);
    let left = frame::vertical_axis_width(&scene, &y_ticks);
    let right = WIDTH - 2.0 * frame::MARGIN;
    let subtitle = bar::loss_label(field, spec);
    let top = frame::draw_header(&mut scene, spec.title.as_deref(), Some(&subtitle), left, right) + 1.0;
    let bottom = top + frame::height_in_proportion(right - left, x, y);
    let frame = Frame { area: Rect { left, top, right, bottom }, x, y };

    draw_gaps(&mut scene, &frame, field);
    let centre = frame::draw_centre(&mut scene, &frame);
    let has_lines = draw_lines(&mut scene, &frame, field, spec, centre.as_slice(), 1.0);
    frame::draw_box(&mut scene, frame.area);
    frame::draw_side_axis(&mut scene, &frame, Side::Left, &y_ticks, &spec.y_label, ink);
    let x_ticks = frame::horizontal_ticks(&scene, x, right - left);
    let below = frame::draw_bottom_axis(&mut scene, &frame, &x_ticks, &spec.x_label);

    let notes = notes(field, centre.is_some(), !has_lines);
    let height = note::draw(&mut scene, &notes, left, below);
    let description = format!(
        "Contours of the {} over {} ({} to {}) and {} ({} to {}), from {} to {}.{}",
        spec.loss_label,
        spec.x_label,
        short(x.lo),
        short(x.hi),
        spec.y_label,
        short(y.lo),
        short(y.hi),
        short(field.losses.lo),
        short(field.losses.hi),
        note::described(&notes),
    );
    let title = spec.title.as_deref().unwrap_or(&subtitle);
    let size = Size { width: WIDTH, height };
    Ok(scene.into_drawing(size, spec.width, title, &description).with_hover(frame))
}

/// Returns what stands below contours: what the cross means, why there is no line, and what is left out.
pub(super) fn notes(field: &Field<'_>, has_centre: bool, is_without_lines: bool) -> Vec<Note> {
    let mut notes = Vec::new();
    if has_centre {
        notes.push(Note { sign: Sign::Cross, text: "the checkpoint, at (0, 0)".to_owned() });
    }
    if is_without_lines {
        let losses = field.losses;
        let text = if field.range.is_point() {
            format!("the loss is {} at every point drawn", short(losses.lo))
        } else {
            format!("no contour level between {} and {}", short(losses.lo), short(losses.hi))
        };
        notes.push(Note { sign: Sign::None, text });
    }
    notes.extend(note::omissions(field));
    notes
}

/// The levels at which lines of `field` are drawn.
pub(super) fn levels_of(field: &Field<'_>) -> Vec<Level> {
    levels(field.range, field.scale, field.clip.is_some(), field.median)
}

/// The first and the last coordinate.
pub(super) fn ends(coordinates: &[f64]) -> Range {
    let first = coordinates.first().copied().unwrap_or(0.0);
    Range { lo: first, hi: coordinates.last().copied().unwrap_or(first) }
}

/// Shades the cells without lines because a corner cannot be drawn.
pub(super) fn draw_gaps(scene: &mut Scene, frame: &Frame, field: &Field<'_>) {
    for reason in Missing::ALL {
        let mut rects = Vec::new();
        for row in 0..field.n_rows() - 1 {
            for column in 0..field.n_columns() - 1 {
                if gap(field, row, column) == Some(reason) {
                    let from = frame.point(field.x[column], field.y[row + 1]);
                    let to = frame.point(field.x[column + 1], field.y[row]);
                    rects.push(Rect { left: from.x, top: from.y, right: to.x, bottom: to.y });
                }
            }
        }
        let color = scene.tones.missing(reason);
        scene.fill(&rects, color);
    }
}

/// Why nothing can be drawn in the cell from (row, column) on; none if it can.
pub(super) fn gap(field: &Field<'_>, row: usize, column: usize) -> Option<Missing> {
    let point = row * field.n_columns() + column;
    let below = point + field.n_columns();
    [point, point + 1, below, below + 1].into_iter().filter_map(|idx| field.positions[idx].err()).max()
}

fn lines(scene: &Scene, frame: &Frame, field: &Field<'_>, levels: &[Level], names: &[String]) -> Vec<Labelled> {
    let values: Vec<Option<f64>> = field.positions.iter().map(|position| position.ok()).collect();
    let trace = |line: Isoline| {
        let place = |(column, row)| frame.point(coordinate(field.x, column), coordinate(field.y, row));
        Trace::new(thinned(line.points.into_iter().map(place).collect()), line.is_closed)
    };
    let of_level = |(idx, level): (usize, &Level)| {
        let width = scene.typeface.width(&names[idx], LABEL_SIZE);
        let lines = isolines(&values, field.n_columns(), level.position);
        let traces = lines.into_iter().map(trace).filter(|trace| !is_speck(trace));
        traces.map(|trace| Labelled { trace, level: idx, width }).collect::<Vec<_>>()
    };
    levels.iter().enumerate().flat_map(of_level).collect()
}

/// Whether a line closes around so little that it would be seen as a blot.
fn is_speck(trace: &Trace) -> bool {
    const LEAST_SIDE: f64 = 6.0;
    let side = |of: fn(&Point) -> f64| {
        let (lo, hi) = trace
            .points
            .iter()
            .map(of)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), value| (lo.min(value), hi.max(value)));
        hi - lo
    };
    trace.is_closed && side(|point| point.x).max(side(|point| point.y)) < LEAST_SIDE
}

/// The coordinate at a fraction of grid indices.
pub(super) fn coordinate(coordinates: &[f64], at: f64) -> f64 {
    let before = (at as usize).min(coordinates.len() - 1);
    let after = (before + 1).min(coordinates.len() - 1);
    let share = at - before as f64;
    coordinates[before] * (1.0 - share) + coordinates[after] * share
}

/// Draws the labelled lines of `field`, labels clear of `obstacles`; at a `strength` below 1 as a background. Returns
/// whether there is a line.
pub(super) fn draw_lines(
    scene: &mut Scene,
    frame: &Frame,
    field: &Field<'_>,
    spec: &PlotSpec,
    obstacles: &[Point],
    strength: f64,
) -> bool {
    let levels = levels_of(field);
    let names = apart(&levels.iter().map(|level| level.loss).collect::<Vec<_>>());
    let lines = lines(scene, frame, field, &levels, &names);
    let cap_height = scene.typeface.cap_height(LABEL_SIZE);
    let extent = |range: Range, coordinates: &[f64], to: &dyn Fn(f64) -> f64| {
        let inside = ends(coordinates);
        (to(inside.lo.max(range.lo)), to(inside.hi.min(range.hi)))
    };
    let (left, right) = extent(frame.x, field.x, &|x| frame.x(x));
    let (bottom, top) = extent(frame.y, field.y, &|y| frame.y(y));
    let labels = label::place(&lines, cap_height, Rect { left, top, right, bottom }, obstacles);
    let tones = scene.tones;
    let color = |level: &Level| {
        let color = tones.line(spec.palette, field.range.share(level.position));
        tones.paper.towards(color, strength)
    };
    for (idx, line) in lines.iter().enumerate() {
        let level = &levels[line.level];
        let stroke = Stroke::solid(color(level), if level.is_major { MAJOR_WIDTH } else { LINE_WIDTH });
        let cuts: Vec<_> = labels.iter().filter(|label| label.line == idx).map(|label| label.stretch).collect();
        if cuts.is_empty() && line.trace.is_closed {
            let (_, points) = line.trace.points.split_last().unwrap_or((&Point { x: 0.0, y: 0.0 }, &[]));
            scene.polyline(points, true, stroke);
        } else {
            for piece in line.trace.without(&cuts) {
                scene.polyline(&piece, false, stroke);
            }
        }
    }
    for Label { line, centre, angle, .. } in labels {
        let level = &levels[lines[line].level];
        let color = tones.text_beside(color(level));
        let (sin, cos) = angle.to_radians().sin_cos();
        let base = Point { x: centre.x - 0.5 * cap_height * sin, y: centre.y + 0.5 * cap_height * cos };
        let style = TextStyle { angle, halo: 1.5, ..TextStyle::level(LABEL_SIZE, color, Anchor::Middle) };
        scene.text(&names[lines[line].level], base, style);
    }
    !lines.is_empty()
}
