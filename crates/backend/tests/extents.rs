//! Extents at and around every block border of the CPU backend, against the slow twin.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Packed, Random, bytes, view};
use virnucpro_backend::cpu::{CpuBackend, Matrix};
use virnucpro_backend::reference::ReferenceBackend;
use virnucpro_backend::tolerance::OPERATION_F32;
use virnucpro_backend::{AttentionSpec, Backend, Epilogue};

fn agree(what: &str, actual: &Matrix, expected: &Matrix) {
    if let Err(deviation) = OPERATION_F32.check(actual.values(), expected.values(), actual.cols()) {
        panic!("{what}: {deviation}");
    }
}

/// q, k and v of one batch, and the settings of its attention.
struct Case {
    packed: Packed,
    num_heads: usize,
    head_dim: usize,
    slopes: Option<Vec<f32>>,
    qkv: Vec<f32>,
}

impl Case {
    fn new(lengths: &[usize], num_heads: usize, head_dim: usize, alibi: bool) -> Self {
        let mut random = Random::new((lengths[0] * 1000 + head_dim) as u64);
        let packed = Packed::new(&lengths.iter().map(|&n| random.ids(n, 9)).collect::<Vec<_>>());
        let qkv = random.values(packed.tokens() * 3 * num_heads * head_dim, 1.0);
        let slopes = alibi.then(|| (0..num_heads).map(|h| 0.3 / (h + 1) as f32).collect());
        Self { packed, num_heads, head_dim, slopes, qkv }
    }

    fn run<B: Backend<Activation = Matrix>>(&self, backend: &B) -> Matrix {
        let (tokens, width) = (self.packed.tokens(), self.num_heads * self.head_dim);
        let batch = backend.upload(self.packed.view()).unwrap();
        let qkv = backend.activation(tokens, 3 * width, &self.qkv).unwrap();
        let spec = AttentionSpec {
            num_heads: self.num_heads,
            head_dim: self.head_dim,
            softmax_scale: (self.head_dim as f32).sqrt().recip(),
            alibi_slopes: self.slopes.as_deref(),
        };
        let mut out = backend.activation(tokens, width, &vec![9.0; tokens * width]).unwrap();
        backend.attention(&batch, spec, &qkv, &mut out).unwrap();
        out
    }

    fn check(&self, what: &str) {
        let expected = self.run(&ReferenceBackend);
        for threads in [1, 3] {
            agree(what, &self.run(&CpuBackend::new(threads).unwrap()), &expected);
        }
    }
}

#[test]
fn attention_sequence_at_every_block_border_matches_twin() {
    for seqlen in [1, 2, 5, 6, 7, 15, 16, 17, 47, 48, 49, 63, 64, 65, 128, 129, 383, 384, 385] {
        for alibi in [false, true] {
            Case::new(&[seqlen], 2, 32, alibi).check(&format!("{seqlen} tokens, alibi {alibi}"));
        }
    }
}

#[test]
fn attention_head_widths_of_published_models_match_twin() {
    for head_dim in [16, 20, 24, 32, 64, 80, 128] {
        for alibi in [false, true] {
            let case = Case::new(&[70, 1, 64, 3, 1, 33], 3, head_dim, alibi);
            case.check(&format!("head_dim {head_dim}, alibi {alibi}"));
        }
    }
}

#[test]
fn attention_one_token_sequences_return_their_values() {
    let case = Case::new(&[1; 40], 2, 24, true);
    let out = case.run(&CpuBackend::new(2).unwrap());
    for (token, row) in out.values().chunks(48).enumerate() {
        assert_eq!(row, &case.qkv[token * 144 + 96..(token + 1) * 144], "token {token}");
    }
}

#[test]
fn attention_two_thousand_tokens_match_twin() {
    for alibi in [false, true] {
        Case::new(&[2000], 1, 32, alibi).check(&format!("2,000 tokens, alibi {alibi}"));
    }
}

