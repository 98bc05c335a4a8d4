//! Trajectories: the paths of training over contours, as in Li et al. 2018, figure 9, with the losses along them.

use relief_core::SurfaceValues;

use super::colormap::{Color, MOST_DISTINCT, distinct};
use super::contour;
use super::curve::{draw_legend, draw_line};
use super::field::{Field, Range, check_shape};
use super::frame::{self, Frame, Side, WIDTH};
use super::note::{self, Note, Sign};
use super::number::{fixed, leading_exponent, short};
use super::scene::{Drawing, Point, Rect, Scene, Size, Stroke};
use super::tick;
use crate::plot::{LossScale, PlotError, PlotKind, PlotSpec, Theme};

const LINE_WIDTH: f64 = 1.5;
const PANEL_HEIGHT: f64 = 150.0;
const LEGEND_SIZE: f64 = 12.5;
const DASH: (f64, f64) = (4.0, 3.0);
/// How strongly the contours are drawn under the paths.
const CONTOUR_STRENGTH: f64 = 0.62;

/// A checkpoint's place on the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathPoint {
    /// Its coefficient along the first axis.
    pub x: f64,
    /// Its coefficient along the second axis.
    pub y: f64,
    /// After which epoch it was taken.
    pub epoch: Option<f64>,
    /// The share of its distance from the plane's origin that is not within the plane: 0 in the plane, 1 off it only.
    pub off_plane: f64,
    /// The true loss at the checkpoint itself; may be NaN or infinite.
    pub loss: Option<f64>,
    /// Whether the learning rate was lowered here.
    pub is_drop: bool,
}

/// What training passed through, from its start to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// What the path is called where there are several.
    pub name: String,
    /// Its checkpoints, 1 or more.
    pub points: Vec<PathPoint>,
}

/// The red of the learning rate's drops.
pub(super) fn drop_color(theme: Theme) -> Color {
    Color(if theme == Theme::Paper { 0xc4161c } else { 0xff5a52 })
}

/// A share in percent: with one decimal, or, where that would be nothing, with two digits that say how little it is.
fn percent(share: f64) -> String {
    match leading_exponent(100.0 * share) {
        Some(exponent) if exponent < -1 => fixed(100.0 * share, exponent.unsigned_abs().min(9) as usize + 1),
        _ => fixed(100.0 * share, 1),
    }
}

/// The radius of a checkpoint's dot.
fn radius(off_plane: f64) -> f64 {
    1.9 + 4.6 * off_plane
}

/// Checks what is drawn besides the surface.
pub(super) fn check(paths: &[Path], explained: Option<[f64; 2]>, spec: &PlotSpec) -> Result<(), PlotError> {
    if spec.kind != PlotKind::Contour {
        return Err(PlotError::TrajectoryKind { kind: spec.kind });
    }
    if paths.is_empty() || paths.len() > MOST_DISTINCT {
        return Err(PlotError::NumberOfPaths { n_paths: paths.len(), most: MOST_DISTINCT });
    }
    for share in explained.into_iter().flatten() {
        if !(0.0..=1.0).contains(&share) {
            return Err(PlotError::Explained { share });
        }
    }
    for (path_idx, path) in paths.iter().enumerate() {
        if path.points.is_empty() {
            return Err(PlotError::EmptyPath { path_idx });
        }
        for (point_idx, point) in path.points.iter().enumerate() {
            let finite = "a finite number";
            let wrong = [
                ("x", point.x, point.x.is_finite(), finite),
                ("y", point.y, point.y.is_finite(), finite),
                ("epoch", point.epoch.unwrap_or(0.0), point.epoch.is_none_or(f64::is_finite), finite),
                ("off_plane", point.off_plane, (0.0..=1.0).contains(&point.off_plane), "0 (in the plane) to 1"),
            ];
            if let Some((field, value, _, right)) = wrong.into_iter().find(|(_, _, is_right, _)| !is_right) {
                return Err(PlotError::PathPoint { path_idx, point_idx, field, value, right });
            }
        }
    }
    Ok(())
}

/// A trajectory, ready to be drawn as often as it has pictures.
pub(super) struct Trajectory<'a> {
    field: Option<Field<'a>>,
    /// Why there is no surface.
    without_surface: Option<String>,
    paths: &'a [Path],
    explained: Option<[f64; 2]>,
    spec: &'a PlotSpec,
    /// For each path the surface's loss under its points, where it has one.
    under: Vec<Vec<Option<f64>>>,
}

