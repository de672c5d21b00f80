//! Cutting records into batches of work of similar size.
//!
//! Owns the sizes: short records are gathered, long ones are split at chunk borders, so that a
//! single long contig keeps all workers busy. Entry type: [`Plan`].

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use super::unit::Part;
use crate::chunk::{Chunks, chunks};
use crate::error::SeqError;
use crate::record::Record;

/// Letters (nt) of one batch: some hundred microseconds of work, so that handing it over costs
/// next to nothing, and small enough that many in flight are still little memory.
const BATCH_NT: usize = 128 * 1024;

/// Even empty records take memory; this bounds a batch of them.
const BATCH_PARTS: usize = 4096;

/// An iterator of batches over the records; a failure comes after the batches before it.
pub(super) struct Plan<R> {
    records: R,
    chunk_length_nt: NonZeroUsize,
    /// What is left of a record that was split.
    rest: Option<Part>,
    failure: Option<SeqError>,
    is_done: bool,
}

impl<R> Plan<R> {
    pub(super) fn new(records: R, chunk_length_nt: NonZeroUsize) -> Self {
        Self { records, chunk_length_nt, rest: None, failure: None, is_done: false }
    }

    pub(super) fn into_records(self) -> R {
        self.records
    }
}

impl<R: Iterator<Item = Result<Record, SeqError>>> Plan<R> {
    /// The next record or what is left of the last one.
    fn next_part(&mut self) -> Option<Part> {
        if let Some(rest) = self.rest.take() {
            return Some(rest);
        }
        if self.is_done {
            return None;
        }
        match self.records.next() {
            Some(Ok(record)) => {
                let layout = chunks(record.seq.len(), self.chunk_length_nt);
                let chunks = 0..layout.count_all();
                Some(Part { record: Arc::new(record), layout, chunks })
            }
            outcome => {
                self.is_done = true;
                self.failure = outcome.and_then(Result::err);
                None
            }
        }
    }

    /// Keeps as many chunks as fit into `room_nt`, at least one; the rest is put aside.
    fn split(&mut self, mut part: Part, room_nt: usize) -> Part {
        let fitting = (room_nt / self.chunk_length_nt).max(1);
        if part.chunks.len() > fitting {
            let border = part.chunks.start + fitting;
            let rest = Range { start: border, end: part.chunks.end };
            self.rest = Some(Part { chunks: rest, ..part.clone() });
            part.chunks.end = border;
        }
        part
    }
}

impl<R: Iterator<Item = Result<Record, SeqError>>> Iterator for Plan<R> {
    type Item = Result<Vec<Part>, SeqError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = Vec::new();
        let mut planned_nt = 0;
        while planned_nt < BATCH_NT && batch.len() < BATCH_PARTS {
            let Some(part) = self.next_part() else {
                break;
            };
            let part = self.split(part, BATCH_NT - planned_nt);
            planned_nt += letters_nt(&part.layout, &part.chunks);
            batch.push(part);
        }
        if batch.is_empty() {
            return self.failure.take().map(Err);
        }
        Some(Ok(batch))
    }
}

/// Letters (nt) from the first to the last chunk of `chunks`.
fn letters_nt(layout: &Chunks, chunks: &Range<usize>) -> usize {
    let start = layout.get(chunks.start).map_or(0, |range| range.start);
    let end = chunks.end.checked_sub(1).and_then(|last| layout.get(last)).map_or(0, |r| r.end);
    end.saturating_sub(start)
}
