//! Golden cases and the comparison all golden tests share.

use std::collections::HashMap;
use std::path::Path;

use safetensors::SafeTensors;
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::tolerance::Tolerance;
use virnucpro_backend::{Backend, PoolSpec};
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence};
use virnucpro_models::{Encoder, EncoderSource, Esm2, Pooling};

use super::models::upload;

/// One tensor of an expectation file.
pub(crate) struct Expected {
    pub(crate) values: Vec<f32>,
    pub(crate) cols: usize,
}

/// The tensors of an expectation file, by name.
pub(crate) struct Expectations(HashMap<String, Expected>);

impl Expectations {
    pub(crate) fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        let expected = tensors.into_iter().map(|(name, view)| {
            let values = view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            (name, Expected { values, cols: *view.shape().last().unwrap() })
        });
        Self(expected.collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Expected> {
        self.0.get(name)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Panics unless `actual` matches, naming the case.
#[track_caller]
pub(crate) fn assert_close(case: &str, actual: &[f32], expected: &Expected, tolerance: Tolerance) {
    if let Err(deviation) = tolerance.check(actual, &expected.values, expected.cols) {
        panic!("{case}: {deviation}");
    }
}

pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) input_ids: Vec<u32>,
}

/// Packs the cases in the order given, ids being positions in `cases`.
pub(crate) fn pack(cases: &[Case], order: &[usize]) -> PackedBatch {
    let sequences: Vec<_> = order
        .iter()
        .map(|&i| TokenizedSequence {
            sequence_id: SequenceId(i as u64),
            input_ids: cases[i].input_ids.clone(),
        })
        .collect();
    PackedBatch::from_sequences(&sequences).unwrap()
}

/// How often each case occurs in [`companies`].
pub(crate) const COMPANIES: usize = 4;

/// Orders to run the cases in: each alone, all together, backwards, and shuffled in threes.
fn companies(count: usize) -> Vec<Vec<usize>> {
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
pub(crate) fn check_encoder(
    source: &EncoderSource,
    cases: &[Case],
    expectations: &Expectations,
    first_token: &str,
    tolerance: Tolerance,
) -> usize {
    let backend = CpuBackend::new(2).unwrap();
    let encoder = source.load(&backend).unwrap();
    let (last, width) = (encoder.num_hidden_layers(), encoder.hidden_size());
    let mut compared = 0;
    for order in companies(cases.len()) {
        let batch = pack(cases, &order);
        let on_device = upload(&backend, &batch);
        let hidden = encoder.hidden_states(&backend, &on_device, last).unwrap();
        let mean = backend.pool(&on_device, encoder.mean_pool(), &hidden).unwrap();
        let first = backend.pool(&on_device, PoolSpec::First, &hidden).unwrap();
        for (row, range) in batch.token_ranges().enumerate() {
            let id = &cases[order[row]].id;
            let mut check = |what: &str, actual: &[f32]| {
                if let Some(expected) = expectations.get(&format!("{id}.{what}")) {
                    let case = format!("{} {id}.{what} among {order:?}", source.name());
                    assert_close(&case, actual, expected, tolerance);
                    compared += 1;
                }
            };
            check("mean", mean.row(row));
            check(first_token, first.row(row));
            check("hidden", &hidden.values()[range.start * width..range.end * width]);
        }
    }
    compared
}

/// Checks that another layout of the same weights gives the same bits, through `embed`.
pub(crate) fn check_same_bits(one: &EncoderSource, other: &EncoderSource, cases: &[Case]) {
    let backend = CpuBackend::new(2).unwrap();
    let (one, other) = (one.load(&backend).unwrap(), other.load(&backend).unwrap());
    let last = one.num_hidden_layers();
    let batch = pack(cases, &(0..cases.len()).collect::<Vec<_>>());
    let on_device = upload(&backend, &batch);
    let hidden = one.hidden_states(&backend, &on_device, last).unwrap();
    for (pooling, spec) in [
        (Pooling::Mean, Some(one.mean_pool())),
        (Pooling::Bos, Some(PoolSpec::First)),
        (Pooling::None, None),
    ] {
        let pooled = spec.map(|spec| backend.pool(&on_device, spec, &hidden).unwrap());
        let expected = pooled.as_ref().unwrap_or(&hidden);
        let embeddings = other.embed(&backend, &batch, last, pooling).unwrap();
        assert_eq!(embeddings.hidden_size, one.hidden_size());
        assert!(embeddings.values == expected.values(), "{pooling:?}");
    }
}

/// The ESM-2 model inside an encoder.
pub(crate) fn esm2<B: Backend>(encoder: &Encoder<B>) -> &Esm2<B> {
    match encoder {
        Encoder::Esm2(model) => model,
        Encoder::DnabertS(_) => panic!("not ESM-2"),
    }
}
