//! The records of a run, counted as they are drawn, and what is reported of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use virnucpro_output::InputSummary;
use virnucpro_seq::{Input, InputStats, MultiReader, Record, SeqError, Supervision};

/// Bytes and letters drawn so far; read by the thread that reports progress.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    letters: AtomicU64,
    is_finished: std::sync::atomic::AtomicBool,
}

/// The records of all inputs, counted on their way.
pub(crate) struct CountedRecords {
    reader: MultiReader,
    drawn: Arc<Drawn>,
}

impl CountedRecords {
    /// Checks all inputs and prepares to read them.
    pub(crate) fn open(
        inputs: &[Input],
        supervision: &Supervision,
    ) -> Result<(Self, Arc<Drawn>), SeqError> {
        let drawn = Arc::new(Drawn::default());
        let reader = MultiReader::open(inputs.to_vec())?.supervised(supervision);
        Ok((Self { reader, drawn: Arc::clone(&drawn) }, drawn))
    }

    /// Statistics of the inputs read to their end.
    pub(crate) fn stats(&self) -> &[InputStats] {
        self.reader.finished_stats()
    }
}

impl Iterator for CountedRecords {
    type Item = Result<Record, SeqError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.reader.next();
        match &record {
            Some(Ok(record)) => {
                self.drawn.letters.fetch_add(record.seq.len() as u64, Ordering::Relaxed);
            }
            Some(Err(_)) => {}
            None => self.drawn.is_finished.store(true, Ordering::Relaxed),
        }
        record
    }
}

/// Estimates the number of letters of all inputs while they are being read.
pub(crate) struct TotalEstimate {
    drawn: Arc<Drawn>,
    /// Letters that plain inputs of this size hold at most; `None` if a size is unknown or a file
    /// is compressed.
    ceiling: Option<u64>,
}

/// File name endings of compressed inputs, whose size says little about their letters.
const COMPRESSED: [&str; 8] = ["gz", "bgz", "zst", "xz", "zstd", "gzip", "bgzf", "lzma"];

impl TotalEstimate {
    pub(crate) fn new(inputs: &[Input], drawn: Arc<Drawn>) -> Self {
        let size = |input: &Input| match input {
            Input::Stdin => None,
            Input::Path(path) => {
                let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
                let is_plain = !COMPRESSED.iter().any(|c| ending.eq_ignore_ascii_case(c));
                let metadata = path.metadata().ok().filter(|m| m.is_file() && is_plain);
                metadata.map(|metadata| metadata.len())
            }
        };
        Self { ceiling: inputs.iter().map(size).sum(), drawn }
    }

    /// Letters of all inputs as far as they can be known by now.
    pub(crate) fn letters(&self) -> Option<u64> {
        let drawn = self.drawn.letters.load(Ordering::Relaxed);
        if self.drawn.is_finished.load(Ordering::Relaxed) {
            return Some(drawn);
        }
        self.ceiling.map(|ceiling| ceiling.max(drawn))
    }
}

/// What `summary.json` says of one input.
pub(crate) fn summarise(stats: &InputStats) -> InputSummary {
    InputSummary {
        path: stats.path.clone(),
        sha256: stats.sha256.clone(),
        bytes: stats.bytes,
        format: stats.format.map_or_else(|| "none".into(), |f| f.name().to_ascii_lowercase()),
        compression: stats.compression.to_string(),
        records: stats.records,
        letters_nt: stats.letters_nt,
        dropped_lines: stats.dropped_lines,
        byte_order_mark: stats.byte_order_mark,
        repaired_headers: stats.repaired_headers,
    }
}

/// What a user should know about one input, one sentence each.
pub(crate) fn warnings(stats: &InputStats) -> Vec<String> {
    let path = stats.path.display();
    let mut warnings = Vec::new();
    if stats.dropped_text_lines > 0 {
        warnings.push(format!(
            "{path}: {} lines of text before the first record were skipped",
            stats.dropped_text_lines
        ));
    }
    if stats.byte_order_mark {
        warnings.push(format!("{path}: a UTF-8 byte order mark was removed"));
    }
    if stats.repaired_headers > 0 {
        warnings.push(format!(
            "{path}: {} headers hold bytes that are not UTF-8; they were replaced by U+FFFD",
            stats.repaired_headers
        ));
    }
    if stats.empty_ids > 0 {
        warnings.push(format!("{path}: {} records have no id", stats.empty_ids));
    }
    if stats.records == 0 {
        warnings.push(format!("{path}: no records"));
    }
    warnings
}
