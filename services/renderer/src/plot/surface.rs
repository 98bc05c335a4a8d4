//! Surfaces: the loss as height over two directions, as in Li et al. 2018, figure 1, with its contours on the floor.

use super::axes;
use super::bar::{self, Bar};
use super::colormap::{self, Color, Tones};
use super::contour;
use super::field::{Field, Missing};
use super::frame::{self, MARGIN, WIDTH};
use super::isoline::isolines;
use super::mesh::Mesh;
use super::note::{self, Note, Sign};
use super::number::short;
use super::scene::{Drawing, Point, Rect, Scene, Size, Stroke};
use super::trace::thinned;
use super::view::{Place, View};
use super::zbuffer::{Vertex, ZBuffer};
use crate::plot::{Camera, PlotError, PlotFormat, PlotSpec};

/// Up to so many cells each is a shape of its own; more become pixels.
pub(super) const MOST_FACETS: usize = 60 * 60;
/// The pixels of a surface within a scalable picture, for each scene unit.
pub(super) const PIXELS_PER_UNIT: f64 = 2.5;
/// The most pixels along a side of a surface, whatever the size of the picture.
const MOST_PIXELS: f64 = 6000.0;
/// What labels need around the box.
const ROOM: Rect = Rect { left: 62.0, top: 6.0, right: 40.0, bottom: 46.0 };
const MOST_HEIGHT: f64 = 470.0;
const FLOOR_WIDTH: f64 = 1.0;

/// Draws `field` as a surface.
pub(super) fn draw(field: &Field<'_>, spec: &PlotSpec) -> Result<Drawing, PlotError> {
    let pixels_per_unit = match spec.format {
        PlotFormat::Png => spec.pixel_ratio * f64::from(spec.width) / WIDTH,
        _ => PIXELS_PER_UNIT,
    };
    let mesh = Mesh::of(field);
    let facets = if mesh.n_cells() <= MOST_FACETS { Facets::Shapes } else { Facets::Pixels(pixels_per_unit) };
    let floor = Floor::of(field, &mesh, spec);
    draw_turned(field, &mesh, &floor, spec, &[spec.camera], 0, facets)
}

/// How the facets of a surface are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Facets {
    /// Each as a shape, from the back to the front.
    Shapes,
    /// All as pixels, so many for each scene unit.
    Pixels(f64),
}

/// Draws `field`, whose mesh is `mesh` above `floor`, seen by the one of `cameras` at `idx`, at a size that suits
/// all of them.
pub(super) fn draw_turned(
    field: &Field<'_>,
    mesh: &Mesh,
    floor: &Floor,
    spec: &PlotSpec,
    cameras: &[Camera],
    idx: usize,
    facets: Facets,
) -> Result<Drawing, PlotError> {
    let mut scene = Scene::new(spec.theme)?;
    let bar = Bar::new(field, spec);
    let right = bar.left_neighbour_right(&scene);
    let top = frame::draw_header(&mut scene, spec.title.as_deref(), None, MARGIN, WIDTH - MARGIN);
    let views: Vec<View> = cameras.iter().map(|camera| View::of(*camera)).collect();
    let stage = Stage::new(&views, idx, mesh.half, Rect { left: MARGIN, top, right, bottom: top + MOST_HEIGHT });

    let is_seen = draw_stage(&mut scene, &stage, field, mesh, floor, spec, facets)?;
    // All pictures of an animation are of one height, so all explain the cross or none.
    let has_centre = is_seen || cameras.len() > 1 && mesh.height_at(mesh.x_place(0.0), mesh.y_place(0.0)).is_some();
    let height = stage.area.height();
    let beside = Rect { top: stage.area.top + 0.1 * height, bottom: stage.area.bottom - 0.1 * height, ..stage.area };
    bar.draw(&mut scene, beside, &bar::continuous(spec));

    let mut notes = Vec::new();
    if has_centre {
        notes.push(Note { sign: Sign::Cross, text: "the checkpoint, at (0, 0)".to_owned() });
    }
    notes.extend(note::omissions(field));
    let height = note::draw(&mut scene, &notes, MARGIN + 12.0, stage.area.bottom);
    let (x, y) = (contour::ends(field.x), contour::ends(field.y));
    let description = format!(
        "Surface of the {} over {} ({} to {}) and {} ({} to {}), from {} to {}, seen from azimuth {} and elevation \
         {} degrees.{}",
        spec.loss_label,
        spec.x_label,
        short(x.lo),
        short(x.hi),
        spec.y_label,
        short(y.lo),
        short(y.hi),
        short(field.losses.lo),
        short(field.losses.hi),
        short(cameras[idx].azimuth),
        short(cameras[idx].elevation),
        note::described(&notes),
    );
    let title = spec.title.as_deref().unwrap_or(&spec.loss_label);
    Ok(scene.into_drawing(Size { width: WIDTH, height }, spec.width, title, &description))
}

