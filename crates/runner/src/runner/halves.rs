//! Batches that do not fit the memory of the device, computed in halves.
//!
//! The slow way on purpose: part after part, one at a time, on the thread that found out. A batch
//! that was packed to a budget that fits never comes here.

use std::sync::atomic::{AtomicUsize, Ordering};

use virnucpro_batch::PackedBatch;
use virnucpro_models::packed_view;

use super::recompute::pack;
use super::shared::{Job, Shared};
use super::stages::guarded;
use crate::RunnerError;
use crate::device::{BoxError, Retrieved, StagedDevice};
use crate::error::Stage;

/// Most tokens that are tried at once.
pub(super) struct Limit {
    most_tokens: AtomicUsize,
    /// What is told of those that are more.
    what: &'static str,
}

impl Limit {
    pub(super) fn of(what: &'static str) -> Self {
        Self { most_tokens: AtomicUsize::new(usize::MAX), what }
    }
}

/// Does `work` on some sequences of a batch; `None` where they are several and do not fit at once.
///
/// `limit` falls then, so that as many are not tried again.
pub(super) fn at_once<M, D: StagedDevice<M>, T>(
    shared: &Shared<M, D>,
    limit: &Limit,
    packed: &PackedBatch,
    batch_idx: u64,
    work: impl FnOnce() -> Result<T, BoxError>,
) -> Result<Option<T>, RunnerError> {
    let tokens = packed.total_tokens();
    let can_be_halved = packed.num_seqs() > 1;
    if can_be_halved && tokens > limit.most_tokens.load(Ordering::Relaxed) {
        return Ok(None);
    }
    match guarded(batch_idx, Stage::Compute, work) {
        Err(RunnerError::Device { source, .. })
            if can_be_halved && shared.device.is_out_of_memory(&source) =>
        {
            limit.most_tokens.fetch_min(tokens / 2, Ordering::Relaxed);
            let Limit { what, .. } = limit;
            let half = tokens / 2;
            shared.monitor.warn(format!(
                "{source}; {what} of more than {half} tokens are computed in parts from now on"
            ));
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Sequences of a batch, halved until `at_once` has a result of them.
pub(super) fn in_parts(
    sequences: &[usize],
    at_once: &mut impl FnMut(&[usize]) -> Result<Option<Retrieved>, RunnerError>,
) -> Result<Retrieved, RunnerError> {
    if let Some(whole) = at_once(sequences)? {
        return Ok(whole);
    }
    let (first, second) = sequences.split_at(sequences.len() / 2);
    let mut halves = in_parts(first, at_once)?;
    halves.extend(in_parts(second, at_once)?);
    Ok(halves)
}

/// Computes a job, in one go or, where it does not fit, in parts whose results are back at once.
pub(super) fn compute<M, D: StagedDevice<M>>(
    shared: &Shared<M, D>,
    job: &mut Job<D::Slot>,
) -> Result<(), RunnerError> {
    let Job { batch_idx, batch, slot, .. } = &mut *job;
    let (batch_idx, task, batch) = (*batch_idx, batch.task, &batch.packed);
    let (device, model): (&D, &M) = (&shared.device, &shared.model);
    let limit = &shared.computed_at_once;
    let whole = at_once(shared, limit, batch, batch_idx, || device.compute(model, slot))?;
    if whole.is_some() {
        return Ok(());
    }
    let mut part = |sequences: &[usize]| {
        let packed = guarded(batch_idx, Stage::Transfer, || Ok(pack(batch, sequences)?))?;
        at_once(shared, limit, &packed, batch_idx, || {
            device.transfer(model, task, packed_view(&packed)?, slot)?;
            device.compute(model, slot)?;
            device.synchronize(slot)?;
            device.retrieve(model, slot)
        })
    };
    let all: Vec<usize> = (0..batch.num_seqs()).collect();
    job.halves = Some(in_parts(&all, &mut part)?);
    Ok(())
}
