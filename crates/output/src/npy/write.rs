//! Owns writing NPY arrays whose number of rows is known only at the end.

use super::MAGIC;
use crate::{AtomicFile, Result};
use std::io::{self, Seek, SeekFrom, Write};

/// Bytes before the data; holds the longest header, a multiple of 64 as the format asks.
const HEADER_BYTES: usize = 128;

/// Element types written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NpyType {
    F32,
    I64,
}

impl NpyType {
    fn descr(self) -> &'static str {
        match self {
            Self::F32 => "<f4",
            Self::I64 => "<i8",
        }
    }
}

/// An NPY file that grows row by row; its header is patched when it is finished.
#[derive(Debug)]
pub(crate) struct NpyStream {
    file: AtomicFile,
    element: NpyType,
    /// `None` for a vector, otherwise the length of a row.
    cols: Option<usize>,
    rows: u64,
}

impl NpyStream {
    pub(crate) fn create(
        mut file: AtomicFile,
        element: NpyType,
        cols: Option<usize>,
    ) -> Result<Self> {
        file.write_all(&header(element, 0, cols)?)?;
        Ok(Self { file, element, cols, rows: 0 })
    }

    /// Appends little-endian bytes that make up `rows` whole rows.
    pub(crate) fn append(&mut self, rows: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes)?;
        self.rows += rows;
        Ok(())
    }

    /// Writes the true number of rows and gives the complete file back.
    pub(crate) fn finish(mut self) -> Result<AtomicFile> {
        let header = header(self.element, self.rows, self.cols)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header)?;
        Ok(self.file)
    }
}

fn header(element: NpyType, rows: u64, cols: Option<usize>) -> io::Result<[u8; HEADER_BYTES]> {
    let mut bytes = [b' '; HEADER_BYTES];
    let text_bytes = HEADER_BYTES - MAGIC.len() - 4;
    let mut cursor = &mut bytes[..];
    cursor.write_all(MAGIC)?;
    cursor.write_all(&[1, 0])?;
    cursor.write_all(&(text_bytes as u16).to_le_bytes())?;
    let descr = element.descr();
    write!(cursor, "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows},")?;
    if let Some(cols) = cols {
        write!(cursor, " {cols}")?;
    }
    write!(cursor, "), }}")?;
    bytes[HEADER_BYTES - 1] = b'\n';
    Ok(bytes)
}
