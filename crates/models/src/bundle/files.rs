//! Where the files of a bundle lie: a folder, an uncompressed zip archive, or the program itself.

use std::path::{Path, PathBuf};

use virnucpro_weights::{Bytes, ZipEntries};

use super::MANIFEST;
use crate::ModelError;

/// First bytes of a zip archive that holds a file.
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// Reads files by their path inside the bundle.
#[derive(Debug)]
pub(super) enum BundleFiles {
    /// Files in a folder.
    Folder(PathBuf),
    /// Entries of an archive.
    Archive(ZipEntries),
    /// Files compiled into the program.
    Embedded(&'static [(&'static str, &'static [u8])]),
}

impl BundleFiles {
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let bundle = path.display().to_string();
        if path.is_dir() {
            if path.join(MANIFEST).is_file() {
                return Ok(Self::Folder(path.to_owned()));
            }
            let reason = format!(
                "a folder without {MANIFEST}; `virnucpro models bundle` makes a bundle from models"
            );
            return Err(ModelError::bundle(&bundle, reason));
        }
        let bytes = Bytes::map(path).map_err(ModelError::io(path))?;
        if !bytes.starts_with(ZIP_MAGIC) {
            let reason = format!("not a bundle; one is a folder with {MANIFEST} or a .vnp file");
            return Err(ModelError::bundle(&bundle, reason));
        }
        Ok(Self::Archive(ZipEntries::open(&bundle, &bytes)?))
    }

    /// The bytes of one file; `bundle` names the bundle in errors.
    ///
    /// `path` is a plain relative path, which [`Manifest`](super::Manifest) has made sure of.
    pub(super) fn read(&self, bundle: &str, path: &str) -> Result<Bytes, ModelError> {
        let found = match self {
            Self::Folder(folder) => {
                let file = folder.join(path);
                return Bytes::map(&file).map_err(ModelError::io(&file));
            }
            Self::Archive(entries) => entries.get(path),
            Self::Embedded(files) => {
                let file = files.iter().find(|(name, _)| *name == path);
                file.map(|(_, bytes)| Bytes::from_static(bytes))
            }
        };
        found.ok_or_else(|| ModelError::bundle(bundle, format!("no file {path}")))
    }
}
