//! exp and erfc in f32, written so that loops over them become vector instructions.

/// `e^x` for `x ≤ 88`; 0 below -87. Relative error under 2e-7.
///
/// Splits `x = n·ln 2 + r` with `|r| ≤ ln 2 / 2`, evaluates the Taylor polynomial of degree 7 and
/// scales by `2^n` through the exponent bits.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: adding it leaves the nearest integer in the low bits
    const LN2_HIGH: f32 = 0.693_359_4; // ln 2 with its low mantissa bits zero: n·LN2_HIGH is exact
    const LN2_LOW: f32 = -2.121_944_4e-4; // ln 2 - LN2_HIGH
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let y = p * scale;
    if x < -87.0 { 0.0 } else { y }
}

/// Complementary error function for `x ≥ 0`. Relative error under 1e-6 where it is not
/// denormal.
///
/// # Source
/// The Chebyshev fit `t·exp(-x² + P(t))`, `t = 1 / (1 + x/2)`, of Press et al., Numerical
/// Recipes, section "Incomplete gamma function, error function" (fractional error < 1.2e-7).
#[inline(always)]
fn erfc_non_negative(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * x);
    let p = 0.170_872_77;
    let p = p * t - 0.822_152_23;
    let p = p * t + 1.488_515_9;
    let p = p * t - 1.135_204;
    let p = p * t + 0.278_868_07;
    let p = p * t - 0.186_288_06;
    let p = p * t + 0.096_784_18;
    let p = p * t + 0.374_091_96;
    let p = p * t + 1.000_023_7;
    let p = p * t - 1.265_512_2;
    t * exp(p - x * x)
}

/// Exact GELU, `x·Φ(x)` with the Gaussian distribution function Φ.
///
/// Written with erfc, which keeps the relative precision of the negative tail that `1 + erf`
/// would cancel away.
///
/// # Source
/// Hendrycks and Gimpel 2016; the erf form used by ESM-2 and BERT.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    let half_tail = 0.5 * erfc_non_negative(x.abs() * std::f32::consts::FRAC_1_SQRT_2);
    if x < 0.0 { x * half_tail } else { x - x * half_tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_whole_range_matches_libm() {
        for i in -8700..=8800 {
            let x = i as f32 / 100.0 + 0.003;
            let expected = libm::exp(f64::from(x));
            if !(-87.0..=88.0).contains(&x) {
                continue;
            }
            let relative = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(relative < 2e-7, "exp({x}): relative error {relative:e}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn gelu_whole_range_matches_libm_erf() {
        for i in -12_000..=12_000 {
            let x = i as f32 / 1000.0;
            let wide = f64::from(x);
            let expected = 0.5 * wide * libm::erfc(-wide * std::f64::consts::FRAC_1_SQRT_2);
            let diff = (f64::from(gelu(x)) - expected).abs();
            assert!(diff < 3e-7 * wide.abs().max(1.0), "gelu({x}): off by {diff:e}");
        }
        assert!(gelu(f32::NAN).is_nan());
    }
}
