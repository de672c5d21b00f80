//! Every operation of the CUDA backend against its slow twin, in every precision of the device.
//!
//! Where a GPU is promised by `VIRNUCPRO_TEST_GPU=1`, a missing one fails; elsewhere the test says
//! what is missing and ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use virnucpro_backend::cuda::{CudaBackend, CudaError, CudaOptions};
use virnucpro_backend::selftest::{Random, check_operations, operation_tolerance};
use virnucpro_backend::{Backend, DType, Epilogue, Precision, TensorView};

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

#[test]
fn gpu_linear_with_gelu_equals_product_and_gelu_apart() {
    for precision in [Precision::F16, Precision::Bf16] {
        let Some(backend) = open(precision) else { return };
        let tolerance = operation_tolerance(precision);
        let mut random = Random::new(3);
        for (rows, inputs, outputs) in [(1, 64, 256), (300, 320, 1280), (1000, 1280, 5120)] {
            let mut bytes = |count: usize, scale| -> Vec<u8> {
                (0..count).flat_map(|_| random.value(scale).to_le_bytes()).collect()
            };
            let weights = bytes(outputs * inputs, (3.0 / inputs as f32).sqrt());
            let bias = bytes(outputs, 0.5);
            let view = |bytes, shape: &[usize]| {
                TensorView::new(DType::F32, shape.to_vec(), bytes).unwrap()
            };
            let layer = backend
                .linear_weights(&[view(&weights, &[outputs, inputs])], &[view(&bias, &[outputs])])
                .unwrap();
            let x: Vec<f32> = (0..rows * inputs).map(|_| random.value(1.0)).collect();
            let x = backend.activation(rows, inputs, &x).unwrap();
            let run = || {
                let mut out = backend.scratch(rows, outputs).unwrap();
                backend.linear(&x, &layer, Epilogue::Gelu, &mut out).unwrap();
                backend.download(&out).unwrap()
            };
            let mut fused = Vec::new();
            let families = backend.profiled(|| -> Result<(), CudaError> {
                fused = run();
                Ok(())
            });
            let is_hopper = backend.properties().capability == (9, 0);
            assert_eq!(families.unwrap().contains_key("gemm with gelu"), is_hopper);
            let apart = backend.without_fusing(run);
            tolerance.check(&fused, &apart, outputs).unwrap();
        }
    }
}
