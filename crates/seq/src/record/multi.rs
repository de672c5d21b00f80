//! The records of several inputs, one after the other.
//!
//! Owns the numbering over all inputs. Entry type: [`MultiReader`].

use super::{InputStats, Record, RecordReader};
use crate::error::SeqError;
use crate::io::Input;
use crate::supervision::Supervision;

/// An iterator over the records of all inputs in the order given; ends after the first failure.
pub struct MultiReader {
    inputs: std::vec::IntoIter<Input>,
    current: Option<RecordReader>,
    finished: Vec<InputStats>,
    next_index: u64,
    is_failed: bool,
    supervision: Supervision,
}

impl MultiReader {
    /// Checks every input before the first is read, so that a wrong name fails at once.
    ///
    /// # Errors
    /// [`SeqError::Open`], [`SeqError::Directory`], [`SeqError::StdinTwice`].
    pub fn open(inputs: Vec<Input>) -> Result<Self, SeqError> {
        if inputs.iter().filter(|&input| *input == Input::Stdin).count() > 1 {
            return Err(SeqError::StdinTwice);
        }
        inputs.iter().try_for_each(Input::check)?;
        Ok(Self {
            inputs: inputs.into_iter(),
            current: None,
            finished: Vec::new(),
            next_index: 0,
            is_failed: false,
            supervision: Supervision::default(),
        })
    }

    /// Puts the reading threads under `supervision`.
    #[must_use]
    pub fn supervised(mut self, supervision: &Supervision) -> Self {
        self.supervision = supervision.clone();
        self
    }

    /// Statistics of the inputs read to their end, in the order given.
    pub fn finished_stats(&self) -> &[InputStats] {
        &self.finished
    }

    /// Statistics of the input being read.
    pub fn current_stats(&self) -> Option<&InputStats> {
        self.current.as_ref().map(RecordReader::stats)
    }

    fn fail(&mut self, error: SeqError) -> Option<Result<Record, SeqError>> {
        self.is_failed = true;
        Some(Err(error))
    }
}

impl Iterator for MultiReader {
    type Item = Result<Record, SeqError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_failed {
            if let Some(reader) = &mut self.current {
                match reader.next() {
                    Some(Ok(record)) => {
                        self.next_index += 1;
                        return Some(Ok(record));
                    }
                    Some(Err(error)) => return self.fail(error),
                    None => self.finished.extend(self.current.take().map(|r| r.stats().clone())),
                }
            }
            let input = self.inputs.next()?;
            match RecordReader::open_supervised(&input, &self.supervision) {
                Ok(reader) => {
                    self.current = Some(reader.numbered(self.finished.len(), self.next_index));
                }
                Err(error) => return self.fail(error),
            }
        }
        None
    }
}

impl std::iter::FusedIterator for MultiReader {}
