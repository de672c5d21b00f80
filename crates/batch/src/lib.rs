//! From letters to packed batches: tokenisers, [`PackedBatch`] and the packer that fills it.
//!
//! Owns the one plain-data type that crosses from the sequence side to the device side. Knows no
//! device and no file format but `tokenizer.json`.
#![forbid(unsafe_code)]

mod error;
mod metrics;
mod packed;
mod packer;
mod tokenizer;

pub use error::BatchError;
pub use metrics::PackingMetrics;
pub use packed::{PackedBatch, SequenceId, TokenizedSequence};
pub use packer::{Packer, pack_first_fit_decreasing};
pub use tokenizer::dnabert_s::DnabertSTokenizer;
pub use tokenizer::esm2::{self, Esm2Tokenizer};
pub use tokenizer::{Encoding, SequenceTokenizer};
