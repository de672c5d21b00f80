//! Owns embedding files: one writer over three formats. Must not compute or reorder
//! embeddings.
//!
//! Entry type: [`EmbeddingWriter`].

mod npy;
mod parquet;
mod safetensors;
mod spec;
mod writer;

pub(crate) use spec::ids_path;
pub use spec::{EmbeddingFormat, EmbeddingLayout, EmbeddingSpec};
pub use writer::EmbeddingWriter;

use crate::{OutputSet, Result};

/// One format: takes checked embeddings in order and leaves complete files.
trait Sink: Send {
    /// Adds `rows` rows of one sequence; one row where embeddings are pooled.
    fn append(&mut self, id: &str, rows: u64, values: &[f32]) -> Result<()>;

    /// Adds a pair to the metadata of formats that have it.
    fn add_metadata(&mut self, key: &str, value: &str) -> Result<()>;

    /// Completes the files.
    fn close(self: Box<Self>) -> Result<OutputSet>;
}

/// Replaces `bytes` by the little-endian bytes of `values`.
fn to_le_bytes(values: &[f32], bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}