impl<'a> Trajectory<'a> {
    /// Returns what `draw` draws, of what [`check`] found right.
    pub(super) fn new(
        surface: &'a SurfaceValues,
        paths: &'a [Path],
        explained: Option<[f64; 2]>,
        spec: &'a PlotSpec,
    ) -> Result<Self, PlotError> {
        let has_cells = surface.n_rows() > 1 && surface.n_columns() > 1;
        let (field, without_surface) = if has_cells {
            check_shape(surface)?;
            match Field::new(surface, &surface.main, spec) {
                Ok(field) => (Some(field), None),
                Err(PlotError::NothingComputed { .. }) => (None, Some("the surface is not computed yet".to_owned())),
                Err(PlotError::NothingFinite { .. }) => (None, Some("no loss of the surface is finite".to_owned())),
                Err(error) => return Err(error),
            }
        } else {
            (None, Some("no surface".to_owned()))
        };
        let loss_under = |point: &PathPoint| interpolated(surface, point.x, point.y);
        let under = paths.iter().map(|path| path.points.iter().map(loss_under).collect()).collect();
        Ok(Self { field, without_surface, paths, explained, spec, under })
    }

    /// The most checkpoints of a path.
    pub(super) fn n_steps(&self) -> usize {
        self.paths.iter().map(|path| path.points.len()).max().unwrap_or(0)
    }

    /// Draws the paths as far as their first `n_steps` checkpoints.
    pub(super) fn draw(&self, n_steps: usize) -> Result<Drawing, PlotError> {
        let spec = self.spec;
        let mut scene = Scene::new(spec.theme)?;
        let (x, y) = self.reach();
        let y_ticks = tick::linear(y.lo, y.hi, 8);
        let panel = Panel::of(self);
        let panel_width = panel.as_ref().map_or(0.0, |panel| frame::vertical_axis_width(&scene, &panel.frame_ticks));
        let left = frame::vertical_axis_width(&scene, &y_ticks).max(panel_width);
        let right = WIDTH - 2.0 * frame::MARGIN;
        let subtitle = self.field.as_ref().map(|field| super::bar::loss_label(field, spec));
        let subtitle = subtitle.as_deref().filter(|_| self.field.is_some());
        let top = frame::draw_header(&mut scene, spec.title.as_deref(), subtitle, left, right) + 1.0;
        let bottom = top + frame::height_in_proportion(right - left, x, y);
        let frame = Frame { area: Rect { left, top, right, bottom }, x, y };

        let dots: Vec<Point> =
            self.paths.iter().flat_map(|path| &path.points).map(|point| frame.point(point.x, point.y)).collect();
        if let Some(field) = &self.field {
            contour::draw_gaps(&mut scene, &frame, field);
            contour::draw_lines(&mut scene, &frame, field, spec, &dots, CONTOUR_STRENGTH);
        }
        for (idx, path) in self.paths.iter().enumerate() {
            draw_path(&mut scene, &frame, path, distinct(spec.theme, idx), n_steps, spec.theme);
        }
        frame::draw_box(&mut scene, frame.area);
        let ink = scene.tones.ink;
        let room = [frame.area.width(), frame.area.height() + 20.0];
        let [x_label, y_label] = self.axis_labels(&scene, room);
        frame::draw_side_axis(&mut scene, &frame, Side::Left, &y_ticks, &y_label, ink);
        let x_ticks = frame::horizontal_ticks(&scene, x, right - left);
        let below = frame::draw_bottom_axis(&mut scene, &frame, &x_ticks, &x_label);
        let notes = self.notes();
        let mut height = note::draw(&mut scene, &notes, left, below);
        if let Some(panel) = &panel {
            height = panel.draw(&mut scene, self, left, right, height, n_steps);
        }
        let description = format!(
            "Training over {} ({} to {}) and {} ({} to {}): {}.{}",
            x_label,
            short(x.lo),
            short(x.hi),
            y_label,
            short(y.lo),
            short(y.hi),
            self.paths.iter().map(described).collect::<Vec<_>>().join("; "),
            note::described(&notes),
        );
        let title = spec.title.as_deref().unwrap_or("training trajectory");
        let drawing = scene.into_drawing(Size { width: WIDTH, height }, spec.width, title, &description);
        Ok(drawing.with_hover(frame))
    }

