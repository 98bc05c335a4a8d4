//! Weights: how many have which value, as step lines, as in Li et al. 2018, figure 3; those of several checkpoints in
//! one picture.

use super::colormap::distinct;
use super::field::Range;
use super::frame::{self, Frame, Side, WIDTH};
use super::note::{self, Note, Sign};
use super::number::short;
use super::scene::{Drawing, Point, Rect, Scene, Size, Spot, Stroke};
use super::tick;
use crate::plot::{LossScale, PlotError, PlotSpec};

const LINE_WIDTH: f64 = 1.5;
const AREA_HEIGHT: f64 = 340.0;
/// The bins are as narrow as makes so many of them, or up to twice as many, across the area.
const FEWEST_BINS: i64 = 64;
/// The binary digits of the bins that are counted, from zero to the largest magnitude.
const DIGITS: i32 = 13;
/// No bin is narrower than the smallest number of single precision.
const LEAST_EXPONENT: i32 = -149;
/// The share of the weights at either end that may lie beyond the area, where they would take more than a third of it.
const TAIL: f64 = 0.0005;

/// How many weights of a checkpoint have which value, in narrow bins that begin at multiples of a power of two, so that
/// those of several checkpoints can be put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightCounts {
    /// What the checkpoint is called.
    pub name: String,
    /// Each bin is 2^`exponent` wide.
    exponent: i32,
    /// The first bin begins at `first` times that.
    first: i64,
    counts: Vec<u64>,
    n_not_finite: u64,
}

impl WeightCounts {
    /// Returns the counts of all values of `tensors`; those that are not finite are counted apart.
    #[must_use]
    pub fn of<'a>(name: String, tensors: impl Iterator<Item = &'a [f32]> + Clone) -> Self {
        let finite = || tensors.clone().flatten().copied().filter(|value| value.is_finite()).map(f64::from);
        let n_not_finite = tensors.clone().flatten().filter(|value| !value.is_finite()).count() as u64;
        let largest = finite().map(f64::abs).fold(0.0, f64::max);
        let exponent = if largest > 0.0 { largest.log2().ceil() as i32 - DIGITS } else { LEAST_EXPONENT };
        let exponent = exponent.max(LEAST_EXPONENT);
        let bin = |value: f64| (value / 2.0_f64.powi(exponent)).floor() as i64;
        let ends = finite().map(bin).fold(None, |ends: Option<(i64, i64)>, at| {
            Some(ends.map_or((at, at), |(first, last)| (first.min(at), last.max(at))))
        });
        let Some((first, last)) = ends else {
            return Self { name, exponent, first: 0, counts: Vec::new(), n_not_finite };
        };
        let mut counts = vec![0; usize::try_from(last - first).unwrap_or(0) + 1];
        for value in finite() {
            if let Some(count) = usize::try_from(bin(value) - first).ok().and_then(|idx| counts.get_mut(idx)) {
                *count += 1;
            }
        }
        Self { name, exponent, first, counts, n_not_finite }
    }

    fn n_finite(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The end of the bin that `index` bins come before.
    fn edge(&self, idx: usize) -> f64 {
        (self.first + idx as i64) as f64 * 2.0_f64.powi(self.exponent)
    }

    fn ends(&self) -> Option<Range> {
        (!self.counts.is_empty()).then(|| Range { lo: self.edge(0), hi: self.edge(self.counts.len()) })
    }

    /// The ends without `share` of the weights at either.
    fn inner(&self, share: f64) -> Option<Range> {
        let spare = share * self.n_finite() as f64;
        let cut = |counts: &mut dyn Iterator<Item = &u64>| {
            let mut before = 0.0;
            counts
                .take_while(|count| {
                    before += **count as f64;
                    before <= spare
                })
                .count()
        };
        let (left, right) = (cut(&mut self.counts.iter()), cut(&mut self.counts.iter().rev()));
        let range = Range { lo: self.edge(left), hi: self.edge(self.counts.len().saturating_sub(right)) };
        self.ends().map(|ends| if range.lo < range.hi { range } else { ends })
    }

    /// The counts in bins of 2^`exponent`, `n_bins` from `first` times that on.
    fn binned(&self, exponent: i32, first: i64, n_bins: usize) -> Vec<u64> {
        let mut counts = vec![0; n_bins];
        let coarser = u32::try_from(exponent - self.exponent).unwrap_or(0).min(62);
        for (idx, count) in self.counts.iter().enumerate() {
            let bin = ((self.first + idx as i64) >> coarser) - first;
            if let Some(binned) = usize::try_from(bin).ok().and_then(|bin| counts.get_mut(bin)) {
                *binned += count;
            }
        }
        counts
    }
}

/// The bins that are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bins {
    exponent: i32,
    first: i64,
    n_bins: usize,
}

