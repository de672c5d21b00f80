//! Owns `prediction_results_highestscore.csv`, one row per chunk. Must not decide about
//! contigs.
//!
//! Entry type: [`Consensus`].

use crate::{BestScores, Error, PredictionReader, Result, tsv::Cell};
use std::{
    collections::HashMap,
    io::{self, Write},
    path::Path,
};

/// First line of `prediction_results_highestscore.csv`, without its line end.
pub const CONSENSUS_HEADER: &str = "Modified_ID\tIs_Virus";

/// Groups frames by chunk and decides each chunk; memory grows with the chunks, not
/// with the frames.
///
/// # Source
/// Li-Jing-1997/VirNucPro@0f93f27:prediction.py (`determine_virus` and the grouping of
/// `make_predictdata`). Deliberate difference: ids with `"` are plain text here, where
/// the original joins rows through CSV quoting.
#[derive(Clone, Debug, Default)]
pub struct Consensus {
    chunks: HashMap<String, BestScores>,
}

impl Consensus {
    /// An empty grouping.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one frame: `score1` is p(others), `score2` is p(virus).
    ///
    /// # Errors
    /// [`Error::ShortFrameId`] where the id has fewer than two characters.
    pub fn push(&mut self, frame_id: &str, score1: f64, score2: f64) -> Result<()> {
        let chunk = group_of_frame_id(frame_id)
            .ok_or_else(|| Error::ShortFrameId { id: frame_id.to_owned() })?;
        if let Some(best) = self.chunks.get_mut(chunk) {
            best.push(score1, score2);
        } else {
            self.chunks.entry(chunk.to_owned()).or_default().push(score1, score2);
        }
        Ok(())
    }

    /// Groups the rows of a `prediction_results.txt`.
    ///
    /// # Errors
    /// Those of [`PredictionReader`], which name file and line.
    pub fn from_table(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_reader(PredictionReader::open(path)?)
    }

    /// Groups the rows of an open table, for example one read from standard input.
    ///
    /// # Errors
    /// Those of [`PredictionReader`], which name file and line.
    pub fn from_reader<R: io::BufRead>(rows: PredictionReader<R>) -> Result<Self> {
        let mut consensus = Self::new();
        for row in rows {
            let row = row?;
            consensus.push(&row.id, row.score1, row.score2)?;
        }
        Ok(consensus)
    }

    /// Number of chunks.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Number of chunks called viral.
    #[must_use]
    pub fn viral_chunks(&self) -> usize {
        self.chunks.values().filter(|best| best.is_virus()).count()
    }

    /// Writes the table, rows sorted by code point (`_chunk_10` before `_chunk_2`).
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write<W: Write>(&self, mut writer: W) -> io::Result<()> {
        // The byte order of UTF-8 is the order of its code points.
        let mut rows: Vec<_> = self.chunks.iter().collect();
        rows.sort_unstable_by_key(|(chunk, _)| chunk.as_str());
        writeln!(writer, "{CONSENSUS_HEADER}")?;
        for (chunk, best) in rows {
            let is_virus = if best.is_virus() { "True" } else { "False" };
            writeln!(writer, "{}\t{is_virus}", Cell(chunk))?;
        }
        Ok(())
    }
}

/// The chunk a frame belongs to: its id without the last two characters (the frame
/// name), or `None` where there are not that many.
#[must_use]
pub fn group_of_frame_id(frame_id: &str) -> Option<&str> {
    let (end, _) = frame_id.char_indices().nth_back(1)?;
    Some(&frame_id[..end])
}
