//! The stage threads: fetch and transfer, compute, and the first half of the last stage.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use virnucpro_backend::{InputTensor, TransferLog};
use virnucpro_models::packed_view;

use super::halves;
use super::shared::{Flow, Job, Shared};
use crate::device::{BoxError, StagedDevice, StagingMemory};
use crate::error::{Stage, panic_message};
use crate::hand_over::CloseAtEnd;
use crate::{InferenceBatch, LoaderFailure, RunnerError};

/// Runs `work` and turns its failure or panic into the error of a stage.
pub(super) fn guarded<R>(
    batch_idx: u64,
    stage: Stage,
    work: impl FnOnce() -> Result<R, BoxError>,
) -> Result<R, RunnerError> {
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(|source| RunnerError::Device { batch_idx, stage, source }),
        Err(payload) => {
            let (what, message) = (stage.to_string(), panic_message(payload.as_ref()));
            Err(RunnerError::Panicked { batch_idx, what, message })
        }
    }
}

/// Fetches batches and brings them to the device until the source ends, fails or nobody listens.
pub(super) fn transfer_all<M, D: StagedDevice<M>>(
    shared: &Shared<M, D>,
    mut batches: impl Iterator<Item = Result<InferenceBatch, LoaderFailure>>,
) {
    let _filled = CloseAtEnd(&shared.filled);
    for batch_idx in 0.. {
        let start = Instant::now();
        // The slot comes first: the wait for a batch that follows is then the loader's alone.
        let Some(slot) = shared.meters[0].wait_out(|| shared.free.pop()) else { break };
        let slot_wait = start.elapsed();
        if shared.cancel.is_cancelled() {
            break;
        }
        let queues = shared.monitor.queue_depths();
        let start = Instant::now();
        let fetched = shared.meters[0].wait_in(|| fetch(batch_idx, &mut batches));
        let fetch_wait = start.elapsed();
        let flow = match fetched {
            Ok(None) => {
                // To be closed at the end: a device may close one only when it has nothing to do,
                // and has batches before this one.
                let _ = shared.free.push(slot);
                break;
            }
            Ok(Some(batch)) => {
                shared.count_received(batch.packed.num_seqs());
                let waits = Waits { fetch_wait, slot_wait };
                transfer(shared, batch_idx, batch, slot, waits).map(|job| Job { queues, ..job })
            }
            Err(error) => Err(error),
        };
        let is_failure = flow.is_err();
        if shared.filled.push(flow).is_err() || is_failure {
            break;
        }
    }
}

fn fetch(
    batch_idx: u64,
    batches: &mut impl Iterator<Item = Result<InferenceBatch, LoaderFailure>>,
) -> Result<Option<InferenceBatch>, RunnerError> {
    match panic::catch_unwind(AssertUnwindSafe(|| batches.next())) {
        Ok(None) => Ok(None),
        Ok(Some(Ok(batch))) => Ok(Some(batch)),
        Ok(Some(Err(LoaderFailure { record, source }))) => {
            Err(RunnerError::Loader { batch_idx, record, source })
        }
        Err(payload) => {
            let message = panic_message(payload.as_ref());
            Err(RunnerError::Panicked { batch_idx, what: "the loader".into(), message })
        }
    }
}

struct Waits {
    fetch_wait: Duration,
    slot_wait: Duration,
}

fn transfer<M, D: StagedDevice<M>>(
    shared: &Shared<M, D>,
    batch_idx: u64,
    batch: InferenceBatch,
    mut slot: D::Slot,
    Waits { fetch_wait, slot_wait }: Waits,
) -> Flow<D::Slot> {
    let _span = tracing::debug_span!("transfer", batch_idx).entered();
    let packed = &batch.packed;
    let log = TransferLog::default();
    let start = Instant::now();
    let args = [("batch_idx", batch_idx), ("tokens", packed.total_tokens() as u64)];
    shared.meters[0].busy(&batch.task_name, &args, || {
        guarded(batch_idx, Stage::Transfer, || {
            let view = packed_view(packed)?;
            shared.device.transfer(&shared.model, batch.task, view.counted(&log), &mut slot)
        })
    })?;
    let htod = start.elapsed();
    for tensor in InputTensor::ALL {
        let times = log.crossings(tensor);
        if times != 1 {
            return Err(RunnerError::Transfers { batch_idx, tensor: tensor.name(), times });
        }
    }
    let htod_bytes = log.bytes();
    if batch_idx == 0 && shared.device.staging(&slot) == StagingMemory::Pageable {
        let rate = htod_bytes as f64 / 1e9 / htod.as_secs_f64().max(1e-9);
        shared.monitor.warn(format!(
            "{}: staging memory is pageable, not pinned: the first batch of {htod_bytes} bytes \
             took {:.3} ms ({rate:.2} GB/s), and transfers cannot run beside computation",
            shared.device.name(),
            htod.as_secs_f64() * 1e3
        ));
    }
    let (queues, compute) = (Vec::new(), Duration::ZERO);
    Ok(Job {
        batch_idx,
        batch,
        slot,
        halves: None,
        fetch_wait,
        slot_wait,
        queues,
        htod,
        compute,
        htod_bytes,
    })
}

/// Computes every batch that was transferred.
pub(super) fn compute_all<M, D: StagedDevice<M>>(shared: &Shared<M, D>) {
    let _computed = CloseAtEnd(&shared.computed);
    let meter = shared.compute_meter();
    while let Some(flow) = meter.wait_in(|| shared.filled.pop()) {
        let flow = flow.and_then(|mut job| {
            let batch_idx = job.batch_idx;
            let _span = tracing::debug_span!("compute", batch_idx).entered();
            let start = Instant::now();
            let args =
                [("batch_idx", batch_idx), ("tokens", job.batch.packed.total_tokens() as u64)];
            let name = Arc::clone(&job.batch.task_name);
            meter.busy(&name, &args, || halves::compute(shared, &mut job))?;
            job.compute = start.elapsed();
            Ok(job)
        });
        let is_failure = flow.is_err();
        if !meter.wait_out(|| shared.computed.push(flow).is_ok()) || is_failure {
            break;
        }
    }
}
