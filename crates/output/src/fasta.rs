//! Owns FASTA output. Must not read, filter or name records.
//!
//! Entry function: [`write_fasta_record`].

use std::io::{self, Write};

/// Letters a line.
pub const FASTA_LINE_NT: usize = 60;

/// Writes one record as `>header` and lines of 60 letters; an empty sequence has no
/// sequence line.
///
/// `header` is the whole title without its `>`; a line end inside it becomes a blank, so
/// that one record stays one record. Records read from FASTQ are written the same way,
/// without their qualities.
///
/// # Errors
/// Those of the writer.
pub fn write_fasta_record<W: Write>(
    mut writer: W,
    header: &[u8],
    sequence: &[u8],
) -> io::Result<()> {
    writer.write_all(b">")?;
    for (index, part) in header.split(|&byte| byte == b'\n' || byte == b'\r').enumerate() {
        if index > 0 {
            writer.write_all(b" ")?;
        }
        writer.write_all(part)?;
    }
    writer.write_all(b"\n")?;
    for line in sequence.chunks(FASTA_LINE_NT) {
        writer.write_all(line)?;
        writer.write_all(b"\n")?;
    }
    Ok(())
}
