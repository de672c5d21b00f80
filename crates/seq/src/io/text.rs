//! The text from the first record on, in the shape that the record parser expects.
//!
//! Owns the end of the text: blank lines at the end are swallowed, line ends that the parser
//! relies on are added, and a failure below looks like the end of the text to the parser while
//! its cause is kept aside. Entry type: [`TextReader`].

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::preamble::Opening;
use super::read_ahead::Blocks;
use crate::error::SeqError;
use crate::record::SequenceFormat;

/// How the text ended; shared between [`TextReader`] and the owner of the parser around it.
#[derive(Debug, Default)]
pub(crate) struct Interruption {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failure: Option<SeqError>,
    digest: Option<(String, u64)>,
}

impl Interruption {
    /// Whether the text was cut short by a failure.
    pub(crate) fn is_failed(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failure.is_some()
    }

    /// The failure, once.
    pub(crate) fn take_failure(&self) -> Option<SeqError> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failure.take()
    }

    /// SHA-256 (hex) and number of stored bytes after a complete read, once.
    pub(crate) fn take_digest(&self) -> Option<(String, u64)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).digest.take()
    }
}

pub(crate) struct TextReader {
    blocks: Option<Blocks>,
    block: Vec<u8>,
    position: usize,
    /// End of the block without its trailing newlines.
    text_end: usize,
    /// Newlines to deliver if more text comes.
    held_newlines: usize,
    tail: &'static [u8],
    interruption: Arc<Interruption>,
}

impl TextReader {
    pub(crate) fn new(blocks: Blocks, opening: Opening) -> (Self, Arc<Interruption>) {
        let interruption = Arc::<Interruption>::default();
        let mut reader = Self {
            blocks: Some(blocks),
            block: opening.block,
            position: opening.start,
            text_end: 0,
            held_newlines: 0,
            // A FASTA header without sequence needs an (empty) line behind it to count as a
            // record; in FASTQ a blank line at the end could be taken for a broken record.
            tail: match opening.format {
                Some(SequenceFormat::Fastq) => b"\n",
                _ => b"\n\n",
            },
            interruption: Arc::clone(&interruption),
        };
        reader.find_text_end();
        (reader, interruption)
    }

    fn find_text_end(&mut self) {
        let text = &self.block[self.position..];
        let newlines = text.iter().rev().take_while(|&&byte| byte == b'\n').count();
        self.text_end = self.block.len() - newlines;
    }

    /// Goes to the next block; `false` behind the last one.
    fn advance(&mut self) -> bool {
        let Some(blocks) = &mut self.blocks else {
            return false;
        };
        self.held_newlines += self.block.len() - self.text_end;
        let outcome = blocks.next_into(&mut self.block);
        if let Ok(true) = outcome {
            self.position = 0;
            self.find_text_end();
            return true;
        }
        let digest = blocks.digest().cloned();
        let mut state = self.interruption.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { failure: outcome.err(), digest };
        self.blocks = None;
        false
    }
}

impl Read for TextReader {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        while self.position == self.text_end {
            if !self.advance() {
                let count = self.tail.len().min(target.len());
                target[..count].copy_from_slice(&self.tail[..count]);
                self.tail = &self.tail[count..];
                return Ok(count);
            }
        }
        if self.held_newlines > 0 {
            let count = self.held_newlines.min(target.len());
            target[..count].fill(b'\n');
            self.held_newlines -= count;
            return Ok(count);
        }
        let text = &self.block[self.position..self.text_end];
        let count = text.len().min(target.len());
        target[..count].copy_from_slice(&text[..count]);
        self.position += count;
        Ok(count)
    }
}
