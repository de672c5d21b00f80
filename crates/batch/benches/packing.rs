//! Speed of tokenising and packing, and how full the batches become.

use std::hint::black_box;
use std::num::NonZeroUsize;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, main as run_benches};
use virnucpro_batch::{
    DnabertSTokenizer, Esm2Tokenizer, Packer, PackingMetrics, SequenceId, SequenceTokenizer,
    TokenizedSequence,
};

const TOKENIZER: &[u8] = include_bytes!("../../../models/mini/dnabert_s/tokenizer.json");

fn random_letters(alphabet: &[u8], count: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count).map(|_| alphabet[(next() % alphabet.len() as u64) as usize]).collect()
}

/// Frames of metagenomic chunks: 30 to 168 tokens.
fn frames(count: usize) -> Vec<TokenizedSequence> {
    let lengths = random_letters(&(30..=168).collect::<Vec<u8>>(), count);
    lengths
        .iter()
        .enumerate()
        .map(|(id, &n)| TokenizedSequence {
            sequence_id: SequenceId(id as u64),
            input_ids: vec![5; usize::from(n)],
        })
        .collect()
}

fn pack(sequences: Vec<TokenizedSequence>, token_budget: usize) -> PackingMetrics {
    let mut metrics = PackingMetrics::default();
    let mut packer = Packer::new(NonZeroUsize::new(token_budget).expect("budgets are positive"));
    let mut record = |batches: Vec<_>| {
        for batch in &batches {
            metrics.record(batch, token_budget);
        }
    };
    for sequence in sequences {
        record(packer.push(sequence).expect("sequences have tokens"));
    }
    record(packer.flush().expect("sequences have tokens"));
    metrics
}

#[divan::bench(args = [4096, 16_384])]
fn pack_first_fit_decreasing(bencher: Bencher, token_budget: usize) {
    bencher
        .counter(ItemsCount::new(20_000usize))
        .with_inputs(|| frames(20_000))
        .bench_values(|sequences| pack(sequences, token_budget));
}

#[divan::bench]
fn tokenize_esm2(bencher: Bencher) {
    let protein = random_letters(b"ACDEFGHIKLMNPQRSTVWY", 166);
    let tokenizer = Esm2Tokenizer::default();
    bencher.counter(BytesCount::new(166usize)).bench(|| tokenizer.encode(black_box(&protein)));
}

#[divan::bench]
fn tokenize_dnabert_s(bencher: Bencher) {
    let dna = random_letters(b"ACGT", 499);
    let tokenizer = DnabertSTokenizer::from_json("mini", TOKENIZER).expect("the file is ours");
    bencher.counter(BytesCount::new(499usize)).bench(|| tokenizer.encode(black_box(&dna)));
}

fn main() {
    for token_budget in [4096, 16_384] {
        let metrics = pack(frames(20_000), token_budget);
        let efficiency = metrics.packing_efficiency().unwrap_or_default();
        println!("packing_efficiency at token_budget {token_budget}: {efficiency:.4}");
    }
    run_benches();
}
