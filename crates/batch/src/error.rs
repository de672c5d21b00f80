//! What can go wrong between letters and packed batches.

use crate::SequenceId;

/// A sequence could not be tokenised or packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A packed batch breaks one of its invariants.
    #[error("packed batch: {reason}")]
    InvalidBatch {
        /// The invariant that does not hold.
        reason: String,
    },
    /// A sequence without any token cannot be packed.
    #[error("sequence {sequence_id}: no tokens")]
    EmptySequence {
        /// The sequence.
        sequence_id: SequenceId,
    },
    /// A batch would hold more tokens than `cu_seqlens` (i32) can count.
    #[error("sequence {sequence_id}: {tokens} tokens are more than a packed batch can hold")]
    TooManyTokens {
        /// The sequence that does not fit.
        sequence_id: SequenceId,
        /// Its tokens.
        tokens: usize,
    },
    /// A `tokenizer.json` cannot be used.
    #[error("{name}: {reason}")]
    Tokenizer {
        /// Where the tokenizer came from.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The tokenizer refused a sequence.
    #[error("tokenizer: {reason}")]
    Encode {
        /// The tokenizer's reason.
        reason: String,
    },
}
