//! The CUDA backend.
//!
//! Owns everything that talks to NVIDIA's libraries, which are opened at run time: nothing of
//! CUDA is needed to build, and a machine without it gets a reason instead of a panic. Entry
//! types: [`CudaProbe`] says what is there, [`CudaBackend`] runs the domain operations,
//! [`CudaSlot`] takes batches through the three streams of a device.

mod activation;
mod arena;
mod backend;
mod batch;
mod cache;
mod compiler;
mod context;
mod error;
mod gemm;
mod host_copies;
mod launch;
mod library;
mod linear;
mod linear_kernel;
mod memory;
mod operations;
mod probe;
mod profile;
mod slot;
mod source;
mod stream;
mod tensor_map;
mod upload;
mod weights;
mod window;

pub use activation::CudaActivation;
pub use backend::{CudaBackend, CudaOptions};
pub use batch::CudaBatch;
pub use context::DeviceProperties;
pub use error::CudaError;
pub use gemm::PlanReport;
pub use library::CudaLibrary;
pub use probe::{CudaProbe, FoundDevice};
pub use profile::FamilyTimes;
pub use slot::{CudaSlot, DeviceClock, DeviceTimes, SlotResult, Stretch};
pub use source::HEAD_DIMS;
pub use weights::{CudaLinear, CudaTable, CudaVector};
