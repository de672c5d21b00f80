//! GELU over all numbers: what a device approximates is off by little where numbers are many, and must
//! not be off by more elsewhere.

use half::{bf16, f16};

use super::cases::gated;
use super::{Bench, Check};
use crate::tolerance::{GELU_BF16, GELU_F16, GELU_F32};
use crate::{Backend, BackendError, Precision};

impl<B: Backend> Bench<'_, B> {
    /// As gates of values of 1: every number of two bytes, which f32 has too.
    pub(super) fn gelu_of_every_number(&mut self) -> Result<(), BackendError> {
        // Finite numbers are a multiple of it in both types.
        const WIDTH: usize = 256;
        // Below `least` an error counts as one of that: the smallest number with all its digits in f16;
        // elsewhere 2^18 times that of f32, as what is smaller than that one may be lost.
        let far_above_least = f32::MIN_POSITIVE * (1u32 << 18) as f32;
        let (tolerance, least) = match self.precision {
            Precision::F16 => (GELU_F16, f16::MIN_POSITIVE.to_f32()),
            Precision::Bf16 => (GELU_BF16, far_above_least),
            Precision::F32 => (GELU_F32, far_above_least),
        };
        let number = |bits| match self.precision {
            Precision::F16 => f16::from_bits(bits).to_f32(),
            Precision::Bf16 | Precision::F32 => bf16::from_bits(bits).to_f32(),
        };
        let numbers: Vec<f32> = (0..=u16::MAX).map(number).filter(|x| x.is_finite()).collect();
        let x: Vec<f32> =
            numbers.chunks_exact(WIDTH).flat_map(|gates| [gates, &[1.0; WIDTH]].concat()).collect();
        let rows = numbers.len() / WIDTH;
        let actual = gated(self.backend, rows, WIDTH, &x)?;
        let expected = gated(&self.twin, rows, WIDTH, &x)?;
        let shares: Vec<f32> = actual
            .iter()
            .zip(&expected)
            .map(|(actual, expected)| 1.0 + (actual - expected) / expected.abs().max(least))
            .collect();
        let name = format!("{} numbers", numbers.len());
        let ones = vec![1.0; shares.len()];
        self.checks.push(Check::compare("gelu", name, tolerance, &shares, &ones, WIDTH));
        Ok(())
    }
}
