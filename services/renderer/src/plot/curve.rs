//! Curves: loss and accuracy over one direction, as in Li et al. 2018, figure 2; a second split is dashed.

use relief_core::{PointFlag, SplitValues, SurfaceValues};

use super::bar;
use super::colormap::Color;
use super::field::{Field, Missing, Range};
use super::frame::{self, Frame, Side, WIDTH};
use super::note::{self, Note};
use super::number::short;
use super::scene::{Anchor, Drawing, Point, Rect, Scene, Size, Stroke, TextStyle};
use super::tick::{self, Ticks};
use crate::plot::{LossScale, PlotError, PlotSpec};

/// The width of lines.
pub(super) const LINE_WIDTH: f64 = 1.7;
/// The height of the area.
pub(super) const AREA_HEIGHT: f64 = 350.0;
const PADDING: f64 = 0.04;
const LEGEND_SIZE: f64 = 12.5;
const LEGEND_SAMPLE: f64 = 24.0;
/// The dashes and gaps of secondary lines.
pub(super) const DASH: (f64, f64) = (5.0, 3.5);

/// One split as it is drawn.
struct Line<'a> {
    split: &'a SplitValues,
    /// None where no loss of it can be drawn.
    field: Option<&'a Field<'a>>,
    dash: Option<(f64, f64)>,
}

/// Draws the curve of `values`.
pub(super) fn draw(values: &SurfaceValues, field: &Field<'_>, spec: &PlotSpec) -> Result<Drawing, PlotError> {
    let mut scene = Scene::new(spec.theme)?;
    let tones = scene.tones;
    let n_points = field.n_columns();
    let x = Range { lo: field.x[0], hi: field.x[n_points - 1] }.widened();
    let also = values.also.as_ref().map(|split| (split, Field::new(values, split, spec).ok()));
    let main = Line { split: &values.main, field: Some(field), dash: None };
    let second = also.as_ref().map(|(split, field)| Line { split, field: field.as_ref(), dash: Some(DASH) });
    let joined = second.as_ref().and_then(|line| line.field).map(|also| field.joined(also));
    let shown = joined.as_ref().unwrap_or(field);
    let lines: Vec<Line<'_>> = std::iter::once(main).chain(second).collect();
    let (loss_range, loss_ticks) = loss_axis(shown);
    let accuracies: Vec<Vec<Option<f64>>> = lines.iter().map(|line| accuracies(line.split)).collect();
    let accuracy_axis = accuracy_axis(&accuracies.concat());

    let left = frame::vertical_axis_width(&scene, &loss_ticks);
    let right = match &accuracy_axis {
        Some((_, ticks)) => WIDTH - frame::vertical_axis_width(&scene, ticks),
        None => WIDTH - 2.0 * frame::MARGIN,
    };
    let header = frame::draw_header(&mut scene, spec.title.as_deref(), None, left, right);
    let legend = accuracy_axis.is_some() || lines.len() > 1;
    let top = if legend { header + LEGEND_SIZE + 8.0 } else { header + 2.0 };
    let area = Rect { left, top, right, bottom: top + AREA_HEIGHT };
    let frame = Frame { area, x, y: loss_range };

    draw_gaps(&mut scene, &frame, field);
    draw_guides(&mut scene, &frame, &loss_ticks);
    let mut entries = vec![(spec.loss_label.as_str(), Stroke::solid(tones.loss, LINE_WIDTH))];
    if let Some((range, ticks)) = &accuracy_axis {
        let frame = Frame { y: *range, ..frame };
        for (line, accuracies) in lines.iter().zip(&accuracies) {
            draw_line(&mut scene, &frame, field.x, accuracies, line.stroke(tones.accuracy));
        }
        frame::draw_side_axis(&mut scene, &frame, Side::Right, ticks, &spec.accuracy_label, tones.accuracy);
        entries.push((spec.accuracy_label.as_str(), Stroke::solid(tones.accuracy, LINE_WIDTH)));
    }
    if lines.len() > 1 {
        entries.extend(lines.iter().map(|line| (line.split.split.as_str(), line.stroke(tones.ink))));
    }
    if legend {
        draw_legend(&mut scene, &entries, right, header + LEGEND_SIZE - 1.0);
    }
    for line in &lines {
        let Some(field) = line.field else { continue };
        let losses: Vec<Option<f64>> = field.positions.iter().map(|position| position.ok()).collect();
        draw_line(&mut scene, &frame, field.x, &losses, line.stroke(tones.loss));
    }
    frame::draw_box(&mut scene, area);
    frame::draw_side_axis(&mut scene, &frame, Side::Left, &loss_ticks, &bar::loss_label(shown, spec), tones.loss);
    let x_ticks = frame::horizontal_ticks(&scene, x, right - left);
    let below = frame::draw_bottom_axis(&mut scene, &frame, &x_ticks, &spec.x_label);

    let notes = notes(shown, &lines);
    let height = note::draw(&mut scene, &notes, left, below);
    let description = format!(
        "Curve of the {}, from {} to {}, over {} ({} to {}).{}",
        spec.loss_label,
        short(shown.losses.lo),
        short(shown.losses.hi),
        spec.x_label,
        short(field.x[0]),
        short(field.x[n_points - 1]),
        note::described(&notes),
    );
    let title = spec.title.as_deref().unwrap_or(&spec.loss_label);
    let size = Size { width: WIDTH, height };
    Ok(scene.into_drawing(size, spec.width, title, &description).with_hover(frame))
}

