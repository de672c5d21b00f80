//! exp and the exact GELU in f32, a vector at a time.

use pulp::Simd;

/// `e^x` for `x ≤ 88`; 0 below -87, NaN for NaN, unspecified above 88. Relative error under 2e-7.
///
/// Splits `x = n·ln 2 + r` with `|r| ≤ ln 2 / 2`, evaluates the Taylor polynomial of degree 7 and
/// scales by `2^n` through the exponent bits.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: adding it leaves the nearest integer in the low bits
    const LN2_HIGH: f32 = 0.693_359_4; // ln 2 with its low mantissa bits zero: n·LN2_HIGH is exact
    const LN2_LOW: f32 = -2.121_944_4e-4; // ln 2 - LN2_HIGH
    let c = |value: f32| simd.splat_f32s(value);
    let shifted = simd.mul_add_e_f32s(x, c(std::f32::consts::LOG2_E), c(ROUND));
    let n = simd.sub_f32s(shifted, c(ROUND));
    let r = simd.mul_add_e_f32s(n, c(-LN2_HIGH), x);
    let r = simd.mul_add_e_f32s(n, c(-LN2_LOW), r);
    let p = c(1.0 / 5040.0);
    let p = simd.mul_add_e_f32s(p, r, c(1.0 / 720.0));
    let p = simd.mul_add_e_f32s(p, r, c(1.0 / 120.0));
    let p = simd.mul_add_e_f32s(p, r, c(1.0 / 24.0));
    let p = simd.mul_add_e_f32s(p, r, c(1.0 / 6.0));
    let p = simd.mul_add_e_f32s(p, r, c(0.5));
    let p = simd.mul_add_e_f32s(p, r, c(1.0));
    let p = simd.mul_add_e_f32s(p, r, c(1.0));
    let exponent =
        simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let scale = simd.add_u32s(exponent, simd.splat_u32s(127 << 23));
    let y = simd.mul_f32s(p, simd.transmute_f32s_u32s(scale));
    simd.select_f32s(simd.less_than_f32s(x, c(-87.0)), c(0.0), y)
}

/// Complementary error function for `x ≥ 0`. Relative error under 1e-5 where it is above 1e-37.
///
/// # Source
/// The Chebyshev fit `t·exp(-x² + P(t))`, `t = 1 / (1 + x/2)`, of Press et al., Numerical
/// Recipes, section "Incomplete gamma function, error function" (fractional error < 1.2e-7).
#[inline(always)]
fn erfc_non_negative<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let c = |value: f32| simd.splat_f32s(value);
    let t = simd.div_f32s(c(1.0), simd.mul_add_e_f32s(x, c(0.5), c(1.0)));
    let p = c(0.170_872_77);
    let p = simd.mul_add_e_f32s(p, t, c(-0.822_152_23));
    let p = simd.mul_add_e_f32s(p, t, c(1.488_515_9));
    let p = simd.mul_add_e_f32s(p, t, c(-1.135_204));
    let p = simd.mul_add_e_f32s(p, t, c(0.278_868_07));
    let p = simd.mul_add_e_f32s(p, t, c(-0.186_288_06));
    let p = simd.mul_add_e_f32s(p, t, c(0.096_784_18));
    let p = simd.mul_add_e_f32s(p, t, c(0.374_091_96));
    let p = simd.mul_add_e_f32s(p, t, c(1.000_023_7));
    let p = simd.mul_add_e_f32s(p, t, c(-1.265_512_2));
    let negated = simd.neg_f32s(x);
    simd.mul_f32s(t, exp(simd, simd.mul_add_e_f32s(negated, x, p)))
}

/// Exact GELU, `x·Φ(x)` with the Gaussian distribution function Φ.
///
/// Written with erfc, which keeps the relative precision of the negative tail that `1 + erf`
/// would cancel away.
///
/// # Source
/// Hendrycks and Gimpel 2016; the erf form used by ESM-2 and BERT.
#[inline(always)]
pub(super) fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let scaled = simd.mul_f32s(simd.abs_f32s(x), simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2));
    let tail = simd.mul_f32s(simd.splat_f32s(0.5), erfc_non_negative(simd, scaled));
    let below = simd.mul_f32s(x, tail);
    let negative = simd.less_than_f32s(x, simd.splat_f32s(0.0));
    simd.select_f32s(negative, below, simd.sub_f32s(x, below))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::{Arch, Scalar, WithSimd};

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Gelu,
    }

    struct Apply<'a>(Function, &'a [f32]);

    impl WithSimd for Apply<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
            let mut out = self.1.to_vec();
            for block in out.chunks_mut(S::F32_LANES) {
                let x = simd.partial_load_f32s(block);
                let y = match self.0 {
                    Function::Exp => exp(simd, x),
                    Function::Gelu => gelu(simd, x),
                };
                simd.partial_store_f32s(block, y);
            }
            out
        }
    }

    /// The function of every value, on the widest vectors of this machine and on none.
    fn both(function: Function, values: &[f32]) -> [Vec<f32>; 2] {
        let scalar = Apply(function, values).with_simd(Scalar::new());
        [Arch::new().dispatch(Apply(function, values)), scalar]
    }

    #[test]
    fn exp_whole_range_matches_libm() {
        let inputs: Vec<f32> = (-8699..=8799).map(|i| i as f32 / 100.0 + 0.003).collect();
        for results in both(Function::Exp, &inputs) {
            for (&x, y) in inputs.iter().zip(results) {
                let expected = libm::exp(f64::from(x));
                let relative = (f64::from(y) - expected).abs() / expected;
                assert!(relative < 2e-7, "exp({x}): relative error {relative:e}");
            }
        }
        for results in both(Function::Exp, &[f32::NEG_INFINITY, -100.0, 0.0, f32::NAN]) {
            assert_eq!(results[..3], [0.0, 0.0, 1.0]);
            assert!(results[3].is_nan());
        }
    }

    #[test]
    fn gelu_whole_range_matches_libm_erf() {
        let inputs: Vec<f32> = (-12_000..=12_000).map(|i| i as f32 / 1000.0).collect();
        for results in both(Function::Gelu, &inputs) {
            for (&x, y) in inputs.iter().zip(results) {
                let wide = f64::from(x);
                let expected = 0.5 * wide * libm::erfc(-wide * std::f64::consts::FRAC_1_SQRT_2);
                let diff = (f64::from(y) - expected).abs();
                assert!(diff < 3e-7 * wide.abs().max(1.0), "gelu({x}): off by {diff:e}");
            }
        }
        for results in both(Function::Gelu, &[f32::NAN, -50.0, 50.0]) {
            assert!(results[0].is_nan());
            assert_eq!(results[1..], [0.0, 50.0]);
        }
    }
}
