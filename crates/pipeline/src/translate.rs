//! `virnucpro translate`: the stages before the neural ones, alone.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use virnucpro_output::{AtomicFile, OutputDir, OutputSet};
use virnucpro_seq::write::{write_chunked, write_identified_nucleotide, write_identified_protein};
use virnucpro_seq::{Input, LetterCounts, Supervision, translate_records};

use crate::inputs::{CountedRecords, TotalEstimate, warnings};
use crate::{CancelToken, PipelineError, Progress, ProgressSink};

/// Settings of [`translate`].
#[derive(Clone, Debug)]
pub struct TranslateConfig {
    /// Files to read, in order.
    pub inputs: Vec<Input>,
    /// Folder to write into; made if it does not exist.
    pub output_dir: PathBuf,
    /// Length of a chunk in nucleotides.
    pub chunk_length: NonZeroUsize,
    /// Worker threads.
    pub threads: NonZeroUsize,
}

/// What [`translate`] did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TranslateReport {
    /// Records read.
    pub records: u64,
    /// Letters read.
    pub letters: u64,
    /// Chunks made.
    pub chunks: u64,
    /// Chunks with at least one frame without a stop codon.
    pub readable_chunks: u64,
    /// Frames without a stop codon.
    pub frames: u64,
    /// Files written.
    pub files: Vec<PathBuf>,
    /// What a user should know about the input.
    pub warnings: Vec<String>,
}

/// Names of the files [`translate`] writes.
const FILES: [&str; 3] = ["chunked.fa", "identified_nucleotide.fa", "identified_protein.faa"];

fn create(dir: &Path, name: &str) -> Result<AtomicFile, PipelineError> {
    Ok(AtomicFile::create(dir.join(name))?)
}

/// Reads, chunks and translates; writes `chunked.fa`, `identified_nucleotide.fa` and
/// `identified_protein.faa`.
///
/// # Errors
/// An input that cannot be read or an output that cannot be written; no final file has changed
/// then.
pub fn translate(
    config: &TranslateConfig,
    cancel: &CancelToken,
    progress: &mut ProgressSink<'_>,
) -> Result<TranslateReport, PipelineError> {
    let token = cancel.clone();
    let supervision = Supervision::until(move || token.is_cancelled());
    let (records, drawn) = CountedRecords::open(&config.inputs, &supervision)?;
    let total = TotalEstimate::new(&config.inputs, drawn);
    let output_dir = OutputDir::create(&config.output_dir)?;
    let [mut chunked, mut nucleotide, mut protein] = FILES
        .map(|name| create(&config.output_dir, name))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?
        .try_into()
        .unwrap_or_else(|_| unreachable!("as many files as names"));
    let mut report = TranslateReport::default();
    let mut letters = LetterCounts::default();
    let mut units = translate_records(records, config.chunk_length, config.threads)?;
    for unit in &mut units {
        // A read that was stopped is an error too, but not the cause.
        if cancel.is_cancelled() {
            return Err(PipelineError::Cancelled);
        }
        let unit = unit?;
        write_chunked(&mut chunked, &unit)?;
        write_identified_nucleotide(&mut nucleotide, &unit)?;
        write_identified_protein(&mut protein, &unit)?;
        letters += unit.letters;
        report.letters = letters.total();
        report.records += u64::from(unit.is_last());
        report.chunks += unit.chunks.len() as u64;
        for chunk in &unit.chunks {
            report.readable_chunks += u64::from(!chunk.frames.is_empty());
            report.frames += chunk.frames.len() as u64;
        }
        progress(Progress {
            records: report.records,
            letters: report.letters,
            total_letters: total.letters(),
            ..Progress::default()
        });
    }
    if let Some(records) = units.into_records() {
        report.warnings = records.stats().iter().flat_map(warnings).collect();
    }
    let mut outputs = OutputSet::new();
    for file in [chunked, nucleotide, protein] {
        outputs.push(file);
    }
    report.files = outputs.paths();
    output_dir.keep();
    outputs.commit()?;
    Ok(report)
}