    /// What of the plane is shown: all of the surface and all of the paths.
    fn reach(&self) -> (Range, Range) {
        let points = || self.paths.iter().flat_map(|path| &path.points);
        let reach = |of: fn(&PathPoint) -> f64, coordinates: Option<&[f64]>| {
            let values = points().map(of);
            let none = Range { lo: f64::INFINITY, hi: f64::NEG_INFINITY };
            let of_paths = values.fold(none, |range, at| Range { lo: range.lo.min(at), hi: range.hi.max(at) });
            match coordinates.map(contour::ends) {
                Some(surface) if surface.lo <= of_paths.lo && of_paths.hi <= surface.hi => surface,
                Some(surface) => {
                    let padded = of_paths.widened().padded(0.05);
                    Range { lo: surface.lo.min(padded.lo), hi: surface.hi.max(padded.hi) }
                }
                None => of_paths.widened().padded(0.08),
            }
        };
        let field = self.field.as_ref();
        (reach(|point| point.x, field.map(|field| field.x)), reach(|point| point.y, field.map(|field| field.y)))
    }

    /// The labels of both axes, shorter where they have no room.
    fn axis_labels(&self, scene: &Scene, room: [f64; 2]) -> [String; 2] {
        let labels = [&self.spec.x_label, &self.spec.y_label];
        std::array::from_fn(|axis| {
            let Some(shares) = self.explained else { return labels[axis].clone() };
            let short = format!("{}: {} %", labels[axis], percent(shares[axis]));
            let whole = format!("{short} of the variation");
            if scene.typeface.width(&whole, frame::LABEL_SIZE) <= room[axis] { whole } else { short }
        })
    }

    fn notes(&self) -> Vec<Note> {
        let theme = self.spec.theme;
        let mut notes = Vec::new();
        if self.paths.len() > 1 {
            notes.extend(self.paths.iter().enumerate().map(|(idx, path)| Note {
                sign: Sign::Line(distinct(theme, idx)),
                text: if path.name.is_empty() { format!("path {}", idx + 1) } else { path.name.clone() },
            }));
        }
        let points = || self.paths.iter().flat_map(|path| &path.points);
        notes.push(Note { sign: Sign::Start, text: "start".to_owned() });
        notes.push(Note { sign: Sign::End, text: "end".to_owned() });
        if points().any(|point| point.is_drop) {
            notes.push(Note { sign: Sign::Dot(3.4, drop_color(theme)), text: "learning rate lowered".to_owned() });
        }
        let farthest = points().map(|point| point.off_plane).fold(0.0, f64::max);
        if farthest > 0.0 {
            let quiet = super::colormap::Tones::of(theme).quiet;
            // Round shares that the farthest point is not far beyond.
            let shown: &[f64] = if farthest > 0.5 { &[0.0, 0.5, 1.0] } else { &[0.0, 0.25, 0.5] };
            notes.push(Note { sign: Sign::None, text: "share off the plane:".to_owned() });
            notes.extend(shown.iter().map(|share| Note {
                sign: Sign::Dot(radius(*share), quiet),
                text: format!("{} %", fixed(100.0 * share, 0)),
            }));
        }
        if let Some(text) = &self.without_surface {
            notes.push(Note { sign: Sign::None, text: text.clone() });
        }
        if let Some(field) = &self.field {
            notes.extend(note::omissions(field));
        }
        notes
    }
}

fn described(path: &Path) -> String {
    let (Some(first), Some(last)) = (path.points.first(), path.points.last()) else { return String::new() };
    let [from_x, from_y, to_x, to_y] = [first.x, first.y, last.x, last.y].map(short);
    let name = if path.name.is_empty() { String::new() } else { format!("{}, ", path.name) };
    format!("{name}{} checkpoints from ({from_x}, {from_y}) to ({to_x}, {to_y})", path.points.len())
}

/// The loss of a surface at a place, linear between points; none outside, or where a corner has no finite loss.
fn interpolated(surface: &SurfaceValues, x: f64, y: f64) -> Option<f64> {
    let cell = |coordinates: &[f64], at: f64| {
        let (first, last) = (*coordinates.first()?, *coordinates.last()?);
        if coordinates.len() < 2 || !(first..=last).contains(&at) {
            return None;
        }
        let after = coordinates.partition_point(|coordinate| *coordinate <= at).min(coordinates.len() - 1);
        let (lo, hi) = (coordinates[after - 1], coordinates[after]);
        Some((after - 1, (at - lo) / (hi - lo)))
    };
    let ((column, across), (row, along)) = (cell(&surface.x, x)?, cell(&surface.y, y)?);
    let loss = |down: usize, right: usize| {
        let idx = (row + down) * surface.n_columns() + column + right;
        surface.main.loss.get(idx).copied().filter(|loss| loss.is_finite())
    };
    let (near, far) = ((loss(0, 0)?, loss(0, 1)?), (loss(1, 0)?, loss(1, 1)?));
    let mean = |a: f64, b: f64, share: f64| a * (1.0 - share) + b * share;
    Some(mean(mean(near.0, near.1, across), mean(far.0, far.1, across), along))
}

