//! Owns the three files of NPY embeddings: values, ids, and token offsets.

use super::{EmbeddingLayout, EmbeddingSpec, Sink, ids_path, to_le_bytes};
use crate::{
    AtomicFile, OutputSet, Result,
    npy::{NpyStream, NpyType},
    tsv::Cell,
};
use std::{io::Write, path::Path};

pub(super) struct NpySink {
    values: NpyStream,
    ids: AtomicFile,
    /// `None` where embeddings are pooled.
    cu_seqlens: Option<NpyStream>,
    total_tokens: u64,
    bytes: Vec<u8>,
}

impl NpySink {
    pub(super) fn create(path: &Path, spec: &EmbeddingSpec) -> Result<Self> {
        let file = AtomicFile::create(path)?;
        let values = NpyStream::create(file, NpyType::F32, Some(spec.hidden_size))?;
        let ids = AtomicFile::create(ids_path(path))?;
        let cu_seqlens = match spec.layout {
            EmbeddingLayout::Pooled => None,
            EmbeddingLayout::PerToken => {
                let file = AtomicFile::create(path.with_extension("cu_seqlens.npy"))?;
                let mut stream = NpyStream::create(file, NpyType::I64, None)?;
                stream.append(1, &0_i64.to_le_bytes())?;
                Some(stream)
            }
        };
        Ok(Self { values, ids, cu_seqlens, total_tokens: 0, bytes: Vec::new() })
    }
}

impl Sink for NpySink {
    fn append(&mut self, id: &str, rows: u64, values: &[f32]) -> Result<()> {
        to_le_bytes(values, &mut self.bytes);
        self.values.append(rows, &self.bytes)?;
        writeln!(self.ids, "{}", Cell(id))?;
        self.total_tokens += rows;
        if let Some(cu_seqlens) = &mut self.cu_seqlens {
            cu_seqlens.append(1, &self.total_tokens.to_le_bytes())?;
        }
        Ok(())
    }

    fn add_metadata(&mut self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<OutputSet> {
        let mut outputs = OutputSet::new();
        // The ids first: whoever sees the values finds them too.
        outputs.push(self.ids);
        if let Some(cu_seqlens) = self.cu_seqlens {
            outputs.push(cu_seqlens.finish()?);
        }
        outputs.push(self.values.finish()?);
        Ok(outputs)
    }
}
