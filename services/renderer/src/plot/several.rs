//! Several surfaces in one picture: curves over each other as in Li et al. 2018, figure 10, or what repeats of one have
//! in common; panels side by side are in `panel`.

use relief_core::SurfaceValues;

use super::bar;
use super::colormap::{Color, MOST_DISTINCT, Tones, distinct};
use super::contour::ends;
use super::curve::{self, AREA_HEIGHT, DASH, LINE_WIDTH, draw_legend, draw_line};
use super::field::{Field, Missing, Range, check_shape};
use super::frame::{self, Frame, Side, WIDTH};
use super::note::{self, Note, Sign};
use super::number::short;
use super::panel;
use super::scene::{Drawing, Point, Rect, Scene, Size, Stroke};
use crate::plot::{LossScale, PlotError, PlotFormat, PlotKind, PlotSpec, check_kind};

/// The most surfaces in one picture.
pub(super) const MOST_SURFACES: usize = 24;
/// The most panels side by side.
pub(super) const MOST_COLUMNS: u32 = 8;
const LEGEND_SIZE: f64 = 12.5;
/// How strongly the colour of a band is seen.
const BAND_STRENGTH: f64 = 0.28;

/// A surface with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedSurface {
    /// What it is called.
    pub name: String,
    /// Its values; the main split is drawn.
    pub values: SurfaceValues,
}

/// How far the band around a mean reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Spread {
    /// From the least to the greatest.
    #[default]
    Range,
    /// One standard deviation of a sample to either side.
    Deviation,
}

/// How several surfaces stand in one picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Curves over each other.
    Overlay,
    /// The mean of curves over one grid, and how far they spread.
    Band(Spread),
    /// Each in a panel of its own, on one scale of the loss, in so many columns.
    Panels(Option<u32>),
}

/// What a picture of several surfaces depends on besides the values and the [`PlotSpec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SurfacesSpec {
    /// How they stand in it.
    pub layout: Layout,
    /// Whether curves of the accuracy are drawn too.
    pub has_accuracy: bool,
    /// Whether a picture of panels is as wide as its panels need, instead of as wide as the [`PlotSpec`] says.
    pub has_own_width: bool,
}

/// Checks what does not depend on what is drawable.
pub(super) fn check(surfaces: &[NamedSurface], several: &SurfacesSpec, spec: &PlotSpec) -> Result<(), PlotError> {
    if !matches!(spec.format, PlotFormat::Svg | PlotFormat::Png | PlotFormat::Pdf) {
        return Err(PlotError::SurfacesFormat { format: spec.format });
    }
    if spec.kind == PlotKind::Convexity {
        return Err(PlotError::ConvexityOfLosses);
    }
    if surfaces.is_empty() || surfaces.len() > MOST_SURFACES {
        return Err(PlotError::NumberOfSurfaces { n_surfaces: surfaces.len(), most: MOST_SURFACES });
    }
    match several.layout {
        Layout::Panels(Some(n_columns)) if n_columns == 0 || n_columns > MOST_COLUMNS => {
            return Err(PlotError::Columns { n_columns, most: MOST_COLUMNS });
        }
        Layout::Overlay | Layout::Band(_) if spec.kind != PlotKind::Curve => {
            return Err(PlotError::LayoutOfKind { kind: spec.kind });
        }
        Layout::Band(_) if surfaces.len() == 1 => return Err(PlotError::BandOfOne),
        _ => {}
    }
    for (surface_idx, NamedSurface { values, .. }) in surfaces.iter().enumerate() {
        let of_surface = |source| PlotError::OfSurface { surface_idx, source: Box::new(source) };
        check_shape(values).and_then(|()| check_kind(values, spec.kind)).map_err(of_surface)?;
        if matches!(several.layout, Layout::Band(_)) && values.x != surfaces[0].values.x {
            let (points, first) = (&values.x, &surfaces[0].values.x);
            return Err(PlotError::BandGrid { surface_idx, points: said(points), first: said(first) });
        }
    }
    Ok(())
}

/// A grid in words.
fn said(coordinates: &[f64]) -> String {
    let Range { lo, hi } = ends(coordinates);
    format!("{}:{}:{}", lo, hi, coordinates.len())
}

/// Draws `surfaces`, which [`check`] found right.
pub(super) fn draw(surfaces: &[NamedSurface], several: &SurfacesSpec, spec: &PlotSpec) -> Result<Drawing, PlotError> {
    let splits: Vec<_> = surfaces.iter().map(|surface| (&surface.values, &surface.values.main)).collect();
    let fields = Field::together(&splits, spec)?;
    match several.layout {
        Layout::Overlay => overlay(surfaces, &fields, several, spec),
        Layout::Band(spread) => band(surfaces, &fields, spread, several, spec),
        Layout::Panels(n_columns) => panel::draw(surfaces, &fields, n_columns, several, spec),
    }
}

