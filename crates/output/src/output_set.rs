//! Owns the joint commit of one run's files. Must not write their content.
//!
//! Entry type: [`OutputSet`].

use crate::{
    AtomicFile, Result,
    atomic::{parent_dir, sync_parent},
};
use std::{collections::BTreeSet, path::PathBuf};

/// The finished files of one run, which get their final names together.
///
/// Every file is on disk before the first rename, so a full disk or a failed write
/// changes no final file. Dropping the set removes all partial files.
#[derive(Debug, Default)]
pub struct OutputSet {
    files: Vec<AtomicFile>,
}

impl OutputSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file whose content is complete; files are renamed in the order added.
    pub fn push(&mut self, file: AtomicFile) {
        self.files.push(file);
    }

    /// Adds every file of `other` after those of this set.
    pub fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
    }

    /// Final names, in commit order.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| file.path().to_owned()).collect()
    }

    /// Makes all files durable, then renames them in order.
    ///
    /// # Errors
    /// [`Error::Write`](crate::Error::Write) leaves every final name as it was.
    /// [`Error::Rename`](crate::Error::Rename) leaves the files before the named one
    /// in place, complete, and removes the rest.
    pub fn commit(mut self) -> Result<()> {
        for file in &mut self.files {
            file.sync()?;
        }
        for file in &mut self.files {
            file.rename()?;
        }
        let mut folders = BTreeSet::new();
        for file in &self.files {
            if folders.insert(parent_dir(file.path())) {
                sync_parent(file.path())?;
            }
        }
        Ok(())
    }
}