fn draw_path(scene: &mut Scene, frame: &Frame, path: &Path, color: Color, n_steps: usize, theme: Theme) {
    let shown = &path.points[..n_steps.min(path.points.len())];
    let places: Vec<Point> = shown.iter().map(|point| frame.point(point.x, point.y)).collect();
    let paper = scene.tones.paper;
    if places.len() > 1 {
        scene.polyline(&places, false, Stroke::solid(paper, LINE_WIDTH + 1.8));
        scene.polyline(&places, false, Stroke::solid(color, LINE_WIDTH));
    }
    let is_inner = |idx: usize| idx > 0 && idx + 1 < path.points.len();
    for (idx, (point, place)) in shown.iter().zip(&places).enumerate() {
        if is_inner(idx) && !point.is_drop {
            scene.ring(*place, radius(point.off_plane), color, Stroke::solid(paper, 0.6));
        }
    }
    for (idx, (point, place)) in shown.iter().zip(&places).enumerate() {
        if is_inner(idx) && point.is_drop {
            let size = radius(point.off_plane).max(3.4);
            scene.ring(*place, size, drop_color(theme), Stroke::solid(paper, 0.8));
        }
    }
    if let Some(place) = places.first() {
        draw_start(scene, *place, color);
    }
    if let (Some(place), true) = (places.last(), shown.len() == path.points.len() && shown.len() > 1) {
        draw_end(scene, *place, color);
    }
}

/// Marks where a path starts: an open square.
pub(super) fn draw_start(scene: &mut Scene, place: Point, color: Color) {
    const HALF: f64 = 4.2;
    let square = Rect { left: place.x - HALF, right: place.x + HALF, top: place.y - HALF, bottom: place.y + HALF };
    let paper = scene.tones.paper;
    scene.outline(square, Stroke::solid(paper, 4.4));
    scene.fill(&[square], paper);
    scene.outline(square, Stroke::solid(color, 2.0));
}

/// Marks where a path ends: a star.
pub(super) fn draw_end(scene: &mut Scene, place: Point, color: Color) {
    let corner = |idx: i32| {
        let far = if idx % 2 == 0 { 7.2 } else { 3.0 };
        let (sin, cos) = (f64::from(idx) * std::f64::consts::PI / 5.0).sin_cos();
        Point { x: place.x + far * sin, y: place.y - far * cos }
    };
    let star: Vec<Point> = (0..10).map(corner).collect();
    let paper = scene.tones.paper;
    scene.polyline(&star, true, Stroke::solid(paper, 2.2));
    scene.polygon(&star, color);
}

/// The losses along a path, on the scale.
struct Losses {
    /// The epochs of its checkpoints, or their indices.
    times: Vec<f64>,
    /// Those at the checkpoints.
    own: Vec<Option<f64>>,
    /// Those of the surface below them.
    under: Vec<Option<f64>>,
}

/// The panel of the losses along the paths.
struct Panel {
    x: Range,
    y: Range,
    frame_ticks: tick::Ticks,
    has_epochs: bool,
    /// For each path.
    lines: Vec<Losses>,
    n_undrawable: usize,
}

impl Panel {
    /// Returns the panel, if any loss along the paths is known.
    fn of(trajectory: &Trajectory<'_>) -> Option<Self> {
        let scale = trajectory.spec.scale;
        let scaled = |loss: Option<f64>| match scale {
            LossScale::Linear => loss.filter(|loss| loss.is_finite()),
            LossScale::Log => loss.filter(|loss| loss.is_finite() && *loss > 0.0).map(f64::log10),
        };
        let paths = trajectory.paths;
        let has_epochs = paths.iter().flat_map(|path| &path.points).all(|point| point.epoch.is_some());
        let line = |(path, under): (&Path, &Vec<Option<f64>>)| {
            let time = |(idx, point): (usize, &PathPoint)| point.epoch.filter(|_| has_epochs).unwrap_or(idx as f64);
            let times = path.points.iter().enumerate().map(time).collect();
            let own = path.points.iter().map(|point| scaled(point.loss)).collect();
            Losses { times, own, under: under.iter().map(|loss| scaled(*loss)).collect() }
        };
        let lines: Vec<Losses> = paths.iter().zip(&trajectory.under).map(line).collect();
        let none = Range { lo: f64::INFINITY, hi: f64::NEG_INFINITY };
        let span = |range: Range, at: f64| Range { lo: range.lo.min(at), hi: range.hi.max(at) };
        let known = lines.iter().flat_map(|line| line.own.iter().chain(&line.under)).flatten();
        let losses = known.copied().fold(none, span);
        if losses.lo > losses.hi {
            return None;
        }
        let x = lines.iter().flat_map(|line| &line.times).copied().fold(none, span).widened();
        let mut y = losses.widened();
        if scale == LossScale::Linear && y.lo >= 0.0 && y.lo < 0.3 * y.hi {
            y.lo = 0.0;
        }
        let (lo, padded) = (y.lo, y.padded(0.05));
        let frame_ticks = match scale {
            LossScale::Linear => tick::linear(if lo == 0.0 { 0.0 } else { padded.lo }, padded.hi, 4),
            LossScale::Log => tick::logarithmic(padded.lo, padded.hi, 4),
        };
        let given = paths.iter().flat_map(|path| &path.points).filter(|point| point.loss.is_some()).count();
        let drawn = lines.iter().flat_map(|line| &line.own).flatten().count();
        Some(Self { x, y: padded, frame_ticks, has_epochs, lines, n_undrawable: given - drawn })
    }

