//! What can go wrong in an operation.

use crate::DType;
use crate::cuda::CudaError;

/// An operation was given something it cannot run on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// Two operands do not fit together; nothing was computed.
    #[error("{op}: {what} is {found}, expected {expected}")]
    Shape {
        /// Operation that refused.
        op: &'static str,
        /// Which extent is wrong.
        what: &'static str,
        /// What the operation needs.
        expected: usize,
        /// What it was given.
        found: usize,
    },
    /// A packed batch breaks one of its invariants.
    #[error("packed batch: {reason}")]
    InvalidBatch {
        /// The invariant that does not hold.
        reason: String,
    },
    /// A token id lies outside the embedding table.
    #[error("embed: token id {id} at packed position {position}, the table has {rows} rows")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Its place in the packed batch.
        position: usize,
        /// Rows of the table.
        rows: usize,
    },
    /// A stored tensor has an element type that cannot become a weight.
    #[error("a weight cannot be made from {dtype} elements")]
    WeightDType {
        /// Its element type.
        dtype: DType,
    },
    /// The device has no packed form of something a model needs.
    #[error("{device} cannot run packed batches of this model: {missing}")]
    Unsupported {
        /// The device.
        device: String,
        /// What is missing.
        missing: String,
    },
    /// A CUDA device failed.
    #[error(transparent)]
    Cuda(#[from] CudaError),
    /// The worker threads of the host backend could not be started.
    #[error("cannot start {threads} worker threads: {reason}")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// The system's reason.
        reason: String,
    },
}

impl BackendError {
    /// `Ok` when `found == expected`, otherwise the shape error that names the operation.
    pub(crate) fn expect(
        op: &'static str,
        what: &'static str,
        found: usize,
        expected: usize,
    ) -> Result<(), Self> {
        if found == expected { Ok(()) } else { Err(Self::Shape { op, what, expected, found }) }
    }
}
