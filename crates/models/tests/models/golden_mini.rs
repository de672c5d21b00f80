//! The bundle inside the program: from sequences to features and scores.
//!
//! Real frames are compared with the reference code where the shared material is present; frames
//! made up here are compared with the slow twin everywhere.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use virnucpro_backend::Backend;
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::reference::ReferenceBackend;
use virnucpro_backend::tolerance::{MINI_F32, Tolerance};
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence, pack_first_fit_decreasing};
use virnucpro_models::{Bundle, EncoderSource, Pooling};

use crate::support::golden::{Expectations, Expected, assert_close};
use crate::support::random::Random;
use crate::support::shared;

/// A frame: nucleotides and the protein they stand for.
struct Frame {
    nucleotides: Vec<u8>,
    protein: Vec<u8>,
}

/// Means of all sequences, in their order, packed in random company to a token budget.
fn means<B: Backend>(
    backend: &B,
    source: &EncoderSource,
    sequences: &[&[u8]],
    token_budget: usize,
    random: &mut Random,
) -> Vec<Vec<f32>> {
    let tokenizer = source.tokenizer().unwrap();
    let encoder = source.load(backend).unwrap();
    let shuffled: Vec<TokenizedSequence> = random
        .order(sequences.len())
        .into_iter()
        .map(|i| {
            let encoding = tokenizer.encode(sequences[i]).unwrap();
            assert_eq!(encoding.unknown_tokens, 0);
            TokenizedSequence { sequence_id: SequenceId(i as u64), input_ids: encoding.input_ids }
        })
        .collect();
    // Groups of random size, so that neighbours in a batch are not only those of equal length.
    let mut batches: Vec<PackedBatch> = Vec::new();
    let mut rest = &shuffled[..];
    while !rest.is_empty() {
        let (group, others) = rest.split_at((1 + random.below(30)).min(rest.len()));
        let budget = NonZeroUsize::new(token_budget).unwrap();
        batches.extend(pack_first_fit_decreasing(group.to_vec(), budget).unwrap());
        rest = others;
    }
    let mut means = vec![Vec::new(); sequences.len()];
    for batch in batches {
        assert!(batch.total_tokens() <= token_budget);
        let last = encoder.num_hidden_layers();
        let pooled = encoder.embed(backend, &batch, last, Pooling::Mean).unwrap();
        let rows = pooled.values.chunks(pooled.hidden_size);
        for (id, row) in batch.sequence_ids().iter().zip(rows) {
            means[id.0 as usize] = row.to_vec();
        }
    }
    means
}

/// `[DNABERT-S mean | ESM-2 mean]` of every frame, and the scores `[others, virus]`.
fn features_and_scores<B: Backend>(
    backend: &B,
    frames: &[Frame],
    token_budget: usize,
    random: &mut Random,
) -> (Vec<f32>, Vec<f32>) {
    let bundle = Bundle::mini().unwrap();
    let nucleotides: Vec<&[u8]> = frames.iter().map(|f| &f.nucleotides[..]).collect();
    let proteins: Vec<&[u8]> = frames.iter().map(|f| &f.protein[..]).collect();
    let (dna, protein) = (bundle.nucleotide_encoder().unwrap(), bundle.protein_encoder().unwrap());
    let dna = means(backend, &dna, &nucleotides, token_budget, random);
    let protein = means(backend, &protein, &proteins, token_budget, random);
    let features: Vec<f32> =
        dna.iter().zip(&protein).flat_map(|(d, p)| [&d[..], p].concat()).collect();
    let classifier = bundle.classifier(backend, 500).unwrap();
    let scores = classifier.score(backend, &features).unwrap();
    (features, scores.iter().flat_map(|score| score.probabilities).collect())
}

fn fasta(text: &str) -> Vec<(&str, &[u8])> {
    let lines: Vec<&str> = text.lines().collect();
    let (records, rest) = lines.as_chunks::<2>();
    assert!(rest.is_empty(), "two lines a record");
    records.iter().map(|[id, sequence]| (&id[1..], sequence.as_bytes())).collect()
}

#[test]
fn golden_mini_real_frames_give_the_features_and_scores_of_the_reference() {
    let read = |name: &str| {
        let path = shared(&format!("fixtures/golden/mini/crAssphage_L500.{name}"))?;
        Some(std::fs::read_to_string(path).unwrap())
    };
    let (Some(nucleotides), Some(proteins), Some(scores)) =
        (read("nucleotide.fa"), read("protein.faa"), read("scores.tsv"))
    else {
        return;
    };
    let path = shared("fixtures/golden/mini/crAssphage_L500.features.safetensors").unwrap();
    let expected = Expectations::open(&path);
    let (nucleotides, proteins) = (fasta(&nucleotides), fasta(&proteins));
    let scores: HashMap<&str, [f32; 2]> = scores
        .lines()
        .skip(1)
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            (columns[0], [columns[1].parse().unwrap(), columns[2].parse().unwrap()])
        })
        .collect();
    assert_eq!((nucleotides.len(), proteins.len(), scores.len()), (112, 112, 112));
    let frames: Vec<Frame> = nucleotides
        .iter()
        .zip(&proteins)
        .map(|(&(id, nucleotides), &(protein_id, protein))| {
            assert_eq!(id, protein_id);
            Frame { nucleotides: nucleotides.to_vec(), protein: protein.to_vec() }
        })
        .collect();

    let backend = CpuBackend::new(2).unwrap();
    let (features, found) = features_and_scores(&backend, &frames, 2000, &mut Random::new(1));
    assert_close("features", &features, expected.get("features").unwrap(), MINI_F32);
    let values = nucleotides.iter().flat_map(|(id, _)| scores[id]).collect();
    assert_close("scores", &found, &Expected { values, cols: 2 }, MINI_F32);
}

#[test]
fn golden_mini_made_up_frames_give_the_features_and_scores_of_the_slow_twin() {
    let mut random = Random::new(7);
    let frames: Vec<Frame> = [1, 4, 9, 21]
        .iter()
        .map(|&residues| Frame {
            nucleotides: random.letters(b"ACGT", 3 * residues + 1),
            protein: random.letters(b"LAGVSERTIDPKQNFYMHWC", residues),
        })
        .collect();
    let twin = features_and_scores(&ReferenceBackend, &frames, 40, &mut Random::new(2));
    let cpu = CpuBackend::new(2).unwrap();
    let found = features_and_scores(&cpu, &frames, 64, &mut Random::new(3));
    let check = |what: &str, found: &[f32], values: Vec<f32>, cols: usize, tolerance: Tolerance| {
        assert_close(what, found, &Expected { values, cols }, tolerance);
    };
    check("features", &found.0, twin.0, 384, MINI_F32);
    check("scores", &found.1, twin.1, 2, MINI_F32);
}
