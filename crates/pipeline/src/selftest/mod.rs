//! `virnucpro selftest`: does this device compute right?
//!
//! Every operation runs beside its slow twin, every golden case of the reference programs through
//! the whole model, and the built-in encoders beside the processor; all of it in every precision
//! that the device has. Entry function: [`selftest()`].

mod files;
mod golden;
mod mini;

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::cuda::{CudaBackend, CudaError, CudaOptions};
use virnucpro_backend::selftest::{Check, check_operations};
use virnucpro_backend::tolerance::{
    EMBEDDING_BF16, EMBEDDING_F16, EMBEDDING_F32, GOLDEN_F32, Tolerance,
};
use virnucpro_backend::{Backend, Precision};

use crate::{Device, PipelineError};

/// Seed of the random inputs.
const SEED: u64 = 20;

/// What was found in one precision.
#[derive(Clone, Debug, PartialEq)]
pub struct SelftestReport {
    /// The device.
    pub device: String,
    /// Number type.
    pub precision: Precision,
    /// Every comparison.
    pub checks: Vec<Check>,
}

/// Checks a device in one precision, or in every one that it has.
///
/// # Errors
/// A device that fails; deviations are no errors but checks that have not passed.
pub fn selftest(
    device: &Device,
    only: Option<Precision>,
) -> Result<Vec<SelftestReport>, PipelineError> {
    let Some(cuda) = device.cuda() else {
        return Ok(vec![check(&**device.cpu(), Precision::F32, GOLDEN_F32, device.cpu())?]);
    };
    let precisions = Precision::ALL.into_iter().filter(|p| only.is_none_or(|only| only == *p));
    let mut reports = Vec::new();
    // Kernels of the other precisions are compiled while the first one is checked.
    thread::scope(|scope| {
        let mut compiling: HashMap<Precision, ScopedJoinHandle<'_, ()>> = HashMap::new();
        for precision in precisions.clone() {
            if let Some(compiled) = compiling.remove(&precision) {
                // One that panicked has compiled less.
                let _ = compiled.join();
            }
            let options = CudaOptions { precision, ..cuda.options.clone() };
            let backend = match CudaBackend::open(&options) {
                Ok(backend) => Arc::new(backend),
                // A chip without this precision has nothing to check in it.
                Err(CudaError::Capability { .. }) if only.is_none() => continue,
                Err(error) => return Err(error.into()),
            };
            backend.load_all_kernels()?;
            if reports.is_empty() {
                for other in precisions.clone().filter(|other| *other != precision) {
                    let compiler = Arc::clone(&backend);
                    let compile = move || compiler.compile_all_kernels(other);
                    compiling.insert(other, scope.spawn(compile));
                }
            }
            let tolerance = embedding_tolerance(precision);
            reports.push(check(&*backend, precision, tolerance, device.cpu())?);
        }
        Ok(reports)
    })
}

/// What a pooled embedding may deviate from the reference.
pub(crate) fn embedding_tolerance(precision: Precision) -> Tolerance {
    match precision {
        Precision::F32 => EMBEDDING_F32,
        Precision::F16 => EMBEDDING_F16,
        Precision::Bf16 => EMBEDDING_BF16,
    }
}

fn check<B: Backend>(
    backend: &B,
    precision: Precision,
    tolerance: Tolerance,
    processor: &CpuBackend,
) -> Result<SelftestReport, PipelineError> {
    let mut checks = check_operations(backend, precision, SEED)?;
    checks.extend(golden::check_all(backend, tolerance)?);
    checks.extend(mini::check_all(backend, processor, tolerance)?);
    Ok(SelftestReport { device: backend.device_name(), precision, checks })
}

impl SelftestReport {
    /// Comparisons that were out of tolerance.
    pub fn missed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.passed)
    }

    /// A table with a row a family, and a row for every miss, or for every check if `all`.
    pub fn table(&self, all: bool) -> String {
        let mut text = format!("{} in {}\n", self.device, self.precision);
        let mut families: Vec<&str> = Vec::new();
        for check in &self.checks {
            if !families.contains(&check.family) {
                families.push(check.family);
            }
        }
        for family in families {
            let of_family = || self.checks.iter().filter(|check| check.family == family);
            let missed = of_family().filter(|check| !check.passed).count();
            let worst = of_family().map(|c| c.deviation.max_abs_diff).fold(0.0, f32::max);
            let cosine = of_family().map(|c| c.deviation.min_cosine).fold(1.0, f64::min);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  {family:24} {:4} checks  largest difference {worst:.1e}  least cosine \
                 {cosine:.7}  {}",
                of_family().count(),
                if missed == 0 { "passed".to_owned() } else { format!("{missed} MISSED") }
            );
            for check in of_family().filter(|check| all || !check.passed) {
                let _ = writeln!(
                    text,
                    "    {} {}: {} (allowed {:.0e}, {:.7})",
                    if check.passed { "passed" } else { "MISSED" },
                    check.name,
                    check.deviation,
                    check.tolerance.max_abs_diff,
                    check.tolerance.min_cosine
                );
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use crate::DeviceConfig;

    use super::*;

    #[test]
    fn selftest_processor_passes_and_shows_every_family() {
        let device = Device::open(&DeviceConfig::cpu(2)).unwrap();
        let reports = selftest(&device, None).unwrap();
        let report = &reports[0];
        assert_eq!(report.missed().count(), 0, "{}", report.table(false));
        let table = report.table(false);
        for family in ["attention", "same bits: linear", "golden esm2", "golden dnabert-s", "mini"]
        {
            assert!(table.contains(family), "{table}");
        }
    }

    #[test]
    fn table_shows_what_missed() {
        let check = |values: &[f32]| {
            Check::compare("linear", "a product", EMBEDDING_F32, values, &[1.0, 2.0], 2)
        };
        let report = SelftestReport {
            device: "toy".to_owned(),
            precision: Precision::F32,
            checks: vec![check(&[1.0, 2.0]), check(&[1.0, 2.5])],
        };
        let table = report.table(false);
        assert!(table.contains("1 MISSED") && table.contains("MISSED a product"), "{table}");
        assert_eq!(report.missed().count(), 1);
        assert_eq!(report.table(true).matches("a product").count(), 2);
    }
}
