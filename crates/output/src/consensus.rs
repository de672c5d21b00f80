//! Owns `prediction_results_highestscore.csv`, one row per chunk. Must not decide about
//! contigs.
//!
//! Entry type: [`Consensus`].

use crate::{
    BestScores, Error, PredictionReader, Result,
    spill::{Limits, SpillSort},
    tsv::Cell,
};
use std::{
    io::{self, Write},
    path::Path,
};

/// First line of `prediction_results_highestscore.csv`, without its line end.
pub const CONSENSUS_HEADER: &str = "Modified_ID\tIs_Virus";

/// Groups frames by chunk and decides each chunk, in bounded memory: what does not fit
/// waits in a nameless temporary file.
///
/// # Source
/// Li-Jing-1997/VirNucPro@0f93f27:prediction.py (`determine_virus` and the grouping of
/// `make_predictdata`). Deliberate difference: ids with `"` are plain text here, where
/// the original joins rows through CSV quoting.
#[derive(Debug)]
pub struct Consensus {
    chunks: SpillSort<BestScores>,
}

/// What [`Consensus::write`] wrote.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ConsensusCounts {
    /// Rows: chunks with a name of their own.
    pub chunks: u64,
    /// Those called viral.
    pub viral_chunks: u64,
}

impl Consensus {
    /// An empty grouping for the table `output`, whose folder takes the temporary file.
    #[must_use]
    pub fn new(output: impl AsRef<Path>) -> Self {
        Self::with_limits(output.as_ref(), Limits::DEFAULT)
    }

    fn with_limits(output: &Path, limits: Limits) -> Self {
        Self { chunks: SpillSort::new(output, limits) }
    }

    /// Takes in one frame: `score1` is p(others), `score2` is p(virus).
    ///
    /// # Errors
    /// [`Error::ShortFrameId`] where the id has fewer than two characters;
    /// [`Error::Spill`] where the temporary file cannot be written.
    pub fn push(&mut self, frame_id: &str, score1: f64, score2: f64) -> Result<()> {
        let chunk = group_of_frame_id(frame_id)
            .ok_or_else(|| Error::ShortFrameId { id: frame_id.to_owned() })?;
        let mut best = BestScores::new();
        best.push(score1, score2);
        self.chunks.push(chunk.as_bytes(), best)
    }

    /// Groups the rows of a `prediction_results.txt` for the table `output`.
    ///
    /// # Errors
    /// Those of [`PredictionReader`], which name file and line; [`Error::Spill`].
    pub fn from_table(table: impl AsRef<Path>, output: impl AsRef<Path>) -> Result<Self> {
        Self::from_reader(PredictionReader::open(table)?, output)
    }

    /// Groups the rows of an open table, for example one read from standard input.
    ///
    /// # Errors
    /// Those of [`PredictionReader`], which name file and line; [`Error::Spill`].
    pub fn from_reader<R: io::BufRead>(
        rows: PredictionReader<R>,
        output: impl AsRef<Path>,
    ) -> Result<Self> {
        let mut consensus = Self::new(output);
        for row in rows {
            let row = row?;
            consensus.push(&row.id, row.score1, row.score2)?;
        }
        Ok(consensus)
    }

    /// Writes the table, rows sorted by code point (`_chunk_10` before `_chunk_2`).
    ///
    /// # Errors
    /// Those of the writer; [`Error::Spill`] where the temporary file cannot be written or
    /// read, or is damaged. The table is incomplete then.
    pub fn write<W: Write>(self, mut writer: W) -> Result<ConsensusCounts> {
        let mut counts = ConsensusCounts::default();
        writeln!(writer, "{CONSENSUS_HEADER}")?;
        // The byte order of UTF-8 is the order of its code points.
        self.chunks.finish(|chunk, best| {
            let chunk = str::from_utf8(chunk).map_err(io::Error::other)?;
            let is_virus = if best.is_virus() { "True" } else { "False" };
            writeln!(writer, "{}\t{is_virus}", Cell(chunk))?;
            counts.chunks += 1;
            counts.viral_chunks += u64::from(best.is_virus());
            Ok(())
        })?;
        Ok(counts)
    }
}

