//! The records of one input.
//!
//! Owns the step from parsed lines to [`Record`]s and the exact order of records and failures.
//! Entry type: [`RecordReader`].
//!
//! The line grammar is left to `needletail`: it reads FASTA and FASTQ from any `Read` without
//! knowing about files or compression, takes headers as bytes (`noodles-fasta` stops at a header
//! that is not UTF-8), keeps empty sequences and `>` inside of lines, reports the line and id of a
//! bad FASTQ record, and without its default features needs no C library. Line ends, byte order
//! mark, preamble and the end of the text are put into the form it expects by `TextReader`.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use needletail::errors::{ParseError, ParseErrorKind};
use needletail::parser::{FastaReader, FastqReader, FastxReader, SequenceRecord};

use super::{InputStats, Record, SequenceFormat};
use crate::error::SeqError;
use crate::io::{Blocks, Input, Interruption, Source, TextReader, find_first_record};
use crate::supervision::{SeqActivity, SeqStage, Supervision};

const PARSER_BUFFER_BYTES: usize = 256 * 1024;

/// An iterator over the records of one input, FASTA or FASTQ, in order.
///
/// As the original tool reads FASTA: `\r\n` and a lone `\r` end a line; lines before the first
/// `>` are dropped (and counted); blanks, tabs and line ends inside a sequence are removed and
/// nothing else; case is kept; the id is the header's first word and may be empty. A byte order
/// mark, which hides the first record from the original, is removed and counted. FASTQ records
/// have four lines.
///
/// Memory is that of the longest record. A failure comes after every record that is certainly
/// whole, and nothing comes after it.
///
/// # Source
/// Biopython 1.85 `SimpleFastaParser` semantics in text mode, as used by Li-Jing-1997/VirNucPro
/// @0f93f27.
pub struct RecordReader {
    parser: Option<Box<dyn FastxReader>>,
    interruption: Arc<Interruption>,
    stats: InputStats,
    input: usize,
    first_index: u64,
    /// A record already parsed when the one before it had to be proven whole.
    parsed_ahead: Option<Record>,
}

impl RecordReader {
    /// Opens `input` and reads up to its first record.
    ///
    /// # Errors
    /// Opening and reading failures, a container that is not supported, binary data, text
    /// without a record.
    pub fn open(input: &Input) -> Result<Self, SeqError> {
        Self::open_supervised(input, &Supervision::default())
    }

    /// [`RecordReader::open`] with a thread that `supervision` watches and can stop.
    ///
    /// # Errors
    /// As [`RecordReader::open`].
    pub fn open_supervised(input: &Input, supervision: &Supervision) -> Result<Self, SeqError> {
        Self::start(input.path().to_owned(), input.open(supervision)?, supervision)
    }

    /// Reads stored bytes from `reader`; `path` is only used in messages and statistics.
    ///
    /// # Errors
    /// As [`RecordReader::open`].
    pub fn from_reader(
        path: impl Into<PathBuf>,
        reader: Box<dyn Read + Send>,
    ) -> Result<Self, SeqError> {
        Self::start(path.into(), reader, &Supervision::default())
    }

    fn start(
        path: PathBuf,
        reader: Box<dyn Read + Send>,
        supervision: &Supervision,
    ) -> Result<Self, SeqError> {
        let sniff = || Source::new(path.clone(), reader);
        let source = supervision.during(SeqStage::Parse, SeqActivity::Interrupted, sniff)?;
        let mut stats = InputStats::new(path, source.compression());
        let mut blocks = Blocks::start(source, supervision)?;
        let opening = find_first_record(&mut blocks)?;
        stats.format = opening.format;
        stats.byte_order_mark = opening.byte_order_mark;
        stats.dropped_lines = opening.dropped_lines;
        stats.dropped_text_lines = opening.dropped_text_lines;
        // Without a record there will be no parser to reach the end of the text.
        if let Some((sha256, bytes)) = blocks.digest() {
            (stats.sha256, stats.bytes) = (sha256.clone(), *bytes);
        }
        let format = opening.format;
        let (text, interruption) = TextReader::new(blocks, opening);
        let parser = format.map(|format| -> Box<dyn FastxReader> {
            match format {
                SequenceFormat::Fasta => {
                    Box::new(FastaReader::with_capacity(text, PARSER_BUFFER_BYTES))
                }
                SequenceFormat::Fastq => {
                    Box::new(FastqReader::with_capacity(text, PARSER_BUFFER_BYTES))
                }
            }
        });
        Ok(Self { parser, interruption, stats, input: 0, first_index: 0, parsed_ahead: None })
    }