impl Line<'_> {
    fn stroke(&self, color: Color) -> Stroke {
        Stroke { dash: self.dash, ..Stroke::solid(color, LINE_WIDTH) }
    }
}

/// What is left out, by split where there are two.
fn notes(shown: &Field<'_>, lines: &[Line<'_>]) -> Vec<Note> {
    if lines.len() == 1 {
        return note::omissions(shown);
    }
    let mut notes = Vec::new();
    for line in lines {
        let split = line.split.split.as_str();
        match line.field {
            Some(field) => {
                let missing = note::missing(field).into_iter();
                notes.extend(missing.map(|note| Note { text: format!("{split}: {}", note.text), ..note }));
            }
            None => notes.push(Note { sign: note::Sign::None, text: format!("{split}: no loss can be drawn") }),
        }
    }
    notes.extend(note::clipping(shown));
    notes
}

/// What of the loss scale is shown, and its ticks. A linear scale that comes near zero begins there.
pub(super) fn loss_axis(field: &Field<'_>) -> (Range, Ticks) {
    let mut range = field.range.widened();
    if field.scale == LossScale::Linear && range.lo >= 0.0 && range.lo < 0.3 * range.hi {
        range.lo = 0.0;
    }
    let padded = range.padded(PADDING);
    let shown = if field.is_limited { Range { hi: range.hi, ..padded } } else { padded };
    let ticks = match field.scale {
        LossScale::Linear => tick::linear(if range.lo == 0.0 { 0.0 } else { shown.lo }, shown.hi, 7),
        LossScale::Log => tick::logarithmic(shown.lo, shown.hi, 7),
    };
    (shown, ticks)
}

/// The accuracies where the loss is finite: elsewhere an argmax over NaN says nothing.
pub(super) fn accuracies(values: &SplitValues) -> Vec<Option<f64>> {
    let points = values.accuracy.iter().zip(&values.flags);
    points.map(|(accuracy, flag)| Some(*accuracy).filter(|it| it.is_finite() && *flag == PointFlag::Finite)).collect()
}

/// What of the accuracy scale is shown, and its ticks: all of it, unless accuracies differ by little. None if no
/// accuracy is known.
pub(super) fn accuracy_axis(accuracies: &[Option<f64>]) -> Option<(Range, Ticks)> {
    let known = accuracies.iter().flatten().copied();
    let (lo, hi) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), value| (lo.min(value), hi.max(value)));
    if lo > hi {
        return None;
    }
    let whole = Range { lo: 0.0, hi: 100.0 };
    let is_share = (0.0..=100.0).contains(&lo) && (0.0..=100.0).contains(&hi);
    let range = if is_share && (hi - lo >= 30.0 || hi - lo < 0.5) { whole } else { Range { lo, hi }.widened() };
    let shown = range.padded(PADDING);
    let limits = if is_share { Range { lo: shown.lo.max(0.0), hi: shown.hi.min(100.0) } } else { shown };
    Some((shown, tick::linear(limits.lo, limits.hi, 6)))
}

/// Shades what lies around points that cannot be drawn.
fn draw_gaps(scene: &mut Scene, frame: &Frame, field: &Field<'_>) {
    for reason in Missing::ALL {
        let mut rects: Vec<Rect> = Vec::new();
        for (idx, position) in field.positions.iter().enumerate() {
            if *position != Err(reason) {
                continue;
            }
            let here = frame.x(field.x[idx]);
            let middle = |other: Option<&f64>| other.map_or(here, |other| 0.5 * (here + frame.x(*other)));
            let left = middle(idx.checked_sub(1).and_then(|before| field.x.get(before)));
            let right = middle(field.x.get(idx + 1));
            match rects.last_mut() {
                Some(rect) if (rect.right - left).abs() < 1e-6 => rect.right = right,
                _ => rects.push(Rect { left, right, ..frame.area }),
            }
        }
        let color = scene.tones.missing(reason);
        scene.fill(&rects, color);
    }
}

