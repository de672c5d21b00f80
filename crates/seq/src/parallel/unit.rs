//! What workers get and what they give.
//!
//! Owns the types that cross threads and the work itself. Entry type: [`TranslatedUnit`].

use std::ops::Range;
use std::sync::Arc;

use crate::chunk::Chunks;
use crate::frame::{ReadableFrame, readable_frames};
use crate::letters::LetterCounts;
use crate::record::Record;

/// Consecutive chunks of one record, to be translated.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) record: Arc<Record>,
    pub(super) layout: Chunks,
    pub(super) chunks: Range<usize>,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Record { index, id, .. } = &*self.record;
        write!(f, "record {} ({id:?}), chunks from {}", index + 1, self.chunks.start + 1)
    }
}

/// Consecutive translated chunks of one record: all of a short one, a part of a long one.
///
/// A record without letters gives one unit without chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranslatedUnit {
    /// The record that the chunks belong to.
    pub record: Arc<Record>,
    /// Number of chunks of the whole record.
    pub chunks_in_record: usize,
    /// Index of the first chunk of this unit, from 0.
    pub first_chunk: usize,
    /// The chunks of this unit, in order.
    pub chunks: Vec<TranslatedChunk>,
    /// Letters of the record from this unit's first chunk to the next unit's, so that the counts
    /// of all units of a record add up to those of the record.
    pub letters: LetterCounts,
}

impl TranslatedUnit {
    /// Whether this is the first unit of its record.
    pub fn is_first(&self) -> bool {
        self.first_chunk == 0
    }

    /// Whether no unit of the same record follows.
    pub fn is_last(&self) -> bool {
        self.first_chunk + self.chunks.len() == self.chunks_in_record
    }
}

/// One chunk and its readable frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranslatedChunk {
    /// Position among the chunks of its record, from 0.
    pub index: usize,
    /// Letters of the record that it covers, in nt, half-open, from 0.
    pub range: Range<usize>,
    /// Frames without a stop codon, in the order F1 F2 F3 R1 R2 R3; possibly none.
    pub frames: Vec<ReadableFrame>,
}

/// Translates the chunks of a part.
pub(super) fn translate_part(part: &Part) -> TranslatedUnit {
    let Part { record, layout, chunks } = part;
    let start_of = |chunk| layout.get(chunk).map_or(record.seq.len(), |range| range.start);
    let letters = LetterCounts::of(&record.seq[start_of(chunks.start)..start_of(chunks.end)]);
    let translate = |index| {
        let range = layout.get(index)?;
        let frames = readable_frames(&record.seq[range.clone()]);
        Some(TranslatedChunk { index, range, frames })
    };
    TranslatedUnit {
        record: Arc::clone(record),
        chunks_in_record: layout.count_all(),
        first_chunk: chunks.start,
        chunks: chunks.clone().filter_map(translate).collect(),
        letters,
    }
}
