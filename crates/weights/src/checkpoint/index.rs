//! The index of a sharded checkpoint.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Result, WeightsError};
use crate::printable::{one_line, printable};
use crate::unique_map::UniqueMap;

/// Longest index that is read; the one of a model with 1000 layers stays under 2 MB.
const MAX_INDEX_BYTES: usize = 100_000_000;

/// Most shards; each is an open map.
const MAX_SHARDS: usize = 1000;

/// Shard files and the tensors in each.
pub(super) struct Index {
    pub(super) shards: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct File {
    weight_map: UniqueMap<String>,
}

impl Index {
    /// Reads an index; shards are plain file names, so that it cannot point outside its folder.
    pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Self> {
        let bad = |what: String| WeightsError::BadIndex { file: file.to_owned(), what };
        if bytes.len() > MAX_INDEX_BYTES {
            return Err(bad(format!("{} bytes are over {MAX_INDEX_BYTES}", bytes.len())));
        }
        let File { weight_map: UniqueMap(pairs) } = serde_json::from_slice(bytes)
            .map_err(|e| bad(one_line(&format!("not a valid index: {e}"))))?;
        let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (tensor, shard) in pairs {
            if !is_plain_file_name(&shard) {
                let what = format!("shard {} is not a plain file name", printable(&shard));
                return Err(bad(what));
            }
            shards.entry(shard).or_default().push(tensor);
        }
        if shards.len() > MAX_SHARDS {
            return Err(bad(format!("{} shards are over {MAX_SHARDS}", shards.len())));
        }
        Ok(Self { shards })
    }
}

fn is_plain_file_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && !name.contains("..")
        && !name.contains(['/', '\\', ':'])
        && !name.chars().any(char::is_control)
}