/// Draws all that stands on `stage`; returns whether the checkpoint is seen.
pub(super) fn draw_stage(
    scene: &mut Scene,
    stage: &Stage,
    field: &Field<'_>,
    mesh: &Mesh,
    floor: &Floor,
    spec: &PlotSpec,
    facets: Facets,
) -> Result<bool, PlotError> {
    let axes = axes::draw_walls(scene, stage, mesh, field, spec);
    floor.draw(scene, stage);
    match facets {
        Facets::Shapes => draw_shapes(scene, stage, mesh, spec),
        Facets::Pixels(per_unit) => draw_pixels(scene, stage, mesh, spec, per_unit)?,
    }
    axes.draw(scene, stage);
    Ok(draw_centre(scene, stage, mesh))
}

/// Where the box stands in the picture.
pub(super) struct Stage {
    /// From where it is seen.
    pub view: View,
    /// What it and its labels take.
    pub area: Rect,
    scale: f64,
    origin: Point,
}

impl Stage {
    /// Returns the stage of the view at `idx`, as large as a box of half sides `half` fits into `room` from each of
    /// `views`.
    pub(super) fn new(views: &[View], idx: usize, half: Place, room: Rect) -> Self {
        let [x, y, z] = half;
        let sign = |corner: i32, bit: i32| if corner >> bit & 1 == 0 { -1.0 } else { 1.0 };
        let corners: Vec<Place> =
            (0..8).map(|corner| [sign(corner, 0) * x, sign(corner, 1) * y, sign(corner, 2) * z]).collect();
        let seen = views.iter().flat_map(|view| corners.iter().map(|corner| view.see(*corner).at));
        let none = Rect { left: f64::MAX, top: f64::MAX, right: f64::MIN, bottom: f64::MIN };
        let bounds = seen.fold(none, |bounds, at| Rect {
            left: bounds.left.min(at.x),
            top: bounds.top.min(at.y),
            right: bounds.right.max(at.x),
            bottom: bounds.bottom.max(at.y),
        });
        let width = room.width() - ROOM.left - ROOM.right;
        let scale = (width / bounds.width()).min((room.height() - ROOM.top - ROOM.bottom) / bounds.height());
        let spare = 0.5 * (width - scale * bounds.width());
        let origin = Point {
            x: room.left + ROOM.left + spare - scale * bounds.left,
            y: room.top + ROOM.top - scale * bounds.top,
        };
        let bottom = (room.top + ROOM.top + scale * bounds.height() + ROOM.bottom).ceil();
        Self { view: views[idx], area: Rect { bottom, ..room }, scale, origin }
    }

    /// Where `place` is drawn.
    pub(super) fn point(&self, place: Place) -> Point {
        let at = self.view.see(place).at;
        Point { x: self.origin.x + self.scale * at.x, y: self.origin.y + self.scale * at.y }
    }
}

/// What is drawn on the floor.
pub(super) struct Floor {
    /// The gaps of the surface for each reason.
    gaps: Vec<(Missing, Vec<[Place; 4]>)>,
    /// Its contours.
    contours: Vec<Contour>,
}

struct Contour {
    color: Color,
    places: Vec<Place>,
    is_closed: bool,
}

impl Floor {
    /// Returns the floor below `field`, whose mesh is `mesh`.
    pub(super) fn of(field: &Field<'_>, mesh: &Mesh, spec: &PlotSpec) -> Self {
        let floor = mesh.floor();
        let gaps = Missing::ALL.into_iter().map(|reason| (reason, gaps(field, mesh, reason))).collect();
        let values: Vec<Option<f64>> = field.positions.iter().map(|position| position.ok()).collect();
        let tones = Tones::of(spec.theme);
        let mut contours = Vec::new();
        for level in contour::levels_of(field) {
            let color = tones.line(spec.palette, field.range.share(level.position));
            let place = |(column, row): (f64, f64)| {
                [contour::coordinate(&mesh.x, column), contour::coordinate(&mesh.y, row), floor]
            };
            let lines = isolines(&values, field.n_columns(), level.position).into_iter();
            contours.extend(lines.map(|line| Contour {
                color,
                places: line.points.into_iter().map(place).collect(),
                is_closed: line.is_closed,
            }));
        }
        Self { gaps, contours }
    }

