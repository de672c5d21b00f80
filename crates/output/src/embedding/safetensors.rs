//! Owns safetensors embeddings. The header comes first in this format and is known
//! last, so rows wait in an unnamed temporary file in the output's folder.
//!
//! # Source
//! The format description of huggingface/safetensors (README.md, "Format").

use super::{EmbeddingLayout, EmbeddingSpec, Sink, ids_path, to_le_bytes};
use crate::{
    AtomicFile, Error, OutputSet, Result,
    atomic::parent_dir,
    safetensors_features::{CU_SEQLENS, EMBEDDINGS, IDS},
    tsv::Cell,
};
use serde_json::{Map, Value, json};
use std::{
    fs::File,
    io::{self, BufWriter, Seek, Write},
    path::{Path, PathBuf},
};

/// Readers refuse longer headers.
const MAX_HEADER_BYTES: usize = 100_000_000;
/// Left for the header's other entries when ids are weighed against the limit.
const RESERVED_BYTES: usize = 1_000_000;

pub(super) struct SafetensorsSink {
    path: PathBuf,
    file: AtomicFile,
    spec: EmbeddingSpec,
    values: Spool,
    ids: Spool,
    cu_seqlens: Spool,
    /// JSON list of the ids without its end; `None` once it is too long for the header.
    ids_json: Option<String>,
    /// Length of `ids_json` once it is a string inside the header.
    ids_header_bytes: usize,
    ids_limit_bytes: usize,
    num_seqs: u64,
    total_rows: u64,
    bytes: Vec<u8>,
}

impl SafetensorsSink {
    pub(super) fn create(path: &Path, spec: EmbeddingSpec) -> Result<Self> {
        let metadata_bytes: usize =
            spec.metadata.iter().map(|(key, value)| 6 * (key.len() + value.len()) + 8).sum();
        let ids_limit_bytes = (MAX_HEADER_BYTES - RESERVED_BYTES).saturating_sub(metadata_bytes);
        Self::with_ids_limit(path, spec, ids_limit_bytes)
    }

    fn with_ids_limit(path: &Path, spec: EmbeddingSpec, ids_limit_bytes: usize) -> Result<Self> {
        check_keys(path, &spec.metadata)?;
        let mut cu_seqlens = Spool::create(path)?;
        cu_seqlens.write(&0_i64.to_le_bytes())?;
        Ok(Self {
            path: path.to_owned(),
            file: AtomicFile::create(path)?,
            spec,
            values: Spool::create(path)?,
            ids: Spool::create(path)?,
            cu_seqlens,
            ids_json: Some(String::new()),
            ids_header_bytes: 0,
            ids_limit_bytes,
            num_seqs: 0,
            total_rows: 0,
            bytes: Vec::new(),
        })
    }

    fn append_id(&mut self, id: &str) -> Result<()> {
        self.ids.write(format!("{}\n", Cell(id)).as_bytes())?;
        if let Some(list) = &mut self.ids_json {
            let item = Value::from(id).to_string();
            self.ids_header_bytes += Value::from(item.as_str()).to_string().len();
            list.push(if list.is_empty() { '[' } else { ',' });
            list.push_str(&item);
            if self.ids_header_bytes > self.ids_limit_bytes {
                self.ids_json = None;
            }
        }
        Ok(())
    }

    /// Length field and JSON header, padded with blanks so that data start aligned.
    fn header(&mut self) -> Vec<u8> {
        let mut metadata: Map<String, Value> =
            self.spec.metadata.drain(..).map(|(key, value)| (key, Value::from(value))).collect();
        if let Some(mut list) = self.ids_json.take() {
            list.push_str(if list.is_empty() { "[]" } else { "]" });
            metadata.insert(IDS.to_owned(), Value::from(list));
        }
        let mut header = Map::new();
        header.insert("__metadata__".to_owned(), Value::from(metadata));
        let mut start_bytes = 0;
        if self.spec.layout == EmbeddingLayout::PerToken {
            // Eight-byte values first keep every tensor aligned.
            let end_bytes = 8 * (self.num_seqs + 1);
            let tensor = json!({"dtype": "I64", "shape": [self.num_seqs + 1],
                "data_offsets": [0, end_bytes]});
            header.insert(CU_SEQLENS.to_owned(), tensor);
            start_bytes = end_bytes;
        }
        let cols = self.spec.hidden_size as u64;
        let end_bytes = start_bytes + 4 * self.total_rows * cols;
        let tensor = json!({"dtype": "F32", "shape": [self.total_rows, cols],
            "data_offsets": [start_bytes, end_bytes]});
        header.insert(EMBEDDINGS.to_owned(), tensor);
        let mut text = Value::from(header).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.append(&mut text);
        bytes
    }
}

