//! A bounded stretch of the input: translated units on their way to the encoders.

use virnucpro_output::{Counts, DuplicateIds};
use virnucpro_seq::{ReadableFrame, SeqError, TranslatedChunk, TranslatedUnit};

use super::PredictConfig;
use crate::PipelineError;

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

/// Consecutive units.
pub(super) struct Window {
    units: Vec<WindowUnit>,
}

impl Window {
    /// Draws units until the window is full or the input ends.
    pub(super) fn fill(
        units: &mut impl Iterator<Item = Result<TranslatedUnit, SeqError>>,
        config: &PredictConfig,
    ) -> Result<Self, SeqError> {
        let mut window = Self { units: Vec::new() };
        let (mut frames, mut letters) = (0, 0);
        while frames < WINDOW_FRAMES && letters < WINDOW_LETTERS {
            let Some(unit) = units.next().transpose()? else { break };
            let length_nt = unit.record.seq.len();
            let is_too_short = length_nt > 0 && length_nt < config.min_length_nt;
            letters += unit.letters.total();
            let unit = WindowUnit { unit, is_too_short };
            frames += unit.chunks().iter().map(|chunk| chunk.frames.len()).sum::<usize>();
            window.units.push(unit);
        }
        Ok(window)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// The readable frames in output order.
    pub(super) fn frames(&self) -> Vec<&ReadableFrame> {
        self.units.iter().flat_map(|u| u.chunks()).flat_map(|chunk| &chunk.frames).collect()
    }

    pub(super) fn into_units(self) -> Vec<WindowUnit> {
        self.units
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
