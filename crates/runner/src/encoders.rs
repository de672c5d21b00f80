//! Encoders on any [`Backend`], as the runner sees them.

use std::sync::Arc;

use virnucpro_backend::{Backend, PackedView, Precision};
use virnucpro_batch::PackedBatch;
use virnucpro_models::{Encoder, ModelError, Pooling, packed_view};

use crate::device::{BoxError, Retrieved, StagedDevice, StagingMemory, Unsupported};

/// One encoder with what is wanted of it.
pub struct EncoderTask<B: Backend> {
    /// The encoder, on the backend.
    pub encoder: Encoder<B>,
    /// Representation to take.
    pub layer: usize,
    /// How hidden states become embeddings.
    pub pooling: Pooling,
}

/// The encoders of a run; a batch names the one that computes it by its place here.
pub struct Encoders<B: Backend> {
    /// The encoders.
    pub tasks: Vec<EncoderTask<B>>,
}

/// A backend that computes in the memory of the host, as a device of the runner.
pub struct HostDevice<B>(Arc<B>);

impl<B: Backend> HostDevice<B> {
    /// Wraps a backend.
    pub fn new(backend: Arc<B>) -> Self {
        Self(backend)
    }
}

/// A batch in flight on a [`HostDevice`].
pub struct HostSlot<B: Backend> {
    task: usize,
    batch: Option<B::Batch>,
    /// Of each part of the batch, in order.
    embeddings: Vec<B::Activation>,
    /// Ends of the sequences, in tokens, to gather flags of tokens by sequence.
    seq_ends: Vec<usize>,
}

/// A stage was called out of order.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct OutOfOrder(pub(crate) &'static str);

#[derive(Debug, thiserror::Error)]
#[error("no encoder has number {task}; there are {tasks}")]
pub(crate) struct NoSuchTask {
    task: usize,
    tasks: usize,
}

impl<B: Backend> Encoders<B> {
    pub(crate) fn get(&self, task: usize) -> Result<&EncoderTask<B>, NoSuchTask> {
        self.tasks.get(task).ok_or(NoSuchTask { task, tasks: self.tasks.len() })
    }

    /// Refuses a backend that cannot run one of the encoders on packed batches.
    pub(crate) fn check(&self, backend: &B) -> Result<(), Unsupported> {
        for task in &self.tasks {
            let check: Result<(), ModelError> = task.encoder.check(backend);
            check.map_err(|e| Unsupported {
                device: backend.device_name(),
                missing: e.to_string(),
            })?;
        }
        Ok(())
    }

    /// Computes one batch on `device`, all stages in turn.
    ///
    /// # Errors
    /// The device's own failure, or a task that does not exist.
    pub fn compute_now<D: StagedDevice<Self>>(
        &self,
        device: &D,
        task: usize,
        batch: &PackedBatch,
    ) -> Result<Retrieved, BoxError> {
        let mut slot = device.open_slot(self)?;
        device.transfer(self, task, packed_view(batch)?, &mut slot)?;
        device.compute(self, &mut slot)?;
        device.synchronize(&mut slot)?;
        device.retrieve(self, &mut slot)
    }
}

impl<B: Backend> StagedDevice<Encoders<B>> for HostDevice<B> {
    type Slot = HostSlot<B>;

    fn name(&self) -> String {
        self.0.device_name()
    }

    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn check_packed(&self, model: &Encoders<B>) -> Result<(), Unsupported> {
        model.check(&*self.0)
    }

    fn open_slot(&self, _model: &Encoders<B>) -> Result<HostSlot<B>, BoxError> {
        Ok(HostSlot { task: 0, batch: None, embeddings: Vec::new(), seq_ends: Vec::new() })
    }

    fn staging(&self, _slot: &HostSlot<B>) -> StagingMemory {
        StagingMemory::Host
    }

    fn transfer(
        &self,
        model: &Encoders<B>,
        task: usize,
        batch: PackedView<'_>,
        slot: &mut HostSlot<B>,
    ) -> Result<(), BoxError> {
        model.get(task)?;
        slot.task = task;
        slot.batch = Some(self.0.upload(batch)?);
        slot.seq_ends.clear();
        slot.seq_ends.extend(batch.seq_ends());
        Ok(())
    }

    fn compute(&self, model: &Encoders<B>, slot: &mut HostSlot<B>) -> Result<(), BoxError> {
        let EncoderTask { encoder, layer, pooling } = model.get(slot.task)?;
        let batch = slot.batch.take().ok_or(OutOfOrder("nothing was transferred"))?;
        let embed = |part: &B::Batch| encoder.pooled(&self.0, part, *layer, *pooling);
        let parts = self.0.run_parts(batch, embed);
        slot.embeddings = parts.into_iter().collect::<Result<_, _>>()?;
        Ok(())
    }

    fn synchronize(&self, _slot: &mut HostSlot<B>) -> Result<(), BoxError> {
        Ok(self.0.synchronize()?)
    }

    fn retrieve(&self, model: &Encoders<B>, slot: &mut HostSlot<B>) -> Result<Retrieved, BoxError> {
        let task = model.get(slot.task)?;
        let parts = std::mem::take(&mut slot.embeddings);
        if parts.is_empty() {
            return Err(OutOfOrder("nothing was computed").into());
        }
        let (mut flags, mut embeddings) = (Vec::new(), Vec::new());
        for part in &parts {
            flags.extend(self.0.finite_rows(part)?);
            embeddings.extend(self.0.download(part)?);
        }
        let is_finite = match task.pooling {
            Pooling::Mean | Pooling::Bos => flags,
            Pooling::None => {
                let mut start = 0;
                let ends = slot.seq_ends.iter();
                ends.map(|&end| {
                    let of_sequence = &flags[start..end];
                    start = end;
                    of_sequence.iter().all(|&finite| finite)
                })
                .collect()
            }
        };
        let hidden_size = task.encoder.hidden_size();
        Ok(Retrieved { embeddings, hidden_size, is_finite })
    }

    fn recompute_f32(
        &self,
        model: &Encoders<B>,
        task: usize,
        batch: &PackedBatch,
    ) -> Result<Retrieved, BoxError> {
        model.compute_now(self, task, batch)
    }
}
