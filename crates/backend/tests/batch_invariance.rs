//! The bits of a row do not depend on its company, its place or the number of threads.

mod common;

use common::{Packed, Random, bytes, view};
use virnucpro_backend::cpu::{CpuBackend, Matrix};
use virnucpro_backend::{AttentionSpec, Backend, Epilogue};

/// Widths that exercise several blocks over k, and odd remainders.
const SHAPES: [(usize, usize); 6] =
    [(192, 576), (768, 192), (1100, 2), (37, 51), (2560, 96), (300, 1300)];

#[test]
fn linear_row_bits_do_not_depend_on_company_or_threads() {
    for (inputs, outputs) in SHAPES {
        let mut random = Random::new(inputs as u64);
        let rows = 150;
        let x = random.values(rows * inputs, 1.0);
        let weights = bytes(&random.values(outputs * inputs, 0.3));
        let bias = bytes(&random.values(outputs, 0.3));
        let run = |backend: &CpuBackend, rows: &[usize]| -> Matrix {
            let layer = backend
                .linear_weights(&[view(&weights, &[outputs, inputs])], &[view(&bias, &[outputs])])
                .unwrap();
            let picked: Vec<f32> =
                rows.iter().flat_map(|&r| &x[r * inputs..(r + 1) * inputs]).copied().collect();
            let x = backend.activation(rows.len(), inputs, &picked).unwrap();
            let mut out = backend.scratch(rows.len(), outputs).unwrap();
            backend.linear(&x, &layer, Epilogue::Store, &mut out).unwrap();
            out
        };
        let (one, two) = (CpuBackend::new(1).unwrap(), CpuBackend::new(2).unwrap());
        let all: Vec<usize> = (0..rows).collect();
        let together = run(&one, &all);
        assert_eq!(together, run(&two, &all), "threads change {inputs}x{outputs}");
        let many = CpuBackend::new(9).unwrap();
        assert_eq!(together, run(&many, &all), "nine threads change {inputs}x{outputs}");
        let backwards: Vec<usize> = all.iter().rev().copied().collect();
        let reversed = run(&two, &backwards);
        for r in 0..rows {
            assert_eq!(together.row(r), reversed.row(rows - 1 - r), "order changes row {r}");
        }
        for count in [1, 2, 3, 17, 63, 65, 129] {
            let few = run(&two, &all[..count]);
            for r in 0..count {
                assert_eq!(together.row(r), few.row(r), "{count} rows change row {r}");
            }
        }
    }
}

#[test]
fn attention_row_bits_do_not_depend_on_company_or_threads() {
    let two = CpuBackend::new(2).unwrap();
    let mut random = Random::new(9);
    let lengths = [1usize, 70, 2, 64, 129, 1, 500];
    let sequences: Vec<Vec<u32>> = lengths.iter().map(|&n| random.ids(n, 9)).collect();
    let width = 48;
    let rows: Vec<Vec<f32>> = lengths.iter().map(|&n| random.values(n * 3 * width, 1.0)).collect();
    let spec = AttentionSpec { num_heads: 2, head_dim: 24, softmax_scale: 0.2, alibi_slopes: None };
    let run = |backend: &CpuBackend, picked: &[usize]| -> Vec<Vec<f32>> {
        let packed = Packed::new(&picked.iter().map(|&i| sequences[i].clone()).collect::<Vec<_>>());
        let batch = backend.upload(packed.view()).unwrap();
        let qkv: Vec<f32> = picked.iter().flat_map(|&i| rows[i].clone()).collect();
        let qkv = backend.activation(packed.tokens(), 3 * width, &qkv).unwrap();
        let mut out = backend.scratch(packed.tokens(), width).unwrap();
        backend.attention(&batch, spec, &qkv, &mut out).unwrap();
        packed
            .cu_seqlens
            .windows(2)
            .map(|w| out.values()[w[0] as usize * width..w[1] as usize * width].to_vec())
            .collect()
    };
    let together = run(&two, &[0, 1, 2, 3, 4, 5, 6]);
    let reversed = run(&two, &[6, 5, 4, 3, 2, 1, 0]);
    for threads in [1, 9] {
        let other = CpuBackend::new(threads).unwrap();
        assert_eq!(together, run(&other, &[0, 1, 2, 3, 4, 5, 6]), "{threads} threads");
    }
    for i in 0..lengths.len() {
        assert_eq!(together[i], run(&two, &[i])[0], "sequence {i} alone");
        assert_eq!(together[i], reversed[6 - i], "sequence {i} in another order");
    }
}
