//! The built-in encoders on a device beside the same on the processor, on random sequences of
//! ragged lengths.

use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::selftest::{Check, Random};
use virnucpro_backend::tolerance::Tolerance;
use virnucpro_backend::{Backend, PoolSpec};
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence};
use virnucpro_models::{Bundle, EncoderSource, ModelError, packed_view};

use crate::PipelineError;

/// Lengths in tokens, past what the encoders see in `predict` too.
const LENGTHS: [usize; 12] = [3, 168, 64, 65, 4, 129, 168, 1000, 17, 333, 52, 250];

pub(super) fn check_all<B: Backend>(
    backend: &B,
    processor: &CpuBackend,
    tolerance: Tolerance,
) -> Result<Vec<Check>, PipelineError> {
    let bundle = Bundle::mini()?;
    let mut checks = Vec::new();
    for source in [bundle.protein_encoder()?, bundle.nucleotide_encoder()?] {
        let batch = random_batch(&source)?;
        let width = source.config().hidden_size();
        let [actual_mean, actual_first] = embed(backend, &source, &batch)?;
        let [expected_mean, expected_first] = embed(processor, &source, &batch)?;
        let architecture = source.config().architecture();
        for (what, actual, expected) in
            [("mean", actual_mean, expected_mean), ("first token", actual_first, expected_first)]
        {
            let name = format!("{architecture} {what}");
            checks.push(Check::compare("mini", name, tolerance, &actual, &expected, width));
        }
    }
    Ok(checks)
}

fn embed<B: Backend>(
    backend: &B,
    source: &EncoderSource,
    batch: &PackedBatch,
) -> Result<[Vec<f32>; 2], ModelError> {
    let encoder = source.load(backend)?;
    let on_device = backend.upload(packed_view(batch)?)?;
    let hidden = encoder.hidden_states(backend, &on_device, encoder.num_hidden_layers())?;
    let mean = backend.pool(&on_device, encoder.mean_pool(), &hidden)?;
    let first = backend.pool(&on_device, PoolSpec::First, &hidden)?;
    Ok([backend.download(&mean)?, backend.download(&first)?])
}

fn random_batch(source: &EncoderSource) -> Result<PackedBatch, ModelError> {
    let mut random = Random::new(super::SEED);
    let words = source.config().vocab_size() as u64;
    let sequences: Vec<_> = LENGTHS
        .iter()
        .zip(0..)
        .map(|(&length, number)| TokenizedSequence {
            sequence_id: SequenceId(number),
            input_ids: (0..length).map(|_| random.below(words) as u32).collect(),
        })
        .collect();
    Ok(PackedBatch::from_sequences(&sequences)?)
}
