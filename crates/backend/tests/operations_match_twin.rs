//! Every operation of the CPU backend against its slow twin, on ragged batches.

mod common;

use common::{Packed, Random, bytes, view};
use proptest::prelude::*;
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::reference::ReferenceBackend;
use virnucpro_backend::tolerance::OPERATION_F32;
use virnucpro_backend::{
    AttentionSpec, Backend, BackendError, Epilogue, PoolSpec, RotarySpec, TokenDropout,
};

fn agree(what: &str, actual: &[f32], expected: &[f32], cols: usize) {
    if let Err(deviation) = OPERATION_F32.check(actual, expected, cols) {
        panic!("{what}: {deviation}");
    }
}

/// Runs `operation` on both backends and compares what it returns.
macro_rules! on_both {
    ($what:expr, $cols:expr, |$backend:ident| $body:expr) => {{
        let cpu = CpuBackend::new(2).expect("threads start");
        let fast = {
            let $backend = &cpu;
            let result = $body;
            $backend.download(&result).expect("download")
        };
        let slow = {
            let $backend = &ReferenceBackend;
            let result = $body;
            $backend.download(&result).expect("download")
        };
        agree($what, &fast, &slow, $cols);
    }};
}

fn ragged() -> impl Strategy<Value = (Vec<usize>, u64)> {
    (prop::collection::vec(1usize..90, 1..7), any::<u64>())
}

