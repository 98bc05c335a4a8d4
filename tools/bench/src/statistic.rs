//! What many measurements say together.

use std::fmt;

#[cfg(test)]
mod tests;

/// The value in the middle, or between the two there; NaN of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// Measurements of one thing. In words the median, the lowest and the highest: `2.81, 1.7-3.5`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    /// None of no values.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let lowest = values.iter().copied().min_by(f64::total_cmp)?;
        let highest = values.iter().copied().max_by(f64::total_cmp)?;
        Some(Self { median: median(values), lowest, highest })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of what is below 1 a decimal says too little.
        let digits = |value: f64| if value < 1.0 { 2 } else { 1 };
        let Self { median, lowest, highest } = *self;
        let (of_lowest, of_highest) = (digits(lowest), digits(highest));
        write!(f, "{median:.2}, {lowest:.of_lowest$}-{highest:.of_highest$}")
    }
}
