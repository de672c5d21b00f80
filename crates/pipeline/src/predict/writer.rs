//! The files of a prediction, written in input order and committed together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use virnucpro_models::bundle::Verified;
use virnucpro_output::{
    AtomicFile, BestScores, Consensus, ContigRow, ContigTable, ContigVerdict, Counts, OutputSet,
    PredictionTable, Summary, Verdict,
};
use virnucpro_seq::write::write_fasta;
use virnucpro_seq::{Record, chunk_id};

use super::scorer::FrameScore;
use super::window::{Window, WindowUnit};
use crate::PipelineError;

/// The open outputs of one run; nothing has its final name before [`Outputs::commit`].
pub(super) struct Outputs {
    predictions: PredictionTable<AtomicFile>,
    consensus_file: AtomicFile,
    contigs: ContigTable<AtomicFile>,
    viral: AtomicFile,
    summary: AtomicFile,
    consensus: Consensus,
    /// The record whose chunks are still coming.
    open_contig: Option<ContigVerdict>,
}

impl Outputs {
    pub(super) fn create(dir: &Path) -> Result<Self, PipelineError> {
        let file = |name: &str| AtomicFile::create(dir.join(name));
        let consensus_file = file("prediction_results_highestscore.csv")?;
        Ok(Self {
            predictions: PredictionTable::new(file("prediction_results.txt")?)?,
            consensus: Consensus::new(consensus_file.path()),
            consensus_file,
            contigs: ContigTable::new(file("contigs.tsv")?)?,
            viral: file("viral.fasta")?,
            summary: file("summary.json")?,
            open_contig: None,
        })
    }

    /// Writes a window; `scores` holds one entry for each of its frames, in order.
    pub(super) fn write(
        &mut self,
        window: &Window,
        scores: &[FrameScore],
        counts: &mut Counts,
    ) -> Result<(), PipelineError> {
        let mut scores = scores.iter();
        for unit in window.units() {
            let record = Arc::clone(&unit.unit.record);
            let id = record.id.as_str();
            for chunk in unit.chunks() {
                let chunk_name = chunk_id(id, chunk.index);
                let mut best = (!chunk.frames.is_empty()).then(BestScores::new);
                for (frame, score) in chunk.frames.iter().zip(&mut scores) {
                    let frame_id = format!("{chunk_name}{}", frame.frame.name());
                    self.predictions.push(&frame_id, score.score1, score.score2)?;
                    let (score1, score2) = (f64::from(score.score1), f64::from(score.score2));
                    self.consensus.push(&frame_id, score1, score2)?;
                    if let Some(best) = &mut best {
                        best.push(score1, score2);
                    }
                }
                counts.viral_chunks += u64::from(best.is_some_and(|best| best.is_virus()));
                self.contig(&record).push_chunk(best);
            }
            if unit.unit.is_last() {
                self.close_contig(&record, unit, counts)?;
            }
        }
        counts.rows_written = self.predictions.rows();
        Ok(())
    }

    fn contig(&mut self, record: &Record) -> &mut ContigVerdict {
        let length_nt = record.seq.len() as u64;
        self.open_contig.get_or_insert_with(|| ContigVerdict::new(record.id.as_str(), length_nt))
    }

    fn close_contig(
        &mut self,
        record: &Record,
        unit: &WindowUnit,
        counts: &mut Counts,
    ) -> Result<(), PipelineError> {
        let row = match self.open_contig.take() {
            Some(contig) => contig.finish(),
            None if unit.is_too_short => {
                ContigRow::too_short(record.id.as_str(), record.seq.len() as u64)
            }
            None => ContigRow::empty(record.id.as_str()),
        };
        counts.contigs.add(row.verdict);
        if row.verdict == Verdict::Viral {
            write_fasta(&mut self.viral, record)?;
        }
        Ok(self.contigs.push(&row)?)
    }

    /// Writes what is only known at the end and gives all files their final names; the models that they
    /// were computed with must be those of the bundle.
    pub(super) fn commit(
        mut self,
        summary: &Summary,
        _: Verified,
    ) -> Result<Vec<PathBuf>, PipelineError> {
        self.consensus.write(&mut self.consensus_file)?;
        summary.write(&mut self.summary)?;
        let mut outputs = OutputSet::new();
        outputs.push(self.predictions.into_inner());
        outputs.push(self.consensus_file);
        outputs.push(self.contigs.into_inner());
        outputs.push(self.viral);
        outputs.push(self.summary);
        let paths = outputs.paths();
        outputs.commit()?;
        Ok(paths)
    }
}
