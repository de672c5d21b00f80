//! Owns files that appear complete or not at all. Must not decide what is in them.
//!
//! Entry type: [`AtomicFile`].

use crate::output_dir::discard_unkept_folders;
use crate::{Error, Result};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Large enough that a table row or an embedding rarely means a system call.
const BUFFER_BYTES: usize = 256 * 1024;

/// Partial names of this process that nobody has begun to commit.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn forget(partial: &Path) {
    unfinished().retain(|name| name != partial);
}

/// Removes every file that was begun and is not being committed, and the folder made for them; for
/// a process that is about to exit while others still write. What they write afterwards is lost
/// with the file.
pub fn discard_unfinished_files() {
    for partial in unfinished().drain(..) {
        // The process ends either way; the next run replaces a leftover.
        let _ = fs::remove_file(partial);
    }
    discard_unkept_folders();
}

/// A buffered file that is written under `<name>.partial` beside its target.
///
/// [`commit`](Self::commit) gives it its final name; dropping it without that
/// removes it. A lock on the partial file keeps a second run from writing the same
/// output, and lets a partial file left by a killed run be replaced.
/// A target that is a symbolic link is replaced where the link points.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    partial: PathBuf,
    /// `None` only after the rename.
    writer: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Starts a file that will be called `path`.
    ///
    /// # Errors
    /// [`Error::NotRegular`] where `path` is a directory, device or pipe,
    /// [`Error::Busy`] where another run writes it, [`Error::Create`] where the folder
    /// is missing or cannot be written.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let target = resolve_target(path.as_ref())?;
        let mut name: OsString = target.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = target.with_file_name(name);
        let file = open_locked(&partial, &target)?;
        unfinished().push(partial.clone());
        let writer = Some(BufWriter::with_capacity(BUFFER_BYTES, file));
        Ok(Self { target, partial, writer })
    }

    /// The final file name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Makes the file durable and gives it its final name.
    ///
    /// # Errors
    /// [`Error::Write`] or [`Error::Rename`]; the partial file is removed then.
    pub fn commit(mut self) -> Result<()> {
        self.sync()?;
        self.rename()?;
        sync_parent(&self.target)
    }

    /// Writes the buffer out and waits until the bytes are on disk.
    pub(crate) fn sync(&mut self) -> Result<()> {
        forget(&self.partial);
        let path = &self.target;
        let Some(writer) = self.writer.as_mut() else {
            return Ok(());
        };
        writer
            .flush()
            .and_then(|()| writer.get_ref().sync_all())
            .map_err(|source| Error::Write { path: path.clone(), source })
    }

    /// Gives the file its final name; [`sync`](Self::sync) comes first.
    pub(crate) fn rename(&mut self) -> Result<()> {
        fs::rename(&self.partial, &self.target).map_err(|source| Error::Rename {
            partial: self.partial.clone(),
            path: self.target.clone(),
            source,
        })?;
        self.writer = None;
        Ok(())
    }

    fn writer(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.writer.as_mut().ok_or_else(|| io::Error::other("the file is already committed"))
    }

    fn named(&self, error: io::Error) -> io::Error {
        let text = format!("cannot write {}: {error}", self.target.display());
        io::Error::new(error.kind(), text)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.writer()?.write(bytes);
        outcome.map_err(|error| self.named(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.writer()?.flush();
        outcome.map_err(|error| self.named(error))
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let outcome = self.writer()?.seek(position);
        outcome.map_err(|error| self.named(error))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            forget(&self.partial);
            // Nobody can act on a failure here, and the next run replaces the leftover.
            let _ = fs::remove_file(&self.partial);
            // Taken apart so that dropping it does not write the buffer out.
            drop(writer.into_parts());
        }
    }
}

/// The folder that holds `path`.
pub(crate) fn parent_dir(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the renames inside the folder of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let outcome = File::open(parent_dir(path)).and_then(|folder| folder.sync_all());
    match outcome {
        // Some network and user-space file systems know no sync of a folder.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput
                    | io::ErrorKind::Unsupported
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        other => other.map_err(|source| Error::Write { path: path.to_owned(), source }),
    }
}

fn resolve_target(path: &Path) -> Result<PathBuf> {
    let create = |source| Error::Create { path: path.to_owned(), source };
    if path.file_name().is_none() {
        return Err(create(io::Error::new(io::ErrorKind::InvalidInput, "not a file name")));
    }
    let kind = match fs::metadata(path) {
        Ok(found) if found.is_file() => None,
        Ok(found) if found.is_dir() => Some("a directory"),
        Ok(_) => Some("a device, pipe or socket"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(create(source)),
    };
    if let Some(kind) = kind {
        return Err(Error::NotRegular { path: path.to_owned(), kind });
    }
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
        && let Ok(resolved) = fs::canonicalize(path)
    {
        return Ok(resolved);
    }
    Ok(path.to_owned())
}

fn open_locked(partial: &Path, target: &Path) -> Result<File> {
    let create = |source| Error::Create { path: target.to_owned(), source };
    // `create_new` never follows a link that someone left under the partial name.
    let open_new = || OpenOptions::new().write(true).create_new(true).open(partial);
    let file = match open_new() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            remove_stale(partial, target)?;
            open_new().map_err(create)?
        }
        other => other.map_err(create)?,
    };
    // A file system without locks gives up only the protection against a second run.
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Err(Error::Busy { path: target.to_owned() });
    }
    Ok(file)
}

fn remove_stale(partial: &Path, target: &Path) -> Result<()> {
    if let Ok(file) = File::open(partial)
        && let Err(TryLockError::WouldBlock) = file.try_lock()
    {
        return Err(Error::Busy { path: target.to_owned() });
    }
    match fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::Create { path: partial.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OutputSet;

    /// A file whose buffer can be filled but never written out, as on a full disk.
    fn unwritable(path: &Path) -> AtomicFile {
        let mut file = AtomicFile::create(path).unwrap();
        let read_only = File::open(&file.partial).unwrap();
        file.writer = Some(BufWriter::with_capacity(BUFFER_BYTES, read_only));
        file
    }

    #[test]
    fn output_set_failed_write_changes_no_final_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "old").unwrap();
        let mut set = OutputSet::new();
        for mut file in [AtomicFile::create(path("a")).unwrap(), unwritable(&path("b"))] {
            file.write_all(b"new").unwrap();
            set.push(file);
        }
        let message = set.commit().unwrap_err().to_string();
        assert!(message.starts_with(&format!("cannot write {}: ", path("b").display())));
        assert_eq!(fs::read_to_string(path("a")).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn atomic_file_failed_write_names_target() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.txt");
        let error = unwritable(&path).write_all(&vec![b'x'; 2 * BUFFER_BYTES]).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot write {}: ", path.display())));
    }

    #[test]
    fn parent_dir_of_bare_name_is_current_folder() {
        assert_eq!(parent_dir(Path::new("table.txt")), Path::new("."));
        assert_eq!(parent_dir(Path::new("out/table.txt")), Path::new("out"));
        assert_eq!(parent_dir(Path::new("/table.txt")), Path::new("/"));
    }
}
