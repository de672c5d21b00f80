//! A batch in flight: staging, result, and the marks between the three streams.

use std::time::{Duration, Instant};

use super::activation::CudaActivation;
use super::batch::{CudaBatch, Staging};
use super::stream::Event;
use super::window::Window;
use super::{CudaBackend, CudaError};
use crate::{BackendError, PackedView};

/// Everything that one batch needs on its way through the device; used again and again.
#[derive(Debug)]
pub struct CudaSlot {
    staging: Staging,
    batch: Option<CudaBatch>,
    result: Option<CudaActivation>,
    window: Window,
    compute_started: Event,
    compute_done: Event,
    is_retrieved: bool,
}

impl CudaSlot {
    /// The result, still on the device, after [`CudaBackend::wait`]; `None` where nothing was
    /// computed or it has been retrieved.
    pub fn result(&self) -> Option<&CudaActivation> {
        self.result.as_ref()
    }
}

/// Stretches of time that a batch spent in the stages of a device, by the device's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceTimes {
    /// H2D copy.
    pub htod: Stretch,
    /// Kernels.
    pub compute: Stretch,
    /// D2H copy; `None` for a result that stays on the device.
    pub dtoh: Option<Stretch>,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// When it began.
    pub start: Instant,
    /// How long it took.
    pub duration: Duration,
}

/// The device's clock beside the host's.
#[derive(Debug)]
pub struct DeviceClock {
    mark: Event,
    at: Instant,
}

/// Result of a slot, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotResult {
    /// The values, f32 row-major.
    pub values: Vec<f32>,
    /// Whether the rows of each sequence are free of NaN and infinity; empty for a result that does
    /// not tell.
    pub is_finite: Vec<bool>,
}

impl CudaBackend {
    /// Makes a slot with room for a batch of `tokens` tokens; it grows where one is larger.
    ///
    /// # Errors
    /// No memory, or the device's own failure.
    pub fn open_slot(&self, tokens: usize) -> Result<CudaSlot, CudaError> {
        let event = || Event::new(&self.context);
        Ok(CudaSlot {
            staging: Staging::new(&self.context, tokens)?,
            batch: None,
            result: None,
            window: Window::new(&self.context)?,
            compute_started: event()?,
            compute_done: event()?,
            is_retrieved: false,
        })
    }

    /// Queues the copy of a batch into the slot; returns while it runs.
    ///
    /// # Errors
    /// The device's own failure.
    pub fn transfer(&self, view: PackedView<'_>, slot: &mut CudaSlot) -> Result<(), CudaError> {
        // If this fails, there is nothing to compute, rather than the batch before.
        slot.batch = None;
        self.context.bind()?;
        // Kernels of the batch before may still read what this copy overwrites.
        self.htod.wait(&slot.compute_done)?;
        slot.batch = Some(slot.staging.stage(&self.htod, view)?);
        Ok(())
    }

    /// Queues `work` on the slot's batch, which begins when the copy is done; returns while it
    /// runs. `None` where nothing was transferred.
    ///
    /// # Errors
    /// Those of `work`, and the device's own.
    pub fn compute<E: From<BackendError>>(
        &self,
        slot: &mut CudaSlot,
        work: impl FnOnce(&CudaBatch) -> Result<CudaActivation, E>,
    ) -> Result<Option<()>, E> {
        let Some(batch) = slot.batch.take() else { return Ok(None) };
        let device = |error: CudaError| E::from(BackendError::from(error));
        self.context.bind().map_err(device)?;
        // First, so that waiting for the copy is not counted as computing.
        self.compute.wait(&slot.staging.ready).map_err(device)?;
        slot.compute_started.record(&self.compute).map_err(device)?;
        slot.is_retrieved = false;
        slot.result = None;
        match work(&batch) {
            Ok(result) => slot.result = Some(result),
            Err(error) => {
                // Kernels that were queued before it failed may still read the slot's arrays.
                let _ = self.compute.synchronize();
                return Err(error);
            }
        }
        slot.compute_done.record(&self.compute).map_err(device)?;
        // The arrays stay where they are: the slot's staging owns them.
        Ok(Some(()))
    }