/// Draws lines at the ticks of the vertical axis, and where the coefficient is 0.
pub(super) fn draw_guides(scene: &mut Scene, frame: &Frame, ticks: &Ticks) {
    let Rect { left, right, top, bottom } = frame.area;
    for tick in &ticks.major {
        let y = frame.y(tick.position);
        scene.line(Point { x: left, y }, Point { x: right, y }, Stroke::solid(scene.tones.faint, 0.8));
    }
    if frame.x.lo < 0.0 && 0.0 < frame.x.hi {
        let x = frame.x(0.0);
        let stroke = Stroke { color: scene.tones.quiet, width: 0.8, dash: Some((3.0, 3.0)) };
        scene.line(Point { x, y: top }, Point { x, y: bottom }, stroke);
    }
}

/// Draws a line through the points that have a value, broken where one has none, cut where it leaves the area. A point
/// without neighbours is a dot.
pub(super) fn draw_line(scene: &mut Scene, frame: &Frame, x: &[f64], values: &[Option<f64>], stroke: Stroke) {
    let points: Vec<Option<Point>> =
        x.iter().zip(values).map(|(x, value)| value.map(|value| frame.point(*x, value))).collect();
    for run in points.chunk_by(|a, b| a.is_some() && b.is_some()) {
        let run: Vec<Point> = run.iter().flatten().copied().collect();
        match run[..] {
            [point] if frame.area.contains(point, -1.0) => scene.dot(point, 2.2, stroke.color),
            _ => {
                for piece in below(&run, frame.area.top) {
                    scene.polyline(&piece, false, stroke);
                }
            }
        }
    }
}

/// Returns the parts of a line that do not rise above `top`.
fn below(line: &[Point], top: f64) -> Vec<Vec<Point>> {
    let mut pieces: Vec<Vec<Point>> = Vec::new();
    let mut is_below = false;
    for pair in line.windows(2) {
        let [a, b] = [pair[0], pair[1]];
        let crossing = |a: Point, b: Point| a.towards(b, (top - a.y) / (b.y - a.y));
        match (a.y >= top, b.y >= top) {
            (true, _) if !is_below => pieces.push(vec![a]),
            (false, true) => pieces.push(vec![crossing(a, b)]),
            _ => {}
        }
        if let Some(piece) = pieces.last_mut() {
            match (a.y >= top, b.y >= top) {
                (_, true) => piece.push(b),
                (true, false) => piece.push(crossing(a, b)),
                (false, false) => {}
            }
        }
        is_below = b.y >= top;
    }
    pieces
}

/// Draws line samples with the names of `entries`, without their units, ending at `right`.
pub(super) fn draw_legend(scene: &mut Scene, entries: &[(&str, Stroke)], right: f64, base: f64) {
    let mut x = right;
    for (label, stroke) in entries.iter().rev() {
        let name = label.split(" (").next().unwrap_or(label);
        let name = scene.typeface.fit(name, LEGEND_SIZE, 180.0);
        scene.text(&name, Point { x, y: base }, TextStyle::level(LEGEND_SIZE, scene.tones.ink, Anchor::End));
        x -= scene.typeface.width(&name, LEGEND_SIZE) + 7.0;
        let y = base - 0.5 * scene.typeface.cap_height(LEGEND_SIZE);
        scene.line(Point { x: x - LEGEND_SAMPLE, y }, Point { x, y }, *stroke);
        x -= LEGEND_SAMPLE + 18.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)]) -> Vec<Point> {
        points.iter().map(|(x, y)| Point { x: *x, y: *y }).collect()
    }

    #[test]
    fn a_line_is_cut_where_it_leaves_the_area() {
        let whole = line(&[(0.0, 10.0), (1.0, 20.0), (2.0, 10.0)]);
        assert_eq!(below(&whole, 0.0), vec![whole]);
        let peak = line(&[(0.0, 10.0), (2.0, -10.0), (4.0, 10.0)]);
        assert_eq!(below(&peak, 0.0), [line(&[(0.0, 10.0), (1.0, 0.0)]), line(&[(3.0, 0.0), (4.0, 10.0)])]);
        assert!(below(&line(&[(0.0, -1.0), (1.0, -2.0)]), 0.0).is_empty());
    }

    #[test]
    fn accuracies_that_differ_by_little_are_enlarged() {
        let shown = |values: &[f64]| {
            let values: Vec<_> = values.iter().copied().map(Some).collect();
            accuracy_axis(&values).map(|(range, _)| range.hi - range.lo)
        };
        assert!(shown(&[10.0, 94.0]).expect("an axis") > 100.0);
        assert!(shown(&[90.0, 94.0]).expect("an axis") < 5.0);
        assert_eq!(accuracy_axis(&[None, None]), None);
    }
}