    /// Draws the panel below `top`; returns the height of the picture that ends with it.
    fn draw(
        &self,
        scene: &mut Scene,
        trajectory: &Trajectory<'_>,
        left: f64,
        right: f64,
        top: f64,
        n_steps: usize,
    ) -> f64 {
        let spec = trajectory.spec;
        let top = top + LEGEND_SIZE + 8.0;
        let area = Rect { left, right, top, bottom: top + PANEL_HEIGHT };
        let frame = Frame { area, x: self.x.padded(0.015), y: self.y };
        let (ink, faint) = (scene.tones.ink, scene.tones.faint);
        for tick in &self.frame_ticks.major {
            let y = frame.y(tick.position);
            scene.line(Point { x: left, y }, Point { x: right, y }, Stroke::solid(faint, 0.8));
        }
        let red = drop_color(spec.theme);
        for (path, line) in trajectory.paths.iter().zip(&self.lines) {
            for (point, time) in path.points.iter().zip(&line.times).take(n_steps) {
                if point.is_drop {
                    let x = frame.x(*time);
                    let stroke = Stroke { dash: Some((2.0, 3.0)), ..Stroke::solid(red, 1.0) };
                    scene.line(Point { x, y: area.top }, Point { x, y: area.bottom }, stroke);
                }
            }
        }
        for (idx, Losses { times, own, under }) in self.lines.iter().enumerate() {
            let color = distinct(spec.theme, idx);
            let n_shown = n_steps.min(times.len());
            let dashed = Stroke { dash: Some(DASH), ..Stroke::solid(color, LINE_WIDTH - 0.2) };
            draw_line(scene, &frame, &times[..n_shown], &under[..n_shown], dashed);
            draw_line(scene, &frame, &times[..n_shown], &own[..n_shown], Stroke::solid(color, LINE_WIDTH));
        }
        let sample = if trajectory.paths.len() == 1 { distinct(spec.theme, 0) } else { ink };
        let mut entries = Vec::new();
        if self.lines.iter().any(|line| line.own.iter().any(Option::is_some)) {
            entries.push(("loss at the checkpoint", Stroke::solid(sample, LINE_WIDTH)));
        }
        if self.lines.iter().any(|line| line.under.iter().any(Option::is_some)) {
            let stroke = Stroke { dash: Some(DASH), ..Stroke::solid(sample, LINE_WIDTH - 0.2) };
            entries.push(("loss of the surface below it", stroke));
        }
        draw_legend(scene, &entries, right, top - 7.0);
        frame::draw_box(scene, area);
        let name = spec.loss_label.split(" (").next().unwrap_or(&spec.loss_label);
        let scale = if spec.scale == LossScale::Log { ", log scale" } else { "" };
        frame::draw_side_axis(scene, &frame, Side::Left, &self.frame_ticks, &format!("{name}{scale}"), ink);
        let ticks = frame::horizontal_ticks(scene, self.x, right - left);
        let label = if self.has_epochs { "epoch" } else { "checkpoint" };
        let below = frame::draw_bottom_axis(scene, &frame, &ticks, label);
        let mut notes = Vec::new();
        if self.n_undrawable > 0 {
            let points =
                if self.n_undrawable == 1 { "1 checkpoint" } else { &format!("{} checkpoints", self.n_undrawable) };
            let text = format!("{points} without a loss that can be drawn");
            notes.push(Note { sign: Sign::None, text });
        }
        note::draw(scene, &notes, left, below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_share_says_how_small_it_is() {
        let texts = [0.6766, 0.0012, 0.000_051_4, 0.0, 1.0].map(percent);
        assert_eq!(texts, ["67.7", "0.1", "0.0051", "0.0", "100.0"]);
    }
}
