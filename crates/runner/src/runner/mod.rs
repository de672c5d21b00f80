//! The runner: a model, a device and a stream of batches in, ordered results out.
//!
//! Owns the stage threads and the slots that go round between them. Must not know what a device
//! is made of. Entry type: [`AsyncInferenceRunner`].

mod halves;
mod recompute;
mod results;
mod shared;
mod stages;

use std::num::NonZeroUsize;
use std::sync::Arc;

pub use results::{DeviceResult, DeviceResults, InferenceResults};

use crate::device::StagedDevice;
use crate::monitor::Monitor;
use crate::{CancelToken, InferenceBatch, InferenceResult, LoaderFailure, RunnerError};

/// One slot is being filled, one computed, one drained; fewer leave a stage idle.
pub const DEFAULT_SLOTS: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not zero");

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct RunnerConfig {
    /// Batches in flight on the device.
    pub slots: NonZeroUsize,
    /// Where the run is recorded.
    pub monitor: Monitor,
    /// Stops the run from outside.
    pub cancel: CancelToken,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        let (monitor, cancel) = (Monitor::disabled(), CancelToken::default());
        Self { slots: DEFAULT_SLOTS, monitor, cancel }
    }
}

/// Runs batches of a model on a device, with transfer, compute and retrieval overlapped.
///
/// Results come in the order of the batches. See `docs/runner.md` for the whole contract.
pub struct AsyncInferenceRunner<M, D> {
    model: Arc<M>,
    device: Arc<D>,
    config: RunnerConfig,
}

impl<M, D> AsyncInferenceRunner<M, D>
where
    M: Send + Sync + 'static,
    D: StagedDevice<M> + 'static,
    D::Slot: 'static,
{
    /// Ties a model to a device.
    ///
    /// # Errors
    /// [`RunnerError::Unsupported`] where the device cannot run packed batches of the model.
    pub fn new(model: Arc<M>, device: Arc<D>, config: RunnerConfig) -> Result<Self, RunnerError> {
        device.check_packed(&model)?;
        Ok(Self { model, device, config })
    }

    /// Starts a run; the iterator gives the result of each batch, in order.
    ///
    /// A failure comes after the results of all batches before it, and ends the iterator.
    ///
    /// # Errors
    /// No memory for the slots, or no threads.
    pub fn run<I>(&self, batches: I) -> Result<InferenceResults<M, D>, RunnerError>
    where
        I: IntoIterator<Item = Result<InferenceBatch, LoaderFailure>>,
        I::IntoIter: Send + 'static,
    {
        InferenceResults::start(self, batches.into_iter())
    }

    /// Starts a run whose results stay on the device.
    ///
    /// Each result lends its slot: while it is held, one batch less is in flight. It is
    /// synchronised before it is given out.
    ///
    /// # Errors
    /// No memory for the slots, or no threads.
    pub fn run_on_device<I>(&self, batches: I) -> Result<DeviceResults<M, D>, RunnerError>
    where
        I: IntoIterator<Item = Result<InferenceBatch, LoaderFailure>>,
        I::IntoIter: Send + 'static,
    {
        DeviceResults::start(self, batches.into_iter())
    }
}

/// Runs all batches and hands each result to `deliver`, in order; returns the number of batches.
///
/// # Errors
/// The first failure, after the results of all batches before it were delivered.
pub fn run_async_inference<M, D, I>(
    model: Arc<M>,
    device: Arc<D>,
    batches: I,
    config: RunnerConfig,
    mut deliver: impl FnMut(InferenceResult),
) -> Result<u64, RunnerError>
where
    M: Send + Sync + 'static,
    D: StagedDevice<M> + 'static,
    D::Slot: 'static,
    I: IntoIterator<Item = Result<InferenceBatch, LoaderFailure>>,
    I::IntoIter: Send + 'static,
{
    let mut delivered = 0;
    for result in AsyncInferenceRunner::new(model, device, config)?.run(batches)? {
        deliver(result?);
        delivered += 1;
    }
    Ok(delivered)
}
