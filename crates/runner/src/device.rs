//! What a device does for the runner: three stages with one signature each.

use virnucpro_backend::{PackedView, Precision};
use virnucpro_batch::PackedBatch;

use crate::monitor::StageSpans;

/// Any failure of a device or of the source of batches.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where a slot keeps batches on their way to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StagingMemory {
    /// Page-locked: transfers run beside computation.
    Pinned,
    /// Pageable: the driver copies once more, and transfers block.
    Pageable,
    /// The device computes in the memory of the host; nothing is staged.
    Host,
}

/// Why a device cannot run a model on packed batches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device} cannot run packed batches of this model: {missing}")]
pub struct Unsupported {
    /// The device.
    pub device: String,
    /// What is missing.
    pub missing: String,
}

/// Embeddings of one batch, back on the host.
///
/// # Shape
/// `embeddings` f32 row-major `[rows, hidden_size]`; one row a sequence in the order of the batch,
/// or one row a token where nothing was pooled. `is_finite` `[num_seqs]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Retrieved {
    /// The values, always f32.
    pub embeddings: Vec<f32>,
    /// Width of a row.
    pub hidden_size: usize,
    /// Whether the rows of each sequence are free of NaN and infinity, found on the device.
    pub is_finite: Vec<bool>,
}

impl Retrieved {
    /// Adds the rows of the sequences that come next.
    pub(crate) fn extend(&mut self, next: Self) {
        self.embeddings.extend(next.embeddings);
        self.is_finite.extend(next.is_finite);
    }
}

/// A device that runs `M`, stage by stage: `transfer → compute → synchronize → retrieve`.
///
/// Each stage runs on a thread of its own, in batch order, on a slot that no other stage holds. A
/// stage may do its work before it returns (a host), or hand it to a queue of the device and
/// return at once (a GPU stream), as long as the stages of one slot keep their order on the device.
/// [`synchronize`](Self::synchronize) is the one place where the host waits for computation.
pub trait StagedDevice<M: ?Sized>: Send + Sync {
    /// Staging memory, input tensors and results of one batch in flight; used again and again.
    type Slot: Send;

    /// Name of the device as users see it.
    fn name(&self) -> String;

    /// Number type it computes in.
    fn precision(&self) -> Precision;

    /// Says whether the device runs packed batches of this model.
    ///
    /// # Errors
    /// [`Unsupported`] naming what is missing; nothing is padded instead.
    fn check_packed(&self, model: &M) -> Result<(), Unsupported>;

    /// Makes one slot.
    ///
    /// # Errors
    /// Out of memory, for example.
    fn open_slot(&self, model: &M) -> Result<Self::Slot, BoxError>;

    /// What kind of memory the slot stages batches in.
    fn staging(&self, slot: &Self::Slot) -> StagingMemory;

    /// Brings a batch into the slot, each tensor exactly once; `task` is the part of the model
    /// that will compute it.
    ///
    /// # Errors
    /// The device's own failure, or a task that the model does not have.
    fn transfer(
        &self,
        model: &M,
        task: usize,
        batch: PackedView<'_>,
        slot: &mut Self::Slot,
    ) -> Result<(), BoxError>;

    /// Computes what was transferred into the slot; the result stays there.
    ///
    /// # Errors
    /// The device's own failure.
    fn compute(&self, model: &M, slot: &mut Self::Slot) -> Result<(), BoxError>;

    /// Waits until the slot's computation is done and its result may be read.
    ///
    /// # Errors
    /// A failure of the computation.
    fn synchronize(&self, slot: &mut Self::Slot) -> Result<(), BoxError>;

    /// Brings the slot's result to the host, in f32; the slot may be filled again afterwards.
    ///
    /// # Errors
    /// The device's own failure.
    fn retrieve(&self, model: &M, slot: &mut Self::Slot) -> Result<Retrieved, BoxError>;

    /// Computes sequences once more in f32; asked only of devices of a narrower precision, and
    /// only for sequences whose result was not finite. Runs beside the other stages.
    ///
    /// # Errors
    /// The device's own failure.
    fn recompute_f32(
        &self,
        model: &M,
        task: usize,
        batch: &PackedBatch,
    ) -> Result<Retrieved, BoxError>;

    /// Whether a failure of [`compute`](Self::compute) means that the batch is too large for the
    /// memory of the device; the runner then computes it in halves.
    fn is_out_of_memory(&self, _error: &BoxError) -> bool {
        false
    }

    /// Whether stages return before they are done and the device tells their times by its own
    /// clock; otherwise the time that they took on the host is reported.
    fn has_own_clock(&self) -> bool {
        false
    }

    /// When the slot's last batch, which is computed, was in which stage; asked only of
    /// devices with a clock of their own.
    ///
    /// # Errors
    /// The device's own failure.
    fn stage_spans(&self, _slot: &mut Self::Slot) -> Result<Option<StageSpans>, BoxError> {
        Ok(None)
    }
}
