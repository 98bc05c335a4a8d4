//! The colour bar: which colours stand for which losses.

use super::colormap::{self, Color};
use super::field::{Field, Range};
use super::frame::{self, Frame, Side, WIDTH};
use super::number::short;
use super::scene::{Point, Rect, Scene};
use super::tick::{self, Tick, Ticks};
use crate::plot::{LossScale, PlotSpec};

const BAR_WIDTH: f64 = 16.0;
const BAR_GAP: f64 = 16.0;
const POINTER: f64 = 11.0;

/// A colour bar before its place is known.
pub(super) struct Bar {
    losses: Range,
    ticks: Ticks,
    label: String,
    is_clipped: bool,
}

impl Bar {
    /// Returns the bar of `field`, whose axis says where its scale is logarithmic.
    pub(super) fn new(field: &Field<'_>, spec: &PlotSpec) -> Self {
        let losses = field.range.widened();
        let label = loss_label(field, spec);
        Self { losses, ticks: loss_ticks(field, 8), label, is_clipped: field.clip.is_some() }
    }

    /// Where an area that has the bar on its right must end.
    pub(super) fn left_neighbour_right(&self, scene: &Scene) -> f64 {
        WIDTH - self.width(scene)
    }

    /// The room that the bar takes beside an area, the margin included.
    pub(super) fn width(&self, scene: &Scene) -> f64 {
        frame::vertical_axis_width(scene, &self.ticks) + BAR_WIDTH + BAR_GAP
    }

    /// Draws the bar to the right of `area`, as high as it, in `bands`: each colour from its share on to the next.
    pub(super) fn draw(&self, scene: &mut Scene, area: Rect, bands: &[(f64, Color)]) {
        let left = area.right + BAR_GAP;
        let bar = Rect { left, right: left + BAR_WIDTH, ..area };
        let area = if self.is_clipped { Rect { top: bar.top + POINTER, ..bar } } else { bar };
        let frame = Frame { area, x: Range { lo: 0.0, hi: 1.0 }, y: self.losses };
        for (idx, (from, color)) in bands.iter().enumerate() {
            let to = bands.get(idx + 1).map_or(1.0, |(from, _)| *from);
            let y = |share: f64| area.bottom - share * area.height();
            scene.fill(&[Rect { top: y(to), bottom: y(*from), ..area }], *color);
        }
        if let (true, Some((_, last))) = (self.is_clipped, bands.last()) {
            let tip = Point { x: area.centre().x, y: bar.top };
            let (left, right) = (Point { x: area.left, y: area.top }, Point { x: area.right, y: area.top });
            scene.polygon(&[left, tip, right], *last);
            let stroke = frame::axis_stroke(scene);
            scene.polyline(&[left, tip, right], false, stroke);
        }
        frame::draw_box(scene, area);
        let ink = scene.tones.ink;
        frame::draw_side_axis(scene, &frame, Side::Right, &self.ticks, &self.label, ink);
    }
}

/// Returns the bands of a continuous map.
pub(super) fn continuous(spec: &PlotSpec) -> Vec<(f64, Color)> {
    let map = colormap::map(spec.palette);
    map.iter().enumerate().map(|(idx, color)| (idx as f64 / map.len() as f64, Color(*color))).collect()
}

/// What an axis of the loss is called.
pub(super) fn loss_label(field: &Field<'_>, spec: &PlotSpec) -> String {
    match (field.scale, field.clip) {
        (LossScale::Linear, None) => spec.loss_label.clone(),
        (LossScale::Log, None) => format!("{}, log scale", spec.loss_label),
        (LossScale::Linear, Some(clip)) => format!("{}, clipped at {}", spec.loss_label, short(clip.limit)),
        (LossScale::Log, Some(clip)) => format!("{}, log scale, clipped at {}", spec.loss_label, short(clip.limit)),
    }
}

/// Returns the ticks of an axis of the loss, at most `n_steps` steps apart.
pub(super) fn loss_ticks(field: &Field<'_>, n_steps: u32) -> Ticks {
    let losses = field.range.widened();
    match field.scale {
        _ if field.range.is_point() => {
            Ticks { major: vec![Tick { position: field.range.lo, label: short(field.losses.lo) }], minor: Vec::new() }
        }
        LossScale::Linear => tick::linear(losses.lo, losses.hi, n_steps),
        LossScale::Log => tick::logarithmic(losses.lo, losses.hi, n_steps),
    }
}
