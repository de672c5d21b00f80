//! Every operation of the CUDA backend against its slow twin, in every precision of the device.
//!
//! Where a GPU is promised by `VIRNUCPRO_TEST_GPU=1`, a missing one fails; elsewhere the test says
//! what is missing and ends.

use virnucpro_backend::Precision;
use virnucpro_backend::cuda::{CudaBackend, CudaError, CudaOptions};
use virnucpro_backend::selftest::check_operations;

fn open(precision: Precision) -> Option<CudaBackend> {
    match CudaBackend::open(&CudaOptions { precision, ..CudaOptions::default() }) {
        Ok(backend) => Some(backend),
        Err(CudaError::Capability { .. }) => None,
        Err(error) if std::env::var_os("VIRNUCPRO_TEST_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn check(precision: Precision) {
    let Some(backend) = open(precision) else { return };
    let mut missed = 0;
    for seed in [1, 2] {
        for check in check_operations(&backend, precision, seed).unwrap() {
            if !check.passed {
                missed += 1;
                eprintln!("{} {}: {}", check.family, check.name, check.deviation);
            }
        }
    }
    assert_eq!(missed, 0, "checks missed in {precision}");
}

#[test]
fn gpu_operations_match_twin_f32() {
    check(Precision::F32);
}

#[test]
fn gpu_operations_match_twin_f16() {
    check(Precision::F16);
}

#[test]
fn gpu_operations_match_twin_bf16() {
    check(Precision::Bf16);
}
