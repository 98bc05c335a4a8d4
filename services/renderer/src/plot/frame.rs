//! The frame of a picture: its axes, ticks and header.

use super::colormap::Color;
use super::field::Range;
use super::scene::{Anchor, Point, Rect, Scene, Stroke, TextStyle};
use super::tick::{self, Ticks};

/// The width of every picture in scene units, which are pixels at the default width.
pub(super) const WIDTH: f64 = 640.0;
/// The least distance of anything to the picture's edge.
pub(super) const MARGIN: f64 = 14.0;
/// The em of tick labels.
pub(super) const TICK_SIZE: f64 = 12.5;
/// The em of axis labels.
pub(super) const LABEL_SIZE: f64 = 13.5;

const TITLE_SIZE: f64 = 16.0;
const SUBTITLE_SIZE: f64 = 12.0;
const MAJOR_LENGTH: f64 = 4.5;
const MINOR_LENGTH: f64 = 2.5;
const TICK_GAP: f64 = 4.0;
const LABEL_GAP: f64 = 9.0;
const AXIS_WIDTH: f64 = 0.9;

/// The area that data are drawn in, and the parts of the scales it shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// The area in scene units.
    pub area: Rect,
    /// What of the horizontal scale it shows, left to right.
    pub x: Range,
    /// What of the vertical scale it shows, bottom to top.
    pub y: Range,
}

impl Frame {
    /// Where the horizontal position `x` is drawn.
    pub(super) fn x(&self, x: f64) -> f64 {
        self.area.left + self.x.share(x) * self.area.width()
    }

    /// Where the vertical position `y` is drawn.
    pub(super) fn y(&self, y: f64) -> f64 {
        self.area.bottom - self.y.share(y) * self.area.height()
    }

    /// Where the point (`x`, `y`) is drawn.
    pub(super) fn point(&self, x: f64, y: f64) -> Point {
        Point { x: self.x(x), y: self.y(y) }
    }
}

/// The height of an area for two coefficients: in the proportion of its ranges, unless that is extreme.
pub(super) fn height_in_proportion(width: f64, x: Range, y: Range) -> f64 {
    let proportion = (y.hi - y.lo) / (x.hi - x.lo);
    if (0.4..=1.3).contains(&proportion) { (width * proportion).round() } else { (0.75 * width).round() }
}

/// Returns linear ticks for a horizontal axis of `width`, as many as have room for their labels.
pub(super) fn horizontal_ticks(scene: &Scene, range: Range, width: f64) -> Ticks {
    let has_room = |ticks: &Ticks| {
        let widest = widest_label(scene, ticks);
        widest * 1.5 * ticks.major.len() as f64 <= width
    };
    let choices = (2..=8).rev().map(|n_steps| tick::linear(range.lo, range.hi, n_steps));
    choices.into_iter().find(has_room).unwrap_or_else(|| tick::linear(range.lo, range.hi, 1))
}

/// The width of the widest label of `ticks`.
pub(super) fn widest_label(scene: &Scene, ticks: &Ticks) -> f64 {
    ticks.major.iter().map(|tick| scene.typeface.width(&tick.label, TICK_SIZE)).fold(0.0, f64::max)
}

/// The room that the ticks of a vertical axis take beside the area.
pub(super) fn vertical_ticks_width(scene: &Scene, ticks: &Ticks) -> f64 {
    (MAJOR_LENGTH + TICK_GAP + widest_label(scene, ticks)).ceil()
}

/// The room that a vertical axis with its label takes beside the area, the margin included.
pub(super) fn vertical_axis_width(scene: &Scene, ticks: &Ticks) -> f64 {
    (MAJOR_LENGTH + TICK_GAP + widest_label(scene, ticks) + LABEL_GAP + LABEL_SIZE + MARGIN - 2.0).ceil()
}

/// Draws the title and a quiet line below it, centred over `left..right`; returns the least y below both.
pub(super) fn draw_header(
    scene: &mut Scene,
    title: Option<&str>,
    subtitle: Option<&str>,
    left: f64,
    right: f64,
) -> f64 {
    let centre = 0.5 * (left + right);
    let room = 2.0 * (centre - MARGIN).min(WIDTH - MARGIN - centre);
    draw_centred_header(scene, title, subtitle, centre, room)
}

/// Draws the title and a quiet line below it around `centre`, at most `room` wide; returns the least y below both.
pub(super) fn draw_centred_header(
    scene: &mut Scene,
    title: Option<&str>,
    subtitle: Option<&str>,
    centre: f64,
    room: f64,
) -> f64 {
    let mut y = MARGIN;
    for line in scene.typeface.wrap(title.unwrap_or_default(), TITLE_SIZE, room, 3) {
        y += 1.05 * TITLE_SIZE;
        scene.text(&line, Point { x: centre, y }, TextStyle::level(TITLE_SIZE, scene.tones.ink, Anchor::Middle));
        y += 0.3 * TITLE_SIZE;
    }
    if let Some(subtitle) = subtitle {
        y += 1.1 * SUBTITLE_SIZE;
        let line = scene.typeface.fit(subtitle, SUBTITLE_SIZE, room);
        scene.text(&line, Point { x: centre, y }, TextStyle::level(SUBTITLE_SIZE, scene.tones.quiet, Anchor::Middle));
        y += 0.3 * SUBTITLE_SIZE;
    }
    (y + 5.0).round()
}

/// Draws the lines around the area.
pub(super) fn draw_box(scene: &mut Scene, area: Rect) {
    scene.outline(area, Stroke::solid(scene.tones.ink, AXIS_WIDTH));
}

