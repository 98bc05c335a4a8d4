//! The losses at which contour lines are drawn.

use super::field::Range;
use super::tick::{Step, decades, mantissas};
use crate::plot::LossScale;

/// More logarithmic levels than this make a picture dense rather than precise.
const MOST: usize = 14;

/// The same of linear levels, which crowd less where the loss is low.
const MOST_LINEAR: u32 = 24;

/// Below the first of equal steps, where most of the points may lie.
const FINER_STEPS: u32 = 5;

/// Fewer levels than this say nothing of the shape.
const FEWEST: usize = 4;

/// A loss to draw a line at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Level {
    /// The loss.
    pub loss: f64,
    /// Where it stands on the scale: the loss, or its decimal logarithm.
    pub position: f64,
    /// Whether its line is emphasised: a decade among other levels.
    pub is_major: bool,
}

/// Returns round losses within `range`, at equal steps, or on a log scale at equal parts of decades. Where more than
/// half of the points, whose middle position is `median`, lie below the first of equal steps, smaller steps lead up to
/// it. The ends are no levels, but for the upper end if losses above it are clipped: there is a line to draw.
pub(super) fn levels(range: Range, scale: LossScale, is_clipped: bool, median: f64) -> Vec<Level> {
    let levels = match scale {
        LossScale::Linear => {
            let mut levels = linear(range.lo, range.hi, MOST_LINEAR, |loss| loss);
            let first = levels.iter().map(|level| level.loss).find(|loss| *loss > range.lo);
            if let Some(first) = first.filter(|first| median < *first) {
                let finer = linear(range.lo, first, FINER_STEPS, |loss| loss);
                levels.extend(finer.into_iter().filter(|level| level.loss < first));
            }
            levels
        }
        LossScale::Log => logarithmic(range),
    };
    let is_inside = |position: f64| range.lo < position && (position < range.hi || is_clipped && position == range.hi);
    levels.into_iter().filter(|level| is_inside(level.position)).collect()
}

fn linear(lo: f64, hi: f64, n_steps: u32, position: impl Fn(f64) -> f64) -> Vec<Level> {
    let losses = Step::dividing(lo, hi, n_steps).map(|step| step.multiples(lo, hi)).unwrap_or_default();
    losses.into_iter().map(|loss| Level { loss, position: position(loss), is_major: false }).collect()
}

fn logarithmic(range: Range) -> Vec<Level> {
    let Range { lo, hi } = range;
    const SCHEMES: [&[f64]; 5] =
        [&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0], &[1.0, 2.0, 3.0, 5.0], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
    let schemes = SCHEMES.map(|scheme| (scheme.len() > 1, mantissas(lo, hi, scheme)));
    let losses = match schemes.into_iter().find(|(_, losses)| losses.len() <= MOST) {
        Some((_, losses)) if losses.len() < FEWEST => {
            return linear(10_f64.powf(lo), 10_f64.powf(hi), MOST_LINEAR, f64::log10);
        }
        Some(found) => found,
        None => (false, sparse_decades(lo, hi)),
    };
    let (has_parts, losses) = losses;
    let is_decade = |loss: f64| loss.log10().fract() == 0.0;
    let level = |loss: f64| Level { loss, position: loss.log10(), is_major: has_parts && is_decade(loss) };
    losses.into_iter().map(level).collect()
}

fn sparse_decades(lo: f64, hi: f64) -> Vec<f64> {
    let decades = decades(lo, hi);
    let stride = decades.len().div_ceil(MOST).max(1);
    decades.into_iter().step_by(stride).map(super::number::decade).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(lo: f64, hi: f64, scale: LossScale) -> Vec<f64> {
        levels(Range { lo, hi }, scale, false, hi).iter().map(|level| level.loss).collect()
    }

    #[test]
    fn linear_levels_are_round_and_strictly_inside() {
        assert_eq!(losses(0.0, 5.0, LossScale::Linear), [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]);
        let clipped = levels(Range { lo: 0.0, hi: 5.0 }, LossScale::Linear, true, 5.0);
        assert_eq!(clipped.last().map(|level| level.loss), Some(5.0));
    }

    #[test]
    fn smaller_steps_lead_up_to_the_first_where_most_points_lie_below_it() {
        let levels = levels(Range { lo: 0.2, hi: 51.0 }, LossScale::Linear, false, 3.0);
        let mut losses: Vec<f64> = levels.iter().map(|level| level.loss).collect();
        losses.sort_by(f64::total_cmp);
        assert_eq!(losses[..6], [1.0, 2.0, 3.0, 4.0, 5.0, 10.0]);
    }

    #[test]
    fn log_levels_thin_out_with_the_range() {
        assert_eq!(
            losses(-2.5, 0.5, LossScale::Log),
            [0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0]
        );
        assert_eq!(losses(-2.1, 4.1, LossScale::Log).first(), Some(&0.01));
        assert!(losses(-300.0, 300.0, LossScale::Log).len() <= MOST);
    }

    #[test]
    fn log_levels_of_a_small_range_are_equal_steps() {
        let losses = losses(2.0_f64.log10(), 2.5_f64.log10(), LossScale::Log);
        assert_eq!(losses, [2.05, 2.1, 2.15, 2.2, 2.25, 2.3, 2.35, 2.4, 2.45]);
    }

    #[test]
    fn equal_values_have_no_level() {
        assert!(levels(Range { lo: 1.0, hi: 1.0 }, LossScale::Linear, false, 1.0).is_empty());
    }
}
