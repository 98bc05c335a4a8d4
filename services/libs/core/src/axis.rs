//! Axes and the grid of points they span.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `count` coefficients from `min` to `max`, both included, equally spaced; written `min:max:count`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "AxisFields", into = "AxisFields")]
pub struct Axis {
    min: f64,
    max: f64,
    count: u32,
}

#[derive(Serialize, Deserialize)]
struct AxisFields {
    min: f64,
    max: f64,
    count: u32,
}

/// Why an axis is refused. The message names the value and what would be right, not the field: its owner knows that.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AxisError {
    /// Not of the form `min:max:count`.
    #[error("`{0}` is not of the form min:max:count, as in -1:1:51")]
    Form(String),
    /// An end is NaN or infinite.
    #[error("{min}:{max} has an end that is not a finite number; both ends must be finite")]
    NotFinite {
        /// The lower end given.
        min: f64,
        /// The upper end given.
        max: f64,
    },
    /// No points.
    #[error("the count is 0; an axis needs at least 1 point")]
    Empty,
    /// The ends are in the wrong order.
    #[error("min {min} is not below max {max}; write the smaller end first")]
    Order {
        /// The lower end given.
        min: f64,
        /// The upper end given.
        max: f64,
    },
    /// One point cannot lie on two ends.
    #[error("a count of 1 needs min = max, got {min} and {max}")]
    SinglePoint {
        /// The lower end given.
        min: f64,
        /// The upper end given.
        max: f64,
    },
    /// The ends differ by more than float64 can hold, or are too large for float32 coefficients.
    #[error("{min}:{max} reaches beyond the range of float32 coefficients")]
    Range {
        /// The lower end given.
        min: f64,
        /// The upper end given.
        max: f64,
    },
}

impl Axis {
    /// Returns the axis with `count` points from `min` to `max`, both included.
    ///
    /// # Errors
    /// When an end is not finite, the ends are not in order, there is no point, or a single point has two ends.
    pub fn new(min: f64, max: f64, count: u32) -> Result<Self, AxisError> {
        if !min.is_finite() || !max.is_finite() {
            return Err(AxisError::NotFinite { min, max });
        }
        if min.abs() > f64::from(f32::MAX) || max.abs() > f64::from(f32::MAX) {
            return Err(AxisError::Range { min, max });
        }
        match count {
            0 => Err(AxisError::Empty),
            1 if min != max => Err(AxisError::SinglePoint { min, max }),
            1 => Ok(Self { min, max, count }),
            _ if min >= max => Err(AxisError::Order { min, max }),
            _ => Ok(Self { min, max, count }),
        }
    }

    /// The first coefficient.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.min
    }

    /// The last coefficient.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.max
    }

    /// The number of points, at least 1.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The coefficient at `idx`: (min (n - 1 - idx) + max idx) / (n - 1) in float64, which is exactly 0 at the centre
    /// of a symmetric axis with an odd count.
    #[must_use]
    pub fn coordinate(&self, idx: u32) -> f64 {
        if self.count == 1 {
            return self.min;
        }
        let last = f64::from(self.count - 1);
        let idx = f64::from(idx);
        (self.min * (last - idx) + self.max * idx) / last
    }

    /// All coefficients, in order.
    #[must_use]
    pub fn coordinates(&self) -> Vec<f64> {
        (0..self.count).map(|idx| self.coordinate(idx)).collect()
    }
}

impl TryFrom<AxisFields> for Axis {
    type Error = AxisError;

    fn try_from(fields: AxisFields) -> Result<Self, Self::Error> {
        Self::new(fields.min, fields.max, fields.count)
    }
}

impl From<Axis> for AxisFields {
    fn from(axis: Axis) -> Self {
        Self { min: axis.min, max: axis.max, count: axis.count }
    }
}

