//! Tokens per second of the `mini` encoders on packed batches of metagenomic frames.
//!
//! One sample embeds the same 16,384 or so tokens, in sequences of 30 to 168 tokens, packed to
//! the token budget given; `item/s` reads as tokens/s.
//! `cargo bench -p virnucpro-models --bench forward`.

use std::num::NonZeroUsize;

use divan::Bencher;
use divan::counter::ItemsCount;
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence, pack_first_fit_decreasing};
use virnucpro_models::{Bundle, EncoderSource, Pooling};

/// Tokens embedded by one sample.
const TOKENS: usize = 16_384;

const TOKEN_BUDGETS: [usize; 5] = [1024, 2048, 4096, 8192, 16_384];

/// Sequences of 30 to 168 tokens; ids 5 to 23 are letters to both tokenisers.
fn batches(token_budget: usize) -> Vec<PackedBatch> {
    let mut tokens = 0;
    let mut sequences = Vec::new();
    for id in 0u64.. {
        if tokens >= TOKENS {
            break;
        }
        let length = 30 + (id * 53) % 139;
        tokens += length as usize;
        let input_ids = (0..length).map(|i| 5 + ((i * 7 + id) % 19) as u32).collect();
        sequences.push(TokenizedSequence { sequence_id: SequenceId(id), input_ids });
    }
    let token_budget = NonZeroUsize::new(token_budget).expect("budgets are positive");
    pack_first_fit_decreasing(sequences, token_budget).expect("sequences have tokens")
}

fn forward<const THREADS: usize>(bencher: Bencher, source: &EncoderSource, token_budget: usize) {
    let backend = CpuBackend::new(THREADS).expect("threads start");
    let encoder = source.load(&backend).expect("the bundle is whole");
    let batches = batches(token_budget);
    let tokens: usize = batches.iter().map(PackedBatch::total_tokens).sum();
    let last = encoder.num_hidden_layers();
    bencher.counter(ItemsCount::new(tokens)).bench_local(|| {
        for batch in &batches {
            let pooled = encoder.embed(&backend, batch, last, Pooling::Mean);
            divan::black_box(pooled.expect("the batch is valid"));
        }
    });
}

#[divan::bench(args = TOKEN_BUDGETS, consts = [1, 2], sample_count = 5, sample_size = 1)]
fn mini_esm2<const THREADS: usize>(bencher: Bencher, token_budget: usize) {
    let source = Bundle::mini().and_then(|mini| mini.protein_encoder());
    forward::<THREADS>(bencher, &source.expect("the bundle is whole"), token_budget);
}

#[divan::bench(args = TOKEN_BUDGETS, consts = [1, 2], sample_count = 5, sample_size = 1)]
fn mini_dnabert_s<const THREADS: usize>(bencher: Bencher, token_budget: usize) {
    let source = Bundle::mini().and_then(|mini| mini.nucleotide_encoder());
    forward::<THREADS>(bencher, &source.expect("the bundle is whole"), token_budget);
}

fn main() {
    divan::main();
}