/// The chunk a frame belongs to: its id without the last two characters (the frame
/// name), or `None` where there are not that many.
#[must_use]
pub fn group_of_frame_id(frame_id: &str) -> Option<&str> {
    let (end, _) = frame_id.char_indices().nth_back(1)?;
    Some(&frame_id[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const TINY: Limits = Limits { buffer_bytes: 300, block_bytes: 64, fan_in: 2 };

    fn written(consensus: Consensus) -> (String, ConsensusCounts) {
        let mut text = Vec::new();
        let counts = consensus.write(&mut text).unwrap();
        (String::from_utf8(text).unwrap(), counts)
    }

    #[test]
    fn consensus_can_move_to_a_writer_thread() {
        fn check<T: Send>() {}
        check::<Consensus>();
    }

    #[test]
    fn consensus_tie_and_nan_are_decided_after_a_spill() {
        let folder = tempfile::tempdir().unwrap();
        let mut consensus = Consensus::with_limits(&folder.path().join("table"), TINY);
        // The frames of each chunk are hundreds of chunks apart, so in different runs.
        let third = 1.0 / 3.0;
        for (frame, scores) in [
            ("F1", [(third, 0.1), (f64::NAN, f64::NAN), (f64::NAN, 0.9), (-0.0, -1.0)]),
            ("R3", [(0.1, third), (f64::NAN, f64::NAN), (f64::NAN, f64::NAN), (-1.0, 0.0)]),
        ] {
            for number in 0..400 {
                let (score1, score2) = scores[number % 4];
                consensus.push(&format!("{number:03}{frame}"), score1, score2).unwrap();
            }
        }
        let (text, counts) = written(consensus);
        for (number, line) in text.lines().skip(1).enumerate() {
            let expected = if matches!(number % 4, 0 | 3) { "True" } else { "False" };
            assert_eq!(line, format!("{number:03}\t{expected}"));
        }
        assert_eq!(counts, ConsensusCounts { chunks: 400, viral_chunks: 200 });
    }

    #[test]
    fn consensus_failed_spill_names_the_table() {
        let mut consensus = Consensus::with_limits(Path::new("no/such/table.csv"), TINY);
        let mut push = |number: u32| consensus.push(&format!("{number}F1"), 0.5, 0.5);
        let error = (0..100).try_for_each(&mut push).unwrap_err().to_string();
        assert!(error.starts_with("cannot make no/such/table.csv: the temporary"), "{error}");
    }

    fn score() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (0_u8..=10).prop_map(|tenth| f64::from(tenth) / 10.0),
            1 => prop::sample::select(vec![f64::NAN, -f64::NAN, 0.0, -0.0, f64::INFINITY]),
            2 => any::<u64>().prop_map(f64::from_bits),
        ]
    }

    proptest! {
        #[test]
        fn prop_consensus_of_spilled_chunks_is_the_same_table(
            rows in prop::collection::vec(("[a-c\\té]{0,3}_chunk_[0-9]{1,2}[FR][1-3]", score(), score()), 0..300),
            buffer_bytes in 1_usize..2000,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let limits = Limits { buffer_bytes, ..TINY };
            let mut spilled = Consensus::with_limits(&folder.path().join("table"), limits);
            let mut chunks = BTreeMap::<&str, BestScores>::new();
            for (id, score1, score2) in &rows {
                spilled.push(id, *score1, *score2).unwrap();
                chunks.entry(&id[..id.len() - 2]).or_default().push(*score1, *score2);
            }
            let mut expected = format!("{CONSENSUS_HEADER}\n");
            for (chunk, best) in &chunks {
                let decision = if best.is_virus() { "True" } else { "False" };
                expected += &format!("{}\t{decision}\n", chunk.replace('\t', "\\t"));
            }
            let (text, counts) = written(spilled);
            prop_assert_eq!(text, expected);
            prop_assert_eq!(counts.chunks, chunks.len() as u64);
            let viral = chunks.values().filter(|best| best.is_virus()).count();
            prop_assert_eq!(counts.viral_chunks, viral as u64);
        }
    }
}
