//! From a path or bytes to a [`Checkpoint`].

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Checkpoint, Format, directory, sniff};
use crate::bytes::Bytes;
use crate::error::{Result, WeightsError};
use crate::printable::one_line;
use crate::{safetensors, state_dict, torch};

impl Checkpoint {
    /// Opens a file, or a folder in Hugging Face layout.
    ///
    /// A file's format is told from its content. Of a folder, the first of `model.safetensors`,
    /// `model.safetensors.index.json`, `pytorch_model.bin` and `pytorch_model.bin.index.json`
    /// is taken. The files must not change while the checkpoint is in use.
    ///
    /// # Errors
    /// Any [`WeightsError`] of reading; each names the file.
    pub fn open(path: &Path) -> Result<Self> {
        if fs::metadata(path).map_err(|e| io_error(path, e))?.is_dir() {
            directory::open(path)
        } else {
            Self::from_bytes(&shown(path), map(path)?)
        }
    }

    /// Reads a checkpoint of one file that is in memory already; `name` stands in messages.
    ///
    /// # Errors
    /// Any [`WeightsError`] of reading.
    pub fn from_bytes(name: &str, bytes: Bytes) -> Result<Self> {
        let source = one_line(name);
        let format = sniff::format(&bytes)
            .map_err(|what| WeightsError::UnknownFormat { file: source.clone(), what })?;
        let files = vec![(source.clone(), bytes.clone())];
        match format {
            Format::Safetensors => {
                let contents = safetensors::read(&source, &bytes)?;
                let tensors = contents.tensors.into_iter().map(|(k, v)| (k, Arc::new(v))).collect();
                let metadata = contents.metadata;
                Ok(Self { source, format, files, tensors, metadata, root: None, classes: vec![] })
            }
            Format::PyTorch => {
                let torch::Contents { root, classes } = torch::read(&source, &bytes)?;
                let tensors = if state_dict::is_candidate(&root) {
                    state_dict::state_dict(&source, &root)?
                } else {
                    BTreeMap::new()
                };
                let metadata = BTreeMap::new();
                Ok(Self { source, format, files, tensors, metadata, root: Some(root), classes })
            }
        }
    }
}

/// Maps a file, with its name in the error.
pub(super) fn map(path: &Path) -> Result<Bytes> {
    Bytes::map(path).map_err(|e| io_error(path, e))
}

/// A path as it stands in messages.
pub(super) fn shown(path: &Path) -> String {
    one_line(&path.display().to_string())
}

pub(super) fn io_error(path: &Path, source: io::Error) -> WeightsError {
    WeightsError::Io { file: shown(path), source }
}
