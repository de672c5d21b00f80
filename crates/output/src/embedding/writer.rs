//! Owns the checks that are the same for every format.

use super::{
    EmbeddingFormat, EmbeddingLayout, EmbeddingSpec, Sink, npy::NpySink, parquet::ParquetSink,
    safetensors::SafetensorsSink,
};
use crate::{Error, OutputSet, Result};
use std::path::{Path, PathBuf};

/// Writes embeddings to `.npy`, `.safetensors` or `.parquet`, in the order given, with
/// memory that does not grow with the number of sequences.
///
/// | format | pooled | per token | ids |
/// |---|---|---|---|
/// | `.npy` | f32 `[num_seqs, hidden_size]` | f32 `[total_tokens, hidden_size]` and i64 `FILE.cu_seqlens.npy` | `FILE.ids.txt`, one a line |
/// | `.safetensors` | `embeddings` F32 `[num_seqs, hidden_size]` | `embeddings` F32 `[total_tokens, hidden_size]`, `cu_seqlens` I64 | JSON list under `ids` in the metadata; `FILE.ids.txt` where that would exceed the format's header limit of 100 MB |
/// | `.parquet` | `id`, `embedding` fixed-size list of f32 | `id`, `n_tokens` i32, `embedding` list of f32, row-major | column |
///
/// Ids may repeat. The files appear when the writer is finished, complete or not at all.
pub struct EmbeddingWriter {
    path: PathBuf,
    hidden_size: usize,
    layout: EmbeddingLayout,
    num_seqs: u64,
    sink: Box<dyn Sink>,
}

impl EmbeddingWriter {
    /// Starts the file that the end of `path` asks for.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`]; [`Error::EmbeddingSpec`] for a hidden size of zero or
    /// unusable metadata; those of [`AtomicFile::create`](crate::AtomicFile::create).
    pub fn create(path: impl AsRef<Path>, spec: EmbeddingSpec) -> Result<Self> {
        let path = path.as_ref();
        let format = EmbeddingFormat::from_path(path)?;
        if spec.hidden_size == 0 {
            let reason = "embeddings of size 0 cannot be written".to_owned();
            return Err(Error::EmbeddingSpec { path: path.to_owned(), reason });
        }
        let (hidden_size, layout) = (spec.hidden_size, spec.layout);
        let sink: Box<dyn Sink> = match format {
            EmbeddingFormat::Npy => Box::new(NpySink::create(path, &spec)?),
            EmbeddingFormat::Safetensors => Box::new(SafetensorsSink::create(path, spec)?),
            EmbeddingFormat::Parquet => Box::new(ParquetSink::create(path, spec)?),
        };
        Ok(Self { path: path.to_owned(), hidden_size, layout, num_seqs: 0, sink })
    }

    /// Adds one pooled embedding.
    ///
    /// # Shape
    /// `embedding` is `[hidden_size]`.
    ///
    /// # Errors
    /// [`Error::Embedding`] for another length or a file per token; write errors.
    pub fn push(&mut self, id: &str, embedding: &[f32]) -> Result<()> {
        self.require(id, EmbeddingLayout::Pooled)?;
        if embedding.len() != self.hidden_size {
            let (found, hidden_size) = (embedding.len(), self.hidden_size);
            return Err(self.wrong(id, format!("{found} values, expected {hidden_size}")));
        }
        self.append(id, 1, embedding)
    }

    /// Adds the token embeddings of one sequence, which may have none.
    ///
    /// # Shape
    /// `hidden_states` is `[n_tokens, hidden_size]`, row-major.
    ///
    /// # Errors
    /// [`Error::Embedding`] for a length that is no multiple of the hidden size or a
    /// file of pooled embeddings; write errors.
    pub fn push_tokens(&mut self, id: &str, hidden_states: &[f32]) -> Result<()> {
        self.require(id, EmbeddingLayout::PerToken)?;
        if !hidden_states.len().is_multiple_of(self.hidden_size) {
            let (found, hidden_size) = (hidden_states.len(), self.hidden_size);
            return Err(self.wrong(id, format!("{found} values, no multiple of {hidden_size}")));
        }
        self.append(id, (hidden_states.len() / self.hidden_size) as u64, hidden_states)
    }

    /// Adds to the metadata what was not known when the file was begun, where the format can hold it
    /// ([`EmbeddingSpec::metadata`]). For short texts: a safetensors header keeps less than a megabyte free
    /// for them.
    ///
    /// # Errors
    /// [`Error::EmbeddingSpec`] for a key that safetensors reserves, or that was given before.
    pub fn add_metadata(&mut self, key: &str, value: &str) -> Result<()> {
        self.sink.add_metadata(key, value)
    }

    /// Sequences added so far.
    #[must_use]
    pub fn num_seqs(&self) -> u64 {
        self.num_seqs
    }

    /// Completes the files and gives them their final names. Returns the number of
    /// sequences.
    ///
    /// # Errors
    /// Write errors; no final file has changed then.
    pub fn finish(self) -> Result<u64> {
        let num_seqs = self.num_seqs;
        self.into_outputs()?.commit()?;
        Ok(num_seqs)
    }

    /// Completes the files for a commit together with others of the run.
    ///
    /// # Errors
    /// Write errors.
    pub fn into_outputs(self) -> Result<OutputSet> {
        self.sink.close()
    }

    fn append(&mut self, id: &str, rows: u64, values: &[f32]) -> Result<()> {
        self.sink.append(id, rows, values)?;
        self.num_seqs += 1;
        Ok(())
    }

    fn require(&self, id: &str, layout: EmbeddingLayout) -> Result<()> {
        if self.layout == layout {
            return Ok(());
        }
        let (given, opened) = match layout {
            EmbeddingLayout::Pooled => ("pooled", "per token"),
            EmbeddingLayout::PerToken => ("per token", "pooled"),
        };
        Err(self.wrong(id, format!("it is {given}, the file was opened for {opened} embeddings")))
    }

    fn wrong(&self, id: &str, reason: String) -> Error {
        Error::Embedding { path: self.path.clone(), id: id.to_owned(), reason }
    }
}

impl std::fmt::Debug for EmbeddingWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddingWriter")
            .field("path", &self.path)
            .field("hidden_size", &self.hidden_size)
            .field("layout", &self.layout)
            .field("num_seqs", &self.num_seqs)
            .finish_non_exhaustive()
    }
}