/// Draws ticks and label below the area; returns the least y below them.
pub(super) fn draw_bottom_axis(scene: &mut Scene, frame: &Frame, ticks: &Ticks, label: &str) -> f64 {
    let top = draw_bottom_ticks(scene, frame, ticks);
    // A label wider than the area is kept within the picture.
    let line = scene.typeface.fit(label, LABEL_SIZE, WIDTH - 2.0 * MARGIN);
    let half = 0.5 * scene.typeface.width(&line, LABEL_SIZE);
    let centre = frame.area.centre().x.clamp(MARGIN + half, (WIDTH - MARGIN - half).max(MARGIN + half));
    draw_bottom_label(scene, &line, centre, top)
}

/// Draws ticks below the area; returns the least y below their labels.
pub(super) fn draw_bottom_ticks(scene: &mut Scene, frame: &Frame, ticks: &Ticks) -> f64 {
    let bottom = frame.area.bottom;
    for tick in &ticks.major {
        let x = frame.x(tick.position);
        scene.line(
            Point { x, y: bottom },
            Point { x, y: bottom + MAJOR_LENGTH },
            Stroke::solid(scene.tones.ink, AXIS_WIDTH),
        );
        let y = bottom + MAJOR_LENGTH + TICK_GAP + scene.typeface.cap_height(TICK_SIZE);
        scene.text(&tick.label, Point { x, y }, TextStyle::level(TICK_SIZE, scene.tones.ink, Anchor::Middle));
    }
    bottom + MAJOR_LENGTH + TICK_GAP + TICK_SIZE
}

/// Draws the label of a horizontal axis below `top`; returns the least y below it.
pub(super) fn draw_bottom_label(scene: &mut Scene, label: &str, centre: f64, top: f64) -> f64 {
    let y = top + LABEL_SIZE + 1.0;
    scene.text(label, Point { x: centre, y }, TextStyle::level(LABEL_SIZE, scene.tones.ink, Anchor::Middle));
    y + 0.3 * LABEL_SIZE
}

/// Marks the ticks of an axis whose labels stand at another area.
pub(super) fn draw_bare_ticks(scene: &mut Scene, frame: &Frame, x_ticks: &Ticks, y_ticks: &Ticks) {
    let stroke = Stroke::solid(scene.tones.ink, AXIS_WIDTH);
    for tick in &x_ticks.major {
        let (x, y) = (frame.x(tick.position), frame.area.bottom);
        scene.line(Point { x, y }, Point { x, y: y + MAJOR_LENGTH }, stroke);
    }
    for tick in &y_ticks.major {
        let (x, y) = (frame.area.left, frame.y(tick.position));
        scene.line(Point { x, y }, Point { x: x - MAJOR_LENGTH, y }, stroke);
    }
}

/// The side of the area that an axis stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Left.
    Left,
    /// Right.
    Right,
}

/// Draws a vertical axis in `color` beside the area, with its label along it, if it has one.
pub(super) fn draw_side_axis(scene: &mut Scene, frame: &Frame, side: Side, ticks: &Ticks, label: &str, color: Color) {
    let (edge, outwards, anchor) = match side {
        Side::Left => (frame.area.left, -1.0, Anchor::End),
        Side::Right => (frame.area.right, 1.0, Anchor::Start),
    };
    let stroke = Stroke::solid(color, AXIS_WIDTH);
    for position in &ticks.minor {
        let y = frame.y(*position);
        scene.line(Point { x: edge, y }, Point { x: edge + outwards * MINOR_LENGTH, y }, stroke);
    }
    for tick in &ticks.major {
        let y = frame.y(tick.position);
        scene.line(Point { x: edge, y }, Point { x: edge + outwards * MAJOR_LENGTH, y }, stroke);
        let x = edge + outwards * (MAJOR_LENGTH + TICK_GAP);
        let base = y + 0.5 * scene.typeface.cap_height(TICK_SIZE);
        scene.text(&tick.label, Point { x, y: base }, TextStyle::level(TICK_SIZE, color, anchor));
    }
    if label.is_empty() {
        return;
    }
    let beyond = MAJOR_LENGTH + TICK_GAP + widest_label(scene, ticks) + LABEL_GAP;
    let x = match side {
        Side::Left => edge - beyond,
        Side::Right => edge + beyond + scene.typeface.cap_height(LABEL_SIZE),
    };
    let line = scene.typeface.fit(label, LABEL_SIZE, frame.area.height() + 20.0);
    let style = TextStyle { angle: -90.0, ..TextStyle::level(LABEL_SIZE, color, Anchor::Middle) };
    scene.text(&line, Point { x, y: frame.area.centre().y }, style);
}

/// Marks the checkpoint at (0, 0) if the frame shows it; returns where.
pub(super) fn draw_centre(scene: &mut Scene, frame: &Frame) -> Option<Point> {
    let shows = |range: Range| range.lo <= 0.0 && 0.0 <= range.hi;
    if !shows(frame.x) || !shows(frame.y) {
        return None;
    }
    let centre = frame.point(0.0, 0.0);
    draw_cross(scene, centre);
    Some(centre)
}

/// Draws the cross that marks the checkpoint.
pub(super) fn draw_cross(scene: &mut Scene, centre: Point) {
    const ARM: f64 = 4.5;
    for (color, width, arm) in [(scene.tones.paper, 3.6, ARM + 1.1), (scene.tones.ink, 1.4, ARM)] {
        let stroke = Stroke::solid(color, width);
        let Point { x, y } = centre;
        scene.line(Point { x: x - arm, y }, Point { x: x + arm, y }, stroke);
        scene.line(Point { x, y: y - arm }, Point { x, y: y + arm }, stroke);
    }
}

/// The line that axes are drawn with.
pub(super) fn axis_stroke(scene: &Scene) -> Stroke {
    Stroke::solid(scene.tones.ink, AXIS_WIDTH)
}