/// The lines of curves over each other: of few each has a colour of its own; of more the colours come again, dashed, as
/// long as dashes do not stand for the accuracy: then the colours are those of the palette in order.
fn line_strokes(spec: &PlotSpec, tones: Tones, n_lines: usize, has_accuracy: bool) -> Vec<Stroke> {
    const DASHES: [Option<(f64, f64)>; 4] = [None, Some((7.0, 3.0)), Some((2.0, 2.5)), Some((12.0, 4.0))];
    let stroke = |idx: usize| match n_lines > MOST_DISTINCT && has_accuracy {
        true => Stroke::solid(tones.line(spec.palette, idx as f64 / (n_lines - 1) as f64), LINE_WIDTH),
        false => Stroke {
            dash: DASHES[idx / MOST_DISTINCT % DASHES.len()],
            ..Stroke::solid(distinct(spec.theme, idx), LINE_WIDTH)
        },
    };
    (0..n_lines).map(stroke).collect()
}

/// The losses of a field on its scale.
fn positions(field: &Field<'_>) -> Vec<Option<f64>> {
    field.positions.iter().map(|position| position.ok()).collect()
}

/// A chart of curves before its lines are drawn.
struct Chart {
    scene: Scene,
    frame: Frame,
    accuracy: Option<Range>,
}

