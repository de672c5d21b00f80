//! Batches that do not fit the memory of the device, computed in halves.
//!
//! The slow way on purpose: part after part, one at a time, on the thread of the compute stage. A
//! batch that was packed to a budget that fits never comes here.

use std::sync::atomic::Ordering;

use virnucpro_models::packed_view;

use super::recompute::pack;
use super::shared::{Job, Shared};
use super::stages::guarded;
use crate::RunnerError;
use crate::device::{Retrieved, StagedDevice};
use crate::error::Stage;

/// Computes a job, in one go or, where it does not fit, in parts whose results are back at once.
pub(super) fn compute<M, D: StagedDevice<M>>(
    shared: &Shared<M, D>,
    job: &mut Job<D::Slot>,
) -> Result<(), RunnerError> {
    let packed = &job.batch.packed;
    let tokens = packed.total_tokens();
    let can_be_halved = packed.num_seqs() > 1;
    if !(can_be_halved && tokens > shared.most_tokens.load(Ordering::Relaxed)) {
        let work = || shared.device.compute(&shared.model, &mut job.slot);
        match guarded(job.batch_idx, Stage::Compute, work) {
            Err(RunnerError::Device { source, .. })
                if can_be_halved && shared.device.is_out_of_memory(&source) =>
            {
                shared.most_tokens.fetch_min(tokens / 2, Ordering::Relaxed);
                shared.monitor.warn(format!(
                    "{source}; batches of more than {} tokens are computed in parts from now on",
                    tokens / 2
                ));
            }
            other => return other,
        }
    }
    let all: Vec<usize> = (0..job.batch.packed.num_seqs()).collect();
    let middle = all.len() / 2;
    let mut halves = part(shared, job, &all[..middle])?;
    halves.extend(part(shared, job, &all[middle..])?);
    job.halves = Some(halves);
    Ok(())
}

/// Computes some sequences of a job, halved again as long as they do not fit.
fn part<M, D: StagedDevice<M>>(
    shared: &Shared<M, D>,
    job: &mut Job<D::Slot>,
    sequences: &[usize],
) -> Result<Retrieved, RunnerError> {
    let (batch_idx, task) = (job.batch_idx, job.batch.task);
    let packed = guarded(batch_idx, Stage::Transfer, || Ok(pack(&job.batch.packed, sequences)?))?;
    let slot = &mut job.slot;
    let whole = guarded(batch_idx, Stage::Compute, || {
        let (device, model): (&D, &M) = (&shared.device, &shared.model);
        device.transfer(model, task, packed_view(&packed)?, slot)?;
        device.compute(model, slot)?;
        device.synchronize(slot)?;
        device.retrieve(model, slot)
    });
    match whole {
        Err(RunnerError::Device { source, .. })
            if sequences.len() > 1 && shared.device.is_out_of_memory(&source) =>
        {
            shared.most_tokens.fetch_min(packed.total_tokens() / 2, Ordering::Relaxed);
            let (first, second) = sequences.split_at(sequences.len() / 2);
            let mut halves = part(shared, job, first)?;
            halves.extend(part(shared, job, second)?);
            Ok(halves)
        }
        other => other,
    }
}
