//! The results of a run, in order, and the threads behind them.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use virnucpro_batch::SequenceId;

use super::AsyncInferenceRunner;
use super::recompute::{self, Checked};
use super::shared::{Job, Shared};
use super::stages::{compute_all, guarded, transfer_all};
use crate::device::StagedDevice;
use crate::error::Stage;
use crate::hand_over::{CloseAtEnd, HandOver};
use crate::monitor::{BatchRecord, StageSpans, StageTimes};
use crate::{InferenceBatch, InferenceResult, LoaderFailure, RunnerError};

/// How often a consumer that waits looks whether the run was cancelled.
const CANCEL_INTERVAL: Duration = Duration::from_millis(20);

/// A run in progress: its threads and the queue of what is ready.
struct Run<M, D: StagedDevice<M>, R> {
    shared: Arc<Shared<M, D>>,
    ready: Arc<HandOver<Result<R, RunnerError>>>,
    threads: Vec<JoinHandle<()>>,
    delivered: u64,
    is_done: bool,
}

impl<M, D, R> Run<M, D, R>
where
    M: Send + Sync + 'static,
    D: StagedDevice<M> + 'static,
    D::Slot: 'static,
    R: Send + 'static,
{
    fn start(
        runner: &AsyncInferenceRunner<M, D>,
        batches: impl Iterator<Item = Result<InferenceBatch, LoaderFailure>> + Send + 'static,
        finish: impl Fn(&Shared<M, D>, Job<D::Slot>) -> Result<R, RunnerError> + Send + 'static,
    ) -> Result<Self, RunnerError> {
        let shared = Shared::open(runner)?;
        let ready = Arc::new(HandOver::new(runner.config.slots.get()));
        let mut run = Self {
            shared: Arc::clone(&shared),
            ready: Arc::clone(&ready),
            threads: Vec::new(),
            delivered: 0,
            is_done: false,
        };
        let (watched, capacity) = (Arc::clone(&ready), ready.capacity());
        shared.monitor.queue("results", capacity, move || watched.len());
        let stage = Arc::clone(&shared);
        run.spawn("transfer", move || transfer_all(&stage, batches))?;
        let stage = Arc::clone(&shared);
        run.spawn("compute", move || compute_all(&stage))?;
        run.spawn("retrieve", move || {
            let _ready = CloseAtEnd(&*ready);
            let meter = &shared.meters[2];
            while let Some(flow) = meter.wait_in(|| shared.computed.pop()) {
                let result = flow.and_then(|job| finish(&shared, job));
                let is_failure = result.is_err();
                if !meter.wait_out(|| ready.push(result).is_ok()) || is_failure {
                    break;
                }
            }
            shared.stop();
        })?;
        Ok(run)
    }

    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), RunnerError> {
        let thread = thread::Builder::new().name(name.into()).spawn(work);
        let thread = thread.map_err(|e| RunnerError::Threads { reason: e.to_string() })?;
        self.threads.push(thread);
        Ok(())
    }

    fn next(&mut self, sequences_of: impl Fn(&R) -> usize) -> Option<Result<R, RunnerError>> {
        if self.is_done {
            return None;
        }
        let ready = loop {
            // A loader may be silent for long; the wish to stop is seen all the same.
            match self.ready.pop_for(CANCEL_INTERVAL) {
                _ if self.shared.cancel.is_cancelled() => break Some(Err(RunnerError::Cancelled)),
                Ok(ready) => break ready,
                Err(_) => {}
            }
        };
        let next = match ready {
            Some(Ok(result)) => {
                self.delivered += sequences_of(&result) as u64;
                return Some(Ok(result));
            }
            None => {
                let (received, delivered) = (self.shared.received(), self.delivered);
                (received != delivered)
                    .then_some(Err(RunnerError::LostSequences { received, delivered }))
            }
            failure => failure,
        };
        self.is_done = true;
        // Joining is for later: a thread may be waiting for a loader that only our caller can end.
        self.end();
        next
    }
}

impl<M, D: StagedDevice<M>, R> Run<M, D, R> {
    fn end(&self) {
        self.ready.abandon();
        self.shared.stop();
    }

    fn stop(&mut self) {
        self.end();
        for thread in self.threads.drain(..) {
            // Panics of the device and the loader were caught and delivered as errors.
            let _ = thread.join();
        }
    }
}

