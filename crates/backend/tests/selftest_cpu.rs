//! The checks that users run on their device, on the CPU backend.

use virnucpro_backend::Precision;
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::selftest::check_operations;

#[test]
fn selftest_cpu_backend_passes_every_check() {
    let checks = check_operations(&CpuBackend::new(2).unwrap(), Precision::F32, 1).unwrap();
    let missed: Vec<_> = checks.iter().filter(|check| !check.passed).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(checks.len() > 80, "{}", checks.len());
}
