//! Folders in Hugging Face layout, whole or sharded.

use std::collections::BTreeMap;
use std::path::Path;

use super::index::Index;
use super::open::{map, shown};
use super::{Checkpoint, Format};
use crate::error::{Result, WeightsError};
use crate::printable::printable;

/// File names in the order they are tried; `true` marks an index of shards.
const CANDIDATES: [(&str, bool); 4] = [
    ("model.safetensors", false),
    ("model.safetensors.index.json", true),
    ("pytorch_model.bin", false),
    ("pytorch_model.bin.index.json", true),
];

/// Opens the first candidate that `folder` holds.
pub(super) fn open(folder: &Path) -> Result<Checkpoint> {
    for (name, is_index) in CANDIDATES {
        let path = folder.join(name);
        // A broken link is there but cannot be opened; it must be reported, not skipped.
        if path.symlink_metadata().is_err() {
            continue;
        }
        return if is_index { open_shards(folder, &path) } else { Checkpoint::open(&path) };
    }
    Err(WeightsError::NoWeights {
        folder: shown(folder),
        looked_for: CANDIDATES.iter().map(|&(name, _)| name).collect(),
    })
}

/// Joins the shards that an index names. The index is the authority: every tensor it names must
/// be in the shard it says, and a tensor it does not name is not part of the checkpoint.
fn open_shards(folder: &Path, path: &Path) -> Result<Checkpoint> {
    let source = shown(path);
    let bytes = map(path)?;
    let index = Index::read(&source, &bytes)?;
    let mut files = vec![(source.clone(), bytes)];
    let mut tensors = BTreeMap::new();
    let mut metadata = BTreeMap::new();
    let mut classes = Vec::new();
    let mut format: Option<Format> = None;
    for (shard, names) in index.shards {
        let bad = |what: String| WeightsError::BadIndex { file: source.clone(), what };
        let path = folder.join(&shard);
        let mut part = match Checkpoint::open(&path) {
            Err(WeightsError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                return Err(bad(format!("shard {shard} is missing")));
            }
            part => part?,
        };
        if *format.get_or_insert(part.format) != part.format {
            return Err(bad(format!("shard {shard} is of another format than the ones before")));
        }
        for name in names {
            let tensor = part.tensors.remove(&name).ok_or_else(|| {
                bad(format!("tensor {} is not in shard {shard}", printable(&name)))
            })?;
            tensors.insert(name, tensor);
        }
        files.append(&mut part.files);
        metadata.append(&mut part.metadata);
        classes.append(&mut part.classes);
    }
    classes.sort_unstable();
    classes.dedup();
    let Some(format) = format else {
        return Err(WeightsError::BadIndex { file: source, what: "it names no shard".to_owned() });
    };
    Ok(Checkpoint { source, format, files, tensors, metadata, root: None, classes })
}
