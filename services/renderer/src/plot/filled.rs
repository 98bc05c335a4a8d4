//! Filled contours: the areas between lines of equal loss, coloured, with a colour bar.

use super::bar::Bar;
use super::colormap::{Color, color};
use super::contour;
use super::field::Field;
use super::frame::{self, Frame, Side, WIDTH};
use super::note;
use super::number::short;
use super::region::region;
use super::scene::{Drawing, Point, Rect, Scene, Size, Stroke};
use super::tick;
use super::trace::thinned;
use crate::plot::{PlotError, PlotSpec};

const LINE_WIDTH: f64 = 0.5;

/// Draws the areas between the levels of `field`.
pub(super) fn draw(field: &Field<'_>, spec: &PlotSpec) -> Result<Drawing, PlotError> {
    let mut scene = Scene::new(spec.theme)?;
    let (x, y) = (contour::ends(field.x), contour::ends(field.y));
    let y_ticks = tick::linear(y.lo, y.hi, 8);
    let bar = Bar::new(field, spec);
    let left = frame::vertical_axis_width(&scene, &y_ticks);
    let right = bar.left_neighbour_right(&scene);
    let top = frame::draw_header(&mut scene, spec.title.as_deref(), None, left, right) + 2.0;
    let bottom = top + frame::height_in_proportion(right - left, x, y);
    let frame = Frame { area: Rect { left, top, right, bottom }, x, y };

    contour::draw_gaps(&mut scene, &frame, field);
    let bands = bands(field, spec);
    draw_bands(&mut scene, &frame, field, &bands);
    let centre = frame::draw_centre(&mut scene, &frame);
    frame::draw_box(&mut scene, frame.area);
    let ink = scene.tones.ink;
    frame::draw_side_axis(&mut scene, &frame, Side::Left, &y_ticks, &spec.y_label, ink);
    let x_ticks = frame::horizontal_ticks(&scene, x, right - left);
    let below = frame::draw_bottom_axis(&mut scene, &frame, &x_ticks, &spec.x_label);
    let shares: Vec<(f64, Color)> = bands.iter().map(|band| (band.share, band.color)).collect();
    bar.draw(&mut scene, frame.area, &shares);

    let notes = contour::notes(field, centre.is_some(), bands.len() < 2);
    let height = note::draw(&mut scene, &notes, left, below);
    let description = format!(
        "Filled contours of the {} over {} ({} to {}) and {} ({} to {}), from {} to {}.{}",
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
    let title = spec.title.as_deref().unwrap_or(&spec.loss_label);
    let drawing = scene.into_drawing(Size { width: WIDTH, height }, spec.width, title, &description);
    Ok(drawing.with_hover(frame))
}

/// The losses from one level to the next.
pub(super) struct Band {
    /// Where it begins on the scale; none for the lowest, which has no level below.
    level: Option<f64>,
    /// The same as a share of the range.
    pub share: f64,
    /// What it is filled with.
    pub color: Color,
}

/// Returns the bands of `field`, rising.
pub(super) fn bands(field: &Field<'_>, spec: &PlotSpec) -> Vec<Band> {
    if field.range.is_point() {
        return vec![Band { level: None, share: 0.0, color: color(spec.palette, 0.5) }];
    }
    let mut levels: Vec<f64> = contour::levels_of(field).iter().map(|level| level.position).collect();
    levels.sort_by(f64::total_cmp);
    let ends = levels.iter().copied().chain([field.range.hi]);
    let begins = std::iter::once(None).chain(levels.iter().copied().map(Some));
    let band = |(level, end): (Option<f64>, f64)| {
        let (from, to) = (level.map_or(0.0, |level| field.range.share(level)), field.range.share(end));
        Band { level, share: from, color: color(spec.palette, 0.5 * (from + to)) }
    };
    begins.zip(ends).map(band).collect()
}

/// Fills `bands` of `field`, with a thin line at each level.
pub(super) fn draw_bands(scene: &mut Scene, frame: &Frame, field: &Field<'_>, bands: &[Band]) {
    let values: Vec<Option<f64>> = field.positions.iter().map(|position| position.ok()).collect();
    let place = |(column, row): (f64, f64)| -> Point {
        frame.point(contour::coordinate(field.x, column), contour::coordinate(field.y, row))
    };
    // Each band lies over all of the lower ones, so that no seam is between them.
    for band in bands {
        let outlines = region(&values, field.n_columns(), band.level.unwrap_or(f64::NEG_INFINITY));
        let outlines: Vec<Vec<Point>> =
            outlines.into_iter().map(|outline| thinned(outline.into_iter().map(place).collect())).collect();
        scene.region(&outlines, band.color);
    }
    for band in bands {
        let Some(level) = band.level else { continue };
        let stroke = Stroke::solid(band.color.darkened(0.75), LINE_WIDTH);
        for line in super::isoline::isolines(&values, field.n_columns(), level) {
            let points = thinned(line.points.into_iter().map(place).collect());
            scene.polyline(&points, line.is_closed, stroke);
        }
    }
}