    fn draw(&self, scene: &mut Scene, stage: &Stage) {
        for (reason, cells) in &self.gaps {
            let outlines: Vec<Vec<Point>> =
                cells.iter().map(|corners| corners.map(|corner| stage.point(corner)).to_vec()).collect();
            let color = scene.tones.missing(*reason);
            scene.region(&outlines, color);
        }
        for Contour { color, places, is_closed } in &self.contours {
            let points = thinned(places.iter().map(|place| stage.point(*place)).collect());
            scene.polyline(&points, *is_closed, Stroke::solid(*color, FLOOR_WIDTH));
        }
    }
}

/// Rows of neighbouring cells that cannot be drawn for `reason`, as their corners on the floor.
fn gaps(field: &Field<'_>, mesh: &Mesh, reason: Missing) -> Vec<[Place; 4]> {
    let floor = mesh.floor();
    let mut gaps = Vec::new();
    if field.n_missing(reason) == 0 {
        return gaps;
    }
    for row in 0..field.n_rows() - 1 {
        let is_gap: Vec<bool> =
            (0..field.n_columns() - 1).map(|column| contour::gap(field, row, column) == Some(reason)).collect();
        let mut column = 0;
        for run in is_gap.chunk_by(|a, b| a == b) {
            if run[0] {
                let (left, right) = (mesh.x[column], mesh.x[column + run.len()]);
                let (front, back) = (mesh.y[row], mesh.y[row + 1]);
                gaps.push([[left, front, floor], [right, front, floor], [right, back, floor], [left, back, floor]]);
            }
            column += run.len();
        }
    }
    gaps
}

fn draw_shapes(scene: &mut Scene, stage: &Stage, mesh: &Mesh, spec: &PlotSpec) {
    let view = &stage.view;
    let columns = view.order(0, &mesh.x);
    for row in view.order(1, &mesh.y) {
        for column in &columns {
            let Some(corners) = mesh.cell(row, *column) else { continue };
            let mean = corners.iter().map(|corner| 0.25 * corner[2]).sum();
            let lit = [(0, 0), (0, 1), (1, 1), (1, 0)];
            let brightness: f64 =
                lit.iter().map(|(down, right)| 0.25 * mesh.brightness(view, row + down, column + right)).sum();
            let color = colormap::color(spec.palette, mesh.share(mean)).darkened(brightness);
            scene.facet(&corners.map(|corner| stage.point(corner)), color);
        }
    }
}

fn draw_pixels(scene: &mut Scene, stage: &Stage, mesh: &Mesh, spec: &PlotSpec, per_unit: f64) -> Result<(), PlotError> {
    let area = stage.area;
    let per_unit = per_unit.min(MOST_PIXELS / area.width().max(area.height()));
    let count = |extent: f64| (extent * per_unit).ceil().max(1.0) as usize;
    let (width, height) = (count(area.width()), count(area.height()));
    let mut buffer = ZBuffer::new(width, height, colormap::map(spec.palette));
    let n_columns = mesh.n_columns();
    let row_of_vertices = |row: usize| -> Vec<Option<Vertex>> {
        let vertex = |column: usize| {
            let z = mesh.z[row * n_columns + column];
            let place = [mesh.x[column], mesh.y[row], z];
            let at = stage.point(place);
            z.is_finite().then(|| Vertex {
                x: ((at.x - area.left) * per_unit) as f32,
                y: ((at.y - area.top) * per_unit) as f32,
                nearness: stage.view.see(place).nearness as f32,
                share: mesh.share(z) as f32,
                brightness: mesh.brightness(&stage.view, row, column) as f32,
            })
        };
        (0..n_columns).map(vertex).collect()
    };
    let mut above = row_of_vertices(0);
    for row in 1..mesh.y.len() {
        let below = row_of_vertices(row);
        for column in 1..n_columns {
            let corners = [above[column - 1], above[column], below[column], below[column - 1]];
            let [Some(a), Some(b), Some(c), Some(d)] = corners else { continue };
            buffer.triangle([a, b, c]);
            buffer.triangle([a, c, d]);
        }
        above = below;
    }
    let failed = || PlotError::Raster {
        width: u32::try_from(width).unwrap_or(u32::MAX),
        height: u32::try_from(height).unwrap_or(u32::MAX),
    };
    let pixels = buffer.into_pixels().ok_or_else(failed)?;
    let (right, bottom) = (area.left + width as f64 / per_unit, area.top + height as f64 / per_unit);
    scene.image(pixels, Rect { right, bottom, ..area });
    Ok(())
}

