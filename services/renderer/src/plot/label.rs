//! Where labels stand on lines: on straight stretches, along the line and upright, clear of each other, of other lines
//! and of the area's edges.

use super::scene::{Point, Rect};
use super::trace::Trace;

/// How far a line stays from its label's text.
const SEAM: f64 = 3.0;
/// The least distance of a label to the area's edges.
const EDGE: f64 = 5.0;
/// The least distance between labels.
const APART: f64 = 7.0;
/// The least distance between labels of one line.
const REPEAT: f64 = 170.0;
/// A further label for so much of a line.
const PER_LABEL: f64 = 520.0;

/// A line that wants labels.
pub(super) struct Labelled {
    /// The line.
    pub trace: Trace,
    /// Which level it belongs to.
    pub level: usize,
    /// The width of its label's text.
    pub width: f64,
}

/// A label in its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Label {
    /// Which line it stands on.
    pub line: usize,
    /// The stretch of the line that it takes the place of.
    pub stretch: (f64, f64),
    /// The middle of its text.
    pub centre: Point,
    /// The clockwise rotation of its text in degrees, -90 to 90.
    pub angle: f64,
}

/// Returns places for the labels of `lines`, of the text height `height`, in `area` and clear of `obstacles`. The
/// longest lines choose first. A level all of whose lines are crowded gets a label between its neighbours if it fits
/// without touching another label; lines that curl within a label's width get none.
pub(super) fn place(lines: &[Labelled], height: f64, area: Rect, obstacles: &[Point]) -> Vec<Label> {
    let mut order: Vec<usize> = (0..lines.len()).filter(|idx| lines[*idx].trace.length() > 0.0).collect();
    order.sort_by(|a, b| lines[*b].trace.length().total_cmp(&lines[*a].trace.length()));
    let mut placer = Placer { lines, index: Index::of(lines, area), height, area, obstacles, placed: Vec::new() };
    for crowding in [Crowding::Clear, Crowding::Between] {
        for idx in &order {
            let line = &lines[*idx];
            let n_wanted = match crowding {
                Crowding::Clear => ((line.trace.length() / PER_LABEL) as usize).clamp(1, 3),
                Crowding::Between if placer.has_label(line.level) => 0,
                Crowding::Between => 1,
            };
            for _ in 0..n_wanted {
                let Some(candidate) = placer.best(*idx, crowding) else { break };
                placer.placed.push(candidate);
            }
        }
    }
    placer.placed.into_iter().map(|(label, _)| label).collect()
}

/// How near other lines may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crowding {
    /// Clear of the whole label.
    Clear,
    /// Clear of the middle of the label; its seam covers them.
    Between,
}

struct Placer<'a> {
    lines: &'a [Labelled],
    index: Index,
    height: f64,
    area: Rect,
    obstacles: &'a [Point],
    placed: Vec<(Label, Tilted)>,
}

impl Placer<'_> {
    fn has_label(&self, level: usize) -> bool {
        self.placed.iter().any(|(label, _)| self.lines[label.line].level == level)
    }

    fn best(&self, idx: usize, crowding: Crowding) -> Option<(Label, Tilted)> {
        let line = &self.lines[idx];
        let length = line.trace.length();
        if length < 2.5 * line.width {
            return None;
        }
        let step = (length / 240.0).max(3.0);
        let n_candidates = (length / step) as usize;
        let candidates = (0..n_candidates).filter_map(|count| self.candidate(idx, count as f64 * step, crowding));
        candidates.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, label, tilted)| (label, tilted))
    }

    fn candidate(&self, idx: usize, arc: f64, crowding: Crowding) -> Option<(f64, Label, Tilted)> {
        let line = &self.lines[idx];
        let half = 0.5 * line.width + SEAM;
        let (mut from, mut to) = (arc - half, arc + half);
        if !line.trace.is_closed && (from < EDGE || to > line.trace.length() - EDGE) {
            return None;
        }
        if from < 0.0 {
            (from, to) = (from + line.trace.length(), to + line.trace.length());
        }
        let stretch = line.trace.between(from, to);
        let (first, last) = (*stretch.first()?, *stretch.last()?);
        let chord = first.distance(last);
        if chord < 1.8 * half {
            return None;
        }
        let (cos, sin) = ((last.x - first.x) / chord, (last.y - first.y) / chord);
        let offsets = stretch.iter().map(|point| (point.y - first.y) * cos - (point.x - first.x) * sin);
        let (lowest, highest) =
            offsets.fold((0.0_f64, 0.0_f64), |(low, high), offset| (low.min(offset), high.max(offset)));
        let bend = highest - lowest;
        if bend > 0.4 * self.height {
            return None;
        }
        let shift = 0.5 * (lowest + highest);
        let middle = first.towards(last, 0.5);
        let centre = Point { x: middle.x - shift * sin, y: middle.y + shift * cos };
        // Upright: read from left to right, whichever way the line runs.
        let (cos, sin) = if cos < 0.0 || (cos == 0.0 && sin > 0.0) { (-cos, -sin) } else { (cos, sin) };
        let tilted =
            Tilted { centre, cos, sin, half_width: 0.5 * line.width + 1.5, half_height: 0.5 * self.height + 2.0 };
        if !self.is_free(idx, (from, to), &tilted, crowding) {
            return None;
        }
        let nearest = self.placed.iter().map(|(label, _)| label.centre.distance(centre)).fold(f64::INFINITY, f64::min);
        let cost = bend / self.height + 0.3 * sin.abs() + 0.8 * (1.0 - nearest / 90.0).max(0.0);
        let angle = sin.atan2(cos).to_degrees();
        Some((cost, Label { line: idx, stretch: (from, to), centre, angle }, tilted))
    }

    fn is_free(&self, idx: usize, stretch: (f64, f64), tilted: &Tilted, crowding: Crowding) -> bool {
        let is_inside = tilted.corners().iter().all(|corner| self.area.contains(*corner, EDGE));
        let is_apart = self.placed.iter().all(|(label, other)| {
            let is_same_level = self.lines[label.line].level == self.lines[idx].level;
            let is_repeat = is_same_level && label.centre.distance(tilted.centre) < REPEAT;
            !is_repeat && !tilted.grown(APART).meets(other)
        });
        let is_off_obstacles = self.obstacles.iter().all(|obstacle| !tilted.grown(8.0).holds(*obstacle));
        let core = match crowding {
            Crowding::Clear => *tilted,
            Crowding::Between => Tilted { half_height: 0.45 * self.height, ..*tilted },
        };
        is_inside && is_apart && is_off_obstacles && self.index.is_clear(self.lines, idx, stretch, &core)
    }
}

