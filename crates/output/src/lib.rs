//! Everything VirNucPro writes, and the readers of its own files.
//!
//! Owns: the result tables that are byte-compatible with the original tool
//! ([`PredictionTable`], [`Consensus`]), our own tables ([`ContigTable`],
//! [`Summary`]), embedding files ([`EmbeddingWriter`]), and the files under them ([`AtomicFile`],
//! [`OutputSet`]), which appear complete or not at all.
//!
//! Must not: run a model, read sequences, print, or make a file name from a record.
//!
//! Memory does not grow with the input: what a table needs from all of it at once, and does
//! not fit, waits in a nameless temporary file beside the output.
//!
//! A run writes through [`AtomicFile`]s, hands them to an [`OutputSet`], and
//! commits the set once everything is done. Dropping either leaves nothing behind.
#![forbid(unsafe_code)]

mod array;
mod atomic;
mod best_scores;
mod consensus;
mod contig;
mod contig_verdict;
mod duplicate_ids;
mod embedding;
mod error;
mod features;
mod npy;
mod number_text;
mod output_dir;
mod output_set;
mod prediction;
mod prediction_reader;
mod safetensors_features;
mod spill;
mod summary;
mod tsv;

pub use array::Array2;
pub use atomic::{AtomicFile, discard_unfinished_files};
pub use best_scores::BestScores;
pub use consensus::{CONSENSUS_HEADER, Consensus, ConsensusCounts, group_of_frame_id};
pub use contig::{CONTIG_HEADER, ContigRow, ContigTable, Verdict};
pub use contig_verdict::{ContigVerdict, VERDICT_RULE};
pub use duplicate_ids::DuplicateIds;
pub use embedding::{EmbeddingFormat, EmbeddingLayout, EmbeddingSpec, EmbeddingWriter};
pub use error::Error;
pub use features::{Features, read_features};
pub use npy::read_npy;
pub use number_text::{PythonFloatText, ScoreText, python_float_text, score_text};
pub use output_dir::OutputDir;
pub use output_set::OutputSet;
pub use prediction::{PREDICTION_HEADER, Prediction, PredictionTable};
pub use prediction_reader::{PredictionReader, PredictionRow};
pub use safetensors_features::read_safetensors_features;
pub use summary::{
    Counts, InputSummary, LetterCounts, ModelPart, ModelSummary, SCHEMA_VERSION, StageTiming,
    Summary, Tool, VerdictCounts,
};

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
