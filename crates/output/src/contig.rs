//! Owns `contigs.tsv`, one row per input sequence. Must not decide a verdict.
//!
//! Entry types: [`ContigTable`] and [`ContigRow`].

use crate::{number_text::score_text, tsv::Cell};
use std::{
    fmt::{self, Display, Formatter},
    io::{self, Write},
};

/// First line of `contigs.tsv`, without its line end.
pub const CONTIG_HEADER: &str = "id\tlength_nt\tchunks\treadable_chunks\tviral_chunks\t\
viral_fraction\tmean_score\tmax_score\tverdict";

/// What became of one input sequence.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    /// At least half of its readable chunks are viral.
    Viral,
    /// Fewer than half of its readable chunks are viral.
    Nonviral,
    /// No chunk has a frame without a stop codon, so no model saw it.
    Unreadable,
    /// Shorter than the minimum length asked for.
    TooShort,
    /// No letters at all.
    Empty,
}

impl Verdict {
    /// Every verdict, in the order of reports.
    pub const ALL: [Self; 5] =
        [Self::Viral, Self::Nonviral, Self::Unreadable, Self::TooShort, Self::Empty];

    /// Text in the `verdict` column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viral => "viral",
            Self::Nonviral => "nonviral",
            Self::Unreadable => "unreadable",
            Self::TooShort => "too_short",
            Self::Empty => "empty",
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One row of `contigs.tsv`; [`ContigVerdict`](crate::ContigVerdict) makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ContigRow {
    /// Id of the input sequence, as read.
    pub id: String,
    /// Letters of the sequence.
    pub length_nt: u64,
    /// Chunks it was cut into.
    pub chunks: u64,
    /// Chunks with a frame that has no stop codon.
    pub readable_chunks: u64,
    /// Readable chunks called viral.
    pub viral_chunks: u64,
    /// `viral_chunks` ÷ `readable_chunks`; `None` without readable chunks.
    pub viral_fraction: Option<f64>,
    /// Mean over readable chunks of the chunk's best viral score.
    pub mean_score: Option<f64>,
    /// Largest viral score.
    pub max_score: Option<f64>,
    /// The call.
    pub verdict: Verdict,
}

impl ContigRow {
    /// Row of a sequence below the minimum length, which is not cut into chunks.
    #[must_use]
    pub fn too_short(id: impl Into<String>, length_nt: u64) -> Self {
        Self::without_chunks(id.into(), length_nt, Verdict::TooShort)
    }

    /// Row of a record without letters.
    #[must_use]
    pub fn empty(id: impl Into<String>) -> Self {
        Self::without_chunks(id.into(), 0, Verdict::Empty)
    }

    fn without_chunks(id: String, length_nt: u64, verdict: Verdict) -> Self {
        Self {
            id,
            length_nt,
            chunks: 0,
            readable_chunks: 0,
            viral_chunks: 0,
            viral_fraction: None,
            mean_score: None,
            max_score: None,
            verdict,
        }
    }
}

/// Writes `contigs.tsv`: tab-separated, `NA` where a value is not defined, numbers in
/// the text of the score tables.
#[derive(Debug)]
pub struct ContigTable<W> {
    writer: W,
    rows: u64,
}

impl<W: Write> ContigTable<W> {
    /// Writes the header; a table without rows is complete.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn new(mut writer: W) -> io::Result<Self> {
        writeln!(writer, "{CONTIG_HEADER}")?;
        Ok(Self { writer, rows: 0 })
    }

    /// Adds one input sequence.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn push(&mut self, row: &ContigRow) -> io::Result<()> {
        writeln!(
            self.writer,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            Cell(&row.id),
            row.length_nt,
            row.chunks,
            row.readable_chunks,
            row.viral_chunks,
            NumberOrNa(row.viral_fraction),
            NumberOrNa(row.mean_score),
            NumberOrNa(row.max_score),
            row.verdict
        )?;
        self.rows += 1;
        Ok(())
    }

    /// Rows written.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.writer
    }
}

struct NumberOrNa(Option<f64>);

impl Display for NumberOrNa {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            // Scores are f32; more digits would claim a precision that is not there.
            Some(value) if value.is_finite() => score_text(value as f32).fmt(f),
            _ => f.write_str("NA"),
        }
    }
}
