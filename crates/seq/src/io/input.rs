//! Naming and opening an input.
//!
//! Owns the meaning of `-` and the refusal of directories. Entry type: [`Input`].

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::interruptible::Interruptible;
use crate::error::SeqError;
use crate::supervision::Supervision;

/// Where sequences come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input, written `-`.
    Stdin,
    /// A file.
    Path(PathBuf),
}

impl Input {
    /// The input as it was given: `-` or the path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Stdin => Path::new("-"),
            Self::Path(path) => path,
        }
    }

    /// Checks that the input can be opened, without reading from it.
    ///
    /// # Errors
    /// [`SeqError::Open`] or [`SeqError::Directory`].
    pub fn check(&self) -> Result<(), SeqError> {
        match self {
            Self::Stdin => Ok(()),
            // Opening a pipe and closing it again would break its writer.
            Self::Path(path) => {
                let metadata = path.metadata().map_err(|source| self.cannot_open(source))?;
                if metadata.is_file() || metadata.is_dir() {
                    self.open_file(path)?;
                }
                Ok(())
            }
        }
    }

    /// Opens the input; `supervision` can end a read that waits for something to come.
    pub(crate) fn open(&self, supervision: &Supervision) -> Result<Box<dyn Read + Send>, SeqError> {
        let file = match self {
            #[cfg(unix)]
            Self::Stdin => stdin().map_err(|source| self.cannot_open(source))?,
            #[cfg(not(unix))]
            Self::Stdin => return Ok(Box::new(std::io::stdin())),
            Self::Path(path) => self.open_file(path)?,
        };
        if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(Box::new(file));
        }
        Ok(Box::new(Interruptible { file, supervision: supervision.clone() }))
    }

    fn open_file(&self, path: &Path) -> Result<File, SeqError> {
        let file = File::open(path).map_err(|source| self.cannot_open(source))?;
        let metadata = file.metadata().map_err(|source| self.cannot_open(source))?;
        if metadata.is_dir() {
            return Err(SeqError::Directory { path: path.to_owned() });
        }
        Ok(file)
    }

    fn cannot_open(&self, source: std::io::Error) -> SeqError {
        SeqError::Open { path: self.path().to_owned(), source }
    }
}

/// Standard input without the buffer of the standard library, whose content no poll would see.
#[cfg(unix)]
fn stdin() -> std::io::Result<File> {
    use std::os::fd::AsFd;

    std::io::stdin().as_fd().try_clone_to_owned().map(File::from)
}

impl<S: AsRef<OsStr> + ?Sized> From<&S> for Input {
    /// `-` is standard input, everything else a path.
    fn from(argument: &S) -> Self {
        let argument = argument.as_ref();
        if argument == "-" { Self::Stdin } else { Self::Path(argument.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_dash_is_stdin() {
        assert_eq!(Input::from("-"), Input::Stdin);
        assert_eq!(Input::from("./-"), Input::Path("./-".into()));
        assert_eq!(Input::Stdin.path(), Path::new("-"));
    }

    #[test]
    fn input_directory_and_missing_file_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = Input::from(folder.path()).check().unwrap_err();
        assert!(matches!(&error, SeqError::Directory { path } if path == folder.path()));
        let missing = folder.path().join("missing.fa");
        let error = Input::from(&missing).check().unwrap_err().to_string();
        assert!(error.contains("missing.fa: cannot open"), "{error}");
    }
}
