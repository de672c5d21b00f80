//! Encoders on a CUDA device, as the runner sees them.

use std::sync::{Arc, Mutex, PoisonError};

use virnucpro_backend::cuda::{
    CudaActivation, CudaBackend, CudaBatch, CudaError, CudaSlot, DeviceClock, SlotResult, Stretch,
};
use virnucpro_backend::{Backend, PackedView, Precision};
use virnucpro_batch::PackedBatch;
use virnucpro_models::{ModelError, Pooling};

use crate::device::{BoxError, Retrieved, StagedDevice, StagingMemory, Unsupported};
use crate::encoders::{EncoderTask, Encoders, OutOfOrder};
use crate::monitor::{Span, StageSpans};

/// Computes sequences in f32: task and batch in, rows out.
pub type ExactEncoders = Box<dyn Fn(usize, &PackedBatch) -> Result<Retrieved, BoxError> + Send>;

/// Loads the encoders of a run in f32, when the first result was not finite.
pub type LoadExact = Box<dyn Fn() -> Result<ExactEncoders, BoxError> + Send + Sync>;

/// A CUDA device: three streams, ordered by events that live in the slots.
pub struct CudaDevice {
    backend: Arc<CudaBackend>,
    /// Room that a slot begins with.
    slot_tokens: usize,
    clock: Mutex<DeviceClock>,
    load_exact: LoadExact,
    exact: Mutex<Option<ExactEncoders>>,
}

/// A batch in flight on a [`CudaDevice`].
pub struct CudaDeviceSlot {
    task: usize,
    slot: CudaSlot,
}

impl CudaDeviceSlot {
    /// The result, still on the device, once the runner gave the slot out.
    pub fn result(&self) -> Option<&CudaActivation> {
        self.slot.result()
    }
}

impl EncoderTask<CudaBackend> {
    /// Queues the whole encoder on a batch; the result is f32, with a flag for each sequence.
    ///
    /// # Errors
    /// A layer that does not exist, or the device's own failure.
    pub fn compute(
        &self,
        backend: &CudaBackend,
        batch: &CudaBatch,
    ) -> Result<CudaActivation, ModelError> {
        let result = self.encoder.pooled(backend, batch, self.layer, self.pooling)?;
        Ok(match self.pooling {
            Pooling::Mean | Pooling::Bos => result,
            Pooling::None => backend.all_tokens(batch, &result)?,
        })
    }
}

impl CudaDevice {
    /// Makes a device of a backend; its slots begin with room for `slot_tokens` tokens.
    ///
    /// # Errors
    /// The device's own failure.
    pub fn new(
        backend: Arc<CudaBackend>,
        slot_tokens: usize,
        load_exact: LoadExact,
    ) -> Result<Self, CudaError> {
        let clock = Mutex::new(backend.start_clock()?);
        Ok(Self { backend, slot_tokens, clock, load_exact, exact: Mutex::default() })
    }
}

impl StagedDevice<Encoders<CudaBackend>> for CudaDevice {
    type Slot = CudaDeviceSlot;

    fn name(&self) -> String {
        self.backend.device_name()
    }

    fn precision(&self) -> Precision {
        self.backend.precision()
    }

    fn check_packed(&self, model: &Encoders<CudaBackend>) -> Result<(), Unsupported> {
        model.check(&*self.backend)
    }

    fn open_slot(&self, _: &Encoders<CudaBackend>) -> Result<CudaDeviceSlot, BoxError> {
        Ok(CudaDeviceSlot { task: 0, slot: self.backend.open_slot(self.slot_tokens)? })
    }

    fn staging(&self, _: &CudaDeviceSlot) -> StagingMemory {
        StagingMemory::Pinned
    }

    fn transfer(
        &self,
        model: &Encoders<CudaBackend>,
        task: usize,
        batch: PackedView<'_>,
        slot: &mut CudaDeviceSlot,
    ) -> Result<(), BoxError> {
        model.get(task)?;
        slot.task = task;
        Ok(self.backend.transfer(batch, &mut slot.slot)?)
    }

    fn compute(
        &self,
        model: &Encoders<CudaBackend>,
        slot: &mut CudaDeviceSlot,
    ) -> Result<(), BoxError> {
        let task = model.get(slot.task)?;
        let work = |batch: &CudaBatch| task.compute(&self.backend, batch);
        let computed = self.backend.compute(&mut slot.slot, work)?;
        Ok(computed.ok_or(OutOfOrder("nothing was transferred"))?)
    }

    fn synchronize(&self, slot: &mut CudaDeviceSlot) -> Result<(), BoxError> {
        Ok(self.backend.wait(&slot.slot)?)
    }

    fn retrieve(
        &self,
        model: &Encoders<CudaBackend>,
        slot: &mut CudaDeviceSlot,
    ) -> Result<Retrieved, BoxError> {
        let hidden_size = model.get(slot.task)?.encoder.hidden_size();
        let result = self.backend.retrieve(&mut slot.slot)?;
        let SlotResult { values, is_finite } = result.ok_or(OutOfOrder("nothing was computed"))?;
        Ok(Retrieved { embeddings: values, hidden_size, is_finite })
    }

    fn recompute_f32(
        &self,
        _: &Encoders<CudaBackend>,
        task: usize,
        batch: &PackedBatch,
    ) -> Result<Retrieved, BoxError> {
        // Loading is complete or was not: a panic in between leaves nothing half-loaded.
        let mut exact = self.exact.lock().unwrap_or_else(PoisonError::into_inner);
        if exact.is_none() {
            *exact = Some((self.load_exact)()?);
        }
        let compute = exact.as_ref().ok_or(OutOfOrder("f32 encoders were not loaded"))?;
        compute(task, batch)
    }

    fn is_out_of_memory(&self, error: &BoxError) -> bool {
        let of_model = error.downcast_ref::<ModelError>().is_some_and(ModelError::is_out_of_memory);
        of_model || error.downcast_ref::<CudaError>().is_some_and(CudaError::is_out_of_memory)
    }

    fn has_own_clock(&self) -> bool {
        true
    }

    fn stage_spans(&self, slot: &mut CudaDeviceSlot) -> Result<Option<StageSpans>, BoxError> {
        // The clock is replaced as a whole.
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let times = self.backend.times(&slot.slot, &clock)?;
        if clock.is_worn() {
            *clock = self.backend.start_clock()?;
        }
        let span = |Stretch { start, duration }: Stretch| Span { start, duration };
        Ok(Some(StageSpans {
            htod: span(times.htod),
            compute: span(times.compute),
            dtoh: times.dtoh.map(span),
        }))
    }
}
