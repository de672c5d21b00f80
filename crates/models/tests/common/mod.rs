//! Golden cases and the comparison all golden tests share.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::tolerance::Tolerance;
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence};
use virnucpro_models::{Encoder, EncoderSource, Pooling};

pub fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(path)
}

/// A path in the project's shared material, or `None` (said aloud) where it is absent.
pub fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(path);
    if !path.exists() {
        println!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

/// One tensor of an expectation file.
pub struct Expected {
    pub values: Vec<f32>,
    pub cols: usize,
}

pub struct Expectations(Vec<u8>);

impl Expectations {
    pub fn open(path: &Path) -> Self {
        Self(std::fs::read(path).unwrap())
    }

    pub fn get(&self, name: &str) -> Option<Expected> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let view = tensors.tensor(name).ok()?;
        let values = view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        Some(Expected { values, cols: *view.shape().last().unwrap() })
    }

    pub fn len(&self) -> usize {
        SafeTensors::deserialize(&self.0).unwrap().len()
    }
}

/// Panics unless `actual` matches, naming the case.
pub fn assert_close(case: &str, actual: &[f32], expected: &Expected, tolerance: Tolerance) {
    if let Err(deviation) = tolerance.check(actual, &expected.values, expected.cols) {
        panic!("{case}: {deviation}");
    }
}

pub struct Case {
    pub id: String,
    pub input_ids: Vec<u32>,
}

/// Packs the cases in the order given, ids being positions in `cases`.
pub fn pack(cases: &[Case], order: &[usize]) -> PackedBatch {
    let sequences: Vec<_> = order
        .iter()
        .map(|&i| TokenizedSequence {
            sequence_id: SequenceId(i as u64),
            input_ids: cases[i].input_ids.clone(),
        })
        .collect();
    PackedBatch::from_sequences(&sequences).unwrap()
}

/// Orders to run the cases in: each alone, all together, backwards, and shuffled in threes.
pub fn companies(count: usize) -> Vec<Vec<usize>> {
    let mut orders: Vec<Vec<usize>> = (0..count).map(|i| vec![i]).collect();
    orders.push((0..count).collect());
    orders.push((0..count).rev().collect());
    let shuffled: Vec<usize> = (0..count).map(|i| (i * 11 + 3) % count).collect();
    let mut distinct = shuffled.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), count, "11 must not divide the number of cases");
    orders.extend(shuffled.chunks(3).map(<[usize]>::to_vec));
    orders
}

/// Runs every case in every company and checks mean, first token and hidden states; returns the
/// number of comparisons.
pub fn check_encoder(
    source: &EncoderSource,
    cases: &[Case],
    expectations: &Expectations,
    first_token: &str,
    tolerance: Tolerance,
) -> usize {
    let backend = CpuBackend::new(2).unwrap();
    let encoder = source.load(&backend).unwrap();
    let mut compared = 0;
    for order in companies(cases.len()) {
        let batch = pack(cases, &order);
        let run = |pooling| {
            let layer = encoder.num_hidden_layers();
            encoder.embed(&backend, &batch, layer, pooling).unwrap()
        };
        let (mean, first, hidden) = (run(Pooling::Mean), run(Pooling::Bos), run(Pooling::None));
        let width = encoder.hidden_size();
        for (row, range) in batch.token_ranges().enumerate() {
            let id = &cases[order[row]].id;
            let mut check = |what: &str, actual: &[f32]| {
                if let Some(expected) = expectations.get(&format!("{id}.{what}")) {
                    let case = format!("{} {id}.{what} among {order:?}", source.name());
                    assert_close(&case, actual, &expected, tolerance);
                    compared += 1;
                }
            };
            let pooled = row * width..(row + 1) * width;
            check("mean", &mean.values[pooled.clone()]);
            check(first_token, &first.values[pooled]);
            check("hidden", &hidden.values[range.start * width..range.end * width]);
        }
    }
    compared
}

/// The ESM-2 model inside an encoder.
pub fn esm2(encoder: &Encoder<CpuBackend>) -> &virnucpro_models::Esm2<CpuBackend> {
    match encoder {
        Encoder::Esm2(model) => model,
        Encoder::DnabertS(_) => panic!("not ESM-2"),
    }
}