/// A rectangle rotated about its centre.
#[derive(Debug, Clone, Copy)]
struct Tilted {
    centre: Point,
    cos: f64,
    sin: f64,
    half_width: f64,
    half_height: f64,
}

impl Tilted {
    fn grown(self, by: f64) -> Self {
        Self { half_width: self.half_width + by, half_height: self.half_height + by, ..self }
    }

    fn corners(&self) -> [Point; 4] {
        [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)].map(|(across, down)| {
            let (u, v) = (across * self.half_width, down * self.half_height);
            Point { x: self.centre.x + u * self.cos - v * self.sin, y: self.centre.y + u * self.sin + v * self.cos }
        })
    }

    /// The point's coordinates along and across the rectangle, from its centre.
    fn local(&self, point: Point) -> (f64, f64) {
        let (x, y) = (point.x - self.centre.x, point.y - self.centre.y);
        (x * self.cos + y * self.sin, y * self.cos - x * self.sin)
    }

    fn holds(&self, point: Point) -> bool {
        let (u, v) = self.local(point);
        u.abs() <= self.half_width && v.abs() <= self.half_height
    }

    /// Whether two rectangles overlap: no side of either separates them.
    fn meets(&self, other: &Self) -> bool {
        let is_separated = |a: &Self, b: &Self| {
            let corners = b.corners().map(|corner| a.local(corner));
            corners.iter().all(|(u, _)| *u > a.half_width)
                || corners.iter().all(|(u, _)| *u < -a.half_width)
                || corners.iter().all(|(_, v)| *v > a.half_height)
                || corners.iter().all(|(_, v)| *v < -a.half_height)
        };
        !is_separated(self, other) && !is_separated(other, self)
    }

    /// Whether the segment from `a` to `b` touches the rectangle.
    fn is_crossed(&self, a: Point, b: Point) -> bool {
        let ((u0, v0), (u1, v1)) = (self.local(a), self.local(b));
        let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
        for (from, to, half) in [(u0, u1, self.half_width), (v0, v1, self.half_height)] {
            let rise = to - from;
            if rise == 0.0 {
                if from.abs() > half {
                    return false;
                }
                continue;
            }
            let (near, far) = ((-half - from) / rise, (half - from) / rise);
            enter = enter.max(near.min(far));
            leave = leave.min(near.max(far));
        }
        enter <= leave
    }
}

/// The segments of all lines by the squares of the area that they touch.
struct Index {
    origin: Point,
    n_columns: usize,
    n_rows: usize,
    squares: Vec<Vec<(u32, u32)>>,
}

impl Index {
    const SQUARE: f64 = 20.0;

    fn of(lines: &[Labelled], area: Rect) -> Self {
        let count = |extent: f64| (extent / Self::SQUARE).ceil().max(1.0) as usize;
        let (n_columns, n_rows) = (count(area.width()), count(area.height()));
        let origin = Point { x: area.left, y: area.top };
        let mut index = Self { origin, n_columns, n_rows, squares: vec![Vec::new(); n_columns * n_rows] };
        for (line_idx, line) in lines.iter().enumerate() {
            for (segment_idx, pair) in line.trace.points.windows(2).enumerate() {
                for square in index.touched(pair) {
                    index.squares[square].push((line_idx as u32, segment_idx as u32));
                }
            }
        }
        index
    }

