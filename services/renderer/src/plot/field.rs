//! The losses as they can be drawn: on their scale, each point that cannot be drawn with the reason.

use relief_core::{PointFlag, SplitValues, SurfaceValues};

use crate::plot::{LossScale, PlotError, PlotSpec};

/// What the values of a field are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Quantity {
    /// Losses.
    #[default]
    Loss,
    /// Ratios of curvatures.
    Ratio,
}

impl Quantity {
    /// What a value is called.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Ratio => "ratio",
        }
    }
}

/// Why a point cannot be drawn; a later one prevails where cells share points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Missing {
    /// It is not computed yet.
    Unknown,
    /// Its loss is finite, but has no logarithm.
    WithoutLogarithm,
    /// Its loss is NaN or infinite.
    NonFinite,
}

impl Missing {
    /// All reasons.
    pub(super) const ALL: [Self; 3] = [Self::NonFinite, Self::WithoutLogarithm, Self::Unknown];
}

/// A part of a scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    /// The lower end.
    pub lo: f64,
    /// The upper end.
    pub hi: f64,
}

impl Range {
    /// Where `position` lies: 0 at the lower end, 1 at the upper.
    pub(super) fn share(self, position: f64) -> f64 {
        // Halved, the difference of two huge numbers does not overflow.
        (0.5 * position - 0.5 * self.lo) / (0.5 * self.hi - 0.5 * self.lo)
    }

    /// Whether both ends are one for all practical purposes.
    pub(super) fn is_point(self) -> bool {
        self.hi - self.lo <= 1e-12 * self.lo.abs().max(self.hi.abs())
    }

    /// Returns the range, or a range around it if it is a point.
    pub(super) fn widened(self) -> Self {
        if !self.is_point() {
            return self;
        }
        let margin = if self.lo == 0.0 { 0.1 } else { 0.1 * self.lo.abs() };
        self.grown(margin)
    }

    fn grown(self, margin: f64) -> Self {
        Self { lo: (self.lo - margin).max(f64::MIN), hi: (self.hi + margin).min(f64::MAX) }
    }

    /// Returns the range with `share` of its length added at each end.
    pub(super) fn padded(self, share: f64) -> Self {
        self.grown(share * self.hi - share * self.lo)
    }
}

/// The limit above which losses are clipped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Clip {
    /// The greatest loss that is drawn as it is.
    pub limit: f64,
    /// The greatest loss there is.
    pub greatest: f64,
    /// How many losses are above the limit.
    pub n_points: usize,
}

/// What several pictures show of their losses, so that one height and one colour stand for one loss in all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharedScale {
    range: Range,
    limit: Option<f64>,
    median: f64,
}

impl SharedScale {
    /// Returns the scale of all of `splits`, drawn as `spec` says; none if none of them has a loss to draw.
    pub(super) fn of(splits: &[(&SurfaceValues, &SplitValues)], spec: &PlotSpec) -> Option<Self> {
        let Field { range, clip, median, .. } = Field::together(splits, spec).ok()?.into_iter().next()?;
        Some(Self { range, limit: clip.map(|clip| clip.limit), median })
    }
}

/// The losses of a surface as they can be drawn.
pub(super) struct Field<'a> {
    /// The coefficients of the columns.
    pub x: &'a [f64],
    /// The coefficients of the rows.
    pub y: &'a [f64],
    /// For each point the position of its loss on the scale, not clipped, or why it cannot be drawn.
    pub positions: Vec<Result<f64, Missing>>,
    /// What of the scale is drawn: the least to the greatest position, or to the limit.
    pub range: Range,
    /// The least and the greatest loss that can be drawn.
    pub losses: Range,
    /// The limit, if losses are above it.
    pub clip: Option<Clip>,
    /// Whether the scale ends at a limit, be losses of this field above it or of another that shares the scale.
    pub is_limited: bool,
    /// The middle one of the positions that can be drawn.
    pub median: f64,
    /// The scale.
    pub scale: LossScale,
    /// What the values are.
    pub quantity: Quantity,
}

