//! From letters to token ids.

pub(crate) mod dnabert_s;
pub mod esm2;

use crate::BatchError;

/// Token ids of one sequence, and what was noticed on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids, special tokens included, u32 `[seqlen]`.
    pub input_ids: Vec<u32>,
    /// Tokens that stand for letters outside the alphabet.
    pub unknown_tokens: usize,
}

/// Turns the letters of one sequence into token ids.
pub trait SequenceTokenizer: Send + Sync {
    /// Tokenises one sequence, special tokens included.
    ///
    /// # Errors
    /// The tokenizer's own failure; letters outside the alphabet are not errors but counted.
    fn encode(&self, sequence: &[u8]) -> Result<Encoding, BatchError>;
}
