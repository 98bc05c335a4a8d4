//! Numbers whose refusal says what would be right.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Returns the reader of a whole number in `range`.
pub(super) fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("it must be a whole number from {} to {}", range.start(), range.end()))
    }
}

/// Reads a number that need not be whole, nor finite.
pub(super) fn decimal(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "it must be a number, as in 0.1".to_owned())
}
