//! Every operation of a backend against its slow twin, on any machine.
//!
//! The same checks serve the tests and a user who wants to know whether a device computes right.
//! Inputs are random, ragged and new for every seed; values are first rounded to what the device
//! stores, so that both sides see the same numbers. Entry function: [`check_operations`].

mod cases;
mod gelu;
mod invariance;
mod normed;
mod random;

use crate::reference::ReferenceBackend;
use crate::tolerance::{
    BATCH_INVARIANT, Deviation, OPERATION_BF16, OPERATION_F16, OPERATION_F32, Tolerance,
};
use crate::{Backend, BackendError, Precision};

pub use random::Random;

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Family of operations, such as `attention`.
    pub family: &'static str,
    /// What was compared.
    pub name: String,
    /// What was allowed.
    pub tolerance: Tolerance,
    /// What was found.
    pub deviation: Deviation,
    /// Whether it was within the tolerance.
    pub passed: bool,
}

impl Check {
    /// Compares two row-major matrices with `cols` columns.
    pub fn compare(
        family: &'static str,
        name: impl Into<String>,
        tolerance: Tolerance,
        actual: &[f32],
        expected: &[f32],
        cols: usize,
    ) -> Self {
        let outcome = tolerance.check(actual, expected, cols);
        let passed = outcome.is_ok();
        let (Ok(deviation) | Err(deviation)) = outcome;
        Self { family, name: name.into(), tolerance, deviation, passed }
    }
}

/// What one operation of a device may deviate from its twin.
pub fn operation_tolerance(precision: Precision) -> Tolerance {
    match precision {
        Precision::F32 => OPERATION_F32,
        Precision::F16 => OPERATION_F16,
        Precision::Bf16 => OPERATION_BF16,
    }
}

/// Runs every operation of `backend` beside the slow twin, and against itself in other company.
///
/// # Errors
/// An operation that the device refuses; deviations are not errors but checks that have not
/// passed.
pub fn check_operations<B: Backend>(
    backend: &B,
    precision: Precision,
    seed: u64,
) -> Result<Vec<Check>, BackendError> {
    let mut bench = Bench {
        backend,
        twin: ReferenceBackend,
        precision,
        tolerance: operation_tolerance(precision),
        random: Random::new(seed),
        checks: Vec::new(),
    };
    bench.embed()?;
    bench.layer_norm()?;
    bench.linear()?;
    bench.rotary()?;
    bench.linear_rotary()?;
    bench.normed_linear()?;
    bench.normed_linear_far_means()?;
    bench.normed_linear_rotary()?;
    bench.residual_and_norm()?;
    bench.overwritten_and_norm()?;
    bench.attention()?;
    bench.gated_gelu()?;
    bench.gelu_of_every_number()?;
    bench.linear_gated()?;
    bench.pool()?;
    bench.finite_rows()?;
    bench.linear_invariance()?;
    bench.linear_rotary_invariance()?;
    bench.attention_invariance()?;
    Ok(bench.checks)
}

/// A backend, its twin, and what was found.
struct Bench<'a, B> {
    backend: &'a B,
    twin: ReferenceBackend,
    precision: Precision,
    tolerance: Tolerance,
    random: Random,
    checks: Vec<Check>,
}

impl<B: Backend> Bench<'_, B> {
    /// Random values as the device stores them.
    fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.precision.round(self.random.value(scale))).collect()
    }

    fn compare(
        &mut self,
        family: &'static str,
        name: String,
        actual: &[f32],
        expected: &[f32],
        cols: usize,
    ) {
        self.checks.push(Check::compare(family, name, self.tolerance, actual, expected, cols));
    }

    /// Two results of the same device that must have the same bits.
    fn same(
        &mut self,
        family: &'static str,
        name: String,
        actual: &[f32],
        expected: &[f32],
        cols: usize,
    ) {
        let check = Check::compare(family, name, BATCH_INVARIANT, actual, expected, cols);
        self.checks.push(check);
    }
}