    /// The squares that the upright rectangle around `points` touches.
    fn touched(&self, points: &[Point]) -> Vec<usize> {
        let square = |offset: f64, count: usize| ((offset / Self::SQUARE).max(0.0) as usize).min(count - 1);
        let span = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
        };
        let (left, right) = span(&mut points.iter().map(|point| point.x - self.origin.x));
        let (top, bottom) = span(&mut points.iter().map(|point| point.y - self.origin.y));
        let columns = square(left, self.n_columns)..=square(right, self.n_columns);
        let rows = square(top, self.n_rows)..=square(bottom, self.n_rows);
        rows.flat_map(|row| columns.clone().map(move |column| row * self.n_columns + column)).collect()
    }

    /// Whether no line but the own `stretch` of line `own` touches `tilted`.
    fn is_clear(&self, lines: &[Labelled], own: usize, stretch: (f64, f64), tilted: &Tilted) -> bool {
        self.touched(&tilted.corners()).into_iter().flat_map(|square| &self.squares[square]).all(
            |(line_idx, segment)| {
                let (line_idx, segment) = (*line_idx as usize, *segment as usize);
                let trace = &lines[line_idx].trace;
                if line_idx == own {
                    let (start, end) = (trace.arcs[segment], trace.arcs[segment + 1]);
                    let overlaps = |offset: f64| start + offset < stretch.1 && stretch.0 < end + offset;
                    if overlaps(0.0) || (trace.is_closed && overlaps(trace.length())) {
                        return true;
                    }
                }
                !tilted.is_crossed(trace.points[segment], trace.points[segment + 1])
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Rect = Rect { left: 0.0, top: 0.0, right: 500.0, bottom: 500.0 };

    fn circle(radius: f64, level: usize) -> Labelled {
        let angle = |idx: i32| f64::from(idx) * std::f64::consts::TAU / 200.0;
        let point = |idx| Point { x: 250.0 + radius * angle(idx).cos(), y: 250.0 + radius * angle(idx).sin() };
        Labelled { trace: Trace::new((0..200).map(point).collect(), true), level, width: 24.0 }
    }

    #[test]
    fn labels_stand_on_their_lines_along_them_and_upright() {
        let lines: Vec<_> = (1..=9).map(|idx| circle(25.0 * idx as f64, idx)).collect();
        let labels = place(&lines, 7.0, AREA, &[]);
        for label in &labels {
            let radius = 25.0 * lines[label.line].level as f64;
            let (x, y) = (label.centre.x - 250.0, label.centre.y - 250.0);
            assert!((x.hypot(y) - radius).abs() < 3.0);
            assert!((-90.0..=90.0).contains(&label.angle));
            let tangent = (-x).atan2(y).to_degrees();
            let turn = (label.angle - tangent).rem_euclid(180.0);
            assert!(turn.min(180.0 - turn) < 4.0, "{turn}");
        }
        // All but the innermost, which curls within a label's width.
        let mut levels: Vec<_> = labels.iter().map(|label| lines[label.line].level).collect();
        levels.sort_unstable();
        levels.dedup();
        assert_eq!(levels, (2..=9).collect::<Vec<_>>());
    }

    #[test]
    fn labels_are_apart_and_inside() {
        let lines: Vec<_> = (2..=24).map(|idx| circle(10.0 * idx as f64, idx)).collect();
        let labels = place(&lines, 7.0, AREA, &[Point { x: 250.0, y: 250.0 }]);
        assert!(labels.len() >= 10);
        for (idx, label) in labels.iter().enumerate() {
            assert!(AREA.contains(label.centre, EDGE));
            assert!(labels[..idx].iter().all(|other| other.centre.distance(label.centre) > 7.0));
        }
    }

    #[test]
    fn tilted_rectangles_know_what_they_touch() {
        let sin = std::f64::consts::FRAC_1_SQRT_2;
        let centre = Point { x: 0.0, y: 0.0 };
        let tilted = Tilted { centre, cos: sin, sin, half_width: 10.0, half_height: 1.0 };
        assert!(tilted.holds(Point { x: 6.0, y: 6.0 }));
        assert!(!tilted.holds(Point { x: 6.0, y: -6.0 }));
        assert!(tilted.is_crossed(Point { x: 6.0, y: -9.0 }, Point { x: 6.0, y: 9.0 }));
        assert!(!tilted.is_crossed(Point { x: 3.0, y: -9.0 }, Point { x: 9.0, y: 0.0 }));
        let other = Tilted { centre: Point { x: 5.0, y: -5.0 }, ..tilted };
        assert!(!tilted.meets(&other));
        assert!(tilted.meets(&Tilted { sin: -sin, ..other }));
    }
}
