//! Where the files of a bundle lie: a folder, an uncompressed zip archive, or the program itself.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Component, Path, PathBuf};

use virnucpro_weights::Bytes;
use zip::{CompressionMethod, ZipArchive};

use super::MANIFEST;
use crate::ModelError;

/// Reads files by their path inside the bundle.
#[derive(Debug)]
pub(super) enum BundleFiles {
    Folder(PathBuf),
    Listed(BTreeMap<String, Bytes>),
}

impl BundleFiles {
    pub(super) fn embedded(files: &'static [(&'static str, &'static [u8])]) -> Self {
        let entry = |&(name, bytes): &(&str, _)| (name.to_owned(), Bytes::from_static(bytes));
        Self::Listed(files.iter().map(entry).collect())
    }

    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let bundle = path.display().to_string();
        if path.is_dir() {
            if path.join(MANIFEST).is_file() {
                return Ok(Self::Folder(path.to_owned()));
            }
            let reason = format!(
                "a folder without {MANIFEST}; `virnucpro models bundle` makes a bundle from models"
            );
            return Err(ModelError::Bundle { bundle, reason });
        }
        let bytes =
            Bytes::map(path).map_err(|source| ModelError::Io { file: bundle.clone(), source })?;
        let listed = list_archive(&bytes).map_err(|reason| ModelError::Bundle {
            bundle,
            reason: format!("not a bundle file: {reason}"),
        })?;
        Ok(Self::Listed(listed))
    }

    /// The bytes of one file; `bundle` names the bundle in errors.
    pub(super) fn read(&self, bundle: &str, path: &str) -> Result<Bytes, ModelError> {
        let refuse = |reason: String| ModelError::Bundle { bundle: bundle.to_owned(), reason };
        match self {
            Self::Listed(files) => {
                files.get(path).cloned().ok_or_else(|| refuse(format!("no file {path}")))
            }
            Self::Folder(folder) => {
                let inside = Path::new(path);
                if !inside.components().all(|part| matches!(part, Component::Normal(_))) {
                    return Err(refuse(format!("{path:?} is not a path inside the bundle")));
                }
                let file = folder.join(inside);
                Bytes::map(&file)
                    .map_err(|source| ModelError::Io { file: file.display().to_string(), source })
            }
        }
    }
}

/// Finds the entries of a zip archive without copying them; compressed entries are refused.
fn list_archive(bytes: &Bytes) -> Result<BTreeMap<String, Bytes>, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes.clone())).map_err(|e| e.to_string())?;
    let mut files = BTreeMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|e| e.to_string())?;
        let name = entry.name().map_err(|e| e.to_string())?.into_owned();
        if entry.compression() != CompressionMethod::Stored {
            return Err(format!("{name} is compressed"));
        }
        let start = entry.data_start().ok_or_else(|| format!("{name} has no data"))?;
        let end = start.checked_add(entry.size());
        let range = end.and_then(|end| Some(start.try_into().ok()?..end.try_into().ok()?));
        let data = range.and_then(|range| bytes.slice(range));
        files.insert(name.clone(), data.ok_or_else(|| format!("{name} runs past the end"))?);
    }
    Ok(files)
}
