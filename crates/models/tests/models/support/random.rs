//! Made-up inputs that are the same in every run.

use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence};

/// A small deterministic generator (xorshift), so that failures repeat.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Uniform in `0..end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % end as u64) as usize
    }

    /// Uniform in `-scale..scale`.
    pub(crate) fn value(&mut self, scale: f32) -> f32 {
        (self.below(1 << 24) as f32 / (1 << 23) as f32 - 1.0) * scale
    }

    pub(crate) fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.value(scale)).collect()
    }

    /// Letters of an alphabet.
    pub(crate) fn letters(&mut self, alphabet: &[u8], count: usize) -> Vec<u8> {
        (0..count).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }

    /// A permutation of `0..count`.
    pub(crate) fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }

    /// A batch of sequences of these lengths, ids below `vocab`.
    pub(crate) fn batch(&mut self, lengths: &[usize], vocab: usize) -> PackedBatch {
        let sequences: Vec<_> = lengths
            .iter()
            .zip(0..)
            .map(|(&length, id)| TokenizedSequence {
                sequence_id: SequenceId(id),
                input_ids: (0..length).map(|_| self.below(vocab) as u32).collect(),
            })
            .collect();
        PackedBatch::from_sequences(&sequences).unwrap()
    }
}
