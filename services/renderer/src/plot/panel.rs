//! Panels: several surfaces side by side on one scale of the loss, with one colour bar, as in Li et al. 2018, figures 5
//! to 7 and 13.

use super::bar::{self, Bar};
use super::colormap::Color;
use super::contour::{self, ends};
use super::curve::{self, DASH, LINE_WIDTH, draw_line};
use super::field::{Field, Range};
use super::filled;
use super::frame::{self, Frame, LABEL_SIZE, MARGIN, Side, TICK_SIZE};
use super::heatmap;
use super::mesh::Mesh;
use super::note::{self, Note, Sign};
use super::number::short;
use super::scene::{Anchor, Drawing, Point, Rect, Scene, Size, Stroke, TextStyle};
use super::several::{NamedSurface, SurfacesSpec, line_bands, omissions};
use super::surface::{self, Facets, Floor, MOST_FACETS, Stage};
use super::tick::{self, Ticks};
use super::view::View;
use crate::plot::{LONGEST_SIDE, PlotError, PlotFormat, PlotKind, PlotSpec};

/// The width of an area, in scene units.
const AREA_WIDTH: f64 = 216.0;
/// The height of a curve's area.
const CURVE_HEIGHT: f64 = 170.0;
/// The width and the greatest height of what a surface and its labels take.
const STAGE: (f64, f64) = (292.0, 300.0);
/// How far a stage reaches over the sides of its area: the labels of its axes are short.
const OVERHANG: f64 = 19.0;
const NAME_SIZE: f64 = 13.0;
/// What lies between two areas at least.
const GAP: f64 = 18.0;
/// A colour bar higher than this says no more.
const BAR_HEIGHT: f64 = 420.0;
/// The highest picture, in pixels.
pub(super) const MOST_PIXELS: f64 = 2.0 * LONGEST_SIDE as f64;

/// What stands where, before anything is drawn.
struct Grid {
    n_columns: usize,
    n_panels: usize,
    /// The size of an area.
    size: Size,
    /// What lies between two that are side by side.
    gap: f64,
    /// What stands to the left of each area, and below it, besides the gap.
    beside: f64,
    below: f64,
    /// Where the first area begins.
    left: f64,
    top: f64,
}

impl Grid {
    fn n_rows(&self) -> usize {
        self.n_panels.div_ceil(self.n_columns)
    }

    /// The area of a panel.
    fn area(&self, idx: usize) -> Rect {
        let (row, column) = ((idx / self.n_columns) as f64, (idx % self.n_columns) as f64);
        let left = self.left + column * (self.size.width + self.beside + self.gap);
        let top = self.top + name_height() + row * (self.size.height + self.below + GAP + name_height());
        Rect { left, top, right: left + self.size.width, bottom: top + self.size.height }
    }

    /// What all areas lie within.
    fn whole(&self) -> Rect {
        let (first, last) = (self.area(0), self.area((self.n_rows() - 1) * self.n_columns));
        let right = self.area(self.n_columns - 1).right;
        Rect { bottom: last.bottom, right, ..first }
    }

    /// Whether a panel has none below it.
    fn is_lowest(&self, idx: usize) -> bool {
        idx + self.n_columns >= self.n_panels
    }

    fn is_rightmost(&self, idx: usize) -> bool {
        idx % self.n_columns == self.n_columns - 1 || idx + 1 == self.n_panels
    }
}

fn name_height() -> f64 {
    NAME_SIZE + 7.0
}

/// The number of columns that suits so many panels.
pub(super) fn columns_for(n_panels: usize) -> usize {
    if n_panels <= 3 { n_panels } else { (n_panels as f64).sqrt().ceil() as usize }
}