impl Sink for SafetensorsSink {
    fn append(&mut self, id: &str, rows: u64, values: &[f32]) -> Result<()> {
        to_le_bytes(values, &mut self.bytes);
        self.values.write(&self.bytes)?;
        self.append_id(id)?;
        self.num_seqs += 1;
        self.total_rows += rows;
        if self.spec.layout == EmbeddingLayout::PerToken {
            self.cu_seqlens.write(&self.total_rows.to_le_bytes())?;
        }
        Ok(())
    }

    fn add_metadata(&mut self, key: &str, value: &str) -> Result<()> {
        self.spec.metadata.push((key.to_owned(), value.to_owned()));
        check_keys(&self.path, &self.spec.metadata).inspect_err(|_| drop(self.spec.metadata.pop()))
    }

    fn close(mut self: Box<Self>) -> Result<OutputSet> {
        let mut outputs = OutputSet::new();
        if self.ids_json.is_none() {
            let mut sidecar = AtomicFile::create(ids_path(&self.path))?;
            self.ids.copy_to(&mut sidecar)?;
            outputs.push(sidecar);
        }
        let header = self.header();
        self.file.write_all(&header)?;
        if self.spec.layout == EmbeddingLayout::PerToken {
            self.cu_seqlens.copy_to(&mut self.file)?;
        }
        self.values.copy_to(&mut self.file)?;
        outputs.push(self.file);
        Ok(outputs)
    }
}

fn check_keys(path: &Path, metadata: &[(String, String)]) -> Result<()> {
    let mut keys: Vec<&str> = metadata.iter().map(|(key, _)| key.as_str()).collect();
    keys.push(IDS);
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(twice) => {
            let reason = format!("metadata key {:?} is reserved or given twice", twice[0]);
            Err(Error::EmbeddingSpec { path: path.to_owned(), reason })
        }
    }
}

/// Bytes that wait in a file without a name; the system removes it in every case.
struct Spool {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl Spool {
    fn create(path: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(parent_dir(path))
            .map_err(|source| Error::Create { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), writer: BufWriter::with_capacity(64 * 1024, file) })
    }

    fn named(&self, source: io::Error) -> Error {
        Error::Write { path: self.path.clone(), source }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(|error| self.named(error))
    }

    fn copy_to(&mut self, target: &mut AtomicFile) -> Result<()> {
        self.writer.flush().and_then(|()| self.writer.rewind()).map_err(|e| self.named(e))?;
        io::copy(self.writer.get_mut(), target).map_err(|e| self.named(e))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_features;

    fn write(path: &Path, ids_limit_bytes: usize) {
        let spec =
            EmbeddingSpec { hidden_size: 2, layout: EmbeddingLayout::Pooled, metadata: vec![] };
        let mut sink = SafetensorsSink::with_ids_limit(path, spec, ids_limit_bytes).unwrap();
        for id in ["first", "se\"cond", "third"] {
            sink.append(id, 1, &[1.0, 2.0]).unwrap();
        }
        Box::new(sink).close().unwrap().commit().unwrap();
    }

    #[test]
    fn ids_beyond_header_limit_go_to_sidecar() {
        let folder = tempfile::tempdir().unwrap();
        // Each id takes its quotes twice and their escapes: 11 + 16 + 11 bytes.
        for (limit_bytes, sidecar) in [(38, false), (37, true)] {
            let path = folder.path().join(format!("{limit_bytes}.safetensors"));
            write(&path, limit_bytes);
            assert_eq!(ids_path(&path).is_file(), sidecar, "{limit_bytes}");
            let features = read_features(&path, None).unwrap();
            assert_eq!(features.ids.unwrap(), ["first", "se\"cond", "third"]);
            assert_eq!(features.array.rows, 3);
        }
    }
}
