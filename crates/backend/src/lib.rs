//! Domain operations on packed buffers: one trait, one implementation per kind of device.
//!
//! Owns every `unsafe` block of the project. Knows nothing about files, tokenisers or model
//! architectures. The entry type is the [`Backend`] trait; [`cpu::CpuBackend`] is the fast host
//! implementation, [`cuda::CudaBackend`] runs on NVIDIA GPUs, and [`reference::ReferenceBackend`] its slow, obvious twin, against which every
//! other implementation is tested.

mod backend;
pub mod cpu;
pub mod cuda;
mod error;
mod mapped_file;
mod normed_linear;
mod packed;
mod precision;
pub mod reference;
pub mod selftest;
mod spec;
mod tensor_view;
pub mod tolerance;
mod transfer_log;

pub use backend::Backend;
pub use error::BackendError;
pub use mapped_file::MappedFile;
pub use normed_linear::{NormWeights, NormedLinear};
pub use packed::PackedView;
pub use precision::Precision;
pub use spec::{AttentionSpec, Epilogue, PoolSpec, RotarySpec, TokenDropout};
pub use tensor_view::{DType, TensorView};
pub use transfer_log::{InputTensor, TransferLog};
