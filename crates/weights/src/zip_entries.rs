//! Where the entries of a zip file lie, without copying any of them.
//!
//! Owns the rules that keep an archive nobody vouches for harmless; must not know what its entries
//! are. PyTorch checkpoints and model bundles are such archives. The entry type is [`ZipEntries`].

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use zip::CompressionMethod;
use zip::read::{ArchiveOffset, Config, ZipArchive};

use crate::bytes::Bytes;
use crate::error::{Result, WeightsError};
use crate::printable::{one_line, printable};

/// The entries of an uncompressed zip file, by name.
#[derive(Debug)]
pub struct ZipEntries {
    bytes: Bytes,
    entries: HashMap<String, Range<usize>>,
}

impl ZipEntries {
    /// Reads the directory of the zip file `bytes`; `file` names it in messages.
    ///
    /// Only entries that are stored as they are can be borrowed, and nothing else is needed:
    /// neither torch nor this project compresses. Entries that share bytes are refused, as are
    /// names that would leave a folder.
    ///
    /// # Errors
    /// [`WeightsError::BadArchive`].
    pub fn open(file: &str, bytes: &Bytes) -> Result<Self> {
        Self::read(bytes).map_err(|what| WeightsError::BadArchive { file: one_line(file), what })
    }

    pub(crate) fn read(bytes: &Bytes) -> Result<Self, String> {
        // The offset is known so that a damaged file is not searched from end to end.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let mut archive = ZipArchive::with_config(config, Cursor::new(&**bytes))
            .map_err(|e| one_line(&format!("not a readable zip file ({e}); is it complete?")))?;
        if archive.has_duplicate_names() {
            return Err("two entries have the same name".to_owned());
        }
        let directory_start = archive.central_directory_start();
        let mut entries = HashMap::with_capacity(archive.len());
        let mut taken = Vec::with_capacity(archive.len());
        for index in 0..archive.len() {
            let entry = archive
                .by_index_raw(index)
                .map_err(|e| one_line(&format!("entry {index}: {e}")))?;
            let name = std::str::from_utf8(entry.name_raw())
                .map_err(|_| format!("entry {index}: its name is not UTF-8"))?;
            let wrong = |what: &str| format!("entry {}: {what}", printable(name));
            if !is_plain_path(name) {
                return Err(wrong("the name is not a plain relative path"));
            }
            if entry.encrypted() {
                return Err(wrong("it is encrypted"));
            }
            if entry.compression() != CompressionMethod::Stored {
                return Err(wrong("it is compressed; only entries stored as they are can be read"));
            }
            if entry.compressed_size() != entry.size() {
                return Err(wrong("its two sizes differ though it is not compressed"));
            }
            let outside = || wrong("it reaches beyond the end of the file");
            let start = entry.data_start().ok_or_else(outside)?;
            let end = start.checked_add(entry.size()).ok_or_else(outside)?;
            if end > directory_start.min(bytes.len() as u64) {
                return Err(outside());
            }
            taken.push((entry.header_start(), end));
            // Both are at most the length of the file.
            entries.insert(name.to_owned(), start as usize..end as usize);
        }
        taken.sort_unstable();
        if taken.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return Err("two entries share bytes".to_owned());
        }
        Ok(Self { bytes: bytes.clone(), entries })
    }

    /// Names of the entries, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The bytes of entry `name`, which share the archive's memory.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        self.bytes.slice(self.entries.get(name)?.clone())
    }

    /// Where entry `name` starts in the file.
    pub(crate) fn start(&self, name: &str) -> Option<usize> {
        Some(self.entries.get(name)?.start)
    }
}

fn is_plain_path(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(['\\', '\0', ':'])
        && name
            .strip_suffix('/')
            .unwrap_or(name)
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}
