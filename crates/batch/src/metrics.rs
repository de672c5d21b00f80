//! How well batches are filled.

use crate::PackedBatch;

/// Running totals over the batches of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackingMetrics {
    /// Batches made.
    pub batches: u64,
    /// Sequences in them.
    pub sequences: u64,
    /// Tokens in them, special tokens included.
    pub tokens: u64,
    /// Tokens they could have held: the budget of each batch, or its own tokens for a batch of a
    /// single sequence over the budget.
    pub capacity_tokens: u64,
    /// Tokens of the longest sequence so far.
    pub max_seqlen: usize,
}

impl PackingMetrics {
    /// Counts one batch packed to `token_budget`.
    pub fn record(&mut self, batch: &PackedBatch, token_budget: usize) {
        self.batches += 1;
        self.sequences += batch.num_seqs() as u64;
        self.tokens += batch.total_tokens() as u64;
        self.capacity_tokens += token_budget.max(batch.total_tokens()) as u64;
        self.max_seqlen = self.max_seqlen.max(batch.max_seqlen());
    }

    /// `packing_efficiency`: tokens ÷ (batches × budget), from 0 to 1; `None` before any batch.
    pub fn packing_efficiency(&self) -> Option<f64> {
        (self.capacity_tokens > 0).then(|| self.tokens as f64 / self.capacity_tokens as f64)
    }
}
