//! Readers and a writer for model checkpoints that nobody vouches for.
//!
//! Owns the formats: safetensors, PyTorch zip archives (through a restricted unpickler that builds
//! plain data and calls nothing), sharded directories. Must never execute anything a file asks
//! for, nor allocate by a number a file states before that number is checked against the bytes
//! that are really there. Knows no model: names and shapes are asked for by the caller. The entry
//! type is [`Checkpoint`].
#![forbid(unsafe_code)]

mod background_hash;
mod bytes;
mod checkpoint;
mod error;
mod pickle;
mod printable;
mod safetensors;
mod state_dict;
mod stored_tensor;
mod summary;
mod tensor_reader;
mod torch;
mod unique_map;
mod zip_entries;

pub use background_hash::BackgroundHash;
pub use bytes::Bytes;
pub use checkpoint::{Checkpoint, Format, RandomKind, RandomTensor};
pub use error::{Result, WeightsError};
pub use pickle::{Object, Value};
pub use printable::{one_line, printable};
pub use safetensors::write_safetensors;
pub use state_dict::state_dict;
pub use stored_tensor::StoredTensor;
pub use summary::{Summary, TensorSummary};
pub use tensor_reader::{NamePattern, TensorReader};
pub use zip_entries::ZipEntries;