impl Bins {
    /// Returns the bins of all of `weights`; none where no weight is finite.
    fn of(weights: &[WeightCounts]) -> Option<Self> {
        let union = |ranges: &mut dyn Iterator<Item = Range>| {
            ranges.reduce(|a, b| Range { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) })
        };
        let all = union(&mut weights.iter().filter_map(WeightCounts::ends))?;
        let inner = union(&mut weights.iter().filter_map(|weights| weights.inner(TAIL)))?;
        let shown = if all.hi - all.lo > 1.5 * (inner.hi - inner.lo) { inner } else { all };
        let finest =
            weights.iter().filter(|weights| !weights.counts.is_empty()).map(|weights| weights.exponent).max()?;
        let exponent = ((shown.hi - shown.lo) / FEWEST_BINS as f64).log2().floor() as i32;
        let exponent = exponent.max(finest);
        let width = 2.0_f64.powi(exponent);
        let (first, end) = ((shown.lo / width).floor() as i64, (shown.hi / width).ceil() as i64);
        Some(Self { exponent, first, n_bins: usize::try_from(end - first).unwrap_or(0).max(1) })
    }

    /// The ends of the bins: one more than there are.
    fn edges(self) -> Vec<f64> {
        let width = 2.0_f64.powi(self.exponent);
        (0..=self.n_bins).map(|idx| (self.first + idx as i64) as f64 * width).collect()
    }
}

/// Draws the counts of `weights`, of which [`super::run::check`] found the number right.
pub(super) fn draw(weights: &[WeightCounts], spec: &PlotSpec) -> Result<Drawing, PlotError> {
    let n_values = weights.iter().map(|weights| weights.n_finite() + weights.n_not_finite).sum::<u64>();
    let n_values = usize::try_from(n_values).unwrap_or(usize::MAX);
    let nothing = PlotError::NoRunValue { values: "weights", n_values, lack: "is finite" };
    let Some(bins) = Bins::of(weights) else { return Err(nothing) };
    let mut scene = Scene::new(spec.theme)?;
    let edges = bins.edges();
    let x = Range { lo: edges[0], hi: edges[bins.n_bins] };
    let counts: Vec<Vec<u64>> =
        weights.iter().map(|weights| weights.binned(bins.exponent, bins.first, bins.n_bins)).collect();
    let most = counts.iter().flatten().copied().max().unwrap_or(0).max(1) as f64;
    let (y, ticks) = match spec.scale {
        LossScale::Linear => (Range { lo: 0.0, hi: 1.06 * most }, tick::linear(0.0, 1.06 * most, 6)),
        // A single weight stands above the line of none.
        LossScale::Log => {
            let hi = most.log10() + 0.06 * (most.log10() + 0.3);
            (Range { lo: -0.3, hi }, tick::logarithmic(0.0, hi, 6))
        }
    };
    let left = frame::vertical_axis_width(&scene, &ticks);
    let right = WIDTH - 2.0 * frame::MARGIN;
    let name = weights.first().filter(|_| weights.len() == 1).map(|weights| weights.name.as_str());
    let title = spec.title.as_deref().or(name);
    let top = frame::draw_header(&mut scene, title, None, left, right) + 2.0;
    let area = Rect { left, top, right, bottom: top + AREA_HEIGHT };
    let frame = Frame { area, x, y };
    for tick in &ticks.major {
        let y = frame.y(tick.position);
        scene.line(Point { x: left, y }, Point { x: right, y }, Stroke::solid(scene.tones.faint, 0.8));
    }
    let place = |count: u64| match (spec.scale, count) {
        (LossScale::Linear, count) => count as f64,
        (LossScale::Log, 0) => y.lo,
        (LossScale::Log, count) => (count as f64).log10(),
    };
    let mut spots = Vec::new();
    for (idx, (weights, counts)) in weights.iter().zip(&counts).enumerate() {
        let steps: Vec<Point> = counts
            .iter()
            .enumerate()
            .flat_map(|(bin, count)| [edges[bin], edges[bin + 1]].map(|edge| frame.point(edge, place(*count))))
            .collect();
        scene.polyline(&without_repeats(&steps), false, Stroke::solid(distinct(spec.theme, idx), LINE_WIDTH));
        spots.extend(counts.iter().enumerate().map(|(bin, count)| Spot {
            at: frame.point(0.5 * edges[bin] + 0.5 * edges[bin + 1], place(*count)),
            text: format!("{}\n{count} from {} to {}", weights.name, short(edges[bin]), short(edges[bin + 1])),
        }));
    }
    frame::draw_box(&mut scene, area);
    let scale = if spec.scale == LossScale::Log { ", log scale" } else { "" };
    let ink = scene.tones.ink;
    frame::draw_side_axis(&mut scene, &frame, Side::Left, &ticks, &format!("number of weights{scale}"), ink);
    let x_ticks = frame::horizontal_ticks(&scene, x, right - left);
    let below = frame::draw_bottom_axis(&mut scene, &frame, &x_ticks, "weight");
    let notes = notes(weights, &counts, spec);
    let height = note::draw(&mut scene, &notes, left, below);
    let description = format!(
        "Number of weights from {} to {} of {}.{}",
        short(x.lo),
        short(x.hi),
        weights.iter().map(|weights| weights.name.as_str()).collect::<Vec<_>>().join(", "),
        note::described(&notes),
    );
    let title = title.unwrap_or("weights").to_owned();
    let size = Size { width: WIDTH, height };
    Ok(scene.into_drawing(size, spec.width, &title, &description).with_spots(spots))
}