fn random_batch(lengths: &[usize], random: &mut Random) -> Packed {
    Packed::new(&lengths.iter().map(|&n| random.ids(n, 11)).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn prop_embed_matches_twin((lengths, seed) in ragged(), dropout: bool, shifted: bool) {
        let mut random = Random::new(seed);
        let mut packed = random_batch(&lengths, &mut random);
        packed.input_ids[0] = 3; // no sequence may consist of mask tokens alone
        for w in packed.cu_seqlens.windows(2) {
            packed.input_ids[w[0] as usize] = 3;
        }
        let table = bytes(&random.values(11 * 24, 1.0));
        let shift = random.values(24, 1.0);
        let dropout = dropout.then_some(TokenDropout { mask_token_id: 7, train_mask_ratio: 0.12 });
        on_both!("embed", 24, |backend| {
            let batch = backend.upload(packed.view()).expect("upload");
            let table = backend.table(&view(&table, &[11, 24])).expect("table");
            let shift = backend.vector(&shift).expect("vector");
            backend.embed(&batch, &table, shifted.then_some(&shift), dropout).expect("embed")
        });
    }

    #[test]
    fn prop_layer_norm_matches_twin(rows in 1usize..40, cols in 1usize..130, seed: u64) {
        let mut random = Random::new(seed);
        let x = random.values(rows * cols, 3.0);
        let (gamma, beta) = (random.values(cols, 1.0), random.values(cols, 1.0));
        on_both!("layer_norm", cols, |backend| {
            let x = backend.activation(rows, cols, &x).expect("activation");
            let mut out = backend.scratch(rows, cols).expect("scratch");
            let (g, b) = (backend.vector(&gamma).unwrap(), backend.vector(&beta).unwrap());
            backend.layer_norm(&x, &g, &b, 1e-3, &mut out).expect("layer_norm");
            let mut again = x;
            backend.layer_norm_in_place(&mut again, &g, &b, 1e-3).expect("layer_norm_in_place");
            assert_eq!(backend.download(&again).unwrap(), backend.download(&out).unwrap());
            out
        });
    }

    #[test]
    fn prop_linear_matches_twin(
        rows in 1usize..200, inputs in 1usize..70, outputs in 1usize..70, seed: u64,
        epilogue in prop::sample::select(vec![
            Epilogue::Store, Epilogue::Accumulate, Epilogue::Gelu, Epilogue::Relu,
        ]),
        with_bias: bool,
    ) {
        let mut random = Random::new(seed);
        let x = random.values(rows * inputs, 0.5);
        let before = random.values(rows * 2 * outputs, 1.0);
        let w: Vec<_> = (0..2).map(|_| bytes(&random.values(outputs * inputs, 0.5))).collect();
        let b: Vec<_> = (0..2).map(|_| bytes(&random.values(outputs, 0.5))).collect();
        let w: Vec<_> = w.iter().map(|w| view(w, &[outputs, inputs])).collect();
        let b: Vec<_> = b.iter().map(|b| view(b, &[outputs])).collect();
        let biases = if with_bias { &b[..] } else { &[] };
        on_both!("linear", 2 * outputs, |backend| {
            let layer = backend.linear_weights(&w, biases).expect("weights");
            let x = backend.activation(rows, inputs, &x).expect("activation");
            let mut out = backend.activation(rows, 2 * outputs, &before).expect("activation");
            backend.linear(&x, &layer, epilogue, &mut out).expect("linear");
            out
        });
    }

    #[test]
    fn prop_rotary_matches_twin((lengths, seed) in ragged(), heads in 1usize..4, half in 1usize..9) {
        let mut random = Random::new(seed);
        let packed = random_batch(&lengths, &mut random);
        let spec = RotarySpec { num_heads: heads, head_dim: 2 * half, base: 10_000.0 };
        let cols = 3 * heads * spec.head_dim;
        let qkv = random.values(packed.tokens() * cols, 1.0);
        on_both!("rotary", cols, |backend| {
            let batch = backend.upload(packed.view()).expect("upload");
            let mut qkv = backend.activation(packed.tokens(), cols, &qkv).expect("activation");
            backend.rotary(&batch, spec, &mut qkv).expect("rotary");
            qkv
        });
    }

    #[test]
    fn prop_attention_matches_twin(
        (lengths, seed) in ragged(), heads in 1usize..4, head_dim in 1usize..34, alibi: bool,
    ) {
        let mut random = Random::new(seed);
        let packed = random_batch(&lengths, &mut random);
        let slopes: Vec<f32> = (0..heads).map(|h| 0.5f32.powi(h as i32 + 1)).collect();
        let spec = AttentionSpec {
            num_heads: heads,
            head_dim,
            softmax_scale: 0.3,
            alibi_slopes: alibi.then_some(&slopes[..]),
        };
        let width = heads * head_dim;
        let qkv = random.values(packed.tokens() * 3 * width, 2.0);
        on_both!("attention", width, |backend| {
            let batch = backend.upload(packed.view()).expect("upload");
            let qkv = backend.activation(packed.tokens(), 3 * width, &qkv).expect("activation");
            let mut out = backend.scratch(packed.tokens(), width).expect("scratch");
            backend.attention(&batch, spec, &qkv, &mut out).expect("attention");
            out
        });
    }

    #[test]
    fn prop_gated_gelu_matches_twin(rows in 1usize..30, width in 1usize..70, seed: u64) {
        let x = Random::new(seed).values(rows * 2 * width, 6.0);
        on_both!("gated_gelu", width, |backend| {
            let x = backend.activation(rows, 2 * width, &x).expect("activation");
            let mut out = backend.scratch(rows, width).expect("scratch");
            backend.gated_gelu(&x, &mut out).expect("gated_gelu");
            out
        });
    }

    #[test]
    fn prop_pool_matches_twin(
        (lengths, seed) in ragged(), skip_first in 0usize..3, skip_last in 0usize..3,
        max_tokens in 1usize..40, first: bool,
    ) {
        let mut random = Random::new(seed);
        let packed = random_batch(&lengths, &mut random);
        let hidden = random.values(packed.tokens() * 10, 2.0);
        let spec = if first {
            PoolSpec::First
        } else {
            PoolSpec::Mean { skip_first, skip_last, max_tokens }
        };
        on_both!("pool", 10, |backend| {
            let batch = backend.upload(packed.view()).expect("upload");
            let hidden = backend.activation(packed.tokens(), 10, &hidden).expect("activation");
            backend.pool(&batch, spec, &hidden).expect("pool")
        });
    }
}

#[test]
fn rotary_position_zero_is_the_identity_and_v_is_untouched() {
    let cpu = CpuBackend::new(1).unwrap();
    let packed = Packed::new(&[vec![1, 2]]);
    let batch = cpu.upload(packed.view()).unwrap();
    let values = Random::new(5).values(2 * 12, 1.0);
    let mut qkv = cpu.activation(2, 12, &values).unwrap();
    cpu.rotary(&batch, RotarySpec { num_heads: 1, head_dim: 4, base: 10_000.0 }, &mut qkv).unwrap();
    assert_eq!(qkv.row(0), &values[..12]);
    assert_eq!(qkv.row(1)[8..], values[20..]);
    assert_ne!(qkv.row(1)[..4], values[12..16]);
}

#[test]
fn wrong_extents_are_refused_with_the_operation_named() {
    let cpu = CpuBackend::new(1).unwrap();
    let packed = Packed::new(&[vec![1, 2, 3]]);
    let batch = cpu.upload(packed.view()).unwrap();
    let x = cpu.activation(3, 4, &[0.0; 12]).unwrap();
    let weights = bytes(&[0.0; 10]);
    let layer = cpu.linear_weights(&[view(&weights, &[2, 5])], &[]).unwrap();
    let mut out = cpu.scratch(3, 2).unwrap();
    let error = cpu.linear(&x, &layer, Epilogue::Store, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "linear: columns of x is 4, expected 5");
    let table = cpu.table(&view(&weights, &[2, 5])).unwrap();
    let error = cpu.embed(&batch, &table, None, None).unwrap_err();
    assert!(matches!(error, BackendError::TokenOutOfRange { id: 2, position: 1, rows: 2 }));
    assert!(cpu.pool(&batch, PoolSpec::First, &out).is_ok());
    let short = cpu.scratch(2, 2).unwrap();
    assert!(cpu.pool(&batch, PoolSpec::First, &short).is_err());
}

#[test]
fn finite_rows_match_twin_for_every_place_of_a_nan_or_infinity() {
    let cpu = CpuBackend::new(2).expect("threads start");
    for cols in [1usize, 15, 16, 17, 33, 192] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![-3.0e38f32; cols * (cols + 2)];
            for row in 0..cols {
                values[row * cols + row] = bad;
            }
            let flags = |found: Result<Vec<bool>, BackendError>| found.expect("flags");
            let x = cpu.activation(cols + 2, cols, &values).expect("activation");
            let fast = flags(cpu.finite_rows(&x));
            let x = ReferenceBackend.activation(cols + 2, cols, &values).expect("activation");
            assert_eq!(fast, flags(ReferenceBackend.finite_rows(&x)), "{cols} columns, {bad}");
            assert_eq!(fast.iter().filter(|&&finite| finite).count(), 2);
        }
    }
}
