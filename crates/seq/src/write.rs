//! The text files of the non-neural stages, and records as they came.
//!
//! Owns the layout of `chunked.fa`, `identified_nucleotide.fa` and `identified_protein.faa`; it
//! opens no file and makes no name. Writers should be buffered. Entry points: [`write_chunked`],
//! [`write_identified_nucleotide`], [`write_identified_protein`].

use std::io::{self, Write};

use crate::frame::ReadableFrame;
use crate::parallel::TranslatedUnit;
use crate::record::Record;

/// Sequence letters per line of wrapped FASTA.
const LINE_NT: usize = 60;

/// Writes the chunks of `unit` as in `chunked.fa`: 60 letters a line, case kept.
///
/// # Errors
/// Those of `target`.
///
/// # Source
/// `split_fasta_chunk` of Li-Jing-1997/VirNucPro @0f93f27 (`units.py`).
pub fn write_chunked(target: &mut impl Write, unit: &TranslatedUnit) -> io::Result<()> {
    for chunk in &unit.chunks {
        writeln!(target, ">{}_chunk_{}", unit.record.id, chunk.index + 1)?;
        write_wrapped(target, &unit.record.seq[chunk.range.clone()])?;
    }
    Ok(())
}

/// Writes the nucleotides of the readable frames of `unit`, two lines a frame.
///
/// # Errors
/// Those of `target`.
///
/// # Source
/// The writing loop of `make_predictdata` of Li-Jing-1997/VirNucPro @0f93f27 (`prediction.py`).
pub fn write_identified_nucleotide(
    target: &mut impl Write,
    unit: &TranslatedUnit,
) -> io::Result<()> {
    write_frames(target, unit, |frame| &frame.nucleotide)
}

/// Writes the proteins of the readable frames of `unit`, two lines a frame.
///
/// # Errors
/// Those of `target`.
///
/// # Source
/// As [`write_identified_nucleotide`].
pub fn write_identified_protein(target: &mut impl Write, unit: &TranslatedUnit) -> io::Result<()> {
    write_frames(target, unit, |frame| &frame.protein)
}

fn write_frames(
    target: &mut impl Write,
    unit: &TranslatedUnit,
    letters: impl Fn(&ReadableFrame) -> &[u8],
) -> io::Result<()> {
    for chunk in &unit.chunks {
        for readable in &chunk.frames {
            let (id, number) = (&unit.record.id, chunk.index + 1);
            writeln!(target, ">{id}_chunk_{number}{}", readable.frame.name())?;
            target.write_all(letters(readable))?;
            target.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// Writes `record` as FASTA with its whole header, 60 letters a line.
///
/// # Errors
/// Those of `target`.
pub fn write_fasta(target: &mut impl Write, record: &Record) -> io::Result<()> {
    writeln!(target, ">{}", record.header)?;
    write_wrapped(target, &record.seq)
}

/// Writes `record` as FASTQ if it has qualities, otherwise as [`write_fasta`] does.
///
/// # Errors
/// Those of `target`.
pub fn write_record(target: &mut impl Write, record: &Record) -> io::Result<()> {
    let Some(quality) = &record.quality else {
        return write_fasta(target, record);
    };
    writeln!(target, "@{}", record.header)?;
    target.write_all(&record.seq)?;
    target.write_all(b"\n+\n")?;
    target.write_all(quality)?;
    target.write_all(b"\n")
}

fn write_wrapped(target: &mut impl Write, letters: &[u8]) -> io::Result<()> {
    for line in letters.chunks(LINE_NT) {
        target.write_all(line)?;
        target.write_all(b"\n")?;
    }
    Ok(())
}
