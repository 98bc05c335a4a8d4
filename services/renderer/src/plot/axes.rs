//! The box around a surface: its walls with grid lines, and an axis along three of its edges.

use super::bar;
use super::field::{Field, Range};
use super::frame::{LABEL_SIZE, TICK_SIZE};
use super::mesh::Mesh;
use super::scene::{Anchor, Point, Scene, Stroke, TextStyle};
use super::surface::Stage;
use super::tick::{self, Ticks};
use super::view::Place;
use crate::plot::{LossScale, PlotSpec};

const TICK_LENGTH: f64 = 4.5;
const TICK_GAP: f64 = 4.0;
const LABEL_GAP: f64 = 7.0;
/// An edge seen shorter than this has no axis: it points at the viewer.
const SHORTEST: f64 = 36.0;
/// How far text keeps what is behind it away: a corner of the surface may reach over an axis.
const HALO: f64 = 1.6;
/// The cosine of the slope from which on a text is upright.
const STEEP: f64 = 0.3;
const GRID_WIDTH: f64 = 0.7;

/// An edge of the box with its ticks.
struct Axis {
    /// The ends of the edge, where the scale begins and ends.
    ends: [Place; 2],
    /// Which coordinate changes along it.
    along: usize,
    ticks: Vec<(f64, String)>,
    label: String,
}

/// The axes of a box, which stand before all else.
pub(super) struct Axes {
    axes: [Axis; 3],
    middle: Point,
    /// Where the two axes of the floor meet.
    corner: Point,
}

/// Draws walls and grid lines of the box around `mesh`; returns its axes.
pub(super) fn draw_walls(scene: &mut Scene, stage: &Stage, mesh: &Mesh, field: &Field<'_>, spec: &PlotSpec) -> Axes {
    let half = mesh.half;
    // The sides of the box that face the camera, and those behind the surface.
    let front = [0, 1].map(|axis| if stage.view.toward[axis] >= 0.0 { half[axis] } else { -half[axis] });
    let back = front.map(|side| -side);
    let (floor, roof) = (-half[2], half[2]);
    let whole = |axis: usize| [-half[axis], half[axis]];
    let upright = upright(stage, front, back, floor);
    let ends = |coordinates: &[f64]| Range { lo: coordinates[0], hi: coordinates[coordinates.len() - 1] };
    let (x, y) = (ends(field.x), ends(field.y));

    let x_axis = Axis::new(scene, stage, 0, [front[1], floor], whole(0), &spec.x_label, |n_steps| {
        places(tick::linear(x.lo, x.hi, n_steps), |at| mesh.x_place(at))
    });
    let y_axis = Axis::new(scene, stage, 1, [front[0], floor], whole(1), &spec.y_label, |n_steps| {
        places(tick::linear(y.lo, y.hi, n_steps), |at| mesh.y_place(at))
    });
    let z_axis = Axis::new(scene, stage, 2, upright, [floor, roof], &height_label(field, spec), |n_steps| {
        places(bar::loss_ticks(field, n_steps), |at| mesh.height(at))
    });

    let [x, y] = [0, 1].map(whole);
    let walls = [
        [[x[0], y[0], floor], [x[1], y[0], floor], [x[1], y[1], floor], [x[0], y[1], floor]],
        [[back[0], y[0], floor], [back[0], y[1], floor], [back[0], y[1], roof], [back[0], y[0], roof]],
        [[x[0], back[1], floor], [x[1], back[1], floor], [x[1], back[1], roof], [x[0], back[1], roof]],
    ];
    let (faint, paper, quiet) = (scene.tones.faint, scene.tones.paper, scene.tones.quiet);
    for wall in &walls {
        scene.polygon(&wall.map(|corner| stage.point(corner)), paper.towards(faint, 0.35));
    }
    let grid = Stroke::solid(faint, GRID_WIDTH);
    let mut rule = |places: [Place; 3]| scene.polyline(&places.map(|place| stage.point(place)), false, grid);
    for (at, _) in &x_axis.ticks {
        rule([[*at, front[1], floor], [*at, back[1], floor], [*at, back[1], roof]]);
    }
    for (at, _) in &y_axis.ticks {
        rule([[front[0], *at, floor], [back[0], *at, floor], [back[0], *at, roof]]);
    }
    for (at, _) in &z_axis.ticks {
        rule([[front[0], back[1], *at], [back[0], back[1], *at], [back[0], front[1], *at]]);
    }
    for wall in &walls {
        scene.polyline(&wall.map(|corner| stage.point(corner)), true, Stroke::solid(quiet.towards(faint, 0.55), 0.6));
    }
    let (middle, corner) = (stage.point([0.0, 0.0, floor]), stage.point([front[0], front[1], floor]));
    Axes { axes: [x_axis, y_axis, z_axis], middle, corner }
}

impl Axes {
    /// Draws the axes with their ticks and labels.
    pub(super) fn draw(&self, scene: &mut Scene, stage: &Stage) {
        for axis in &self.axes {
            axis.draw(scene, stage, self.middle, self.corner);
        }
    }
}

/// Where the vertical axis stands: at the left, unless the axis of the floor that ends there runs upwards too, so that
/// both would be labelled in one place.
fn upright(stage: &Stage, front: [f64; 2], back: [f64; 2], floor: f64) -> [f64; 2] {
    let corner = stage.point([front[0], front[1], floor]);
    let mut choices = [[front[0], back[1]], [back[0], front[1]]].map(|place| {
        let foot = stage.point([place[0], place[1], floor]);
        let is_steep = (foot.x - corner.x).abs() < STEEP * foot.distance(corner);
        (is_steep, foot.x, place)
    });
    choices.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    choices[0].2
}

