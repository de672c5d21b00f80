//! A text file that grows by whole lines and never holds part of one.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::MonitorError;

/// Bytes gathered before they are written of their own accord.
const BUFFER_BYTES: usize = 64 * 1024;

/// A log file. What was appended is written whole at [`LineFile::flush`] or when enough has
/// gathered, so a process that dies leaves a file that ends where a line ends. After a failed write
/// nothing more is written; the failure is reported by [`LineFile::failure`].
#[derive(Debug)]
pub(crate) struct LineFile {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    failure: Option<MonitorError>,
}

impl LineFile {
    /// Creates the file; one that exists is replaced.
    pub(crate) fn create(path: &Path) -> Result<LineFile, MonitorError> {
        let file = File::create(path).map_err(|source| MonitorError::Create {
            path: path.to_owned(),
            source: Arc::new(source),
        })?;
        Ok(LineFile { path: path.to_owned(), file, buffer: Vec::new(), failure: None })
    }

    /// Appends what `write` writes, all of it or, when it fails, nothing.
    pub(crate) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        if self.failure.is_some() {
            return;
        }
        let before = self.buffer.len();
        if let Err(source) = write(&mut self.buffer) {
            self.buffer.truncate(before);
            self.flush();
            self.fail(source);
        } else if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    /// Writes what was appended to the file.
    pub(crate) fn flush(&mut self) {
        if self.failure.is_none() && !self.buffer.is_empty() {
            let written = self.file.write_all(&self.buffer);
            self.buffer.clear();
            if let Err(source) = written {
                self.fail(source);
            }
        }
    }

    /// The first failure, if there was one.
    pub(crate) fn failure(&self) -> Option<MonitorError> {
        self.failure.clone()
    }

    fn fail(&mut self, source: io::Error) {
        let failure = MonitorError::Write { path: self.path.clone(), source: Arc::new(source) };
        tracing::warn!("{failure}; it is written no further");
        self.failure = Some(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_file_in_a_missing_folder_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("log.jsonl");
        let message = LineFile::create(&path).unwrap_err().to_string();
        assert!(message.contains("log.jsonl"), "{message}");
        assert_eq!(message.lines().count(), 1);
    }

    #[test]
    fn line_file_whose_writer_fails_keeps_whole_lines_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = LineFile::create(&path).unwrap();
        file.append(|out| out.write_all(b"whole\n"));
        file.append(|out| {
            out.write_all(b"par")?;
            Err(io::Error::other("no more"))
        });
        file.append(|out| out.write_all(b"after\n"));
        file.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole\n");
        assert!(file.failure().unwrap().to_string().contains("no more"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn line_file_on_a_full_disk_reports_it_once_and_goes_on() {
        let mut file = LineFile::create(Path::new("/dev/full")).unwrap();
        file.append(|out| out.write_all(b"line\n"));
        file.flush();
        file.append(|out| out.write_all(b"line\n"));
        file.flush();
        assert!(file.failure().unwrap().to_string().contains("/dev/full"));
    }
}
