//! Numbers as they are reported: finite, in range, and short enough to read back to the same bits.

use std::time::Duration;

/// `part ÷ whole`, 0 where there is nothing to divide by.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    let quotient = part / whole;
    if whole > 0.0 && quotient.is_finite() { quotient } else { 0.0 }
}

/// [`ratio`] held to 0..1.
pub(crate) fn share(part: f64, whole: f64) -> f64 {
    ratio(part, whole).clamp(0.0, 1.0)
}

/// Milliseconds to the microsecond.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// Rounded to `decimals` places; what is not finite becomes 0, for JSON has no word for it.
pub(crate) fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    let scaled = (value * scale).round() / scale;
    if scaled.is_finite() { scaled } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_of_nothing_is_zero() {
        assert_eq!(ratio(5.0, 0.0), 0.0);
        assert_eq!(ratio(0.0, 0.0), 0.0);
        assert_eq!(ratio(f64::MAX, f64::MIN_POSITIVE), 0.0);
        assert_eq!(ratio(f64::NAN, 1.0), 0.0);
        assert_eq!(ratio(1.0, 4.0), 0.25);
    }

    #[test]
    fn share_beyond_the_whole_is_one() {
        assert_eq!(share(3.0, 2.0), 1.0);
        assert_eq!(share(-1.0, 2.0), 0.0);
    }

    #[test]
    fn rounded_value_that_is_not_finite_is_zero() {
        assert_eq!(rounded(f64::INFINITY, 2), 0.0);
        assert_eq!(rounded(1.23456, 2), 1.23);
        assert_eq!(milliseconds(Duration::from_nanos(1_234_567)), 1.234);
    }
}