/// Neighbouring bins of one height are one line.
fn without_repeats(steps: &[Point]) -> Vec<Point> {
    let mut line: Vec<Point> = Vec::new();
    for point in steps {
        if let [.., before, last] = line[..]
            && before.y == last.y
            && last.y == point.y
        {
            line.pop();
        }
        if line.last() != Some(point) {
            line.push(*point);
        }
    }
    line
}

fn notes(weights: &[WeightCounts], counts: &[Vec<u64>], spec: &PlotSpec) -> Vec<Note> {
    let mut notes = Vec::new();
    let of = |weights_of: &WeightCounts| match weights.len() {
        1 => String::new(),
        _ => format!("{}: ", weights_of.name),
    };
    let several = |n_weights: u64| if n_weights == 1 { "1 weight".to_owned() } else { format!("{n_weights} weights") };
    if weights.len() > 1 {
        notes.extend(
            weights
                .iter()
                .enumerate()
                .map(|(idx, weights)| Note { sign: Sign::Line(distinct(spec.theme, idx)), text: weights.name.clone() }),
        );
    }
    for (weights, counts) in weights.iter().zip(counts) {
        let n_beyond = weights.n_finite() - counts.iter().sum::<u64>();
        if n_beyond > 0 {
            let ends = weights
                .ends()
                .map_or_else(String::new, |ends| format!(", from {} to {}", short(ends.lo), short(ends.hi)));
            let text =
                format!("{}{} in all, {n_beyond} beyond the axis{ends}", of(weights), several(weights.n_finite()));
            notes.push(Note { sign: Sign::None, text });
        } else {
            let text = format!("{}{} in all", of(weights), several(weights.n_finite()));
            notes.push(Note { sign: Sign::None, text });
        }
        if weights.n_not_finite > 0 {
            let text = format!("{}{} not finite", of(weights), several(weights.n_not_finite));
            notes.push(Note { sign: Sign::None, text });
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(values: &[f32]) -> WeightCounts {
        WeightCounts::of("w".to_owned(), std::iter::once(values))
    }

    #[test]
    fn every_finite_weight_is_in_one_bin_that_holds_it() {
        let values: Vec<f32> = (0..1000).map(|idx| (idx as f32 - 480.0) / 317.0).collect();
        let weights = counts(&values);
        assert_eq!(weights.n_finite(), 1000);
        for (idx, count) in weights.counts.iter().enumerate() {
            let inside = values.iter().filter(|v| (weights.edge(idx)..weights.edge(idx + 1)).contains(&f64::from(**v)));
            assert_eq!(inside.count() as u64, *count);
        }
    }

    #[test]
    fn wider_bins_hold_what_the_narrow_ones_hold_below_zero_too() {
        let weights = counts(&[-1.0, -0.3, -0.01, 0.0, 0.01, 0.3, 0.999]);
        assert_eq!(weights.binned(-1, -2, 4), [1, 2, 3, 1]);
        assert_eq!(weights.binned(-1, -1, 2), [2, 3], "what lies beyond is not counted");
    }

    #[test]
    fn weights_that_are_not_finite_are_counted_apart() {
        let weights = counts(&[f32::NAN, f32::INFINITY, 0.5]);
        assert_eq!((weights.n_finite(), weights.n_not_finite), (1, 2));
        let nothing = counts(&[f32::NAN]);
        assert_eq!(
            Bins::of(&[nothing.clone(), weights.clone()]).map(|bins| bins.n_bins),
            Bins::of(&[weights]).map(|b| b.n_bins)
        );
        assert_eq!(Bins::of(&[nothing]), None);
    }

    #[test]
    fn equal_weights_and_single_far_ones_have_bins() {
        for values in [&[0.0_f32; 4][..], &[1e-45], &[f32::MAX, f32::MIN], &[3.0, 3.0]] {
            let weights = counts(values);
            let bins = Bins::of(std::slice::from_ref(&weights)).expect("bins");
            assert!((1..=4 * FEWEST_BINS as usize).contains(&bins.n_bins), "{values:?}: {bins:?}");
            let n_shown: u64 = weights.binned(bins.exponent, bins.first, bins.n_bins).iter().sum();
            assert_eq!(n_shown, values.len() as u64);
            assert!(bins.edges().windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn a_long_tail_lies_beyond_the_area() {
        let mut values: Vec<f32> = (0..20_000).map(|idx| (idx as f32 / 10_000.0 - 1.0) * 0.1).collect();
        values.push(50.0);
        let bins = Bins::of(&[counts(&values)]).expect("bins");
        let edges = bins.edges();
        assert!(edges[bins.n_bins] < 0.2 && edges[0] <= -0.09, "{edges:?}");
    }
}
