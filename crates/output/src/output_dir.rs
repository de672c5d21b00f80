//! Owns the folder of a run's outputs. Must not decide what is in it.
//!
//! Entry type: [`OutputDir`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

/// Folders that this process made and does not keep yet.
static MADE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn made() -> MutexGuard<'static, Vec<PathBuf>> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the folders that were made and are empty; for a process that is about to exit.
pub(crate) fn discard_unkept_folders() {
    for path in made().drain(..) {
        let _ = fs::remove_dir(path);
    }
}

/// A folder for outputs; dropped before [`OutputDir::keep`], it is removed again if it was made for
/// this run and is empty.
#[derive(Debug)]
pub struct OutputDir {
    made: Option<PathBuf>,
}

impl OutputDir {
    /// Makes the folder, with its parents; an existing folder is fine.
    ///
    /// # Errors
    /// [`Error::Create`] where a file is in the way or the place cannot be written.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let is_there = path.exists();
        let create = |source| Error::Create { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(create)?;
        let made_now = (!is_there).then(|| path.to_owned());
        made().extend(made_now.clone());
        Ok(Self { made: made_now })
    }

    /// Keeps the folder from now on.
    pub fn keep(mut self) {
        if let Some(path) = self.made.take() {
            made().retain(|known| *known != path);
        }
    }
}

impl Drop for OutputDir {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            made().retain(|known| known != path);
            // A folder that holds something is not removed, which is as it should be.
            let _ = fs::remove_dir(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_dir_made_for_nothing_is_removed_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/out");
        drop(OutputDir::create(&path).unwrap());
        assert!(!path.exists());

        OutputDir::create(&path).unwrap().keep();
        drop(OutputDir::create(&path).unwrap());
        assert!(path.exists(), "it was there before");

        let unkept = folder.path().join("unkept");
        let dir = OutputDir::create(&unkept).unwrap();
        discard_unkept_folders();
        assert!(!unkept.exists() && path.exists());
        drop(dir);

        let filled = folder.path().join("filled");
        let dir = OutputDir::create(&filled).unwrap();
        fs::write(filled.join("a"), b"1").unwrap();
        drop(dir);
        assert!(filled.join("a").exists());
    }
}
