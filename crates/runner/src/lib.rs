//! The asynchronous inference runner: a model, a device and a stream of packed batches in, ordered
//! embeddings out.
//!
//! Owns the overlap of transfer, compute and retrieval, the bounded slots they share, and the
//! instruments that watch them ([`monitor`]). Knows no file format and no command. The entry types
//! are [`AsyncInferenceRunner`] and, for those who add a device, [`StagedDevice`].
#![forbid(unsafe_code)]

mod batch;
mod cancel;
mod cuda;
mod device;
mod encoders;
mod error;
#[doc(hidden)]
pub mod hand_over;
pub mod monitor;
mod runner;
mod sync;

pub use batch::{InferenceBatch, InferenceResult, LoaderFailure};
pub use cancel::CancelToken;
pub use cuda::{CudaDevice, CudaDeviceSlot, ExactEncoders, LoadExact};
pub use device::{BoxError, Retrieved, StagedDevice, StagingMemory, Unsupported};
pub use encoders::{EncoderTask, Encoders, HostDevice, HostSlot};
pub use error::{RunnerError, Stage};
pub use runner::{
    AsyncInferenceRunner, DEFAULT_SLOTS, DeviceResult, DeviceResults, InferenceResults,
    RunnerConfig, run_async_inference,
};
pub use virnucpro_backend::Precision;

/// The worked example of the contract, kept compiling.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/runner.md")]
struct RunnerPage;
