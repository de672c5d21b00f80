//! Every numerical tolerance of the project, each with its reason.
//!
//! A tolerance has two parts that must both hold: the largest absolute difference over all
//! elements, and the smallest cosine over all rows. None is ever loosened to make a test pass.

use std::fmt;

/// How close a result must be to its expectation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Largest `|actual - expected|` allowed for any element.
    pub max_abs_diff: f32,
    /// Smallest cosine allowed between corresponding rows; rows of zeros must match as such.
    pub min_cosine: f64,
}

/// One operation of the CPU backend against its slow twin, on inputs of order 1.
///
/// The twin accumulates in f64; an f32 dot product of up to a few hundred terms of order 1
/// differs from it by some 1e-6, and 1e-5 leaves no room for a wrong term.
pub const OPERATION_F32: Tolerance = Tolerance { max_abs_diff: 1e-5, min_cosine: 0.999_999_9 };

/// One operation in f16 against its slow twin on the same stored inputs, results of order 1 to 6.
///
/// Storing the result rounds by half a step, 2⁻¹¹ of a value up to 6, which is 2e-3; attention
/// rounds its weights too. A wrong term moves a result by more than that, and the direction of a
/// row by far more than independent roundings (relative 3e-4, so a cosine of 1 - 5e-8) can.
pub const OPERATION_F16: Tolerance = Tolerance { max_abs_diff: 5e-3, min_cosine: 0.999_999 };

/// As [`OPERATION_F16`], with steps eight times as wide and a cosine 64 times as far from 1.
pub const OPERATION_BF16: Tolerance = Tolerance { max_abs_diff: 4e-2, min_cosine: 0.999_95 };

/// GELU of any number in f16, as a share of the result: 1 within half a step and a quarter of one.
///
/// A result is rounded by at most 2⁻¹¹ of itself, and the tail that the device computes is off by
/// at most 1.1e-4 of itself. One of its coefficients off by 0.1 % moves some result by 1.5e-3 or
/// more, and the last one, which is the smallest, by 7e-4.
pub const GELU_F16: Tolerance = Tolerance { max_abs_diff: 7.33e-4, min_cosine: 0.999_999 };

/// As [`GELU_F16`], with steps eight times as wide and a tail that is off by at most 1.9e-3.
pub const GELU_BF16: Tolerance = Tolerance { max_abs_diff: 5.86e-3, min_cosine: 0.999_95 };

/// GELU of numbers in f32, as a share of the result.
///
/// The tail at `t` feels a rounding of `t` as `t²` times as much, up to 144 times 6e-8; and as much
/// again for all other roundings.
pub const GELU_F32: Tolerance = Tolerance { max_abs_diff: 2e-5, min_cosine: 0.999_999_9 };

/// ESM-2 and DNABERT-S in f32 against the golden fixtures of the reference programs.
///
/// Two correct f32 implementations agree to 3e-6 on these models (fixtures/README); every
/// structural mistake tried moves results by 1e-3 or more.
pub const GOLDEN_F32: Tolerance = Tolerance { max_abs_diff: 1e-4, min_cosine: 0.999_999 };

/// Pooled embeddings of a GPU in f32 against the processor and the golden fixtures.
///
/// Sums of thousands of f32 terms in another order differ by some 1e-5 of values of order 1 to 10
/// at full depth; a structural mistake moves results by 1e-3 of their size in models of two layers
/// and by far more in deep ones.
pub const EMBEDDING_F32: Tolerance = Tolerance { max_abs_diff: 1e-3, min_cosine: 0.999_999 };

/// Pooled embeddings computed in f16, against f32.
///
/// Every stored activation is rounded by 2⁻¹² of its size on average; over the layers of the
/// published models that leaves a cosine of some 0.999999. Values reach about 5, and the largest
/// difference seen is some 1e-2.
pub const EMBEDDING_F16: Tolerance = Tolerance { max_abs_diff: 3e-2, min_cosine: 0.999_99 };

/// Pooled embeddings computed in bf16, against f32: steps eight times those of f16.
pub const EMBEDDING_BF16: Tolerance = Tolerance { max_abs_diff: 0.24, min_cosine: 0.999_5 };

/// Classifier logits and probabilities against the golden fixture.
pub const HEAD_F32: Tolerance = Tolerance { max_abs_diff: 1e-5, min_cosine: 0.999_999 };

/// Features and scores of the `mini` bundle from sequences, tokenisers included.
pub const MINI_F32: Tolerance = Tolerance { max_abs_diff: 1e-4, min_cosine: 0.999_999 };

/// Packed in company against alone on the CPU backend: batch-invariant, so not a bit may differ.
pub const BATCH_INVARIANT: Tolerance = Tolerance { max_abs_diff: 0.0, min_cosine: 0.999_999_999 };

/// The largest deviation found by [`Tolerance::check`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// Largest absolute difference.
    pub max_abs_diff: f32,
    /// Element index of that difference.
    pub at: usize,
    /// Smallest row cosine.
    pub min_cosine: f64,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "max |diff| {:.3e} at element {}, min cosine {:.9}",
            self.max_abs_diff, self.at, self.min_cosine
        )
    }
}

impl Tolerance {
    /// Compares two row-major matrices with `cols` columns.
    ///
    /// # Errors
    /// The deviation, when it exceeds the tolerance, any element is not finite, or the lengths
    /// differ (reported as an infinite difference).
    pub fn check(
        &self,
        actual: &[f32],
        expected: &[f32],
        cols: usize,
    ) -> Result<Deviation, Deviation> {
        let broken = Deviation { max_abs_diff: f32::INFINITY, at: 0, min_cosine: -1.0 };
        if actual.len() != expected.len() || cols == 0 || actual.is_empty() {
            return Err(broken);
        }
        let mut found = Deviation { max_abs_diff: 0.0, at: 0, min_cosine: 1.0 };
        for (at, (&a, &e)) in actual.iter().zip(expected).enumerate() {
            let diff = (a - e).abs();
            if !diff.is_finite() {
                return Err(Deviation { at, ..broken });
            }
            if diff > found.max_abs_diff {
                found = Deviation { max_abs_diff: diff, at, ..found };
            }
        }
        for (a, e) in actual.chunks(cols).zip(expected.chunks(cols)) {
            found.min_cosine = found.min_cosine.min(cosine(a, e));
        }
        if found.max_abs_diff <= self.max_abs_diff && found.min_cosine >= self.min_cosine {
            Ok(found)
        } else {
            Err(found)
        }
    }
}

/// Cosine of two vectors in f64; 1 for two zero vectors.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    };
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms == 0.0 {
        return if a == b { 1.0 } else { 0.0 };
    }
    dot(a, b) / norms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_wrong_element_row_or_length_fails() {
        let e = [1.0f32, 2.0, 3.0, -1.0];
        assert!(GOLDEN_F32.check(&e, &e, 2).is_ok());
        assert!(GOLDEN_F32.check(&[1.0, 2.0, 3.0, -1.001], &e, 2).is_err());
        assert!(GOLDEN_F32.check(&[1.0, 2.0, 3.0, f32::NAN], &e, 2).is_err());
        assert!(GOLDEN_F32.check(&e[..2], &e, 2).is_err());
        assert!(GOLDEN_F32.check(&[], &[], 2).is_err());
        let tiny = [1e-5f32, 0.0];
        assert!(GOLDEN_F32.check(&[0.0, 1e-5], &tiny, 2).is_err(), "direction counts");
        assert!(BATCH_INVARIANT.check(&[f32::MIN_POSITIVE], &[0.0], 1).is_err());
    }
}