/// Draws each of `fields`, which have one scale, in a panel.
pub(super) fn draw(
    surfaces: &[NamedSurface],
    fields: &[Field<'_>],
    n_columns: Option<u32>,
    several: &SurfacesSpec,
    spec: &PlotSpec,
) -> Result<Drawing, PlotError> {
    let n_columns = n_columns.map_or(columns_for(fields.len()), |n_columns| n_columns as usize).min(fields.len());
    let panels = Panels::new(surfaces, fields, several, spec)?;
    panels.draw(n_columns)
}

/// The panels with what they have in common.
struct Panels<'a> {
    surfaces: &'a [NamedSurface],
    fields: &'a [Field<'a>],
    several: &'a SurfacesSpec,
    spec: &'a PlotSpec,
    scene: Scene,
    /// What each shows of its axes.
    reaches: Vec<(Range, Range)>,
    /// Whether all show the same.
    is_alike: bool,
    accuracies: Vec<Vec<Option<f64>>>,
    accuracy_axis: Option<(Range, Ticks)>,
    loss_axis: (Range, Ticks),
}

impl<'a> Panels<'a> {
    fn new(
        surfaces: &'a [NamedSurface],
        fields: &'a [Field<'a>],
        several: &'a SurfacesSpec,
        spec: &'a PlotSpec,
    ) -> Result<Self, PlotError> {
        let scene = Scene::new(spec.theme)?;
        let loss_axis = curve::loss_axis(&fields[0]);
        let reach = |field: &Field<'_>| match spec.kind {
            PlotKind::Curve => (ends(field.x).widened(), loss_axis.0),
            PlotKind::Heatmap => (heatmap::reach(field.x), heatmap::reach(field.y)),
            _ => (ends(field.x), ends(field.y)),
        };
        let reaches: Vec<(Range, Range)> = fields.iter().map(reach).collect();
        let is_alike = reaches.windows(2).all(|pair| pair[0] == pair[1]);
        let has_accuracy = several.has_accuracy && spec.kind == PlotKind::Curve;
        let accuracies: Vec<Vec<Option<f64>>> = match has_accuracy {
            true => surfaces.iter().map(|surface| curve::accuracies(&surface.values.main)).collect(),
            false => Vec::new(),
        };
        let accuracy_axis = curve::accuracy_axis(&accuracies.concat());
        Ok(Self { surfaces, fields, several, spec, scene, reaches, is_alike, accuracies, accuracy_axis, loss_axis })
    }

    fn draw(mut self, n_columns: usize) -> Result<Drawing, PlotError> {
        let spec = self.spec;
        let is_spatial = spec.kind == PlotKind::Surface;
        let bar = (spec.kind != PlotKind::Curve).then(|| Bar::new(&self.fields[0], spec));
        let y_ticks: Vec<Ticks> = self.reaches.iter().map(|(_, y)| self.y_ticks(*y)).collect();
        let x_labels: Vec<f64> = self.reaches.iter().map(|(x, _)| self.widest_x_label(*x)).collect();
        let gap = if is_spatial { GAP } else { x_labels.into_iter().fold(GAP, |gap, width| gap.max(width + 7.0)) };
        let widest = y_ticks.iter().map(|ticks| frame::vertical_ticks_width(&self.scene, ticks)).fold(0.0, f64::max);
        let stage = is_spatial.then(|| self.stage_size());
        let size = match (stage, spec.kind) {
            (Some(size), _) => size,
            (None, PlotKind::Curve) => Size { width: AREA_WIDTH, height: CURVE_HEIGHT },
            (None, _) => {
                let (x, y) = self.reaches[0];
                Size { width: AREA_WIDTH, height: frame::height_in_proportion(AREA_WIDTH, x, y) }
            }
        };
        let has_own_axes = !is_spatial && !self.is_alike;
        let label_room = if is_spatial { MARGIN + OVERHANG } else { MARGIN + LABEL_SIZE + 7.0 + widest };
        let mut grid = Grid {
            n_columns,
            n_panels: self.fields.len(),
            size,
            gap,
            beside: if has_own_axes { widest } else { 0.0 },
            below: if has_own_axes { TICK_SIZE + 9.0 } else { 0.0 },
            left: label_room,
            top: 0.0,
        };
        let whole = grid.whole();
        let right_room = match (&bar, &self.accuracy_axis) {
            (Some(bar), _) => bar.width(&self.scene),
            (None, Some((_, ticks))) => frame::vertical_axis_width(&self.scene, ticks),
            (None, None) => 2.0 * MARGIN,
        };
        let width = (whole.right + right_room).ceil();
        let px = if self.several.has_own_width { (width.round() as u32).clamp(1, LONGEST_SIDE) } else { spec.width };
        let spec = &PlotSpec { width: px, ..spec.clone() };
        spec.check()?;
        let centre = whole.centre().x;
        let room = 2.0 * (centre - MARGIN).min(width - MARGIN - centre);
        let title = spec.title.as_deref();
        grid.top = frame::draw_centred_header(&mut self.scene, title, None, centre, room);

        let mut has_centre = false;
        let mut lowest = 0.0_f64;
        for (idx, y_ticks) in y_ticks.iter().enumerate() {
            let area = grid.area(idx);
            let name = self.scene.typeface.fit(&self.surfaces[idx].name, NAME_SIZE, area.width() + GAP - 6.0);
            let base = Point { x: area.centre().x, y: area.top - 6.0 };
            let ink = self.scene.tones.ink;
            self.scene.text(&name, base, TextStyle::level(NAME_SIZE, ink, Anchor::Middle));
            if is_spatial {
                has_centre |= self.draw_stage(idx, area, spec, width)?;
                lowest = lowest.max(area.bottom);
                continue;
            }
            let frame = self.draw_area(idx, area, spec, width)?;
            has_centre |= spec.kind != PlotKind::Curve && frame::draw_centre(&mut self.scene, &frame).is_some();
            frame::draw_box(&mut self.scene, area);
            lowest = lowest.max(self.draw_axes(idx, &grid, &frame, y_ticks));
        }
        if !is_spatial {
            lowest = self.draw_labels(&grid, lowest);
        }
        let whole = grid.whole();
        if let Some(bar) = &bar {
            let height = if is_spatial { 0.8 * whole.height() } else { whole.height() }.min(BAR_HEIGHT);
            let middle = whole.centre().y;
            let beside = Rect { top: middle - 0.5 * height, bottom: middle + 0.5 * height, ..whole };
            let bands = self.bands();
            bar.draw(&mut self.scene, beside, &bands);
        }
        let mut notes = Vec::new();
        if has_centre {
            notes.push(Note { sign: Sign::Cross, text: "the checkpoint, at (0, 0)".to_owned() });
        }
        notes.extend(omissions(self.surfaces, self.fields));
        let height = note::draw_within(&mut self.scene, &notes, whole.left, width - MARGIN, lowest);
        let names: Vec<&str> = self.surfaces.iter().map(|surface| surface.name.as_str()).collect();
        let losses = self.fields[0].losses;
        let description = format!(
            "{} panels on one scale, each a {} of the {}, from {} to {}: {}.{}",
            names.len(),
            spec.kind,
            spec.loss_label,
            short(losses.lo),
            short(losses.hi),
            names.join(", "),
            note::described(&notes),
        );
        let title = title.unwrap_or(&spec.loss_label).to_owned();
        let drawing = self.scene.into_drawing(Size { width, height }, px, &title, &description);
        let n_pixels = drawing.height() * if spec.format == PlotFormat::Png { spec.pixel_ratio } else { 1.0 };
        if n_pixels > MOST_PIXELS {
            return Err(PlotError::TooHigh { height: n_pixels, most: MOST_PIXELS });
        }
        Ok(drawing)
    }

    fn widest_x_label(&self, reach: Range) -> f64 {
        let ticks = frame::horizontal_ticks(&self.scene, reach, AREA_WIDTH);
        frame::widest_label(&self.scene, &ticks)
    }

    fn y_ticks(&self, reach: Range) -> Ticks {
        match self.spec.kind {
            PlotKind::Curve => self.loss_axis.1.clone(),
            _ => tick::linear(reach.lo, reach.hi, 5),
        }
    }

    /// The bands of the colour bar, as the panels are coloured.
    fn bands(&self) -> Vec<(f64, Color)> {
        match self.spec.kind {
            PlotKind::FilledContour => {
                let bands = filled::bands(&self.fields[0], self.spec);
                bands.iter().map(|band| (band.share, band.color)).collect()
            }
            PlotKind::Contour => line_bands(self.spec, self.scene.tones),
            _ => bar::continuous(self.spec),
        }
    }

    /// Draws what stands within the axes of a panel in a picture of `width` scene units; returns its frame.
    fn draw_area(&mut self, idx: usize, area: Rect, spec: &PlotSpec, width: f64) -> Result<Frame, PlotError> {
        let (x, y) = self.reaches[idx];
        let (field, scene) = (&self.fields[idx], &mut self.scene);
        let frame = Frame { area, x, y };
        match spec.kind {
            PlotKind::Contour => {
                contour::draw_gaps(scene, &frame, field);
                let centre = (x.lo <= 0.0 && 0.0 <= x.hi && y.lo <= 0.0 && 0.0 <= y.hi).then(|| frame.point(0.0, 0.0));
                contour::draw_lines(scene, &frame, field, spec, centre.as_slice(), 1.0);
            }
            PlotKind::FilledContour => {
                contour::draw_gaps(scene, &frame, field);
                filled::draw_bands(scene, &frame, field, &filled::bands(field, spec));
            }
            PlotKind::Heatmap | PlotKind::Convexity => return heatmap::draw_cells(scene, area, field, spec, width),
            PlotKind::Curve | PlotKind::Surface => {
                curve::draw_guides(scene, &frame, &self.loss_axis.1);
                if let (Some((range, _)), Some(values)) = (&self.accuracy_axis, self.accuracies.get(idx)) {
                    let stroke = Stroke { dash: Some(DASH), ..Stroke::solid(scene.tones.accuracy, LINE_WIDTH) };
                    draw_line(scene, &Frame { y: *range, ..frame }, field.x, values, stroke);
                }
                let losses: Vec<Option<f64>> = field.positions.iter().map(|position| position.ok()).collect();
                let stroke = Stroke::solid(scene.tones.loss, LINE_WIDTH);
                draw_line(scene, &frame, field.x, &losses, stroke);
            }
        }
        Ok(frame)
    }

    /// Draws the ticks of a panel, labelled where no neighbour has the same; returns the least y below them.
    fn draw_axes(&mut self, idx: usize, grid: &Grid, frame: &Frame, y_ticks: &Ticks) -> f64 {
        let scene = &mut self.scene;
        let x_ticks = frame::horizontal_ticks(scene, frame.x, frame.area.width());
        frame::draw_bare_ticks(scene, frame, &x_ticks, y_ticks);
        let tones = scene.tones;
        let loss_color = if self.accuracy_axis.is_some() { tones.loss } else { tones.ink };
        if !self.is_alike || idx.is_multiple_of(grid.n_columns) {
            frame::draw_side_axis(scene, frame, Side::Left, y_ticks, "", loss_color);
        }
        if let Some((range, ticks)) = self.accuracy_axis.as_ref().filter(|_| grid.is_rightmost(idx)) {
            let frame = Frame { y: *range, ..*frame };
            frame::draw_side_axis(scene, &frame, Side::Right, ticks, "", tones.accuracy);
        }
        if !self.is_alike || grid.is_lowest(idx) {
            return frame::draw_bottom_ticks(scene, frame, &x_ticks);
        }
        frame.area.bottom
    }

    /// Draws the labels that all panels have in common; returns the least y below them.
    fn draw_labels(&mut self, grid: &Grid, lowest: f64) -> f64 {
        let (spec, whole) = (self.spec, grid.whole());
        let scene = &mut self.scene;
        let tones = scene.tones;
        let is_curve = spec.kind == PlotKind::Curve;
        let label = if is_curve { bar::loss_label(&self.fields[0], spec) } else { spec.y_label.clone() };
        let color = if self.accuracy_axis.is_some() { tones.loss } else { tones.ink };
        let mut labels = vec![(label, MARGIN + LABEL_SIZE - 2.0, color)];
        if let Some((_, ticks)) = &self.accuracy_axis {
            let beyond = frame::vertical_axis_width(scene, ticks) - MARGIN;
            labels.push((spec.accuracy_label.clone(), whole.right + beyond, tones.accuracy));
        }
        for (label, x, color) in labels {
            let line = scene.typeface.fit(&label, LABEL_SIZE, whole.height() + 20.0);
            let style = TextStyle { angle: -90.0, ..TextStyle::level(LABEL_SIZE, color, Anchor::Middle) };
            scene.text(&line, Point { x, y: whole.centre().y }, style);
        }
        let line = self.scene.typeface.fit(&spec.x_label, LABEL_SIZE, whole.width() + 2.0 * GAP);
        frame::draw_bottom_label(&mut self.scene, &line, whole.centre().x, lowest)
    }

    /// The size that the largest of the stages takes.
    fn stage_size(&self) -> Size {
        let room = Rect { left: -OVERHANG, top: 0.0, right: STAGE.0 + OVERHANG, bottom: STAGE.1 };
        let view = [View::of(self.spec.camera)];
        let height = |field: &Field<'_>| Stage::new(&view, 0, Mesh::of(field).half, room).area.bottom;
        Size { width: STAGE.0, height: self.fields.iter().map(height).fold(0.0, f64::max) }
    }

    /// Draws a surface in `area`; returns whether its checkpoint is seen.
    fn draw_stage(&mut self, idx: usize, area: Rect, spec: &PlotSpec, width: f64) -> Result<bool, PlotError> {
        let field = &self.fields[idx];
        let mesh = Mesh::of(field);
        // As wide as a panel, an axis has no room for more.
        let labels = PlotSpec { x_label: "x".to_owned(), y_label: "y".to_owned(), ..spec.clone() };
        let room =
            Rect { left: area.left - OVERHANG, right: area.right + OVERHANG, bottom: area.top + STAGE.1, ..area };
        let stage = Stage::new(&[View::of(spec.camera)], 0, mesh.half, room);
        let n_cells: usize = self.fields.iter().map(|field| field.positions.len()).sum();
        let facets = match spec.format {
            _ if n_cells <= 2 * MOST_FACETS => Facets::Shapes,
            PlotFormat::Png => Facets::Pixels(spec.pixel_ratio * f64::from(spec.width) / width),
            _ => Facets::Pixels(surface::PIXELS_PER_UNIT),
        };
        let floor = Floor::of(field, &mesh, spec);
        surface::draw_stage(&mut self.scene, &stage, field, &mesh, &floor, &labels, facets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_do_not_meet() {
        let size = Size { width: 100.0, height: 80.0 };
        let grid =
            Grid { n_columns: 3, n_panels: 7, size, gap: 18.0, beside: 10.0, below: 20.0, left: 50.0, top: 30.0 };
        let areas: Vec<Rect> = (0..7).map(|idx| grid.area(idx)).collect();
        for (idx, a) in areas.iter().enumerate() {
            assert_eq!((a.width(), a.height()), (100.0, 80.0));
            for b in &areas[..idx] {
                assert!(b.right + 10.0 < a.left || b.bottom + 20.0 < a.top);
            }
        }
        assert_eq!(grid.whole(), Rect { right: areas[2].right, bottom: areas[6].bottom, ..areas[0] });
        let lowest: Vec<usize> = (0..7).filter(|idx| grid.is_lowest(*idx)).collect();
        assert_eq!(lowest, [4, 5, 6]);
    }

    #[test]
    fn panels_are_nearly_as_many_across_as_down() {
        assert_eq!([1, 2, 3, 4, 5, 9, 10, 24].map(columns_for), [1, 2, 3, 2, 3, 3, 4, 5]);
    }
}
