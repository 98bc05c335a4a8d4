//! The values of a whole surface.

use crate::point::{PointFlag, PointValue};
use crate::spec::Split;

/// The values of a surface over its grid, as far as they are known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SurfaceValues {
    /// The coefficients of the columns, nx of them.
    pub x: Vec<f64>,
    /// The coefficients of the rows, ny of them.
    pub y: Vec<f64>,
    /// Those of the split that the surface is of.
    pub main: SplitValues,
    /// Those of the second split, where there is one.
    pub also: Option<SplitValues>,
}

/// The values over one split. All are row-major with shape (ny, nx): the value at row i and column j, which lies at
/// (`x[j]`, `y[i]`), has index i nx + j. A curve has the one row y = 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SplitValues {
    /// The split.
    pub split: Split,
    /// The mean cross entropy in nats; NaN where not computed.
    pub loss: Vec<f64>,
    /// The mean squared error of the probabilities; NaN where not computed.
    pub squared_error: Vec<f64>,
    /// The accuracy in percent; NaN where not computed.
    pub accuracy: Vec<f64>,
    /// What is known of each loss; tells a computed NaN from a missing value.
    pub flags: Vec<PointFlag>,
}

impl SplitValues {
    /// Returns `n_points` points of `split` of which nothing is known.
    #[must_use]
    pub fn unknown(split: Split, n_points: usize) -> Self {
        Self {
            split,
            loss: vec![f64::NAN; n_points],
            squared_error: vec![f64::NAN; n_points],
            accuracy: vec![f64::NAN; n_points],
            flags: vec![PointFlag::Never; n_points],
        }
    }

    /// Puts the value of the point with index `idx` in its place.
    pub fn set(&mut self, idx: usize, value: PointValue) {
        self.loss[idx] = value.loss;
        self.squared_error[idx] = value.squared_error;
        self.accuracy[idx] = value.accuracy;
        self.flags[idx] = value.flag();
    }

    /// The value of the point with index `idx`, or none where it is not computed.
    #[must_use]
    pub fn get(&self, idx: usize) -> Option<PointValue> {
        let (loss, squared_error) = (*self.loss.get(idx)?, *self.squared_error.get(idx)?);
        let (accuracy, flag) = (*self.accuracy.get(idx)?, *self.flags.get(idx)?);
        (flag != PointFlag::Never).then_some(PointValue { loss, squared_error, accuracy })
    }
}

impl SurfaceValues {
    /// The values of every split, the main one first.
    pub fn splits(&self) -> impl Iterator<Item = &SplitValues> {
        std::iter::once(&self.main).chain(&self.also)
    }

    /// The number of rows, ny.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.y.len()
    }

    /// The number of columns, nx.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.x.len()
    }

    /// Whether every point is computed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.main.flags.contains(&PointFlag::Never)
    }
}

/// The curvature of the loss over a surface's grid: the extreme eigenvalues of the Hessian of the mean loss over the
/// trainable tensors of two dimensions or more, at each point. Row-major with shape (ny, nx), NaN where not computed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curvature {
    /// The coefficients of the columns, nx of them.
    pub x: Vec<f64>,
    /// The coefficients of the rows, ny of them.
    pub y: Vec<f64>,
    /// The least eigenvalue.
    pub lambda_min: Vec<f64>,
    /// The greatest eigenvalue.
    pub lambda_max: Vec<f64>,
}

impl Curvature {
    /// How large the most negative curvature is against the greatest at each point, |lambda_min / lambda_max| (Li et
    /// al. 2018, section 6): near 0 where the loss is nearly convex; NaN where an eigenvalue is not known, or the
    /// greatest is 0.
    pub fn ratios(&self) -> impl Iterator<Item = f64> {
        let eigenvalues = self.lambda_min.iter().zip(&self.lambda_max);
        eigenvalues.map(|(min, max)| if *max == 0.0 { f64::NAN } else { (min / max).abs() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_of_the_eigenvalues_is_positive_or_unknown() {
        let curvature = Curvature {
            x: vec![-1.0, 0.0, 1.0, 2.0],
            y: vec![0.0],
            lambda_min: vec![-1.0, 0.5, -1.0, f64::NAN],
            lambda_max: vec![4.0, 2.0, 0.0, 1.0],
        };
        let ratios: Vec<f64> = curvature.ratios().collect();
        assert_eq!(ratios[..2], [0.25, 0.25]);
        assert!(ratios[2..].iter().all(|ratio| ratio.is_nan()));
    }
}
