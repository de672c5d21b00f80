//! First-fit-decreasing packing to a token budget, inside a bounded window.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use crate::{BatchError, PackedBatch, SequenceId, TokenizedSequence};

/// Budgets' worth of tokens collected before packing. A window of sixteen batches of short
/// sequences leaves under 1 % of the budget unused (`cargo bench -p virnucpro-batch` prints it).
const WINDOW_BUDGETS: usize = 16;

/// Collects sequences in a bounded window and turns them into batches.
///
/// Nothing is truncated and nothing is lost: every sequence pushed comes out of exactly one batch
/// of [`Packer::push`] or [`Packer::flush`]. A sequence over the budget gets a batch of its own.
#[derive(Debug)]
pub struct Packer {
    token_budget: NonZeroUsize,
    window: Vec<TokenizedSequence>,
    window_tokens: usize,
    /// Sequences that the end of a window has held back already.
    held_back: HashSet<SequenceId>,
}

impl Packer {
    /// A packer of batches of at most `token_budget` tokens.
    pub fn new(token_budget: NonZeroUsize) -> Self {
        Self { token_budget, window: Vec::new(), window_tokens: 0, held_back: HashSet::new() }
    }

    /// The budget in tokens.
    pub fn token_budget(&self) -> usize {
        self.token_budget.get()
    }

    /// Adds a sequence; returns batches when the window is full, otherwise nothing.
    ///
    /// The emptiest batch of a full window is held back, so that later sequences can fill it.
    ///
    /// # Errors
    /// A sequence without tokens or with more than a batch can count; it is not added.
    pub fn push(&mut self, sequence: TokenizedSequence) -> Result<Vec<PackedBatch>, BatchError> {
        let (sequence_id, tokens) = (sequence.sequence_id, sequence.input_ids.len());
        if tokens == 0 {
            return Err(BatchError::EmptySequence { sequence_id });
        }
        if i32::try_from(tokens).is_err() {
            return Err(BatchError::TooManyTokens { sequence_id, tokens });
        }
        self.window_tokens += tokens;
        self.window.push(sequence);
        if self.window_tokens < self.token_budget.get().saturating_mul(WINDOW_BUDGETS) {
            return Ok(Vec::new());
        }
        let mut bins = fill_bins(std::mem::take(&mut self.window), self.token_budget);
        if bins.len() > 1
            && let Some(emptiest) = (0..bins.len()).min_by_key(|&b| bin_tokens(&bins[b]))
        {
            self.window = bins.remove(emptiest);
        }
        self.window_tokens = bin_tokens(&self.window);
        bins.iter().map(|bin| PackedBatch::from_sequences(bin)).collect()
    }

    /// Ends a window at a place that the caller chooses; returns batches.
    ///
    /// The emptiest batch is held back for the next window, once: every sequence is out at the
    /// latest when the second window after its arrival ends, however few others come. So the
    /// caller can bound what is on its way by counting windows.
    ///
    /// # Errors
    /// None for sequences that [`Packer::push`] accepted, unless the budget exceeds i32.
    pub fn end_window(&mut self) -> Result<Vec<PackedBatch>, BatchError> {
        let mut bins = fill_bins(std::mem::take(&mut self.window), self.token_budget);
        let is_fresh = |bin: &[TokenizedSequence]| {
            bin.iter().all(|s| !self.held_back.contains(&s.sequence_id))
        };
        let emptiest =
            (0..bins.len()).filter(|&b| is_fresh(&bins[b])).min_by_key(|&b| bin_tokens(&bins[b]));
        self.window = emptiest.map(|bin| bins.remove(bin)).unwrap_or_default();
        self.held_back = self.window.iter().map(|s| s.sequence_id).collect();
        self.window_tokens = bin_tokens(&self.window);
        bins.iter().map(|bin| PackedBatch::from_sequences(bin)).collect()
    }

    /// Packs everything still in the window; the packer is empty afterwards.
    ///
    /// # Errors
    /// None for sequences that [`Packer::push`] accepted, unless the budget exceeds i32.
    pub fn flush(&mut self) -> Result<Vec<PackedBatch>, BatchError> {
        self.window_tokens = 0;
        self.held_back.clear();
        pack_first_fit_decreasing(std::mem::take(&mut self.window), self.token_budget)
    }
}

/// Packs all sequences into batches of at most `token_budget` tokens, first-fit-decreasing.
///
/// Sequences are taken from long to short (equal lengths in the order of their ids), each into
/// the first batch with room for it. The result depends on the set of sequences alone, not on
/// their order.
///
/// # Errors
/// A sequence without tokens or with more than a batch can count.
pub fn pack_first_fit_decreasing(
    sequences: Vec<TokenizedSequence>,
    token_budget: NonZeroUsize,
) -> Result<Vec<PackedBatch>, BatchError> {
    fill_bins(sequences, token_budget).iter().map(|bin| PackedBatch::from_sequences(bin)).collect()
}

fn bin_tokens(bin: &[TokenizedSequence]) -> usize {
    bin.iter().map(|s| s.input_ids.len()).sum()
}

fn fill_bins(
    mut sequences: Vec<TokenizedSequence>,
    token_budget: NonZeroUsize,
) -> Vec<Vec<TokenizedSequence>> {
    sequences.sort_by_key(|s| (std::cmp::Reverse(s.input_ids.len()), s.sequence_id));
    let mut bins: Vec<Vec<TokenizedSequence>> = Vec::new();
    let mut room = FirstFit::new(sequences.len());
    for sequence in sequences {
        let tokens = sequence.input_ids.len();
        match room.first_with(tokens) {
            Some(bin) => {
                room.take(bin, tokens);
                bins[bin].push(sequence);
            }
            None => {
                room.open(bins.len(), token_budget.get().saturating_sub(tokens));
                bins.push(vec![sequence]);
            }
        }
    }
    bins
}

/// A maximum tree over the room left in each bin: finds the first bin with enough in O(log n).
struct FirstFit {
    leaves: usize,
    /// Heap order: node `i` has children `2i` and `2i + 1`; leaves start at `leaves`. Unopened
    /// bins have room 0, and no sequence has 0 tokens.
    room: Vec<usize>,
}

impl FirstFit {
    fn new(bins: usize) -> Self {
        let leaves = bins.next_power_of_two();
        Self { leaves, room: vec![0; 2 * leaves] }
    }

    fn first_with(&self, tokens: usize) -> Option<usize> {
        let mut node = 1;
        if self.room[node] < tokens {
            return None;
        }
        while node < self.leaves {
            node *= 2;
            if self.room[node] < tokens {
                node += 1;
            }
        }
        Some(node - self.leaves)
    }

    fn open(&mut self, bin: usize, room: usize) {
        self.set(bin, room);
    }

    fn take(&mut self, bin: usize, tokens: usize) {
        self.set(bin, self.room[self.leaves + bin] - tokens);
    }

    fn set(&mut self, bin: usize, room: usize) {
        let mut node = self.leaves + bin;
        self.room[node] = room;
        while node > 1 {
            node /= 2;
            self.room[node] = self.room[2 * node].max(self.room[2 * node + 1]);
        }
    }
}
