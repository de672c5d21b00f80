//! What the stage threads of one run share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::AsyncInferenceRunner;
use super::halves::Limit;
use crate::device::{Retrieved, StagedDevice};
use crate::hand_over::HandOver;
use crate::monitor::{Monitor, QueueDepth, Span, StageMeter, StageRole, StageSpec};
use crate::{CancelToken, InferenceBatch, RunnerError};

/// A batch in flight, with its slot.
pub(super) struct Job<S> {
    pub(super) batch_idx: u64,
    pub(super) batch: InferenceBatch,
    pub(super) slot: S,
    /// The result, where the batch did not fit and came back in parts.
    pub(super) halves: Option<Retrieved>,
    pub(super) fetch_wait: Duration,
    pub(super) slot_wait: Duration,
    pub(super) queues: Vec<QueueDepth>,
    pub(super) htod: Duration,
    pub(super) compute: Duration,
    pub(super) htod_bytes: u64,
}

/// A job, or the failure that ends the run after the jobs before it.
pub(super) type Flow<S> = Result<Job<S>, RunnerError>;

/// The queues, counts and instruments of one run.
pub(super) struct Shared<M, D: StagedDevice<M>> {
    pub(super) model: Arc<M>,
    pub(super) device: Arc<D>,
    pub(super) free: Arc<HandOver<D::Slot>>,
    pub(super) filled: HandOver<Flow<D::Slot>>,
    pub(super) computed: HandOver<Flow<D::Slot>>,
    pub(super) monitor: Monitor,
    pub(super) cancel: CancelToken,
    pub(super) meters: [StageMeter; 3],
    /// Where the thread of the compute stage is metered when the device has a clock of its own.
    launch: Option<StageMeter>,
    /// What fits the memory of the device.
    pub(super) computed_at_once: Limit,
    /// What fits it when it is computed again, in f32.
    pub(super) recomputed_at_once: Limit,
    /// When the device was done with its last batch, by its own clock.
    computed_until: Mutex<Option<Instant>>,
    received: AtomicU64,
}

/// Names of the stages and what to do where one limits the run.
const STAGES: [(&str, &str); 3] = [
    ("transfer", "copying batches to the device takes longest: raise --token-budget"),
    ("compute", "the device computes all the time: use a faster one with --device"),
    ("retrieve", "copying results back takes longest: pool on the device with --pool mean"),
];

/// The thread that hands work to a device which computes on its own.
const LAUNCH: StageSpec = StageSpec {
    name: "launch",
    workers: 1,
    role: StageRole::Device,
    advice: "handing work to the device takes longest: raise --token-budget",
};

impl<M, D: StagedDevice<M>> Shared<M, D> {
    pub(super) fn open(runner: &AsyncInferenceRunner<M, D>) -> Result<Arc<Self>, RunnerError> {
        let AsyncInferenceRunner { model, device, config } = runner;
        let slots = config.slots.get();
        let free = Arc::new(HandOver::new(slots));
        for slot in 0..slots {
            let made = device.open_slot(model).map_err(|source| RunnerError::Slot {
                device: device.name(),
                slot,
                source,
            })?;
            // Nobody closes the queue before the threads start.
            let _ = free.push(made);
        }
        let meters = STAGES.map(|(name, advice)| {
            config.monitor.stage(StageSpec { name, workers: 1, role: StageRole::Device, advice })
        });
        Ok(Arc::new(Self {
            model: Arc::clone(model),
            device: Arc::clone(device),
            free,
            // Room for every slot and one failure, so that no stage waits for room.
            filled: HandOver::new(slots + 1),
            computed: HandOver::new(slots + 1),
            monitor: config.monitor.clone(),
            cancel: config.cancel.clone(),
            meters,
            launch: device.has_own_clock().then(|| config.monitor.stage(LAUNCH)),
            computed_at_once: Limit::of("batches"),
            recomputed_at_once: Limit::of("second computations"),
            computed_until: Mutex::default(),
            received: AtomicU64::new(0),
        }))
    }

    /// The meter of the thread that starts computations.
    pub(super) fn compute_meter(&self) -> &StageMeter {
        self.launch.as_ref().unwrap_or(&self.meters[1])
    }

    /// How long the device computed nothing before `compute`, which is its latest batch.
    pub(super) fn idle_before(&self, compute: Span) -> Option<Duration> {
        // One thread comes here; a panic leaves the time as it was.
        let mut until = self.computed_until.lock().unwrap_or_else(PoisonError::into_inner);
        let before = until.replace(compute.end());
        before.map(|before| compute.start.saturating_duration_since(before))
    }

    pub(super) fn count_received(&self, sequences: usize) {
        self.received.fetch_add(sequences as u64, Ordering::Relaxed);
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends every stage as soon as its work in progress is done.
    pub(super) fn stop(&self) {
        self.filled.abandon();
        self.computed.abandon();
        self.free.abandon();
    }
}
