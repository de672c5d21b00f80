//! A read-only memory-mapped file behind a safe type.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// A whole file mapped read-only into memory; dereferences to its bytes.
#[derive(Debug)]
pub struct MappedFile {
    map: memmap2::Mmap,
}

impl MappedFile {
    /// Maps `path`.
    ///
    /// # Errors
    /// The error of opening or mapping the file; a directory is refused as
    /// [`io::ErrorKind::IsADirectory`].
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // SAFETY: the map is private and read-only, and only ever seen as `&[u8]`. The one thing
        // that could break it is another process truncating the file while it is mapped; then
        // the access ends the process with SIGBUS, it cannot read foreign memory. Model files
        // are documented as not to be changed while they are in use.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Self { map })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
