//! What stands before the first record: byte order mark, blank lines, text to be dropped.
//!
//! Owns the decision between FASTA, FASTQ, nothing and not a sequence file. Entry point:
//! [`find_first_record`].

use super::read_ahead::Blocks;
use crate::error::SeqError;
use crate::record::SequenceFormat;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where the first record starts, and what was passed on the way.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    /// `None` if the text is empty or blank.
    pub(crate) format: Option<SequenceFormat>,
    pub(crate) byte_order_mark: bool,
    /// Lines before the first record.
    pub(crate) dropped_lines: u64,
    /// Those of them that are not blank.
    pub(crate) dropped_text_lines: u64,
    /// The block with the first record, and its place there.
    pub(crate) block: Vec<u8>,
    pub(crate) start: usize,
}

/// Reads up to the first line that starts with `>`, or `@` if that is the first line with text.
///
/// # Errors
/// [`SeqError::Binary`], [`SeqError::NoRecord`], or what reading gave.
pub(crate) fn find_first_record(blocks: &mut Blocks) -> Result<Opening, SeqError> {
    let mut opening = Opening::default();
    let mut line = LineState::default();
    let mut passed_bytes = 0;
    let mut is_first_block = true;
    while blocks.next_into(&mut opening.block)? {
        let mut position = 0;
        if is_first_block && opening.block.starts_with(BYTE_ORDER_MARK) {
            opening.byte_order_mark = true;
            position = BYTE_ORDER_MARK.len();
        }
        is_first_block = opening.block.is_empty();
        let found = opening.scan(&mut line, position);
        let text_end = if found { opening.block.len() } else { opening.start };
        if let Some(nul) = memchr::memchr(0, &opening.block[..text_end]) {
            let byte_offset = passed_bytes + nul as u64;
            return Err(SeqError::Binary { path: blocks.path().clone(), byte_offset });
        }
        if found {
            return Ok(opening);
        }
        passed_bytes += opening.block.len() as u64;
    }
    opening.end_line(&mut line);
    if opening.dropped_text_lines > 0 {
        let lines = opening.dropped_lines;
        return Err(SeqError::NoRecord { path: blocks.path().clone(), lines });
    }
    opening.block.clear();
    opening.start = 0;
    Ok(opening)
}

/// The line that the scan is in; blocks may end inside it.
#[derive(Debug, Default)]
struct LineState {
    is_begun: bool,
    has_text: bool,
}

impl Opening {
    /// Passes the lines of the block from `position` on; `true` when a record starts at `start`.
    fn scan(&mut self, line: &mut LineState, mut position: usize) -> bool {
        while position < self.block.len() {
            self.start = position;
            if !line.is_begun {
                self.format = match self.block[position] {
                    b'>' => Some(SequenceFormat::Fasta),
                    b'@' if self.dropped_text_lines == 0 => Some(SequenceFormat::Fastq),
                    _ => None,
                };
                if self.format.is_some() {
                    return true;
                }
            }
            let rest = &self.block[position..];
            let newline = memchr::memchr(b'\n', rest);
            let text = &rest[..newline.unwrap_or(rest.len())];
            line.is_begun = true;
            line.has_text |= text.iter().any(|byte| !byte.is_ascii_whitespace());
            position += text.len();
            if newline.is_some() {
                position += 1;
                self.end_line(line);
            }
        }
        self.start = position;
        false
    }

    fn end_line(&mut self, line: &mut LineState) {
        self.dropped_lines += u64::from(line.is_begun);
        self.dropped_text_lines += u64::from(line.has_text);
        *line = LineState::default();
    }
}
