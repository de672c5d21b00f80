//! Everything that can go wrong on the sequence side.
//!
//! Owns the one error type of the crate: [`SeqError`]. Each message is one line that names the
//! file and, where one was reached, the record and the line or byte.

use std::io;
use std::path::PathBuf;

use crate::io::Compression;

/// A failure while reading or translating sequences.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeqError {
    /// The input cannot be opened.
    #[error("{}: cannot open: {source}", path.display())]
    Open {
        /// The input as given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The input is a directory.
    #[error("{}: is a directory, not a FASTA or FASTQ file", path.display())]
    Directory {
        /// The input as given.
        path: PathBuf,
    },
    /// Standard input is named more than once.
    #[error("standard input (-) is given more than once; it can be read only once")]
    StdinTwice,
    /// The input starts like a container that is not read here.
    #[error("{}: looks like {what}, which is not supported; use plain text, gzip, zstd or xz", path.display())]
    UnsupportedContainer {
        /// The input as given.
        path: PathBuf,
        /// What the first bytes look like.
        what: &'static str,
    },
    /// The system failed to deliver bytes.
    #[error("{}: cannot read at byte {byte_offset} (after {whole_records} whole records): {source}", path.display())]
    Read {
        /// The input as given.
        path: PathBuf,
        /// Bytes of the file that had been read.
        byte_offset: u64,
        /// Records of this file delivered before.
        whole_records: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A compressed stream is truncated or corrupt.
    #[error("{}: truncated or corrupt {compression} stream near byte {byte_offset} (after {whole_records} whole records): {source}", path.display())]
    Decompress {
        /// The input as given.
        path: PathBuf,
        /// The compression of the stream.
        compression: Compression,
        /// Bytes of the compressed file that the decoder had taken.
        byte_offset: u64,
        /// Records of this file delivered before.
        whole_records: u64,
        /// What the decoder said.
        source: io::Error,
    },
    /// The text contains NUL bytes where the first record should be.
    #[error("{}: binary data, neither FASTA nor FASTQ (NUL at byte {byte_offset} of the text)", path.display())]
    Binary {
        /// The input as given.
        path: PathBuf,
        /// Where the NUL is, counted after decompression.
        byte_offset: u64,
    },
    /// There is text, but no record.
    #[error("{}: no FASTA or FASTQ record in {lines} lines of text (no line starts with '>' and the first one does not start with '@')", path.display())]
    NoRecord {
        /// The input as given.
        path: PathBuf,
        /// Lines of the file.
        lines: u64,
    },
    /// A FASTQ record is not four lines that fit together.
    #[error("{}: FASTQ record {record}{} at line {line}: {problem}", path.display(), quoted(id))]
    Fastq {
        /// The input as given.
        path: PathBuf,
        /// Number of the record in this file, from 1.
        record: u64,
        /// Its id, where it could be read.
        id: Option<String>,
        /// Line of the file, from 1.
        line: u64,
        /// What does not fit.
        problem: String,
    },
    /// The system gives no further thread.
    #[error("cannot start the thread {name:?}: {source}")]
    Thread {
        /// What the thread was to be called.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A thread of this crate panicked; a bug here or in a decoder.
    #[error("{what}: internal failure: {message}")]
    Panicked {
        /// The file or record that was worked on.
        what: String,
        /// The panic's message.
        message: String,
    },
}

fn quoted(id: &Option<String>) -> String {
    id.as_ref().map(|id| format!(" ({id:?})")).unwrap_or_default()
}

impl SeqError {
    /// Adds how many whole records of the file came before the failure.
    pub(crate) fn after_records(mut self, records: u64) -> Self {
        if let Self::Read { whole_records, .. } | Self::Decompress { whole_records, .. } = &mut self
        {
            *whole_records = records;
        }
        self
    }

    /// The message of a caught panic.
    pub(crate) fn panicked(what: String, payload: &(dyn std::any::Any + Send)) -> Self {
        let message = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Panicked { what, message: message.unwrap_or_else(|| "panic without a text".into()) }
    }
}
