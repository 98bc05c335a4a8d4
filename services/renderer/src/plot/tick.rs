//! Ticks at round numbers: 1, 2 and 5 times a power of ten.

use super::number::{decade, fixed, leading_exponent, power, scientific, short};

/// More multiples than this are never wanted, whatever the range.
const MOST: f64 = 200.0;

/// A labelled tick.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    /// Where it stands on the scale: the value, or its decimal logarithm.
    pub position: f64,
    /// What it says.
    pub label: String,
}

/// The ticks of an axis.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Ticks {
    /// The labelled ones, rising.
    pub major: Vec<Tick>,
    /// The positions of those without a label.
    pub minor: Vec<f64>,
}

/// A step of `digit` times 10^`exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    digit: u32,
    exponent: i32,
}

impl Step {
    /// Returns the least step of digit 1, 2 or 5 that divides `lo..hi` into at most `n_steps` parts; none when the
    /// range is empty.
    pub(super) fn dividing(lo: f64, hi: f64, n_steps: u32) -> Option<Self> {
        // Divided before it is subtracted, the range of two huge numbers does not overflow.
        let n_steps = f64::from(n_steps.max(1));
        let least = hi / n_steps - lo / n_steps;
        if least <= 0.0 {
            return None;
        }
        let exponent = leading_exponent(least)?;
        [(1, exponent), (2, exponent), (5, exponent), (1, exponent + 1)]
            .into_iter()
            .map(|(digit, exponent)| Self { digit, exponent })
            .find(|step| step.size() >= least * (1.0 - 1e-9))
    }

    fn size(self) -> f64 {
        f64::from(self.digit) * decade(self.exponent)
    }

    /// The multiples of the step from `lo` to `hi`, each the float nearest to its decimal number.
    pub(super) fn multiples(self, lo: f64, hi: f64) -> Vec<f64> {
        let size = self.size();
        let (first, last) = ((lo / size - 1e-9).ceil(), (hi / size + 1e-9).floor());
        if !first.is_finite() || !last.is_finite() || last - first > MOST {
            return Vec::new();
        }
        let n_multiples = (last - first + 1.0).max(0.0) as u32;
        (0..n_multiples)
            .map(|idx| {
                let count = (first + f64::from(idx)) * f64::from(self.digit);
                // Negative powers of ten are inexact, so 3 steps of 0.1 are 3 / 10.
                if (-300..0).contains(&self.exponent) {
                    count / decade(-self.exponent)
                } else {
                    count * decade(self.exponent)
                }
            })
            .collect()
    }

    /// The label of a multiple, alike for all multiples of an axis that reaches to `largest` in magnitude.
    fn label(self, value: f64, largest: f64) -> String {
        match leading_exponent(largest) {
            Some(leading) if !(-4..6).contains(&leading) => {
                let n_decimals = usize::try_from(leading - self.exponent).unwrap_or(0);
                scientific(value / decade(leading), n_decimals, leading)
            }
            _ => fixed(value, usize::try_from(-self.exponent).unwrap_or(0)),
        }
    }
}

/// Returns ticks from `lo` to `hi` at most `n_steps` steps apart.
pub(super) fn linear(lo: f64, hi: f64, n_steps: u32) -> Ticks {
    let Some(step) = Step::dividing(lo, hi, n_steps) else {
        return Ticks { major: vec![Tick { position: lo, label: short(lo) }], minor: Vec::new() };
    };
    let values = step.multiples(lo, hi);
    let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let major = values.into_iter().map(|value| Tick { position: value, label: step.label(value, largest) }).collect();
    Ticks { major, minor: Vec::new() }
}

/// Returns ticks for a logarithmic axis from 10^`lo` to 10^`hi`: at decades; within few decades at 1, 2 and 5 times
/// them; and within a fraction of a decade at equal steps. Positions are decimal logarithms.
pub(super) fn logarithmic(lo: f64, hi: f64, n_steps: u32) -> Ticks {
    let decades = decades(lo, hi);
    if decades.len() >= 3 {
        return decade_ticks(&decades, lo, hi, n_steps);
    }
    let labelled = mantissas(lo, hi, &[1.0, 2.0, 5.0]);
    if labelled.len() >= 3 {
        let major = labelled.iter().map(|value| Tick { position: value.log10(), label: short(*value) }).collect();
        return Ticks { major, minor: minor_positions(lo, hi) };
    }
    let plain = linear(10_f64.powf(lo), 10_f64.powf(hi), n_steps);
    let major = plain.major.into_iter().map(|tick| Tick { position: tick.position.log10(), label: tick.label });
    Ticks { major: major.filter(|tick| tick.position.is_finite()).collect(), minor: Vec::new() }
}

