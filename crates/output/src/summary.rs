//! Owns the layout of `summary.json`. Must not compute what is in it.
//!
//! Entry type: [`Summary`].

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// Version of the layout; a change that a reader would notice raises it.
pub const SCHEMA_VERSION: u32 = 2;

/// Everything a run reports about itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Summary {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// The program.
    pub tool: Tool,
    /// Every setting of the command after defaults were filled in.
    pub settings: Map<String, Value>,
    /// The model that was used.
    pub model: ModelSummary,
    /// Number type the encoders computed in.
    pub precision: String,
    /// Device the encoders ran on.
    pub device: String,
    /// Input files, in the order given.
    pub inputs: Vec<InputSummary>,
    /// Counts at every stage, over all inputs.
    pub counts: Counts,
    /// Wall-clock time of the whole run, up to the writing of this summary.
    pub elapsed_ms: f64,
    /// Wall-clock time of each stage, in the order of the run.
    pub timings: Vec<StageTiming>,
    /// What the monitor of the run measured, by name; empty where there was none.
    pub performance: Map<String, Value>,
    /// What a user should know about the input, one sentence each.
    pub warnings: Vec<String>,
}

impl Summary {
    /// Writes indented JSON with a final line end.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write<W: Write>(&self, mut writer: W) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut writer, self)?;
        writer.write_all(b"\n")
    }
}

/// The program that made the outputs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Tool {
    /// Program name.
    pub name: String,
    /// Program version.
    pub version: String,
}

/// The model bundle of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ModelSummary {
    /// Name of the bundle.
    pub name: String,
    /// Encoders, tokeniser and classifier that took part.
    pub parts: Vec<ModelPart>,
}

/// One file of a model bundle.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ModelPart {
    /// What it is for, for example `protein_encoder`.
    pub role: String,
    /// Where it was read from; embedded parts have a name instead.
    pub path: PathBuf,
    /// SHA-256 of its bytes, lower-case hex.
    pub sha256: String,
    /// Number of parameters; 0 for a tokeniser.
    pub parameters: u64,
}

/// One input file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct InputSummary {
    /// File name as given; `-` for standard input.
    pub path: PathBuf,
    /// SHA-256 of the bytes as stored (before decompression), lower-case hex.
    pub sha256: String,
    /// Size as stored.
    pub bytes: u64,
    /// Sequence format, for example `fasta`.
    pub format: String,
    /// Compression, for example `gzip` or `none`.
    pub compression: String,
    /// Records read.
    pub records: u64,
    /// Letters read, over all records.
    pub letters_nt: u64,
    /// Lines dropped before the first record, blank ones included.
    pub dropped_lines: u64,
    /// Whether a UTF-8 byte order mark was removed.
    pub byte_order_mark: bool,
    /// Headers with bytes that are not UTF-8, replaced by U+FFFD.
    pub repaired_headers: u64,
}

/// What was counted at every stage.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Records read.
    pub records: u64,
    /// Records without letters.
    pub empty_records: u64,
    /// Records below the minimum length.
    pub too_short_records: u64,
    /// Records whose id occurred before.
    pub duplicate_ids: u64,
    /// Records whose id is empty.
    pub empty_ids: u64,
    /// Letters read, by kind.
    pub letters: LetterCounts,
    /// Chunks made.
    pub chunks: u64,
    /// Chunks with at least one frame without a stop codon.
    pub readable_chunks: u64,
    /// Frames without a stop codon.
    pub frames: u64,
    /// Residues outside the protein encoder's alphabet.
    pub unknown_residues: u64,
    /// Nucleotide tokens that stand for letters outside the nucleotide encoder's alphabet.
    pub unknown_nucleotide_tokens: u64,
    /// Tokens given to the protein encoder, special tokens included.
    pub protein_tokens: u64,
    /// Tokens given to the nucleotide encoder, special tokens included.
    pub nucleotide_tokens: u64,
    /// Sequences embedded by the protein encoder.
    pub protein_sequences_embedded: u64,
    /// Sequences embedded by the nucleotide encoder.
    pub nucleotide_sequences_embedded: u64,
    /// Distinct proteins handed to the protein encoder; one that was embedded again, because
    /// nothing remembered it, counts again.
    pub unique_proteins: u64,
    /// Distinct nucleotide sequences handed to the nucleotide encoder, counted likewise.
    pub unique_nucleotides: u64,
    /// Sequences answered with the embedding of an identical one instead of a second
    /// embedding, over both encoders.
    pub fanned_out: u64,
    /// Frames with a NaN or infinite value in an embedding or score.
    pub non_finite: u64,
    /// Rows of `prediction_results.txt`.
    pub rows_written: u64,
    /// Chunks called viral.
    pub viral_chunks: u64,
    /// Input sequences by verdict.
    pub contigs: VerdictCounts,
}

/// Letters of the input by kind.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct LetterCounts {
    /// A, C, G, T in either case.
    pub acgt: u64,
    /// N in either case.
    pub n: u64,
    /// Other IUPAC nucleotide codes in either case.
    pub iupac: u64,
    /// Everything else.
    pub other: u64,
    /// Lower-case letters; they are also counted by kind.
    pub lower: u64,
}

/// Input sequences by verdict.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct VerdictCounts {
    /// Called viral.
    pub viral: u64,
    /// Called not viral.
    pub nonviral: u64,
    /// Without a readable frame.
    pub unreadable: u64,
    /// Below the minimum length.
    pub too_short: u64,
    /// Without letters.
    pub empty: u64,
}

impl VerdictCounts {
    /// Counts one sequence.
    pub fn add(&mut self, verdict: crate::Verdict) {
        use crate::Verdict;
        *match verdict {
            Verdict::Viral => &mut self.viral,
            Verdict::Nonviral => &mut self.nonviral,
            Verdict::Unreadable => &mut self.unreadable,
            Verdict::TooShort => &mut self.too_short,
            Verdict::Empty => &mut self.empty,
        } += 1;
    }

    /// All sequences counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.viral + self.nonviral + self.unreadable + self.too_short + self.empty
    }
}

/// Wall-clock time of one stage.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StageTiming {
    /// Stage name, for example `translate`.
    pub stage: String,
    /// Time it took.
    pub elapsed_ms: f64,
}
