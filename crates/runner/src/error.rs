//! What can end a run.

use std::fmt;

use crate::BoxError;
use crate::device::Unsupported;

/// A stage of the runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Host to device.
    Transfer,
    /// On the device.
    Compute,
    /// Device to host.
    Retrieve,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transfer => "transfer",
            Self::Compute => "compute",
            Self::Retrieve => "retrieve",
        })
    }
}

/// Why a run ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// The device cannot run packed batches of the model.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A slot could not be made.
    #[error("{device}: no room for slot {slot}: {source}")]
    Slot {
        /// The device.
        device: String,
        /// Number of the slot, from 0.
        slot: usize,
        /// The cause.
        source: BoxError,
    },
    /// The source of batches failed.
    #[error("batch {batch_idx}{}: {source}", at_record(.record.as_deref()))]
    Loader {
        /// The batch that did not come.
        batch_idx: u64,
        /// Id of the record it happened at, where one is known.
        record: Option<String>,
        /// The cause.
        source: BoxError,
    },
    /// A stage of the device failed.
    #[error("batch {batch_idx}: {stage} failed: {source}")]
    Device {
        /// The batch.
        batch_idx: u64,
        /// The stage.
        stage: Stage,
        /// The cause.
        source: BoxError,
    },
    /// The source of batches or a stage panicked.
    #[error("batch {batch_idx}: {what} panicked: {message}")]
    Panicked {
        /// The batch.
        batch_idx: u64,
        /// Who panicked.
        what: String,
        /// What it said.
        message: String,
    },
    /// A device took an input tensor across more or less than once.
    #[error("batch {batch_idx}: {tensor} crossed to the device {times} times instead of once")]
    Transfers {
        /// The batch.
        batch_idx: u64,
        /// The tensor.
        tensor: &'static str,
        /// How often it crossed.
        times: u32,
    },
    /// A device returned results of another shape than the batch has.
    #[error("batch {batch_idx}: {what} is {found}, expected {expected}")]
    WrongResult {
        /// The batch.
        batch_idx: u64,
        /// What does not fit.
        what: &'static str,
        /// What the batch needs.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// Fewer or more sequences came out than went in.
    #[error("{delivered} sequences delivered of {received} received")]
    LostSequences {
        /// Sequences received from the source.
        received: u64,
        /// Sequences delivered.
        delivered: u64,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {reason}")]
    Threads {
        /// The system's reason.
        reason: String,
    },
    /// The caller asked the run to stop.
    #[error("stopped before the end")]
    Cancelled,
}

fn at_record(record: Option<&str>) -> String {
    record.map_or_else(String::new, |id| format!(", record {id:?}"))
}

/// The text of a panic.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}
