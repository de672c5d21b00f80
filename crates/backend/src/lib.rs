//! Domain operations on packed buffers: one trait, one implementation per kind of device.
//!
//! Owns every `unsafe` block of the project. Knows nothing about files, tokenisers or model
//! architectures; the entry type is [`TensorView`] for data that comes in.

mod mapped_file;
mod tensor_view;

pub use mapped_file::MappedFile;
pub use tensor_view::{DType, TensorView};
