//! Owns reading `prediction_results.txt`. Must not group or rewrite rows.
//!
//! Entry type: [`PredictionReader`].

use crate::{
    Error, Result,
    consensus::group_of_frame_id,
    prediction::{PREDICTION_HEADER, Prediction},
};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// Longest accepted line; a file without line ends is refused before it fills memory.
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;
const COLUMNS: usize = 4;

/// One row of `prediction_results.txt`.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionRow {
    /// Frame id, two characters or more.
    pub id: String,
    /// Label as written.
    pub prediction: Prediction,
    /// p(others).
    pub score1: f64,
    /// p(virus).
    pub score2: f64,
}

/// Iterates over the rows of `prediction_results.txt`.
///
/// Scores may be in the original tool's text or in its refactoring's (f64 digits).
/// CRLF line ends, blank lines and a byte order mark are accepted; quotes are letters.
/// After an error the iterator ends.
#[derive(Debug)]
pub struct PredictionReader<R> {
    reader: R,
    path: PathBuf,
    /// Number of the last line read, from 1.
    line: u64,
    buffer: Vec<u8>,
    failed: bool,
}

impl PredictionReader<BufReader<File>> {
    /// Opens a table and checks its header.
    ///
    /// # Errors
    /// [`Error::Read`] where it cannot be opened, [`Error::Table`] where the first line
    /// is not the header.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file =
            File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::new(BufReader::with_capacity(256 * 1024, file), path)
    }
}

impl<R: BufRead> PredictionReader<R> {
    /// Reads a table from any source; `path` is its name in messages.
    ///
    /// # Errors
    /// [`Error::Read`] where reading fails, [`Error::Table`] where the first line is not
    /// the header.
    pub fn new(reader: R, path: impl Into<PathBuf>) -> Result<Self> {
        let mut table =
            Self { reader, path: path.into(), line: 0, buffer: Vec::new(), failed: false };
        if !table.read_line()? {
            return Err(table.wrong(format!("the file is empty, expected {PREDICTION_HEADER:?}")));
        }
        let header = table.buffer.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&table.buffer);
        if header != PREDICTION_HEADER.as_bytes() {
            let start = String::from_utf8_lossy(&header[..header.len().min(60)]).into_owned();
            return Err(
                table.wrong(format!("expected the header {PREDICTION_HEADER:?}, found {start:?}"))
            );
        }
        Ok(table)
    }

    /// Reads the next line into the buffer, without its line end; false at the end.
    fn read_line(&mut self) -> Result<bool> {
        self.buffer.clear();
        self.line += 1;
        let read_bytes = self
            .reader
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| Error::Read { path: self.path.clone(), source })?;
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
            if self.buffer.last() == Some(&b'\r') {
                self.buffer.pop();
            }
        } else if read_bytes as u64 == MAX_LINE_BYTES {
            return Err(self.wrong(format!("the line is longer than {MAX_LINE_BYTES} bytes")));
        }
        Ok(read_bytes > 0)
    }

    fn wrong(&self, reason: String) -> Error {
        Error::Table { path: self.path.clone(), line: self.line.max(1), reason }
    }

    fn next_row(&mut self) -> Result<Option<PredictionRow>> {
        while self.read_line()? {
            if !self.buffer.is_empty() {
                return self.parse_row().map(Some).map_err(|reason| self.wrong(reason));
            }
        }
        Ok(None)
    }

    fn parse_row(&self) -> Result<PredictionRow, String> {
        let line = std::str::from_utf8(&self.buffer).map_err(|error| {
            format!("not UTF-8 text (byte {} of the line)", error.valid_up_to())
        })?;
        let cells: Vec<&str> = line.split('\t').collect();
        let &[id, label, score1, score2] = cells.as_slice() else {
            return Err(format!("expected {COLUMNS} tab-separated columns, found {}", cells.len()));
        };
        if group_of_frame_id(id).is_none() {
            return Err(format!("frame id {id:?} is shorter than two characters"));
        }
        let prediction = Prediction::from_text(label)
            .ok_or_else(|| format!("Prediction is {label:?}, expected \"others\" or \"virus\""))?;
        let score = |name: &str, text: &str| {
            text.parse::<f64>().map_err(|_| format!("{name} is {text:?}, expected a number"))
        };
        Ok(PredictionRow {
            id: id.to_owned(),
            prediction,
            score1: score("score1", score1)?,
            score2: score("score2", score2)?,
        })
    }
}

impl<R: BufRead> Iterator for PredictionReader<R> {
    type Item = Result<PredictionRow>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.next_row();
        self.failed = row.is_err();
        row.transpose()
    }
}