impl<M, D: StagedDevice<M>, R> Drop for Run<M, D, R> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Iterator of [`AsyncInferenceRunner::run`].
///
/// Dropping it early stops and joins all threads; a fetch or a batch in progress is waited for.
pub struct InferenceResults<M, D: StagedDevice<M>>(Run<M, D, InferenceResult>);

impl<M, D> InferenceResults<M, D>
where
    M: Send + Sync + 'static,
    D: StagedDevice<M> + 'static,
    D::Slot: 'static,
{
    pub(super) fn start(
        runner: &AsyncInferenceRunner<M, D>,
        batches: impl Iterator<Item = Result<InferenceBatch, LoaderFailure>> + Send + 'static,
    ) -> Result<Self, RunnerError> {
        Run::start(runner, batches, retrieve).map(Self)
    }
}

impl<M, D> Iterator for InferenceResults<M, D>
where
    M: Send + Sync + 'static,
    D: StagedDevice<M> + 'static,
    D::Slot: 'static,
{
    type Item = Result<InferenceResult, RunnerError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|result| result.sequence_ids.len())
    }
}

/// Waits for the computation of a job; the wait is part of its compute time.
fn synchronize<M, D: StagedDevice<M>>(
    shared: &Shared<M, D>,
    job: &mut Job<D::Slot>,
) -> Result<(), RunnerError> {
    let start = Instant::now();
    let slot = &mut job.slot;
    let wait = || guarded(job.batch_idx, Stage::Compute, || shared.device.synchronize(slot));
    shared.meters[2].wait_in(wait)?;
    job.compute += start.elapsed();
    Ok(())
}

fn retrieve<M, D: StagedDevice<M>>(
    shared: &Shared<M, D>,
    mut job: Job<D::Slot>,
) -> Result<InferenceResult, RunnerError> {
    let was_halved = job.halves.is_some();
    if !was_halved {
        synchronize(shared, &mut job)?;
    }
    let batch_idx = job.batch_idx;
    let _span = tracing::debug_span!("retrieve", batch_idx).entered();
    let start = Instant::now();
    let args = [("batch_idx", batch_idx), ("sequences", job.batch.packed.num_seqs() as u64)];
    let name = job.batch.task_name.clone();
    let (checked, dtoh) = shared.meters[2].busy(&name, &args, || {
        let retrieved = match job.halves.take() {
            Some(retrieved) => retrieved,
            None => guarded(batch_idx, Stage::Retrieve, || {
                shared.device.retrieve(&shared.model, &mut job.slot)
            })?,
        };
        let dtoh = start.elapsed();
        recompute::check(shared, &job, retrieved).map(|checked| (checked, dtoh))
    })?;
    let Checked { retrieved, rows, non_finite, recomputed } = checked;
    let dtoh_bytes = size_of_val(&retrieved.embeddings[..]) as u64;
    let packed = &job.batch.packed;
    let result = InferenceResult {
        batch_idx,
        task: job.batch.task,
        sequence_ids: packed.sequence_ids().to_vec(),
        embeddings: retrieved.embeddings,
        hidden_size: retrieved.hidden_size,
        total_tokens: packed.total_tokens(),
        non_finite,
        rows,
    };
    let non_finite = result.non_finite.len();
    let counts = Counts { dtoh, dtoh_bytes, non_finite, recomputed, was_halved };
    record(shared, &mut job, counts)?;
    // The consumer may have left and closed the queue.
    let _ = shared.free.push(job.slot);
    Ok(result)
}

struct Counts {
    /// The device's own times are then those of the last part alone.
    was_halved: bool,
    dtoh: Duration,
    dtoh_bytes: u64,
    non_finite: usize,
    recomputed: usize,
}

