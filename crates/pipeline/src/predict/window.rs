//! A bounded stretch of the input: translated units on their way to the encoders.

use virnucpro_output::{Counts, DuplicateIds};
use virnucpro_seq::{SeqError, TranslatedChunk, TranslatedUnit};

use crate::PipelineError;
use crate::loader::Stretch;

/// Frames in a window; some tens of packed batches, so that packing wastes little.
const WINDOW_FRAMES: usize = 2048;

/// Letters in a window; bounds the memory of input without readable frames.
const WINDOW_LETTERS: u64 = 8 << 20;

/// One translated unit and whether its frames are scored.
pub(super) struct WindowUnit {
    pub(super) unit: TranslatedUnit,
    /// Its record is shorter than the minimum length.
    pub(super) is_too_short: bool,
}

impl WindowUnit {
    /// Chunks that take part in prediction: none of a record that is too short.
    pub(super) fn chunks(&self) -> &[TranslatedChunk] {
        if self.is_too_short { &[] } else { &self.unit.chunks }
    }
}

/// Consecutive units, with their readable frames in output order.
pub(super) struct Window {
    units: Vec<WindowUnit>,
    /// Unit, chunk of the unit and frame of the chunk.
    frames: Vec<(u32, u32, u32)>,
    letters: u64,
}

/// Encoder that reads nucleotides.
pub(super) const NUCLEOTIDE: usize = 0;
/// Encoder that reads proteins.
pub(super) const PROTEIN: usize = 1;

impl Window {
    /// Draws units until the window is full or the input ends; `None` at the end.
    fn fill(
        units: &mut impl Iterator<Item = Result<TranslatedUnit, SeqError>>,
        min_length_nt: usize,
    ) -> Result<Option<Self>, SeqError> {
        let mut window = Self { units: Vec::new(), frames: Vec::new(), letters: 0 };
        while window.frames.len() < WINDOW_FRAMES && window.letters < WINDOW_LETTERS {
            let Some(unit) = units.next().transpose()? else { break };
            let length_nt = unit.record.seq.len();
            let is_too_short = length_nt > 0 && length_nt < min_length_nt;
            window.letters += unit.letters.total();
            let unit = WindowUnit { unit, is_too_short };
            for (c, chunk) in (0..).zip(unit.chunks()) {
                let place = window.units.len() as u32;
                window.frames.extend((0..chunk.frames.len() as u32).map(|f| (place, c, f)));
            }
            window.units.push(unit);
        }
        Ok((!window.units.is_empty()).then_some(window))
    }

    pub(super) fn units(&self) -> &[WindowUnit] {
        &self.units
    }

    /// Adds what the window holds to the counts of the run.
    pub(super) fn count(
        &self,
        counts: &mut Counts,
        ids: &mut DuplicateIds,
    ) -> Result<(), PipelineError> {
        for unit in &self.units {
            let record = &unit.unit.record;
            if unit.unit.is_first() {
                ids.push(&record.id)?;
                counts.records += 1;
                counts.empty_ids += u64::from(record.id.is_empty());
                counts.empty_records += u64::from(record.seq.is_empty());
                counts.too_short_records += u64::from(unit.is_too_short);
            }
            let letters = unit.unit.letters;
            counts.letters.acgt += letters.acgt;
            counts.letters.n += letters.n;
            counts.letters.iupac += letters.other_iupac;
            counts.letters.other += letters.other;
            counts.letters.lower += letters.lower_case;
            counts.chunks += unit.chunks().len() as u64;
            for chunk in unit.chunks() {
                counts.readable_chunks += u64::from(!chunk.frames.is_empty());
                counts.frames += chunk.frames.len() as u64;
            }
        }
        Ok(())
    }
}

impl Stretch for Window {
    fn num_sequences(&self) -> usize {
        self.frames.len()
    }

    fn letters(&self, sequence: usize, task: usize) -> &[u8] {
        let (unit, chunk, frame) = self.frames[sequence];
        let frame = &self.units[unit as usize].chunks()[chunk as usize].frames[frame as usize];
        if task == NUCLEOTIDE { &frame.nucleotide } else { &frame.protein }
    }

    fn record(&self, sequence: usize) -> &str {
        &self.units[self.frames[sequence].0 as usize].unit.record.id
    }

    fn input_letters(&self) -> u64 {
        self.letters
    }
}

/// The windows of an input.
pub(super) struct Windows<U> {
    pub(super) units: U,
    pub(super) min_length_nt: usize,
}

impl<U: Iterator<Item = Result<TranslatedUnit, SeqError>>> Iterator for Windows<U> {
    type Item = Result<Window, SeqError>;

    fn next(&mut self) -> Option<Self::Item> {
        Window::fill(&mut self.units, self.min_length_nt).transpose()
    }
}
