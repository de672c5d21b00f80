//! Results that are not finite, computed once more in f32.

use std::ops::Range;

use virnucpro_backend::Precision;
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence};

use super::halves::{at_once, in_parts};
use super::shared::{Job, Shared};
use super::stages::guarded;
use crate::RunnerError;
use crate::device::{Retrieved, StagedDevice};
use crate::error::Stage;

/// What retrieval found, and what was computed again.
pub(super) struct Checked {
    pub(super) retrieved: Retrieved,
    pub(super) rows: Vec<Range<usize>>,
    pub(super) non_finite: Vec<SequenceId>,
    pub(super) recomputed: usize,
}

/// Row range of each sequence in the result of `batch`.
fn row_ranges(
    batch_idx: u64,
    batch: &PackedBatch,
    retrieved: &Retrieved,
) -> Result<Vec<Range<usize>>, RunnerError> {
    let wrong =
        |what, expected, found| Err(RunnerError::WrongResult { batch_idx, what, expected, found });
    let Retrieved { embeddings, hidden_size, is_finite } = retrieved;
    let (num_seqs, tokens) = (batch.num_seqs(), batch.total_tokens());
    if is_finite.len() != num_seqs {
        return wrong("the number of finite flags", num_seqs, is_finite.len());
    }
    // One token a sequence makes both layouts the same.
    if embeddings.len() == num_seqs * hidden_size {
        Ok((0..num_seqs).map(|row| row..row + 1).collect())
    } else if embeddings.len() == tokens * hidden_size {
        Ok(batch.token_ranges().collect())
    } else {
        wrong("the number of values", num_seqs * hidden_size, embeddings.len())
    }
}

/// Checks a result against its batch and replaces the rows that are not finite.
pub(super) fn check<M, D: StagedDevice<M>>(
    shared: &Shared<M, D>,
    job: &Job<D::Slot>,
    mut retrieved: Retrieved,
) -> Result<Checked, RunnerError> {
    let Job { batch_idx, batch, .. } = job;
    let rows = row_ranges(*batch_idx, &batch.packed, &retrieved)?;
    let offenders: Vec<usize> =
        (0..rows.len()).filter(|&sequence| !retrieved.is_finite[sequence]).collect();
    let mut recomputed = 0;
    if !offenders.is_empty() && shared.device.precision() != Precision::F32 {
        let again = recompute(shared, job, &offenders)?;
        let width = retrieved.hidden_size;
        let expected = offenders.iter().map(|&s| rows[s].len() * width).sum();
        for (what, expected, found) in [
            ("the number of recomputed values", expected, again.embeddings.len()),
            ("the number of recomputed finite flags", offenders.len(), again.is_finite.len()),
        ] {
            if found != expected {
                let batch_idx = *batch_idx;
                return Err(RunnerError::WrongResult { batch_idx, what, expected, found });
            }
        }
        let mut rest = &again.embeddings[..];
        for (&sequence, is_finite) in offenders.iter().zip(again.is_finite) {
            let place = rows[sequence].start * width..rows[sequence].end * width;
            let (values, after) = rest.split_at(place.len());
            retrieved.embeddings[place].copy_from_slice(values);
            retrieved.is_finite[sequence] = is_finite;
            rest = after;
        }
        recomputed = offenders.len();
    }
    let ids = batch.packed.sequence_ids();
    let non_finite = offenders.into_iter().filter(|&s| !retrieved.is_finite[s]).map(|s| ids[s]);
    let non_finite = non_finite.collect();
    Ok(Checked { retrieved, rows, non_finite, recomputed })
}

/// Computes some sequences of a job in f32, in parts where they do not fit the memory at once.
fn recompute<M, D: StagedDevice<M>>(
    shared: &Shared<M, D>,
    job: &Job<D::Slot>,
    sequences: &[usize],
) -> Result<Retrieved, RunnerError> {
    let Job { batch_idx, batch, .. } = job;
    let limit = &shared.recomputed_at_once;
    let mut part = |sequences: &[usize]| {
        let packed = guarded(*batch_idx, Stage::Compute, || Ok(pack(&batch.packed, sequences)?))?;
        let work = || shared.device.recompute_f32(&shared.model, batch.task, &packed);
        at_once(shared, limit, &packed, *batch_idx, work)
    };
    in_parts(sequences, &mut part)
}

/// Some sequences of a batch alone, in the order given.
pub(super) fn pack(
    packed: &PackedBatch,
    sequences: &[usize],
) -> Result<PackedBatch, virnucpro_batch::BatchError> {
    let ranges: Vec<_> = packed.token_ranges().collect();
    let sequences: Vec<_> = sequences
        .iter()
        .map(|&sequence| TokenizedSequence {
            sequence_id: packed.sequence_ids()[sequence],
            input_ids: packed.input_ids()[ranges[sequence].clone()].to_vec(),
        })
        .collect();
    PackedBatch::from_sequences(&sequences)
}