    /// Sets what the first record gets as [`Record::index`], and [`Record::input`] of all.
    #[must_use]
    pub fn numbered(mut self, input: usize, first_index: u64) -> Self {
        (self.input, self.first_index) = (input, first_index);
        self
    }

    /// What was seen so far; complete once the iterator has ended.
    pub fn stats(&self) -> &InputStats {
        &self.stats
    }

    fn parse(&mut self, ahead: u64) -> Option<Result<Record, SeqError>> {
        let number = self.stats.records + ahead;
        match self.parser.as_mut()?.next()? {
            Ok(parsed) => {
                let mut record = convert(&parsed);
                record.index = self.first_index + number;
                record.input = self.input;
                if record.quality.is_some() && record.seq.iter().any(|l| b" \t".contains(l)) {
                    let line = parsed.start_line_number() + self.stats.dropped_lines + 1;
                    let problem = "blank inside the sequence line".to_owned();
                    return Some(Err(self.fastq_error(number, Some(record.id), line, problem)));
                }
                Some(Ok(record))
            }
            Err(error) => Some(Err(self.parse_error(number, error))),
        }
    }

    fn parse_error(&self, number: u64, error: ParseError) -> SeqError {
        let problem = match error.kind {
            ParseErrorKind::UnexpectedEnd => "the file ends inside the record".to_owned(),
            ParseErrorKind::InvalidStart => "the header line does not start with '@'".to_owned(),
            ParseErrorKind::InvalidSeparator => {
                "the third line does not start with '+' (a record must have four lines)".to_owned()
            }
            // needletail's own words carry both lengths.
            _ => error.msg,
        };
        let line = error.position.line + self.stats.dropped_lines;
        self.fastq_error(number, error.position.id, line, problem)
    }

    fn fastq_error(&self, number: u64, id: Option<String>, line: u64, problem: String) -> SeqError {
        let path = self.stats.path.clone();
        SeqError::Fastq { path, record: number + 1, id, line, problem }
    }

    /// Ends the iteration with the failure below the parser, or with `otherwise`.
    fn end(&mut self, otherwise: Option<SeqError>) -> Option<Result<Record, SeqError>> {
        self.parser = None;
        if let Some((sha256, bytes)) = self.interruption.take_digest() {
            (self.stats.sha256, self.stats.bytes) = (sha256, bytes);
        }
        let failure = self.interruption.take_failure();
        let failure = failure.map(|error| error.after_records(self.stats.records));
        failure.or(otherwise).map(Err)
    }
}

impl Iterator for RecordReader {
    type Item = Result<Record, SeqError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.parser.as_ref()?;
        let record = match self.parsed_ahead.take() {
            Some(record) => record,
            None => match self.parse(0) {
                Some(Ok(record)) => record,
                Some(Err(error)) => return self.end(Some(error)),
                None => return self.end(None),
            },
        };
        // To the parser a failure looks like the end of the text, so the last record it gives
        // may be cut off. One that is followed by another is whole.
        if self.interruption.is_failed() {
            match self.parse(1) {
                Some(Ok(next)) => self.parsed_ahead = Some(next),
                _ => return self.end(None),
            }
        }
        self.stats.count(&record);
        Some(Ok(record))
    }
}

impl std::iter::FusedIterator for RecordReader {}

fn convert(parsed: &SequenceRecord<'_>) -> Record {
    let quality = parsed.qual().map(<[u8]>::to_vec);
    let raw = parsed.raw_seq();
    let seq = if quality.is_some() { raw.to_vec() } else { without_blanks(raw) };
    Record { quality, ..Record::new(0, parsed.id(), seq) }
}

/// Joins sequence lines and removes blanks and tabs; `\r` is gone already.
fn without_blanks(lines: &[u8]) -> Vec<u8> {
    let mut seq = Vec::with_capacity(lines.len());
    let mut start = 0;
    for blank in memchr::memchr3_iter(b'\n', b' ', b'\t', lines) {
        seq.extend_from_slice(&lines[start..blank]);
        start = blank + 1;
    }
    seq.extend_from_slice(&lines[start..]);
    seq
}
