//! Owns what a caller says about an embedding file before the first row.

use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// File format of embeddings, told by the end of the file name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EmbeddingFormat {
    /// `FILE.npy` with ids in `FILE.ids.txt` and, per token, `FILE.cu_seqlens.npy`.
    Npy,
    /// `FILE.safetensors` with ids in its metadata.
    Safetensors,
    /// `FILE.parquet` with an id column.
    Parquet,
}

impl EmbeddingFormat {
    /// The format that the end of a file name asks for.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`] for any other ending.
    pub fn from_path(path: &Path) -> Result<Self> {
        let ending = path.extension().unwrap_or_default();
        [("npy", Self::Npy), ("safetensors", Self::Safetensors), ("parquet", Self::Parquet)]
            .into_iter()
            .find_map(|(known, format)| ending.eq_ignore_ascii_case(known).then_some(format))
            .ok_or_else(|| Error::UnknownFormat { path: path.to_owned() })
    }

    /// Whether a file holds [`EmbeddingSpec::metadata`].
    #[must_use]
    pub fn has_metadata(self) -> bool {
        self != Self::Npy
    }
}

/// What one sequence contributes to the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EmbeddingLayout {
    /// One pooled vector.
    Pooled,
    /// One vector per token.
    PerToken,
}

/// What an embedding file holds.
#[derive(Clone, Debug)]
pub struct EmbeddingSpec {
    /// Length of one vector.
    pub hidden_size: usize,
    /// Pooled or per token.
    pub layout: EmbeddingLayout,
    /// Model hashes, tool version and the like, for the formats that can hold them
    /// (safetensors and Parquet; NPY cannot).
    pub metadata: Vec<(String, String)>,
}

/// The ids file beside `path`: `FILE.ids.txt` for `FILE.npy`.
pub(crate) fn ids_path(path: &Path) -> PathBuf {
    path.with_extension("ids.txt")
}