/// What the vertical axis is called: the loss without its unit, which stands at the colour bar.
pub(super) fn height_label(field: &Field<'_>, spec: &PlotSpec) -> String {
    let name = spec.loss_label.split(" (").next().unwrap_or(&spec.loss_label);
    let scale = if field.scale == LossScale::Log { ", log scale" } else { "" };
    let clip = if field.clip.is_some() { ", clipped" } else { "" };
    format!("{name}{scale}{clip}")
}

fn places(ticks: Ticks, place: impl Fn(f64) -> f64) -> Vec<(f64, String)> {
    ticks.major.into_iter().map(|tick| (place(tick.position), tick.label)).collect()
}

impl Axis {
    /// Returns the axis along the coordinate `along` from `reach[0]` to `reach[1]`, at `across` of the others, with as
    /// many ticks as have room.
    fn new(
        scene: &Scene,
        stage: &Stage,
        along: usize,
        across: [f64; 2],
        reach: [f64; 2],
        label: &str,
        ticks: impl Fn(u32) -> Vec<(f64, String)>,
    ) -> Self {
        let place = |at: f64| match along {
            0 => [at, across[0], across[1]],
            1 => [across[0], at, across[1]],
            _ => [across[0], across[1], at],
        };
        let ends = reach.map(place);
        let has_room = |ticks: &Vec<(f64, String)>| {
            ticks.windows(2).all(|pair| {
                let [a, b] = [stage.point(place(pair[0].0)), stage.point(place(pair[1].0))];
                let width = |text: &str| scene.typeface.width(text, TICK_SIZE);
                let (width, height) =
                    (0.5 * (width(&pair[0].1) + width(&pair[1].1)), scene.typeface.cap_height(TICK_SIZE));
                (a.x - b.x).abs() > 1.25 * width || (a.y - b.y).abs() > 1.7 * height
            })
        };
        let mut axis = Self { ends, along, ticks: Vec::new(), label: label.to_owned() };
        if stage.point(ends[0]).distance(stage.point(ends[1])) >= SHORTEST {
            let choices = [7, 6, 5, 4, 3, 2, 1].into_iter().map(ticks);
            axis.ticks = choices.into_iter().find(has_room).unwrap_or_default();
        }
        axis
    }

    fn draw(&self, scene: &mut Scene, stage: &Stage, middle: Point, corner: Point) {
        let [from, to] = self.ends.map(|end| stage.point(end));
        let length = from.distance(to);
        let ink = Stroke::solid(scene.tones.ink, 0.9);
        scene.line(from, to, ink);
        if length < SHORTEST {
            return;
        }
        // Outwards, square to the edge.
        let centre = from.towards(to, 0.5);
        let (cos, sin) = ((to.x - from.x) / length, (to.y - from.y) / length);
        let is_outwards = (centre.x - middle.x) * -sin + (centre.y - middle.y) * cos >= 0.0;
        let (out_x, out_y) = if is_outwards { (-sin, cos) } else { (sin, -cos) };
        let out = |point: Point, far: f64| Point { x: point.x + out_x * far, y: point.y + out_y * far };
        let cap_height = scene.typeface.cap_height(TICK_SIZE);
        let mut widest = 0.0_f64;
        for (at, label) in &self.ticks {
            let mut place = self.ends[0];
            place[self.along] = *at;
            let foot = stage.point(place);
            scene.line(foot, out(foot, TICK_LENGTH), ink);
            let width = scene.typeface.width(label, TICK_SIZE);
            let reach = 0.5 * (out_x.abs() * width + out_y.abs() * cap_height);
            widest = widest.max(2.0 * reach);
            let mut centre = out(foot, TICK_LENGTH + TICK_GAP + reach);
            // Each axis of the floor keeps its labels on its own side of the corner where both meet.
            let beside = if from.distance(corner) < to.distance(corner) { to } else { from }.x - corner.x;
            let least = 0.5 * width + 4.0;
            if self.along != 2
                && beside.abs() > (2.0 * least).max(0.5 * length)
                && (centre.x - corner.x) * beside.signum() < least
            {
                centre.x = corner.x + least * beside.signum();
            }
            let base = Point { x: centre.x, y: centre.y + 0.5 * cap_height };
            let style = TextStyle { halo: HALO, ..TextStyle::level(TICK_SIZE, scene.tones.ink, Anchor::Middle) };
            scene.text(label, base, style);
        }
        // Read from left to right, and upwards where it stands.
        let is_reversed = if cos.abs() < STEEP { sin > 0.0 } else { cos < 0.0 };
        let (cos, sin) = if is_reversed { (-cos, -sin) } else { (cos, sin) };
        let cap_height = scene.typeface.cap_height(LABEL_SIZE);
        let far = TICK_LENGTH + TICK_GAP + widest + LABEL_GAP + 0.5 * cap_height;
        let centre = out(centre, far);
        let base = Point { x: centre.x - 0.5 * cap_height * sin, y: centre.y + 0.5 * cap_height * cos };
        let room = (1.1 * length).max(60.0);
        let size = if scene.typeface.width(&self.label, LABEL_SIZE) > room { TICK_SIZE - 1.0 } else { LABEL_SIZE };
        let label = scene.typeface.fit(&self.label, size, room);
        let angle = sin.atan2(cos).to_degrees();
        let style = TextStyle { angle, halo: HALO, ..TextStyle::level(size, scene.tones.ink, Anchor::Middle) };
        scene.text(&label, base, style);
    }
}
