//! One type for every kind of checkpoint.
//!
//! Owns the choice of reader (by content, never by name) and the joining of shards; must not
//! interpret a format itself. The entry type is [`Checkpoint`].

mod directory;
mod index;
mod open;
mod random;
mod sniff;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use virnucpro_backend::TensorView;

use crate::background_hash::BackgroundHash;
use crate::bytes::Bytes;
use crate::pickle::Value;
use crate::stored_tensor::StoredTensor;
use crate::summary::Summary;
use crate::tensor_reader::TensorReader;

pub use random::{RandomKind, RandomTensor};

/// Kind of file the tensors come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// safetensors, one file or several.
    Safetensors,
    /// `torch.save` archives, one file or several.
    PyTorch,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::PyTorch => "pytorch",
        })
    }
}

/// A checkpoint: named tensors that stay in their files until they are looked at.
///
/// Opening reads headers only, so files of many gigabytes open in milliseconds. Every offset was
/// checked against the real length of its file by then.
#[derive(Debug)]
pub struct Checkpoint {
    source: String,
    format: Format,
    files: Vec<(String, Bytes)>,
    tensors: BTreeMap<String, Arc<StoredTensor>>,
    metadata: BTreeMap<String, String>,
    root: Option<Value>,
    classes: Vec<String>,
}

impl Checkpoint {
    /// What was opened: a path, or the name given with the bytes.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Kind of file.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Number of named tensors; none for a pickle that holds other data, see
    /// [`Checkpoint::root`].
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no named tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Tensor names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Element type, shape and layout of tensor `name`, without touching its elements.
    pub fn tensor(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name).map(Arc::as_ref)
    }

    /// Tensor `name` with the name as the checkpoint keeps it.
    pub(crate) fn entry(&self, name: &str) -> Option<(&str, &StoredTensor)> {
        self.tensors.get_key_value(name).map(|(name, tensor)| (name.as_str(), tensor.as_ref()))
    }

    /// The elements of tensor `name`: borrowed from the file, or gathered once if the file holds
    /// them in another order.
    pub fn get(&self, name: &str) -> Option<TensorView<'_>> {
        self.tensor(name).map(StoredTensor::view)
    }

    /// Free-form text pairs of a safetensors file; empty for other formats.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The whole pickled value of a PyTorch file, for settings beside the tensors.
    pub fn root(&self) -> Option<&Value> {
        self.root.as_ref()
    }

    /// Classes a pickle mentions, sorted; empty for other formats.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Files (the index of a sharded checkpoint among them), in the order they were opened.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(file, _)| file.as_str())
    }

    /// Begins to hash every file, each with a thread of its own, in the order of [`Self::files`].
    pub fn begin_sha256(&self) -> Vec<BackgroundHash> {
        self.files.iter().map(|(_, bytes)| BackgroundHash::start(bytes.clone())).collect()
    }

    /// Starts taking tensors with checks of shape and type.
    pub fn reader(&self) -> TensorReader<'_> {
        TensorReader::new(self)
    }

    /// What the checkpoint holds, to print or to serialise.
    pub fn summary(&self) -> Summary {
        Summary::of(self)
    }
}