impl<'a> Field<'a> {
    /// Returns what of one split of `values`, whose shape is right, can be drawn on the scale of `spec`.
    pub(super) fn new(values: &'a SurfaceValues, split: &SplitValues, spec: &PlotSpec) -> Result<Self, PlotError> {
        let fields = Self::together(&[(values, split)], spec)?;
        fields.into_iter().next().ok_or(PlotError::NoPoints)
    }

    /// Returns the same of several surfaces on one scale: what of it is drawn, where it is clipped and the middle
    /// position are those of all of them together.
    pub(super) fn together(
        surfaces: &[(&'a SurfaceValues, &SplitValues)],
        spec: &PlotSpec,
    ) -> Result<Vec<Self>, PlotError> {
        let positions: Vec<Vec<Result<f64, Missing>>> = surfaces
            .iter()
            .map(|(_, split)| {
                let points = split.loss.iter().zip(&split.flags);
                points.map(|(loss, flag)| position(*loss, *flag, spec.scale)).collect()
            })
            .collect();
        let points = surfaces.iter().flat_map(|(_, split)| &split.loss).zip(positions.iter().flatten());
        let mut losses: Vec<f64> = points.filter(|(_, position)| position.is_ok()).map(|(loss, _)| *loss).collect();
        losses.sort_by(f64::total_cmp);
        let (Some(least), Some(greatest)) = (losses.first().copied(), losses.last().copied()) else {
            return Err(nothing(&positions.concat()));
        };
        let limit = match (spec.loss_max, spec.scale) {
            (Some(loss_max), _) if loss_max <= least => return Err(PlotError::LossMaxTooLow { loss_max, least }),
            (Some(loss_max), _) => Some(loss_max),
            (None, LossScale::Linear) => outlier_limit(&losses),
            (None, LossScale::Log) => None,
        };
        let clip = limit.filter(|limit| *limit < greatest).map(|limit| Clip {
            limit,
            greatest,
            n_points: losses.iter().filter(|loss| **loss > limit).count(),
        });
        let scaled = |loss: f64| if spec.scale == LossScale::Log { loss.log10() } else { loss };
        let range = Range { lo: scaled(least), hi: scaled(clip.map_or(greatest, |clip| clip.limit)) };
        // The logarithm keeps the order.
        let median = scaled(losses[losses.len() / 2]);
        let losses = Range { lo: least, hi: greatest };
        let field = |((values, _), positions): (&(&'a SurfaceValues, _), _)| Self {
            x: &values.x,
            y: &values.y,
            positions,
            range,
            losses,
            clip,
            is_limited: clip.is_some(),
            median,
            scale: spec.scale,
            quantity: Quantity::Loss,
        };
        let fields = surfaces.iter().zip(positions).map(field);
        Ok(match spec.shared {
            Some(shared) => fields.map(|field| field.on(shared)).collect(),
            None => fields.collect(),
        })
    }

    /// Returns the field on a scale that it shares with others.
    fn on(self, SharedScale { range, limit, median }: SharedScale) -> Self {
        let own = self.positions.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let greatest = if self.scale == LossScale::Log { 10.0_f64.powf(own) } else { own };
        let n_points = self.positions.iter().flatten().filter(|position| **position > range.hi).count();
        let clip = limit.filter(|_| n_points > 0).map(|limit| Clip { limit, greatest, n_points });
        Self { range, clip, is_limited: limit.is_some(), median, ..self }
    }

    /// Returns the field of other values than losses on a linear scale from `lo` to `hi`, clipped there.
    pub(super) fn over(self, lo: f64, hi: f64, quantity: Quantity) -> Self {
        let n_points = self.positions.iter().flatten().filter(|position| **position > hi).count();
        let clip = (n_points > 0).then_some(Clip { limit: hi, greatest: self.losses.hi, n_points });
        Self { range: Range { lo, hi }, clip, is_limited: true, quantity, ..self }
    }

    /// Returns the field with room on its scale for `other`, clipped where both are.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let union = |a: Range, b: Range| Range { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) };
        let (range, losses) = (union(self.range, other.range), union(self.losses, other.losses));
        let positions = self.positions.iter().chain(&other.positions).flatten();
        let n_points = positions.filter(|position| **position > range.hi).count();
        // What is drawn of each ends at its limit, or where its losses end.
        let end = |field: &Self| field.clip.map_or(field.losses.hi, |clip| clip.limit);
        let limit = end(self).max(end(other));
        let clip = (n_points > 0).then_some(Clip { limit, greatest: losses.hi, n_points });
        let is_limited = clip.is_some() || self.is_limited && other.is_limited;
        Self { positions: self.positions.clone(), range, losses, clip, is_limited, ..*self }
    }

    /// The number of columns.
    pub(super) fn n_columns(&self) -> usize {
        self.x.len()
    }

    /// The number of rows.
    pub(super) fn n_rows(&self) -> usize {
        self.y.len()
    }

    /// The number of points that cannot be drawn for a reason.
    pub(super) fn n_missing(&self, reason: Missing) -> usize {
        self.positions.iter().filter(|position| **position == Err(reason)).count()
    }
}

fn position(loss: f64, flag: PointFlag, scale: LossScale) -> Result<f64, Missing> {
    match scale {
        _ if flag == PointFlag::Never => Err(Missing::Unknown),
        _ if !loss.is_finite() || flag != PointFlag::Finite => Err(Missing::NonFinite),
        LossScale::Log if loss <= 0.0 => Err(Missing::WithoutLogarithm),
        LossScale::Log => Ok(loss.log10()),
        LossScale::Linear => Ok(loss),
    }
}

fn nothing(positions: &[Result<f64, Missing>]) -> PlotError {
    let count = |reason| positions.iter().filter(|position| **position == Err(reason)).count();
    let n_finite = count(Missing::WithoutLogarithm);
    let n_computed = positions.len() - count(Missing::Unknown);
    match (n_computed, n_finite) {
        (0, _) => PlotError::NothingComputed { n_points: positions.len() },
        (_, 0) => PlotError::NothingFinite { n_computed },
        _ => PlotError::NothingPositive { n_finite },
    }
}

/// Returns a round limit a little above nine tenths of the sorted losses if the rest would take more than four fifths
/// of a linear scale.
fn outlier_limit(losses: &[f64]) -> Option<f64> {
    let (least, greatest) = (*losses.first()?, *losses.last()?);
    let high = *losses.get((losses.len() * 9) / 10)?;
    let spread = high - least;
    if spread <= 0.0 || greatest - least <= 5.0 * spread {
        return None;
    }
    let limit = least + 1.25 * spread;
    let step = super::tick::Step::dividing(least, limit, 10)?;
    step.multiples(limit, limit + 1.25 * spread).first().copied()
}

/// Checks that the values belong to a grid.
pub(super) fn check_shape(values: &SurfaceValues) -> Result<(), PlotError> {
    let (n_rows, n_columns) = (values.n_rows(), values.n_columns());
    if n_rows == 0 || n_columns == 0 {
        return Err(PlotError::NoPoints);
    }
    let mut lengths = values.splits().flat_map(|split| {
        [("loss", split.loss.len()), ("accuracy", split.accuracy.len()), ("flags", split.flags.len())]
    });
    if let Some((array, length)) = lengths.find(|(_, length)| *length != n_rows * n_columns) {
        return Err(PlotError::Shape { array, length, n_rows, n_columns });
    }
    for (axis, coordinates) in [('x', &values.x), ('y', &values.y)] {
        let is_rising = coordinates.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_rising || !coordinates.iter().all(|coordinate| coordinate.is_finite()) {
            return Err(PlotError::Coordinates { axis });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_are_clipped_at_a_round_limit_and_ordinary_values_are_not() {
        let mut losses: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(outlier_limit(&losses), None);
        losses[99] = 1e6;
        assert_eq!(outlier_limit(&losses), Some(120.0));
        assert_eq!(outlier_limit(&[1.0; 9]), None);
    }

    #[test]
    fn ranges_of_huge_numbers_do_not_overflow() {
        let range = Range { lo: f64::MIN, hi: f64::MAX };
        assert_eq!(range.share(0.0), 0.5);
        assert!(!range.is_point());
    }

    #[test]
    fn a_point_is_widened() {
        assert_eq!(Range { lo: 0.0, hi: 0.0 }.widened(), Range { lo: -0.1, hi: 0.1 });
        assert_eq!(Range { lo: 1.0, hi: 2.0 }.widened(), Range { lo: 1.0, hi: 2.0 });
    }
}
