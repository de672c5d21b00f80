//! What was seen while one input was read.
//!
//! Owns counts only. Entry type: [`InputStats`].

use std::fmt;
use std::path::PathBuf;

use super::Record;
use crate::io::Compression;

/// The record format of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SequenceFormat {
    /// Headers start with `>`.
    Fasta,
    /// Four lines a record, headers start with `@`.
    Fastq,
}

impl SequenceFormat {
    /// The upper-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fasta => "FASTA",
            Self::Fastq => "FASTQ",
        }
    }
}

impl fmt::Display for SequenceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Facts about one input; complete once its reader has come to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputStats {
    /// The input as given, `-` for standard input.
    pub path: PathBuf,
    /// SHA-256 of the stored (compressed) bytes in lower-case hex; empty before the end.
    pub sha256: String,
    /// Number of stored (compressed) bytes; 0 before the end.
    pub bytes: u64,
    /// How the input is compressed.
    pub compression: Compression,
    /// The record format; `None` if there is nothing but blank lines.
    pub format: Option<SequenceFormat>,
    /// Records delivered.
    pub records: u64,
    /// Sequence letters delivered, in nt.
    pub letters_nt: u64,
    /// Lines dropped before the first record, blank ones included.
    pub dropped_lines: u64,
    /// Lines dropped before the first record that hold text; worth a warning.
    pub dropped_text_lines: u64,
    /// Whether a UTF-8 byte order mark was removed.
    pub byte_order_mark: bool,
    /// Headers with bytes that are not UTF-8.
    pub repaired_headers: u64,
    /// Records without an id.
    pub empty_ids: u64,
    /// Records without a sequence.
    pub empty_sequences: u64,
}

impl InputStats {
    pub(super) fn new(path: PathBuf, compression: Compression) -> Self {
        Self {
            path,
            sha256: String::new(),
            bytes: 0,
            compression,
            format: None,
            records: 0,
            letters_nt: 0,
            dropped_lines: 0,
            dropped_text_lines: 0,
            byte_order_mark: false,
            repaired_headers: 0,
            empty_ids: 0,
            empty_sequences: 0,
        }
    }

    pub(super) fn count(&mut self, record: &Record) {
        self.records += 1;
        self.letters_nt += record.seq.len() as u64;
        self.repaired_headers += u64::from(record.header_was_repaired);
        self.empty_ids += u64::from(record.id.is_empty());
        self.empty_sequences += u64::from(record.seq.is_empty());
    }
}
