//! Outputs of several files that appear whole or not at all.
//!
//! Owns the partial name, the refusal to overwrite and the clean-up; must not know what is written.
//! The entry type is [`PartialFolder`].

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use virnucpro_weights::one_line;

use crate::ModelError;

/// A folder that is filled under `<output>.partial` and then renamed; dropped before that, it is
/// removed with everything in it.
#[derive(Debug)]
pub(crate) struct PartialFolder {
    output: PathBuf,
    folder: PathBuf,
}

impl PartialFolder {
    /// Starts the folder; its parents are made where they are missing.
    ///
    /// # Errors
    /// [`ModelError::OutputExists`] where there is something already, other than an empty folder,
    /// or where another run is filling its partial folder or has left it behind.
    pub(crate) fn create(output: &Path) -> Result<Self, ModelError> {
        let is_empty_folder =
            || fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_none());
        if !is_empty_folder() {
            refuse_existing(output)?;
        }
        let Some(name) = output.file_name() else {
            let error = io::Error::new(ErrorKind::InvalidInput, "not a name for an output");
            return Err(ModelError::io(output)(error));
        };
        let mut partial = name.to_owned();
        partial.push(".partial");
        let folder = output.with_file_name(partial);
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(ModelError::io(parent))?;
        }
        refuse_existing(&folder)?;
        fs::create_dir(&folder).map_err(ModelError::io(&folder))?;
        Ok(Self { output: output.to_owned(), folder })
    }

    /// Where to put the files.
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Writes a file and waits until it is on disk.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ModelError> {
        let path = self.folder.join(name);
        let write = || -> io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(ModelError::io(&path))
    }

    /// Makes the folder inside this one, if it is not there yet.
    pub(crate) fn make_folder(&self, name: &str) -> Result<(), ModelError> {
        let path = self.folder.join(name);
        fs::create_dir_all(&path).map_err(ModelError::io(&path))
    }

    /// Gives the folder its final name.
    pub(crate) fn finish(self) -> Result<(), ModelError> {
        self.rename(&self.folder)
    }

    /// Gives the file `name` of the folder the final name, and removes the rest.
    pub(crate) fn finish_as_file(self, name: &str) -> Result<(), ModelError> {
        self.rename(&self.folder.join(name))
    }

    fn rename(&self, from: &Path) -> Result<(), ModelError> {
        fs::rename(from, &self.output).map_err(ModelError::io(&self.output))?;
        // The new name must survive a power cut too; where folders cannot be synced, it is as
        // durable as the system makes it.
        let parent = self.output.parent().filter(|parent| !parent.as_os_str().is_empty());
        let _ = File::open(parent.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        // After `finish` there is nothing here. Before, the error that matters is the one that
        // led here; a folder that cannot be removed is named by the next run.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Refuses an output that is there already, whatever it is.
pub(crate) fn refuse_existing(output: &Path) -> Result<(), ModelError> {
    match fs::symlink_metadata(output) {
        Ok(_) => Err(ModelError::OutputExists { file: one_line(&output.display().to_string()) }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(ModelError::io(output)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_folder_finished_or_dropped_leaves_the_output_or_nothing() {
        let place = tempfile::tempdir().unwrap();
        let output = place.path().join("made/out");
        let partial = place.path().join("made/out.partial");
        {
            let folder = PartialFolder::create(&output).unwrap();
            folder.write("a", b"1").unwrap();
            assert!(partial.join("a").exists() && !output.exists());
            let error = PartialFolder::create(&output).unwrap_err().to_string();
            assert!(error.contains("out.partial: exists already"), "{error}");
        }
        assert!(!partial.exists() && !output.exists());

        fs::create_dir(&output).unwrap();
        let folder = PartialFolder::create(&output).unwrap();
        folder.make_folder("sub").unwrap();
        folder.write("sub/a", b"1").unwrap();
        folder.finish().unwrap();
        assert_eq!(fs::read(output.join("sub/a")).unwrap(), b"1");
        assert!(!partial.exists());

        let error = PartialFolder::create(&output).unwrap_err();
        assert!(matches!(error, ModelError::OutputExists { .. }), "{error}");
        assert!(output.join("sub/a").exists() && !partial.exists());
    }

    #[test]
    fn partial_folder_finished_as_file_keeps_only_that_file() {
        let place = tempfile::tempdir().unwrap();
        // A trailing slash must not put the partial folder inside the output.
        let output = place.path().join("out/");
        let folder = PartialFolder::create(&output).unwrap();
        assert_eq!(folder.path(), place.path().join("out.partial"));
        drop(folder);
        let output = place.path().join("out.vnp");
        let folder = PartialFolder::create(&output).unwrap();
        folder.write("a", b"1").unwrap();
        folder.write("b", b"2").unwrap();
        folder.finish_as_file("b").unwrap();
        assert_eq!(fs::read(&output).unwrap(), b"2");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        assert!(PartialFolder::create(Path::new("..")).is_err());
    }
}
