//! The value of a surface at one point.

use serde::{Deserialize, Serialize};

/// What is known of a point's loss; stored as one byte per point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum PointFlag {
    /// Not computed yet.
    #[default]
    Never = 0,
    /// A finite loss.
    Finite = 1,
    /// The loss is not a number.
    Nan = 2,
    /// The loss is positive infinity.
    PositiveInfinity = 3,
    /// The loss is negative infinity.
    NegativeInfinity = 4,
}

impl PointFlag {
    /// Returns the flag of a computed `loss`.
    #[must_use]
    pub fn of_loss(loss: f64) -> Self {
        if loss.is_nan() {
            Self::Nan
        } else if loss == f64::INFINITY {
            Self::PositiveInfinity
        } else if loss == f64::NEG_INFINITY {
            Self::NegativeInfinity
        } else {
            Self::Finite
        }
    }

    /// Returns the flag stored as `byte`, or none for a byte that no flag has.
    #[must_use]
    pub fn from_u8(byte: u8) -> Option<Self> {
        [Self::Never, Self::Finite, Self::Nan, Self::PositiveInfinity, Self::NegativeInfinity]
            .into_iter()
            .find(|flag| *flag as u8 == byte)
    }
}

/// The metrics of one split at one point. NaN and infinities are values like any other: kept as they are, and flagged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointValue {
    /// The mean cross entropy over the samples, in nats.
    pub loss: f64,
    /// The mean over samples and classes of (softmax - onehot)^2.
    pub squared_error: f64,
    /// The share of samples whose largest logit is the target's, in percent.
    pub accuracy: f64,
}

/// The metrics at one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointValues {
    /// Those of the split that the surface is of.
    pub main: PointValue,
    /// Those of the second split, where there is one.
    pub also: Option<PointValue>,
}

impl PointValues {
    /// Whether the loss of a split is NaN or infinite.
    #[must_use]
    pub fn is_non_finite(&self) -> bool {
        std::iter::once(&self.main).chain(&self.also).any(|value| value.flag() != PointFlag::Finite)
    }
}

impl From<PointValue> for PointValues {
    fn from(main: PointValue) -> Self {
        Self { main, also: None }
    }
}

impl PointValue {
    /// What is known of the loss.
    #[must_use]
    pub fn flag(&self) -> PointFlag {
        PointFlag::of_loss(self.loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_loss_has_its_flag() {
        let flags = [0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(PointFlag::of_loss);
        assert_eq!(
            flags,
            [PointFlag::Finite, PointFlag::Nan, PointFlag::PositiveInfinity, PointFlag::NegativeInfinity]
        );
        for flag in flags {
            assert_eq!(PointFlag::from_u8(flag as u8), Some(flag));
        }
        assert_eq!(PointFlag::from_u8(9), None);
    }
}