#[test]
fn attention_scores_beyond_the_range_of_exp_match_twin() {
    let mut case = Case::new(&[40, 7], 2, 32, true);
    for row in case.qkv.chunks_mut(3 * 64) {
        row[..128].iter_mut().for_each(|v| *v *= 12.0); // scores of some hundreds
    }
    let actual = case.run(&CpuBackend::new(2).unwrap());
    assert!(actual.values().iter().all(|v| v.is_finite()), "exp without the largest score");
    let expected = case.run(&ReferenceBackend);
    for (a, e) in actual.values().iter().zip(expected.values()) {
        assert!((a - e).abs() < 1e-3, "{a} is not {e}"); // f32 scores of 500 carry 3e-5 each
    }
}

#[test]
fn attention_nan_stays_in_its_sequence_and_head() {
    let mut case = Case::new(&[5, 66, 4], 2, 24, false);
    let clean = case.run(&CpuBackend::new(2).unwrap());
    case.qkv[20 * 144 + 48 + 3] = f32::NAN; // k of token 20, head 0, in the second sequence
    let out = case.run(&CpuBackend::new(2).unwrap());
    for token in 0..75 {
        let (row, clean) = (out.row(token), clean.row(token));
        let hit = (5..71).contains(&token);
        assert!(row[..24].iter().all(|v| v.is_nan()) == hit, "head 0 of token {token}");
        assert_eq!(row[24..], clean[24..], "head 1 of token {token}");
        assert!(hit || row[..24] == clean[..24], "head 0 of token {token}");
    }
}

#[test]
fn linear_extents_at_every_block_border_match_twin() {
    let cpu = CpuBackend::new(3).unwrap();
    let epilogues = [Epilogue::Store, Epilogue::Accumulate, Epilogue::Gelu, Epilogue::Relu];
    for (i, &inputs) in [1usize, 15, 16, 17, 255, 256, 257, 513].iter().enumerate() {
        for (j, &outputs) in [1usize, 2, 15, 16, 33, 63, 64, 65, 130].iter().enumerate() {
            let rows = [1, 5, 6, 7, 95, 96, 97, 193][(i + j) % 8];
            let mut random = Random::new((inputs * 1000 + outputs) as u64);
            let scale = (inputs as f32).sqrt().recip();
            let weight = bytes(&random.values(inputs * outputs, scale));
            let bias = bytes(&random.values(outputs, 1.0));
            let (x, before) =
                (random.values(rows * inputs, 1.0), random.values(rows * outputs, 1.0));
            for epilogue in epilogues {
                let what = format!("{rows} rows, {inputs}x{outputs}, {epilogue:?}");
                let weights = [view(&weight, &[outputs, inputs])];
                let biases = [view(&bias, &[outputs])];
                let run = |out: &mut Matrix| {
                    let layer = cpu.linear_weights(&weights, &biases).unwrap();
                    let x = cpu.activation(rows, inputs, &x).unwrap();
                    cpu.linear(&x, &layer, epilogue, out).unwrap();
                };
                let mut actual = cpu.activation(rows, outputs, &before).unwrap();
                run(&mut actual);
                let twin = ReferenceBackend;
                let layer = twin.linear_weights(&weights, &biases).unwrap();
                let mut expected = twin.activation(rows, outputs, &before).unwrap();
                let x = twin.activation(rows, inputs, &x).unwrap();
                twin.linear(&x, &layer, epilogue, &mut expected).unwrap();
                agree(&what, &actual, &expected);
            }
        }
    }
}

#[test]
fn linear_nan_passes_every_epilogue() {
    let cpu = CpuBackend::new(1).unwrap();
    let weight = bytes(&[1.0; 20 * 20]);
    let layer = cpu.linear_weights(&[view(&weight, &[20, 20])], &[]).unwrap();
    let mut values = vec![0.5; 3 * 20];
    values[25] = f32::NAN;
    let x = cpu.activation(3, 20, &values).unwrap();
    for epilogue in [Epilogue::Store, Epilogue::Accumulate, Epilogue::Gelu, Epilogue::Relu] {
        let mut out = cpu.activation(3, 20, &[0.0; 60]).unwrap();
        cpu.linear(&x, &layer, epilogue, &mut out).unwrap();
        assert!(out.row(1).iter().all(|v| v.is_nan()), "{epilogue:?} hides a NaN");
        assert!(out.row(0).iter().chain(out.row(2)).all(|v| v.is_finite()), "{epilogue:?}");
    }
}
