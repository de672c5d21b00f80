//! The sequence side of VirNucPro: reading, chunking and six-frame translation.
//!
//! Owns everything between the bytes of an input file and the readable frames of its chunks, and
//! the three text files that show them. It knows nothing about tokens, models or devices, and it
//! never prints. Start at [`translate_records`] for the whole stage on several threads, at
//! [`MultiReader`] for records alone, and at [`readable_frames`] for one chunk.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use virnucpro_seq::{RecordReader, translate_records};
//!
//! let fasta = &b">contig one\nATGGCCAAACTGGCC\n"[..];
//! let records = RecordReader::from_reader("memory", Box::new(fasta))?;
//! let [chunk_nt, threads] = [300, 2].map(|n| NonZeroUsize::new(n).expect("not zero"));
//! for unit in translate_records(records, chunk_nt, threads)? {
//!     let unit = unit?;
//!     let first = &unit.chunks[0].frames[0];
//!     assert_eq!((unit.record.id.as_str(), first.frame.name()), ("contig", "F1"));
//!     assert_eq!(first.protein, b"MAKLA");
//! }
//! # Ok::<(), virnucpro_seq::SeqError>(())
//! ```
//!
//! What has to match the original VirNucPro (Li-Jing-1997/VirNucPro @0f93f27) matches it byte for
//! byte; where that program crashes or loses data, this crate keeps the data and counts it.
#![forbid(unsafe_code)]

pub mod chunk;
pub mod codon;
mod error;
pub mod frame;
pub mod io;
pub mod letters;
mod parallel;
pub mod record;
mod supervision;
mod threads;
mod training;
pub mod write;

pub use chunk::{Chunks, chunk_id, chunks};
pub use codon::{reverse_complement, translate};
pub use error::SeqError;
pub use frame::{Frame, ReadableFrame, frame_id, readable_frames};
pub use io::{Compression, Input};
pub use letters::LetterCounts;
pub use parallel::{
    TranslatedChunk, TranslatedUnit, TranslatedUnits, translate_records,
    translate_records_supervised,
};
pub use record::{InputStats, MultiReader, Record, RecordReader, SequenceFormat};
pub use supervision::{SeqActivity, SeqStage, Supervision, Watch};
pub use training::training_frames;