impl Chart {
    /// Returns a chart with room for all of `surfaces`.
    fn new(
        surfaces: &[NamedSurface],
        fields: &[Field<'_>],
        accuracies: Option<&[Vec<Option<f64>>]>,
        spec: &PlotSpec,
    ) -> Result<Self, PlotError> {
        let mut scene = Scene::new(spec.theme)?;
        let x = surfaces.iter().map(|surface| ends(&surface.values.x));
        let x = x.reduce(union).unwrap_or(Range { lo: 0.0, hi: 1.0 }).widened();
        let (loss_range, loss_ticks) = curve::loss_axis(&fields[0]);
        let accuracy = accuracies.and_then(|accuracies| curve::accuracy_axis(&accuracies.concat()));
        let ink = scene.tones.ink;
        let left = frame::vertical_axis_width(&scene, &loss_ticks);
        let right = match &accuracy {
            Some((_, ticks)) => WIDTH - frame::vertical_axis_width(&scene, ticks),
            None => WIDTH - 2.0 * frame::MARGIN,
        };
        let header = frame::draw_header(&mut scene, spec.title.as_deref(), None, left, right);
        let mut top = header + 2.0;
        if accuracy.is_some() {
            top = header + LEGEND_SIZE + 8.0;
            let entries = [
                (spec.loss_label.as_str(), Stroke::solid(ink, LINE_WIDTH)),
                (spec.accuracy_label.as_str(), Stroke { dash: Some(DASH), ..Stroke::solid(ink, LINE_WIDTH) }),
            ];
            draw_legend(&mut scene, &entries, right, header + LEGEND_SIZE - 1.0);
        }
        let area = Rect { left, top, right, bottom: top + AREA_HEIGHT };
        let frame = Frame { area, x, y: loss_range };
        curve::draw_guides(&mut scene, &frame, &loss_ticks);
        let label = bar::loss_label(&fields[0], spec);
        frame::draw_side_axis(&mut scene, &frame, Side::Left, &loss_ticks, &label, ink);
        if let Some((range, ticks)) = &accuracy {
            let frame = Frame { y: *range, ..frame };
            frame::draw_side_axis(&mut scene, &frame, Side::Right, ticks, &spec.accuracy_label, ink);
        }
        Ok(Self { scene, frame, accuracy: accuracy.map(|(range, _)| range) })
    }

    /// Returns the frame of the accuracies, if there are any.
    fn accuracy_frame(&self) -> Option<Frame> {
        self.accuracy.map(|y| Frame { y, ..self.frame })
    }

    fn finished(mut self, fields: &[Field<'_>], notes: &[Note], what: &str, spec: &PlotSpec) -> Drawing {
        let Self { frame, .. } = self;
        frame::draw_box(&mut self.scene, frame.area);
        let x_ticks = frame::horizontal_ticks(&self.scene, frame.x, frame.area.width());
        let below = frame::draw_bottom_axis(&mut self.scene, &frame, &x_ticks, &spec.x_label);
        let height = note::draw(&mut self.scene, notes, frame.area.left, below);
        let losses = fields[0].losses;
        let description = format!(
            "{what} of the {}, from {} to {}, over {} ({} to {}).{}",
            spec.loss_label,
            short(losses.lo),
            short(losses.hi),
            spec.x_label,
            short(frame.x.lo),
            short(frame.x.hi),
            note::described(notes),
        );
        let title = spec.title.as_deref().unwrap_or(&spec.loss_label);
        self.scene.into_drawing(Size { width: WIDTH, height }, spec.width, title, &description)
    }
}

fn union(a: Range, b: Range) -> Range {
    Range { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) }
}

fn overlay(
    surfaces: &[NamedSurface],
    fields: &[Field<'_>],
    several: &SurfacesSpec,
    spec: &PlotSpec,
) -> Result<Drawing, PlotError> {
    let accuracies: Option<Vec<Vec<Option<f64>>>> =
        several.has_accuracy.then(|| surfaces.iter().map(|surface| curve::accuracies(&surface.values.main)).collect());
    let mut chart = Chart::new(surfaces, fields, accuracies.as_deref(), spec)?;
    let tones = chart.scene.tones;
    let strokes = line_strokes(spec, tones, fields.len(), several.has_accuracy);
    let frame = chart.frame;
    if let (Some(frame), Some(accuracies)) = (chart.accuracy_frame(), &accuracies) {
        for (idx, (field, accuracies)) in fields.iter().zip(accuracies).enumerate() {
            let stroke = Stroke { dash: Some(DASH), ..strokes[idx] };
            draw_line(&mut chart.scene, &frame, field.x, accuracies, stroke);
        }
    }
    for (idx, field) in fields.iter().enumerate() {
        draw_line(&mut chart.scene, &frame, field.x, &positions(field), strokes[idx]);
    }
    let named = surfaces.iter().enumerate();
    let mut notes: Vec<Note> =
        named.map(|(idx, surface)| Note { sign: Sign::Stroke(strokes[idx]), text: surface.name.clone() }).collect();
    notes.extend(omissions(surfaces, fields));
    Ok(chart.finished(fields, &notes, &format!("{} curves", surfaces.len()), spec))
}

/// What is left out of each of `fields`, which have one scale.
pub(super) fn omissions(surfaces: &[NamedSurface], fields: &[Field<'_>]) -> Vec<Note> {
    let mut notes = Vec::new();
    for (surface, field) in surfaces.iter().zip(fields) {
        // Over one another, curves have gaps that are not shaded.
        let sign = |sign| if field.n_rows() > 1 { sign } else { Sign::None };
        notes.extend(note::missing(field).into_iter().map(|Note { sign: of_points, text }| Note {
            sign: sign(of_points),
            text: format!("{}: {text}", surface.name),
        }));
    }
    notes.extend(fields.first().and_then(note::clipping));
    notes
}

/// What several lines have in common at a point.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Common {
    mean: f64,
    lo: f64,
    hi: f64,
}

impl Common {
    /// Returns what `values` have in common; none without any.
    fn of(values: &[f64], spread: Spread) -> Option<Self> {
        let n_values = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        // Each divided first, so that huge losses do not overflow.
        let mean: f64 = values.iter().map(|value| value / n_values).sum();
        let reach = match spread {
            Spread::Range => {
                let lo = values.iter().copied().fold(f64::INFINITY, f64::min);
                (lo, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
            }
            Spread::Deviation if values.len() == 1 => (mean, mean),
            Spread::Deviation => {
                let square = |value: &f64| (value - mean) * (value - mean) / (n_values - 1.0);
                let deviation = values.iter().map(square).sum::<f64>().sqrt();
                (mean - deviation, mean + deviation)
            }
        };
        Some(Self { mean, lo: reach.0, hi: reach.1 })
    }

    /// Returns it for each place of `lines`, which are equally long.
    fn of_lines(lines: &[Vec<Option<f64>>], spread: Spread) -> Vec<Option<Self>> {
        let n_places = lines.first().map_or(0, Vec::len);
        let at = |idx: usize| lines.iter().filter_map(|line| line.get(idx).copied().flatten()).collect::<Vec<f64>>();
        (0..n_places).map(|idx| Self::of(&at(idx), spread)).collect()
    }
}

fn band(
    surfaces: &[NamedSurface],
    fields: &[Field<'_>],
    spread: Spread,
    several: &SurfacesSpec,
    spec: &PlotSpec,
) -> Result<Drawing, PlotError> {
    let losses = Common::of_lines(&fields.iter().map(positions).collect::<Vec<_>>(), spread);
    let accuracies = several.has_accuracy.then(|| {
        let lines: Vec<_> = surfaces.iter().map(|surface| curve::accuracies(&surface.values.main)).collect();
        (Common::of_lines(&lines, spread), lines)
    });
    let mut chart = Chart::new(surfaces, fields, accuracies.as_ref().map(|(_, lines)| lines.as_slice()), spec)?;
    let tones = chart.scene.tones;
    let x = fields[0].x;
    if let (Some(frame), Some((common, _))) = (chart.accuracy_frame(), &accuracies) {
        let stroke = Stroke { dash: Some(DASH), ..Stroke::solid(tones.accuracy, LINE_WIDTH) };
        draw_band(&mut chart.scene, &frame, x, common, stroke);
    }
    let frame = chart.frame;
    draw_band(&mut chart.scene, &frame, x, &losses, Stroke::solid(tones.loss, LINE_WIDTH));

    let mean = if spec.scale == LossScale::Log { "geometric mean" } else { "mean" };
    let reach = match (spread, spec.scale) {
        (Spread::Range, _) => "least to greatest",
        (Spread::Deviation, LossScale::Linear) => "\u{b1}1 standard deviation",
        (Spread::Deviation, LossScale::Log) => "\u{b1}1 standard deviation of the logarithm",
    };
    let mut notes = vec![
        Note { sign: Sign::Line(tones.loss), text: format!("{mean} of {} curves", surfaces.len()) },
        Note { sign: Sign::Swatch(tones.paper.towards(tones.loss, BAND_STRENGTH)), text: reach.to_owned() },
    ];
    let n_partial = (0..x.len()).filter(|idx| fields.iter().any(|field| field.positions[*idx].is_err())).count();
    if n_partial > 0 {
        let points = if n_partial == 1 { "1 point is" } else { &format!("{n_partial} points are") };
        let text = format!("{points} without some of the curves");
        notes.push(Note { sign: Sign::None, text });
    }
    for reason in Missing::ALL {
        let n_points: usize = fields.iter().map(|field| field.n_missing(reason)).sum();
        notes.extend(note::missing_for(reason, n_points).map(|note| Note { sign: Sign::None, ..note }));
    }
    notes.extend(note::clipping(&fields[0]));
    Ok(chart.finished(fields, &notes, &format!("Mean and spread of {} curves", surfaces.len()), spec))
}

/// Draws the mean with the band around it, broken where there is none.
fn draw_band(scene: &mut Scene, frame: &Frame, x: &[f64], common: &[Option<Common>], stroke: Stroke) {
    let Rect { top, bottom, .. } = frame.area;
    let place = |x: f64, y: f64| {
        let Point { x, y } = frame.point(x, y);
        Point { x, y: y.clamp(top, bottom) }
    };
    let places: Vec<Option<(f64, Common)>> =
        x.iter().zip(common).map(|(x, common)| common.map(|common| (*x, common))).collect();
    for run in places.chunk_by(|a, b| a.is_some() && b.is_some()) {
        let run: Vec<(f64, Common)> = run.iter().flatten().copied().collect();
        let above = run.iter().map(|(x, common)| place(*x, common.hi));
        let below = run.iter().rev().map(|(x, common)| place(*x, common.lo));
        if run.len() > 1 {
            scene.veil(&above.chain(below).collect::<Vec<_>>(), stroke.color, BAND_STRENGTH);
        }
    }
    let means: Vec<Option<f64>> = common.iter().map(|common| common.map(|common| common.mean)).collect();
    draw_line(scene, frame, x, &means, stroke);
}

/// The bands of the colours that contour lines have.
pub(super) fn line_bands(spec: &PlotSpec, tones: Tones) -> Vec<(f64, Color)> {
    const N_BANDS: usize = 128;
    let share = |idx: usize| idx as f64 / N_BANDS as f64;
    (0..N_BANDS).map(|idx| (share(idx), tones.line(spec.palette, share(idx)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_is_what_the_lines_have_in_common() {
        let common = Common::of(&[1.0, 2.0, 6.0], Spread::Range).expect("values");
        assert_eq!((common.mean, common.lo, common.hi), (3.0, 1.0, 6.0));
        let common = Common::of(&[1.0, 2.0, 6.0], Spread::Deviation).expect("values");
        assert!((common.hi - 3.0 - 7.0_f64.sqrt()).abs() < 1e-12 && (common.lo - 3.0 + 7.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(Common::of(&[4.0], Spread::Deviation), Some(Common { mean: 4.0, lo: 4.0, hi: 4.0 }));
        assert_eq!(Common::of(&[], Spread::Range), None);
        let lines = [vec![Some(1.0), None, None], vec![Some(3.0), Some(5.0), None]];
        let means: Vec<_> = Common::of_lines(&lines, Spread::Range).iter().map(|c| c.map(|c| c.mean)).collect();
        assert_eq!(means, [Some(2.0), Some(5.0), None]);
    }
}
