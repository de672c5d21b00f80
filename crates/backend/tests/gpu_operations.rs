//! Every operation of the CUDA backend against its slow twin, in every precision of the device.
//!
//! Where a GPU is promised by `VIRNUCPRO_TEST_GPU=1`, a missing one fails; elsewhere the test says
//! what is missing and ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::open_gpu;
use virnucpro_backend::cuda::{CudaActivation, CudaBackend, CudaError, CudaLinear};
use virnucpro_backend::selftest::{Random, check_operations, operation_tolerance};
use virnucpro_backend::{
    Backend, DType, Epilogue, NormWeights, PackedView, Precision, RotarySpec, TensorView,
};

fn check(precision: Precision) {
    let Some(backend) = open_gpu(precision) else { return };
    check_all(&backend, &[1, 2]);
}

fn check_all(backend: &CudaBackend, seeds: &[u64]) {
    let precision = backend.precision();
    let mut missed = 0;
    for &seed in seeds {
        for check in check_operations(backend, precision, seed).unwrap() {
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

/// What other chips run, where this one has kernels that do several operations at once.
#[test]
fn gpu_operations_apart_match_twin() {
    for precision in [Precision::F16, Precision::Bf16] {
        let Some(backend) = open_gpu(precision) else { return };
        backend.without_fusing(|| check_all(&backend, &[3]));
    }
}

/// Random values of a layer, and of what it is given.
struct Case {
    weights: Vec<u8>,
    bias: Vec<u8>,
    x: Vec<f32>,
}

impl Case {
    fn new(rows: usize, inputs: usize, outputs: usize) -> Self {
        let mut random = Random::new((rows * inputs) as u64);
        let mut bytes = |count: usize, scale| -> Vec<u8> {
            (0..count).flat_map(|_| random.value(scale).to_le_bytes()).collect()
        };
        let weights = bytes(outputs * inputs, (3.0 / inputs as f32).sqrt());
        let bias = bytes(outputs, 0.5);
        let x = (0..rows * inputs).map(|_| random.value(1.0)).collect();
        Self { weights, bias, x }
    }

    fn views(&self) -> (TensorView<'_>, TensorView<'_>) {
        let outputs = self.bias.len() / 4;
        let inputs = self.weights.len() / 4 / outputs;
        let view =
            |bytes, shape: &[usize]| TensorView::new(DType::F32, shape.to_vec(), bytes).unwrap();
        (view(&self.weights, &[outputs, inputs]), view(&self.bias, &[outputs]))
    }

    fn layer(&self, backend: &CudaBackend) -> CudaLinear {
        let (weights, bias) = self.views();
        backend.linear_weights(&[weights], &[bias]).unwrap()
    }
}

/// `run` must be one kernel of `family` on Hopper, and no kernel of it elsewhere.
fn check_family(backend: &CudaBackend, family: &str, run: impl FnOnce()) {
    let families = backend.profiled(|| -> Result<(), CudaError> {
        run();
        Ok(())
    });
    let is_hopper = backend.properties().capability == (9, 0);
    assert_eq!(families.unwrap().contains_key(family), is_hopper, "{family}");
}

/// `run` must give about what its parts give apart.
fn check_fused(backend: &CudaBackend, family: &str, cols: usize, run: impl Fn() -> Vec<f32>) {
    let mut fused = Vec::new();
    check_family(backend, family, || fused = run());
    let apart = backend.without_fusing(run);
    operation_tolerance(backend.precision()).check(&fused, &apart, cols).unwrap();
}

#[test]
fn gpu_linear_with_gelu_equals_product_and_gelu_apart() {
    for precision in [Precision::F16, Precision::Bf16] {
        let Some(backend) = open_gpu(precision) else { return };
        for (rows, inputs, outputs) in [(1, 256, 256), (300, 320, 1280), (1000, 1280, 5120)] {
            let case = Case::new(rows, inputs, outputs);
            let layer = case.layer(&backend);
            let x = backend.activation(rows, inputs, &case.x).unwrap();
            check_fused(&backend, "gemm with gelu", outputs, || {
                let mut out = backend.scratch(rows, outputs).unwrap();
                backend.linear(&x, &layer, Epilogue::Gelu, &mut out).unwrap();
                backend.download(&out).unwrap()
            });
        }
    }
}

#[test]
fn gpu_linear_with_gated_gelu_equals_product_and_gate_apart() {
    for precision in [Precision::F16, Precision::Bf16] {
        let Some(backend) = open_gpu(precision) else { return };
        for (rows, inputs, width) in [(1, 256, 128), (300, 320, 384), (1000, 768, 3072)] {
            let case = Case::new(rows, inputs, 2 * width);
            let layer = backend.linear_weights(&[case.views().0], &[]).unwrap();
            let x = backend.activation(rows, inputs, &case.x).unwrap();
            check_fused(&backend, "gemm with gated gelu", width, || {
                let mut gated = backend.scratch(rows, 2 * width).unwrap();
                let mut out = backend.scratch(rows, width).unwrap();
                backend.linear_gated(&x, &layer, &mut gated, &mut out).unwrap();
                backend.download(&out).unwrap()
            });
        }
    }
}

#[test]
fn gpu_linear_with_rotary_equals_product_and_rotary_apart() {
    for precision in [Precision::F16, Precision::Bf16] {
        let Some(backend) = open_gpu(precision) else { return };
        for (seqlen, inputs, num_heads) in [(1, 256, 4), (300, 320, 8), (1000, 1280, 20)] {
            // Three sequences, of which the last is twice as long.
            let cu_seqlens = [0, seqlen, 2 * seqlen, 4 * seqlen];
            let rows = cu_seqlens[3];
            let position_ids: Vec<u32> = cu_seqlens
                .windows(2)
                .flat_map(|border| 0..(border[1] - border[0]) as u32)
                .collect();
            let input_ids = vec![0; rows];
            let cu_seqlens = cu_seqlens.map(|border| border as i32);
            let packed = PackedView::new(&input_ids, &cu_seqlens, &position_ids, 2 * seqlen);
            let batch = backend.upload(packed.unwrap()).unwrap();
            let outputs = 3 * num_heads * 64;
            let case = Case::new(rows, inputs, outputs);
            let layer = case.layer(&backend);
            let x = backend.activation(rows, inputs, &case.x).unwrap();
            let spec = RotarySpec { num_heads, head_dim: 64, base: 10_000.0 };
            check_fused(&backend, "gemm with rotary", outputs, || {
                let mut qkv = backend.scratch(rows, outputs).unwrap();
                backend.linear_rotary(&batch, &x, &layer, spec, &mut qkv).unwrap();
                backend.download(&qkv).unwrap()
            });
        }
    }
}

/// What follows a residual addition takes what the kernel of the addition has found out of the rows;
/// what follows a copy from the host finds it out itself.
#[test]
fn gpu_norm_after_residual_equals_norm_of_the_same_rows_from_the_host() {
    for precision in [Precision::F16, Precision::Bf16] {
        let Some(backend) = open_gpu(precision) else { return };
        let (rows, inputs, hidden, outputs) = (300, 320, 1280, 512);
        let (first, second) = (Case::new(rows, inputs, hidden), Case::new(rows, hidden, outputs));
        let (gamma, beta) = (vec![1.5; hidden], vec![0.25; hidden]);
        let norm = NormWeights { gamma: &gamma, beta: &beta, eps: 1e-5 };
        let (weights, bias) = second.views();
        let layer = backend.normed_linear_weights(norm, &[weights], &[bias]).unwrap();
        let follow = |hidden_states: &CudaActivation| {
            let mut normed = backend.scratch(rows, hidden).unwrap();
            let mut out = backend.scratch(rows, outputs).unwrap();
            backend
                .normed_linear(hidden_states, &layer, Epilogue::Gelu, &mut normed, &mut out)
                .unwrap();
            backend.download(&out).unwrap()
        };
        let x = backend.activation(rows, inputs, &first.x).unwrap();
        let mut hidden_states = backend.activation(rows, hidden, &second.x).unwrap();
        let add = first.layer(&backend);
        check_family(&backend, "gemm with residual", || {
            backend.linear(&x, &add, Epilogue::Accumulate, &mut hidden_states).unwrap();
        });
        let values = backend.download(&hidden_states).unwrap();
        let from_host = backend.activation(rows, hidden, &values).unwrap();
        check_family(&backend, "scales of rows from their tiles", || {
            follow(&hidden_states);
        });
        check_family(&backend, "scales of rows", || {
            follow(&from_host);
        });
        let tolerance = operation_tolerance(precision);
        tolerance.check(&follow(&hidden_states), &follow(&from_host), outputs).unwrap();
        let apart = backend.without_fusing(|| follow(&hidden_states));
        tolerance.check(&follow(&hidden_states), &apart, outputs).unwrap();
    }
}

/// A race shows as other bits in another run, or as a value that nobody wrote.
#[test]
fn gpu_fused_kernels_give_the_same_bits_again_and_again() {
    let Some(backend) = open_gpu(Precision::F16) else { return };
    // Steps that are no whole rounds of the ring of stages, and rounds with 8 and with 16 parts.
    for inputs in [640, 768, 1280] {
        check_same_bits(&backend, inputs);
    }
}

fn check_same_bits(backend: &CudaBackend, inputs: usize) {
    let (seqlen, num_heads) = (1000, 8);
    let (rows, outputs) = (5 * seqlen, 3 * num_heads * 64);
    let case = Case::new(rows, inputs, outputs);
    let (layer, ungated) = (case.layer(backend), backend.linear_weights(&[case.views().0], &[]));
    let ungated = ungated.unwrap();
    let cu_seqlens: Vec<i32> = (0..=5).map(|border| border * seqlen as i32).collect();
    let position_ids: Vec<u32> = (0..rows).map(|row| (row % seqlen) as u32).collect();
    let input_ids = vec![0; rows];
    let packed = PackedView::new(&input_ids, &cu_seqlens, &position_ids, seqlen).unwrap();
    let batch = backend.upload(packed).unwrap();
    let spec = RotarySpec { num_heads, head_dim: 64, base: 10_000.0 };
    let x = backend.activation(rows, inputs, &case.x).unwrap();
    let filled = |cols: usize, value: f32| {
        backend.activation(rows, cols, &vec![value; rows * cols]).unwrap()
    };
    let run = || {
        // What nobody writes is no number; a residual must be one.
        let [mut gelu, mut qkv] = [(); 2].map(|()| filled(outputs, f32::NAN));
        let mut gated = filled(outputs / 2, f32::NAN);
        let mut sum = filled(outputs, 0.5);
        backend.linear(&x, &layer, Epilogue::Gelu, &mut gelu).unwrap();
        backend.linear_rotary(&batch, &x, &layer, spec, &mut qkv).unwrap();
        let mut scratch = backend.scratch(rows, outputs).unwrap();
        backend.linear_gated(&x, &ungated, &mut scratch, &mut gated).unwrap();
        backend.linear(&x, &layer, Epilogue::Accumulate, &mut sum).unwrap();
        [gelu, qkv, gated, sum].map(|result| backend.download(&result).unwrap())
    };
    let first = run();
    for values in &first {
        assert!(values.iter().all(|value| value.is_finite()));
    }
    for _ in 0..15 {
        assert!(run() == first);
    }
}
