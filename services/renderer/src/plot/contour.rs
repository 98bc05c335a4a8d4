//! Contours: labelled lines of equal loss over two directions, as in Li et al. 2018, figure 5.

use super::colormap::{Color, viridis};
use super::field::{Field, Missing, Range};
use super::frame::{self, Frame, Side, WIDTH};
use super::isoline::{Isoline, isolines};
use super::label::{self, Label, Labelled};
use super::level::{Level, levels};
use super::note::{self, Note, Sign};
use super::number::short;
use super::scene::{Anchor, Point, Rect, Scene, Size, Stroke, TextStyle};
use super::tick;
use super::trace::Trace;
use crate::plot::{LossScale, PlotError, PlotSpec};

const LABEL_SIZE: f64 = 10.5;
const LINE_WIDTH: f64 = 1.3;
const MAJOR_WIDTH: f64 = 2.0;

/// The lightest part of the map is left out: it would vanish on white.
const DARK_PART: f64 = 0.82;

/// Draws the contours of `field` as SVG.
pub(super) fn draw(field: &Field<'_>, spec: &PlotSpec) -> Result<String, PlotError> {
    let mut scene = Scene::new()?;
    let (x, y) = (ends(field.x), ends(field.y));
    let y_ticks = tick::linear(y.lo, y.hi, 8);
    let left = frame::vertical_axis_width(&scene, &y_ticks);
    let right = WIDTH - 2.0 * frame::MARGIN;
    let subtitle = subtitle(field, spec);
    let top = frame::draw_header(&mut scene, spec.title.as_deref(), Some(&subtitle), left, right) + 1.0;
    let bottom = top + frame::height_in_proportion(right - left, x, y);
    let frame = Frame { area: Rect { left, top, right, bottom }, x, y };

    draw_gaps(&mut scene, &frame, field);
    let levels = levels(field.range, field.scale, field.clip.is_some(), median(field));
    let lines = lines(&scene, &frame, field, &levels);
    let centre = frame::draw_centre(&mut scene, &frame);
    draw_lines(&mut scene, &frame, field.range, &levels, &lines, centre.as_slice());
    frame::draw_box(&mut scene, frame.area);
    frame::draw_side_axis(&mut scene, &frame, Side::Left, &y_ticks, &spec.y_label, Color::INK);
    let x_ticks = frame::horizontal_ticks(&scene, x, right - left);
    let below = frame::draw_bottom_axis(&mut scene, &frame, &x_ticks, &spec.x_label);

    let mut notes = Vec::new();
    if centre.is_some() {
        notes.push(Note { sign: Sign::Cross, text: "the checkpoint, at (0, 0)".to_owned() });
    }
    if levels.is_empty() {
        let losses = field.losses;
        let text = if field.range.is_point() {
            format!("the loss is {} at every point drawn", short(losses.lo))
        } else {
            format!("no contour level between {} and {}", short(losses.lo), short(losses.hi))
        };
        notes.push(Note { sign: Sign::None, text });
    }
    notes.extend(note::omissions(field));
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
    Ok(scene.into_svg(Size { width: WIDTH, height }, spec.width, title, &description))
}

fn subtitle(field: &Field<'_>, spec: &PlotSpec) -> String {
    match field.scale {
        LossScale::Linear => spec.loss_label.clone(),
        LossScale::Log => format!("{}, logarithmic levels", spec.loss_label),
    }
}

/// The middle one of the positions that can be drawn; 0 without any.
fn median(field: &Field<'_>) -> f64 {
    let mut positions: Vec<f64> = field.positions.iter().filter_map(|position| position.ok()).collect();
    positions.sort_by(f64::total_cmp);
    positions.get(positions.len() / 2).copied().unwrap_or(0.0)
}

fn ends(coordinates: &[f64]) -> Range {
    let first = coordinates.first().copied().unwrap_or(0.0);
    Range { lo: first, hi: coordinates.last().copied().unwrap_or(first) }
}

/// Shades the cells without lines because a corner cannot be drawn.
fn draw_gaps(scene: &mut Scene, frame: &Frame, field: &Field<'_>) {
    for reason in Missing::ALL {
        let mut rects = Vec::new();
        for row in 1..field.n_rows() {
            for column in 1..field.n_columns() {
                let point = row * field.n_columns() + column;
                let above = point - field.n_columns();
                let corners = [point, point - 1, above, above - 1].map(|idx| field.positions[idx].err());
                if corners.into_iter().max().flatten() == Some(reason) {
                    let from = frame.point(field.x[column - 1], field.y[row]);
                    let to = frame.point(field.x[column], field.y[row - 1]);
                    rects.push(Rect { left: from.x, top: from.y, right: to.x, bottom: to.y });
                }
            }
        }
        scene.fill(&rects, note::missing_color(reason));
    }
}

fn lines(scene: &Scene, frame: &Frame, field: &Field<'_>, levels: &[Level]) -> Vec<Labelled> {
    let values: Vec<Option<f64>> = field.positions.iter().map(|position| position.ok()).collect();
    let trace = |line: Isoline| {
        let place = |(column, row)| frame.point(coordinate(field.x, column), coordinate(field.y, row));
        Trace::new(line.points.into_iter().map(place).collect(), line.is_closed)
    };
    let of_level = |(idx, level): (usize, &Level)| {
        let width = scene.typeface.width(&short(level.loss), LABEL_SIZE);
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
fn coordinate(coordinates: &[f64], at: f64) -> f64 {
    let before = (at as usize).min(coordinates.len() - 1);
    let after = (before + 1).min(coordinates.len() - 1);
    let share = at - before as f64;
    coordinates[before] * (1.0 - share) + coordinates[after] * share
}

fn draw_lines(
    scene: &mut Scene,
    frame: &Frame,
    range: Range,
    levels: &[Level],
    lines: &[Labelled],
    obstacles: &[Point],
) {
    let cap_height = scene.typeface.cap_height(LABEL_SIZE);
    let labels = label::place(lines, cap_height, frame.area, obstacles);
    let color = |level: &Level| viridis(DARK_PART * range.share(level.position));
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
        let color = color(level).darkened(0.72);
        let (sin, cos) = angle.to_radians().sin_cos();
        let base = Point { x: centre.x - 0.5 * cap_height * sin, y: centre.y + 0.5 * cap_height * cos };
        let style = TextStyle { angle, halo: 1.5, ..TextStyle::level(LABEL_SIZE, color, Anchor::Middle) };
        scene.text(&short(level.loss), base, style);
    }
}