fn record<M, D: StagedDevice<M>>(
    shared: &Shared<M, D>,
    job: &mut Job<D::Slot>,
    Counts { was_halved, dtoh, dtoh_bytes, non_finite, recomputed }: Counts,
) -> Result<(), RunnerError> {
    let mut times = StageTimes { htod: job.htod, compute: job.compute, dtoh };
    let mut idle_before = None;
    let spans = if was_halved {
        None
    } else {
        guarded(job.batch_idx, Stage::Retrieve, || shared.device.stage_spans(&mut job.slot))?
    };
    if let Some(spans) = spans {
        times = spans.times();
        idle_before = shared.idle_before(spans.compute);
        draw(shared, job, spans, idle_before);
    }
    let packed = &job.batch.packed;
    shared.monitor.record_batch(BatchRecord {
        batch_idx: job.batch_idx,
        task: job.batch.task_name.clone(),
        num_seqs: packed.num_seqs(),
        total_tokens: packed.total_tokens(),
        max_seqlen: packed.max_seqlen(),
        token_budget: job.batch.token_budget,
        fetch_wait: job.fetch_wait,
        slot_wait: job.slot_wait,
        queues: std::mem::take(&mut job.queues),
        times,
        idle_before,
        htod_bytes: job.htod_bytes,
        dtoh_bytes,
        non_finite,
        recomputed,
    });
    Ok(())
}

/// Counts and draws what the device did on its own time.
fn draw<M, D: StagedDevice<M>>(
    shared: &Shared<M, D>,
    job: &Job<D::Slot>,
    spans: StageSpans,
    idle_before: Option<Duration>,
) {
    let InferenceBatch { packed, task_name, .. } = &job.batch;
    let args = [("batch_idx", job.batch_idx), ("tokens", packed.total_tokens() as u64)];
    shared.meters[1].record(task_name, &args, spans.compute);
    shared.meters[1].add_wait_in(idle_before.unwrap_or_default());
    let dtoh = spans.dtoh.map(|span| ("D2H", span));
    for (track, span) in [("H2D", spans.htod)].into_iter().chain(dtoh) {
        shared.monitor.span(track, task_name, span.start, span.end(), &args);
    }
}

/// A result that stays on the device, with the slot that holds it.
pub struct DeviceResult<S> {
    /// Number of the batch in the order of the source, from 0.
    pub batch_idx: u64,
    /// Which part of the model computed it.
    pub task: usize,
    /// The sequences, exactly as they came in.
    pub sequence_ids: Vec<SequenceId>,
    slot: Option<S>,
    free: Arc<HandOver<S>>,
}

impl<S> DeviceResult<S> {
    /// The slot; its computation is done.
    pub fn slot(&self) -> &S {
        self.slot.as_ref().expect("the slot leaves only when this is dropped")
    }
}

impl<S> Drop for DeviceResult<S> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            // A run that has ended needs no slot.
            let _ = self.free.push(slot);
        }
    }
}

/// Iterator of [`AsyncInferenceRunner::run_on_device`].
pub struct DeviceResults<M, D: StagedDevice<M>>(Run<M, D, DeviceResult<D::Slot>>);

impl<M, D> DeviceResults<M, D>
where
    M: Send + Sync + 'static,
    D: StagedDevice<M> + 'static,
    D::Slot: 'static,
{
    pub(super) fn start(
        runner: &AsyncInferenceRunner<M, D>,
        batches: impl Iterator<Item = Result<InferenceBatch, LoaderFailure>> + Send + 'static,
    ) -> Result<Self, RunnerError> {
        let finish = |shared: &Shared<M, D>, mut job: Job<D::Slot>| {
            if job.halves.is_some() {
                let (batch_idx, stage) = (job.batch_idx, Stage::Compute);
                let source =
                    "the batch fits the device in parts alone, so no result is there".into();
                return Err(RunnerError::Device { batch_idx, stage, source });
            }
            synchronize(shared, &mut job)?;
            let none = Counts {
                was_halved: false,
                dtoh: Duration::ZERO,
                dtoh_bytes: 0,
                non_finite: 0,
                recomputed: 0,
            };
            record(shared, &mut job, none)?;
            Ok(DeviceResult {
                batch_idx: job.batch_idx,
                task: job.batch.task,
                sequence_ids: job.batch.packed.sequence_ids().to_vec(),
                slot: Some(job.slot),
                free: Arc::clone(&shared.free),
            })
        };
        Run::start(runner, batches, finish).map(Self)
    }
}

impl<M, D> Iterator for DeviceResults<M, D>
where
    M: Send + Sync + 'static,
    D: StagedDevice<M> + 'static,
    D::Slot: 'static,
{
    type Item = Result<DeviceResult<D::Slot>, RunnerError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|result| result.sequence_ids.len())
    }
}
