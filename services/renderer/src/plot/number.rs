//! Numbers as text: with a true minus sign, and with powers of ten instead of long rows of zeros.

use super::typeface::superscript;

/// The true minus sign, as wide as a plus.
const MINUS: char = '\u{2212}';

/// Returns 10^exponent, correctly rounded.
pub(super) fn decade(exponent: i32) -> f64 {
    format!("1e{exponent}").parse().unwrap_or(f64::NAN)
}

/// Returns the exponent of the leading digit of `value`, or none of zero and what is not finite.
pub(super) fn leading_exponent(value: f64) -> Option<i32> {
    if value == 0.0 || !value.is_finite() {
        return None;
    }
    let text = format!("{:e}", value.abs());
    text.split_once('e').and_then(|(_, exponent)| exponent.parse().ok())
}

/// Returns `value` with `n_decimals` decimals; what rounds to zero has no sign.
pub(super) fn fixed(value: f64, n_decimals: usize) -> String {
    signed(&format!("{value:.n_decimals$}"))
}

/// Returns 10^exponent as a power.
pub(super) fn power(exponent: i32) -> String {
    format!("10{}", superscript(&exponent.to_string()))
}

/// Returns `mantissa` times 10^exponent, the mantissa with `n_decimals` decimals.
pub(super) fn scientific(mantissa: f64, n_decimals: usize, exponent: i32) -> String {
    match fixed(mantissa, n_decimals).as_str() {
        text if text.chars().all(|character| matches!(character, '0' | '.')) => "0".to_owned(),
        "1" => power(exponent),
        text => format!("{text}\u{d7}{}", power(exponent)),
    }
}

/// Returns `value` to four significant digits, without trailing zeros.
pub(super) fn short(value: f64) -> String {
    to_digits(value, 4)
}

/// Returns each of `values` with as many digits as tell it from its neighbours, four at least.
pub(super) fn apart(values: &[f64]) -> Vec<String> {
    const MOST_DIGITS: usize = 12;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let least_gap = sorted.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    let is_told = |value: f64, n_digits: usize| {
        let rounded: f64 = format!("{value:.*e}", n_digits - 1).parse().unwrap_or(value);
        (rounded - value).abs() <= 0.01 * least_gap
    };
    let n_digits = (4..MOST_DIGITS).find(|n_digits| values.iter().all(|value| is_told(*value, *n_digits)));
    values.iter().map(|value| to_digits(*value, n_digits.unwrap_or(MOST_DIGITS))).collect()
}

/// Returns `value` to so many significant digits, without trailing zeros.
fn to_digits(value: f64, n_digits: usize) -> String {
    let text = format!("{value:.*e}", n_digits - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    match exponent.parse() {
        Ok(exponent) if !(-4..6).contains(&exponent) && mantissa == "1" => power(exponent),
        Ok(exponent) if !(-4..6).contains(&exponent) => format!("{}\u{d7}{}", signed(mantissa), power(exponent)),
        _ => signed(&text.parse::<f64>().unwrap_or(value).to_string()),
    }
}

fn signed(text: &str) -> String {
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|character| matches!(character, '0' | '.')) => digits.to_owned(),
        Some(digits) => format!("{MINUS}{digits}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_true_minus_sign_and_no_negative_zero() {
        assert_eq!(fixed(-0.25, 2), "\u{2212}0.25");
        assert_eq!(fixed(-0.001, 1), "0.0");
        assert_eq!(short(-1.5), "\u{2212}1.5");
        assert_eq!(short(-0.0), "0");
    }

    #[test]
    fn short_numbers_are_rounded_to_four_digits() {
        assert_eq!(short(0.1 + 0.2), "0.3");
        assert_eq!(short(12_345.6), "12350");
        assert_eq!(short(9999.96), "10000");
        assert_eq!(short(2.5e-7), "2.5\u{d7}10\u{207b}\u{2077}");
        assert_eq!(short(1e9), "10\u{2079}");
        assert_eq!(short(f64::MAX), format!("1.798\u{d7}{}", power(308)));
    }

    #[test]
    fn numbers_have_the_digits_that_tell_them_apart() {
        assert_eq!(apart(&[0.193_62, 0.193_64, 0.1937]), ["0.19362", "0.19364", "0.1937"]);
        assert_eq!(apart(&[0.1 + 0.2, 0.4]), ["0.3", "0.4"]);
        assert_eq!(apart(&[1.0 / 3.0]), ["0.3333"]);
        assert_eq!(apart(&[]), [""; 0]);
    }

    #[test]
    fn decades_are_correctly_rounded() {
        assert_eq!([decade(-3), decade(0), decade(22)], [1e-3, 1.0, 1e22]);
        assert_eq!([leading_exponent(0.001), leading_exponent(999.0)], [Some(-3), Some(2)]);
        assert_eq!([leading_exponent(0.0), leading_exponent(f64::INFINITY)], [None, None]);
    }
}