impl FromStr for Axis {
    type Err = AxisError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || AxisError::Form(text.to_owned());
        let parts: Vec<&str> = text.split(':').collect();
        let [min, max, count] = parts[..] else { return Err(form()) };
        let end = |text: &str| text.trim().parse::<f64>().map_err(|_| form());
        Self::new(end(min)?, end(max)?, count.trim().parse().map_err(|_| form())?)
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.min, self.max, self.count)
    }
}

/// The points of a surface (two axes) or of a curve (one), row-major with shape (ny, nx); a curve is (1, nx).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// The coefficients of the first direction, along columns.
    pub x: Axis,
    /// The coefficients of the second direction, along rows; none for a curve.
    pub y: Option<Axis>,
}

impl Grid {
    /// The number of rows, 1 for a curve.
    #[must_use]
    pub fn n_rows(&self) -> u32 {
        self.y.map_or(1, |y| y.count())
    }

    /// The number of columns.
    #[must_use]
    pub fn n_columns(&self) -> u32 {
        self.x.count()
    }

    /// The number of points.
    #[must_use]
    pub fn n_points(&self) -> u64 {
        u64::from(self.n_rows()) * u64::from(self.n_columns())
    }

    /// The coefficients (a, b) of the point at `row` and `column`; b is 0 on a curve.
    #[must_use]
    pub fn coefficients(&self, row: u32, column: u32) -> (f64, f64) {
        (self.x.coordinate(column), self.y.map_or(0.0, |y| y.coordinate(row)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn coordinates_are_exact_at_the_ends_and_at_the_centre() {
        let axis: Axis = "-0.7:0.7:51".parse().expect("a good axis");
        assert_eq!(axis.coordinate(0), -0.7);
        assert_eq!(axis.coordinate(25), 0.0);
        assert_eq!(axis.coordinate(50), 0.7);
    }

    #[test]
    fn the_published_interpolation_range_hits_both_solutions() {
        let axis: Axis = "-0.5:1.5:401".parse().expect("a good axis");
        assert_eq!(axis.coordinate(100), 0.0);
        assert_eq!(axis.coordinate(300), 1.0);
    }

    #[test]
    fn bad_axes_are_refused_with_their_reason() {
        assert_eq!("1:-1:0".parse::<Axis>(), Err(AxisError::Empty));
        assert_eq!("1:-1:5".parse::<Axis>(), Err(AxisError::Order { min: 1.0, max: -1.0 }));
        assert_eq!("0:1:1".parse::<Axis>(), Err(AxisError::SinglePoint { min: 0.0, max: 1.0 }));
        assert!(matches!("NaN:1:5".parse::<Axis>(), Err(AxisError::NotFinite { .. })));
        assert!(matches!("0:1e300:5".parse::<Axis>(), Err(AxisError::Range { .. })));
        assert!(matches!("0:1".parse::<Axis>(), Err(AxisError::Form(_))));
        assert!(matches!("0:1:-3".parse::<Axis>(), Err(AxisError::Form(_))));
    }

    #[test]
    fn a_stored_axis_is_checked_when_it_is_read() {
        assert!(serde_json::from_str::<Axis>(r#"{"min": 1.0, "max": 0.0, "count": 3}"#).is_err());
    }

    proptest! {
        #[test]
        fn coordinates_rise_and_stay_in_range(min in -10.0..10.0_f64, width in 1e-3..10.0_f64, count in 2..500_u32) {
            let axis = Axis::new(min, min + width, count).expect("a good axis");
            let coordinates = axis.coordinates();
            prop_assert!(coordinates.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!((coordinates[0] - axis.min()).abs() <= 1e-15 * axis.min().abs());
            prop_assert!((coordinates[coordinates.len() - 1] - axis.max()).abs() <= 1e-15 * axis.max().abs());
        }

        #[test]
        fn an_axis_survives_its_text(min in -10.0..10.0_f64, width in 1e-3..10.0_f64, count in 2..500_u32) {
            let axis = Axis::new(min, min + width, count).expect("a good axis");
            prop_assert_eq!(axis.to_string().parse::<Axis>(), Ok(axis));
        }
    }
}
