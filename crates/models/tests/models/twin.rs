//! Whole models on the host backend against the slow twin: every representation, ragged batches.

use virnucpro_backend::Backend;
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::reference::ReferenceBackend;
use virnucpro_backend::tolerance::GOLDEN_F32;
use virnucpro_batch::esm2::MASK;
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence};
use virnucpro_models::EncoderSource;

use crate::support::golden::{Expected, assert_close, esm2};
use crate::support::models::{dnabert_s_source, esm2_folder, upload};
use crate::support::random::Random;

/// Sequence lengths in tokens, special tokens included; the shortest has nothing to average.
const RAGGED: [&[usize]; 2] = [&[2, 33, 3, 70], &[17, 2, 2, 65, 4, 1]];

/// Every representation, and the mean of the last one.
fn outputs<B: Backend>(
    backend: &B,
    source: &EncoderSource,
    batch: &PackedBatch,
) -> Vec<(String, Vec<f32>)> {
    let encoder = source.load(backend).unwrap();
    let on_device = upload(backend, batch);
    let mut outputs = Vec::new();
    for layer in 0..=encoder.num_hidden_layers() {
        let hidden = encoder.hidden_states(backend, &on_device, layer).unwrap();
        outputs.push((format!("layer {layer}"), backend.download(&hidden).unwrap()));
        if layer == encoder.num_hidden_layers() {
            let mean = backend.pool(&on_device, encoder.mean_pool(), &hidden).unwrap();
            outputs.push(("mean".into(), backend.download(&mean).unwrap()));
        }
    }
    outputs
}

fn check(source: &EncoderSource, vocab: usize, seed: u64) {
    let cpu = CpuBackend::new(2).unwrap();
    let mut random = Random::new(seed);
    for lengths in RAGGED {
        let batch = random.batch(lengths, vocab);
        let twin = outputs(&ReferenceBackend, source, &batch);
        let found = outputs(&cpu, source, &batch);
        assert_eq!(found.len(), source.config().num_hidden_layers() + 2);
        for ((what, found), (_, values)) in found.iter().zip(twin) {
            let case = format!("{} {what} of {lengths:?}", source.name());
            let expected = Expected { values, cols: source.config().hidden_size() };
            assert_close(&case, found, &expected, GOLDEN_F32);
        }
    }
}

#[test]
fn esm2_every_representation_matches_the_slow_twin() {
    // Random ids hold <mask> and <pad> too, so token dropout sees masked sequences.
    check(&EncoderSource::open(&esm2_folder()).unwrap(), 33, 11);
    // The last id is <mask>; without it the first layer is looked up.
    check(&EncoderSource::open(&esm2_folder()).unwrap(), MASK as usize, 14);
}

#[test]
fn esm2_sequences_have_the_same_bits_beside_a_masked_one() {
    let source = EncoderSource::open(&esm2_folder()).unwrap();
    let cpu = CpuBackend::new(1).unwrap();
    let sequence = |id: u64, length: u32, last: u32| TokenizedSequence {
        sequence_id: SequenceId(id),
        input_ids: (0..length).map(|i| i * 7 % MASK).chain([last]).collect(),
    };
    let plain = [sequence(0, 40, 5), sequence(1, 2, 6), sequence(2, 64, 7)];
    let masked = sequence(3, 9, MASK);
    let beside: Vec<_> = plain.iter().chain([&masked]).cloned().collect();
    let plain = outputs(&cpu, &source, &PackedBatch::from_sequences(&plain).unwrap());
    let beside = outputs(&cpu, &source, &PackedBatch::from_sequences(&beside).unwrap());
    for ((what, plain), (_, beside)) in plain.iter().zip(&beside) {
        assert_eq!(plain[..], beside[..plain.len()], "{what}");
    }
}

#[test]
fn dnabert_s_every_representation_matches_the_slow_twin() {
    check(&dnabert_s_source(), 512, 12);
}

#[test]
fn esm2_logits_match_the_slow_twin() {
    fn logits<B: Backend>(backend: &B, source: &EncoderSource, batch: &PackedBatch) -> Vec<f32> {
        let encoder = source.load(backend).unwrap();
        let (model, on_device) = (esm2(&encoder), upload(backend, batch));
        let last = model.config().num_hidden_layers;
        let hidden = model.hidden_states(backend, &on_device, last).unwrap();
        backend.download(&model.logits(backend, &hidden).unwrap()).unwrap()
    }
    let source = EncoderSource::open(&esm2_folder()).unwrap();
    let batch = Random::new(13).batch(&[5, 2, 40], 33);
    let values = logits(&ReferenceBackend, &source, &batch);
    let found = logits(&CpuBackend::new(2).unwrap(), &source, &batch);
    assert_close("logits", &found, &Expected { values, cols: 33 }, GOLDEN_F32);
}