fn decade_ticks(decades: &[i32], lo: f64, hi: f64, n_steps: u32) -> Ticks {
    let stride = decades.len().div_ceil(usize::try_from(n_steps.max(2)).unwrap_or(2)).max(1);
    let is_plain = decades.iter().all(|exponent| (-3..=4).contains(exponent));
    let label = |exponent: i32| if is_plain { short(decade(exponent)) } else { power(exponent) };
    let is_labelled = |exponent: i32| exponent.rem_euclid(i32::try_from(stride).unwrap_or(1)) == 0;
    let major = decades.iter().copied().filter(|exponent| is_labelled(*exponent));
    let major = major.map(|exponent| Tick { position: f64::from(exponent), label: label(exponent) }).collect();
    let minor = if stride == 1 {
        minor_positions(lo, hi)
    } else {
        decades.iter().filter(|exponent| !is_labelled(**exponent)).map(|exponent| f64::from(*exponent)).collect()
    };
    Ticks { major, minor }
}

fn minor_positions(lo: f64, hi: f64) -> Vec<f64> {
    mantissas(lo, hi, &[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]).iter().map(|value| value.log10()).collect()
}

/// The exponents of the decades from 10^`lo` to 10^`hi`.
pub(super) fn decades(lo: f64, hi: f64) -> Vec<i32> {
    ((lo - 1e-9).ceil() as i32..=(hi + 1e-9).floor() as i32).collect()
}

/// The products of `mantissas` and decades from 10^`lo` to 10^`hi`, rising.
pub(super) fn mantissas(lo: f64, hi: f64, mantissas: &[f64]) -> Vec<f64> {
    (lo.floor() as i32..=hi.floor() as i32)
        .flat_map(|exponent| mantissas.iter().map(move |mantissa| format!("{mantissa}e{exponent}")))
        .filter_map(|text| text.parse().ok())
        .filter(|value: &f64| (lo - 1e-9..=hi + 1e-9).contains(&value.log10()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &Ticks) -> Vec<&str> {
        ticks.major.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn linear_ticks_are_round_numbers_with_equal_decimals() {
        let ticks = linear(-1.0, 1.0, 5);
        assert_eq!(labels(&ticks), ["\u{2212}1.0", "\u{2212}0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(ticks.major[1].position, -0.5);
        assert_eq!(labels(&linear(0.0, 100.0, 5)), ["0", "20", "40", "60", "80", "100"]);
    }

    #[test]
    fn linear_ticks_are_the_floats_nearest_to_their_labels() {
        for tick in linear(0.0, 1.0, 10).major {
            assert_eq!(tick.label.parse(), Ok(tick.position));
        }
    }

    #[test]
    fn steps_are_one_two_or_five_times_a_power_of_ten() {
        for (hi, n_steps, digit, exponent) in [(1.0, 10, 1, -1), (1.0, 6, 2, -1), (1.0, 3, 5, -1), (9.7, 1, 1, 1)] {
            assert_eq!(Step::dividing(0.0, hi, n_steps), Some(Step { digit, exponent }));
        }
    }

    #[test]
    fn huge_and_tiny_numbers_have_powers() {
        assert_eq!(labels(&linear(0.0, 2e9, 2)), ["0", "10\u{2079}", "2\u{d7}10\u{2079}"]);
        assert_eq!(labels(&linear(0.0, 2e-7, 2)).last(), Some(&"2\u{d7}10\u{207b}\u{2077}"));
    }

    #[test]
    fn log_ticks_stand_at_decades() {
        let ticks = logarithmic(-2.0, 4.0, 8);
        assert_eq!(labels(&ticks), ["0.01", "0.1", "1", "10", "100", "1000", "10000"]);
        assert_eq!(ticks.minor.len(), 6 * 8);
        assert_eq!(labels(&logarithmic(-8.0, 9.0, 6)).len(), 6);
    }

    #[test]
    fn log_ticks_within_a_decade_are_round_numbers() {
        assert_eq!(labels(&logarithmic(0.0, 1.0, 6)), ["1", "2", "5", "10"]);
        let ticks = logarithmic(2.1_f64.log10(), 2.9_f64.log10(), 5);
        assert_eq!(labels(&ticks), ["2.2", "2.4", "2.6", "2.8"]);
        assert!((ticks.major[0].position - 2.2_f64.log10()).abs() < 1e-15);
    }

    #[test]
    fn empty_and_overflowing_ranges_do_not_panic() {
        assert_eq!(labels(&linear(3.0, 3.0, 5)), ["3"]);
        assert!(linear(f64::MIN, f64::MAX, 5).major.len() < 20);
        assert!(linear(1e16, 1e16 + 2.0, 5).major.len() < 20);
        assert!(linear(0.0, 5e-324, 5).major.len() < 20);
        assert!(logarithmic(-323.0, 308.0, 5).major.len() < 20);
    }
}
