//! A shared, cheaply cloned region of bytes.
//!
//! Owns where checkpoint bytes live (a mapped file, the binary itself, the heap); must not
//! interpret them. The entry type is [`Bytes`].

use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use virnucpro_backend::MappedFile;

/// Who keeps the bytes alive.
#[derive(Clone)]
enum Owner {
    Mapped(Arc<MappedFile>),
    Static(&'static [u8]),
    Shared(Arc<[u8]>),
}

/// A region of bytes that clones in constant time and keeps its owner alive.
#[derive(Clone)]
pub struct Bytes {
    owner: Owner,
    // Always inside the owner; `slice` is the only way to narrow it.
    range: Range<usize>,
}

impl Bytes {
    /// Maps a whole file into memory; nothing is read until it is looked at.
    ///
    /// # Errors
    /// The error of opening or mapping `path`; a directory, pipe or device is refused.
    pub fn map(path: &Path) -> io::Result<Self> {
        let kind = std::fs::metadata(path)?;
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // Opening a pipe would block until somebody writes to it.
        if !kind.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let map = MappedFile::open(path)?;
        let range = 0..map.len();
        Ok(Self { owner: Owner::Mapped(Arc::new(map)), range })
    }

    /// Wraps bytes that are part of the program.
    pub fn from_static(bytes: &'static [u8]) -> Self {
        Self { owner: Owner::Static(bytes), range: 0..bytes.len() }
    }

    /// SHA-256 of the bytes, in lower-case hexadecimal. Reads all of them.
    pub fn sha256(&self) -> String {
        hexadecimal(&Sha256::digest(self))
    }

    /// [`Self::sha256`], or `None` once `is_stopped`, which is asked every millisecond or so.
    pub(crate) fn sha256_unless(&self, is_stopped: impl Fn() -> bool) -> Option<String> {
        let mut hash = Sha256::new();
        for piece in self.chunks(1 << 20) {
            if is_stopped() {
                return None;
            }
            hash.update(piece);
        }
        Some(hexadecimal(&hash.finalize()))
    }

    /// The part `range` of this region, or `None` when it does not lie inside.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.range.len() {
            return None;
        }
        let start = self.range.start + range.start;
        Some(Self { owner: self.owner.clone(), range: start..start + range.len() })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Arc::<[u8]>::from(bytes))
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self { range: 0..bytes.len(), owner: Owner::Shared(bytes) }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let whole: &[u8] = match &self.owner {
            Owner::Mapped(map) => map,
            Owner::Static(bytes) => bytes,
            Owner::Shared(bytes) => bytes,
        };
        &whole[self.range.clone()]
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = match self.owner {
            Owner::Mapped(_) => "mapped",
            Owner::Static(_) => "static",
            Owner::Shared(_) => "shared",
        };
        write!(f, "Bytes({owner}, {} bytes)", self.range.len())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn slice_out_of_bounds_is_none() {
        let bytes = Bytes::from(vec![0, 1, 2, 3, 4, 5]);
        let middle = bytes.slice(2..5).unwrap();
        assert_eq!(&*middle, [2, 3, 4]);
        assert_eq!(&*middle.slice(1..3).unwrap(), [3, 4]);
        // Inside the owner, outside the region.
        assert!(middle.slice(1..4).is_none());
        assert!(bytes.slice(6..6).unwrap().is_empty());
        assert!(bytes.slice(7..7).is_none());
        assert!(bytes.slice(usize::MAX..usize::MAX).is_none());
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = bytes.slice(3..2);
        assert!(reversed.is_none());
    }

    #[test]
    fn hashing_asks_before_every_piece_whether_it_is_to_stop() {
        let bytes = Bytes::from(vec![1; (5 << 20) + 1]);
        let asked = Cell::new(0);
        let stop_after = |pieces| {
            asked.set(0);
            bytes.sha256_unless(|| asked.replace(asked.get() + 1) == pieces)
        };
        assert_eq!((stop_after(2), asked.get()), (None, 3));
        assert_eq!((stop_after(6), asked.get()), (Some(bytes.sha256()), 6));
    }

    #[test]
    fn map_directory_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Bytes::map(folder.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn map_file_equals_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, b"hello").unwrap();
        assert_eq!(&*Bytes::map(&path).unwrap().slice(1..3).unwrap(), b"el");
        std::fs::write(&path, b"").unwrap();
        assert!(Bytes::map(&path).unwrap().is_empty());
    }
}