/// Marks the checkpoint on the surface, if it is there and nothing stands before it; returns whether.
fn draw_centre(scene: &mut Scene, stage: &Stage, mesh: &Mesh) -> bool {
    let (x, y) = (mesh.x_place(0.0), mesh.y_place(0.0));
    let Some(height) = mesh.height_at(x, y) else { return false };
    let place = [x, y, height];
    if !mesh.is_seen(&stage.view, place) {
        return false;
    }
    frame::draw_cross(scene, stage.point(place));
    true
}

#[cfg(test)]
mod tests {
    use relief_core::{PointValue, Split, SplitValues, SurfaceValues};

    use super::*;
    use crate::plot::{PlotKind, Projection, raster};

    fn waves() -> SurfaceValues {
        let axis: Vec<f64> = (0..31).map(|idx| f64::from(idx) / 15.0 - 1.0).collect();
        let mut main = SplitValues::unknown(Split::Train, axis.len() * axis.len());
        for (idx, (row, column)) in (0..31).flat_map(|row| (0..31).map(move |column| (row, column))).enumerate() {
            let (x, y) = (axis[column], axis[row]);
            let is_gap = (20..24).contains(&row) && (5..9).contains(&column);
            let loss = if is_gap { f64::NAN } else { 1.0 + x * x + (4.0 * x).sin() * (5.0 * y).cos() };
            main.set(idx, PointValue { loss, squared_error: 0.1, accuracy: 50.0 });
        }
        SurfaceValues { x: axis.clone(), y: axis, main, also: None }
    }

    #[test]
    fn what_is_hidden_is_the_same_by_order_and_by_depth() {
        let values = waves();
        for projection in [Projection::Perspective, Projection::Orthographic] {
            for (azimuth, elevation) in [(-60.0, 30.0), (20.0, 10.0), (110.0, 45.0), (200.0, 25.0), (-90.0, 88.0)] {
                let camera = Camera { azimuth, elevation, projection };
                let spec = PlotSpec { camera, ..PlotSpec::new(PlotKind::Surface) };
                let field = Field::new(&values, &values.main, &spec).expect("a field");
                let mesh = Mesh::of(&field);
                let floor = Floor::of(&field, &mesh, &spec);
                let pixels = |facets| {
                    let drawing = draw_turned(&field, &mesh, &floor, &spec, &[camera], 0, facets).expect("a drawing");
                    raster::pixels(&drawing, 1.0).expect("pixels")
                };
                let (shapes, depth) = (pixels(Facets::Shapes), pixels(Facets::Pixels(1.0)));
                let is_far = |(a, b): (&u8, &u8)| a.abs_diff(*b) > 45;
                let n_far = shapes.data().iter().zip(depth.data()).filter(|pair| is_far(*pair)).count();
                let share = n_far as f64 / shapes.data().len() as f64;
                assert!(share < 0.006, "{camera:?}: {share}");
            }
        }
    }

    #[test]
    fn gaps_are_holes() {
        let values = waves();
        let spec = PlotSpec::new(PlotKind::Surface);
        let field = Field::new(&values, &values.main, &spec).expect("a field");
        let mesh = Mesh::of(&field);
        let n_drawn = (0..30).flat_map(|row| (0..30).map(move |column| (row, column)));
        let n_drawn = n_drawn.filter(|(row, column)| mesh.cell(*row, *column).is_some()).count();
        assert_eq!(n_drawn, 900 - 25);
        assert_eq!(mesh.height_at(mesh.x_place(-0.5), mesh.y_place(0.45)), None);
    }
}