    /// Every token of the batch in f32, as a result.
    ///
    /// # Errors
    /// Extents that do not fit, or the device's own failure.
    pub fn all_tokens(
        &self,
        batch: &CudaBatch,
        hidden_states: &CudaActivation,
    ) -> Result<CudaActivation, BackendError> {
        self.widen(batch, hidden_states)
    }

    /// Waits until the slot's result is computed.
    ///
    /// # Errors
    /// A failure of anything queued before.
    pub fn wait(&self, slot: &CudaSlot) -> Result<(), CudaError> {
        slot.compute_done.synchronize()
    }

    /// Brings the slot's result to the host and waits for it; `None` where nothing was computed.
    ///
    /// # Errors
    /// The device's own failure.
    pub fn retrieve(&self, slot: &mut CudaSlot) -> Result<Option<SlotResult>, CudaError> {
        let Some(result) = slot.result.take() else { return Ok(None) };
        let flags =
            result.not_finite.as_ref().map_or((0, 0), |f| (f.address(), result.num_seqs * 4));
        let blocks = [(result.address(), result.size_bytes()), flags];
        let mut values = Vec::with_capacity(result.size_bytes() / 4);
        let mut is_finite = Vec::with_capacity(result.num_seqs);
        let take = |block: usize, bytes: &[u8]| {
            let words = bytes.chunks_exact(4);
            if block == 0 {
                values.extend(words.map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])));
            } else {
                is_finite.extend(words.map(|flag| flag == [0; 4]));
            }
        };
        self.context.bind()?;
        self.dtoh.wait(&slot.compute_done)?;
        // SAFETY: the result, which is kept until the end of this function, has as many bytes in
        // either place and is complete at `compute_done`.
        unsafe { slot.window.bring(&self.dtoh, &blocks, take) }?;
        slot.is_retrieved = true;
        // Only now may the arena give the memory to somebody else: D2H is another stream.
        drop(result);
        Ok(Some(SlotResult { values, is_finite }))
    }

    /// Starts a clock that tells times of the device as times of the host.
    ///
    /// # Errors
    /// The device's own failure.
    pub fn start_clock(&self) -> Result<DeviceClock, CudaError> {
        let mark = Event::new(&self.context)?;
        self.context.bind()?;
        mark.record(&self.dtoh)?;
        mark.synchronize()?;
        Ok(DeviceClock { mark, at: Instant::now() })
    }

    /// When the slot's last batch, which is computed, was in which stage.
    ///
    /// # Errors
    /// The device's own failure.
    pub fn times(&self, slot: &CudaSlot, clock: &DeviceClock) -> Result<DeviceTimes, CudaError> {
        self.context.bind()?;
        let stretch = |start: &Event, end: &Event| -> Result<Stretch, CudaError> {
            let ms = start.milliseconds_since(&clock.mark)?;
            let distance = Duration::from_secs_f64(ms.abs() / 1e3);
            // A batch that was under way when the clock was started began before it.
            let at =
                if ms < 0.0 { clock.at.checked_sub(distance) } else { Some(clock.at + distance) };
            Ok(Stretch { start: at.unwrap_or(clock.at), duration: end.since(start)? })
        };
        Ok(DeviceTimes {
            htod: stretch(&slot.staging.started, &slot.staging.ready)?,
            compute: stretch(&slot.compute_started, &slot.compute_done)?,
            dtoh: slot
                .is_retrieved
                .then(|| {
                    let (start, end) = slot.window.marks();
                    stretch(start, end)
                })
                .transpose()?,
        })
    }
}

impl DeviceClock {
    /// Whether so much time has passed that f32 milliseconds, which events give, become coarse
    /// (a microsecond after a quarter of a minute).
    pub fn is_worn(&self) -> bool {
        self.at.elapsed() > Duration::from_secs(15)
    }
}
