//! Models of the published sizes, random weights, all layers: the GPU against the processor, and
//! every sequence alone against the same in company.
//!
//! Where a GPU is promised by `VIRNUCPRO_TEST_GPU=1`, a missing one fails; elsewhere the tests say
//! what is missing and end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::cuda::{CudaBackend, CudaError, CudaOptions};
use virnucpro_backend::selftest::Random;
use virnucpro_backend::tolerance::{
    BATCH_INVARIANT, EMBEDDING_BF16, EMBEDDING_F16, EMBEDDING_F32, Tolerance,
};
use virnucpro_backend::{Backend, Precision};
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence};
use virnucpro_models::{Encoder, EncoderSource, Pooling, PublishedSize};

/// Residues of the sequences: 1 to 2,000, tile borders among them.
const RESIDUES: [usize; 14] = [1, 2000, 2, 14, 15, 62, 63, 64, 166, 166, 127, 350, 700, 1022];

const PRECISIONS: [(Precision, Tolerance); 3] = [
    (Precision::F32, EMBEDDING_F32),
    (Precision::F16, EMBEDDING_F16),
    (Precision::Bf16, EMBEDDING_BF16),
];

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

/// `<mask>` of the proteins' alphabet, whose last id it is.
const MASK: u32 = virnucpro_batch::esm2::MASK;

fn sequences(words: u64) -> Vec<TokenizedSequence> {
    let mut random = Random::new(5);
    let sequence = |(number, &residues): (usize, &usize)| TokenizedSequence {
        sequence_id: SequenceId(number as u64),
        // Proteins draw amino acids, nucleotides words; special tokens stand at both ends.
        input_ids: std::iter::once(0)
            .chain((0..residues).map(|_| 5 + random.below(words.min(24) - 5) as u32))
            .chain([2])
            .collect(),
    };
    let mut sequences: Vec<_> = RESIDUES.iter().enumerate().map(sequence).collect();
    if words == u64::from(MASK) + 1 {
        // One <mask>: the batch that holds it computes what others look up, with the same bits.
        if let Some(last) = sequences.last_mut() {
            last.input_ids[1] = MASK;
        }
    }
    sequences
}

fn embed<B: Backend>(
    backend: &B,
    encoder: &Encoder<B>,
    sequences: &[TokenizedSequence],
) -> Vec<f32> {
    let batch = PackedBatch::from_sequences(sequences).unwrap();
    encoder.embed(backend, &batch, encoder.num_hidden_layers(), Pooling::Mean).unwrap().values
}

fn check(name: &str) {
    if open(Precision::F32).is_none() {
        return;
    }
    let config = name.parse::<PublishedSize>().unwrap().config().unwrap();
    let source = EncoderSource::random(name, config, 9).unwrap();
    let width = source.config().hidden_size();
    let sequences = sequences(source.config().vocab_size() as u64);
    let expected = {
        let processor = CpuBackend::new(0).unwrap();
        let encoder = source.load(&processor).unwrap();
        processor.install(|| embed(&processor, &encoder, &sequences))
    };
    for (precision, tolerance) in PRECISIONS {
        let Some(backend) = open(precision) else { continue };
        let encoder = source.load(&backend).unwrap();
        let together = embed(&backend, &encoder, &sequences);
        match tolerance.check(&together, &expected, width) {
            Ok(deviation) => eprintln!("{name} {precision}: {deviation}"),
            Err(deviation) => panic!("{name} {precision}: {deviation}"),
        }
        let backwards: Vec<_> = sequences.iter().rev().cloned().collect();
        let reversed = embed(&backend, &encoder, &backwards);
        for (row, sequence) in sequences.iter().enumerate() {
            let company = &together[row * width..(row + 1) * width];
            let alone = embed(&backend, &encoder, std::slice::from_ref(sequence));
            let other = sequences.len() - 1 - row;
            let in_reverse = &reversed[other * width..(other + 1) * width];
            for (what, values) in [("alone", &alone[..]), ("backwards", in_reverse)] {
                let same = BATCH_INVARIANT.check(values, company, width);
                assert!(same.is_ok(), "{name} {precision}: sequence {row} {what}: {same:?}");
            }
        }
    }
}

#[test]
fn gpu_full_depth_esm2_8m() {
    check("esm2-8m");
}

#[test]
fn gpu_full_depth_esm2_650m() {
    check("esm2-650m");
}

#[test]
fn gpu_full_depth_esm2_3b() {
    check("esm2-3b");
}

#[test]
fn gpu_full_depth_dnabert_s() {
    check("dnabert-s");
}
