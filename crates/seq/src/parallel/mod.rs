//! The whole stage on several threads: records in, translated units out, in order.
//!
//! Owns the plan of work and the threads; results never depend on their number. Entry point:
//! [`translate_records`].

mod ordered;
mod plan;
mod unit;

use std::num::NonZeroUsize;

use crate::error::SeqError;
use crate::record::Record;
use crate::supervision::Supervision;
use ordered::Ordered;
use plan::Plan;
pub use unit::{TranslatedChunk, TranslatedUnit};

/// Chunks and translates `records` on `threads` worker threads.
///
/// One more thread draws the records. Units come in the order of the records and of their chunks;
/// at most a few batches per worker are in flight, so memory is bounded by the longest records
/// and not by the input.
///
/// # Errors
/// The iterator gives the first failure, of `records` or of a worker, after everything that comes
/// before it, and then ends. `Err` from this function means that no thread could be started.
pub fn translate_records<R>(
    records: R,
    chunk_length_nt: NonZeroUsize,
    threads: NonZeroUsize,
) -> Result<TranslatedUnits<R>, SeqError>
where
    R: Iterator<Item = Result<Record, SeqError>> + Send + 'static,
{
    translate_records_supervised(records, chunk_length_nt, threads, &Supervision::default())
}

/// [`translate_records`] on threads that `supervision` watches.
///
/// # Errors
/// As [`translate_records`].
pub fn translate_records_supervised<R>(
    records: R,
    chunk_length_nt: NonZeroUsize,
    threads: NonZeroUsize,
    supervision: &Supervision,
) -> Result<TranslatedUnits<R>, SeqError>
where
    R: Iterator<Item = Result<Record, SeqError>> + Send + 'static,
{
    let plan = Plan::new(records, chunk_length_nt);
    let units = Ordered::start(plan, unit::translate_part, threads, supervision)?;
    Ok(TranslatedUnits { units })
}

/// Iterator of [`translate_records`].
///
/// Dropping it early stops and joins all threads; a read in progress is waited for.
pub struct TranslatedUnits<R> {
    units: Ordered<Plan<R>, TranslatedUnit>,
}

impl<R> TranslatedUnits<R> {
    /// Stops all threads and gives the records back, for example for their statistics.
    ///
    /// `None` only if drawing a record panicked.
    pub fn into_records(self) -> Option<R> {
        self.units.into_source().map(Plan::into_records)
    }
}

impl<R> Iterator for TranslatedUnits<R> {
    type Item = Result<TranslatedUnit, SeqError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.units.next()
    }
}

impl<R> std::iter::FusedIterator for TranslatedUnits<R> {}
