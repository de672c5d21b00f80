//! Owns the decision about one input sequence. Must not write it.
//!
//! Entry type: [`ContigVerdict`].

use crate::{BestScores, ContigRow, Verdict};

/// The rule behind the `verdict` column, for `--help` and documents.
pub const VERDICT_RULE: &str = "A chunk is viral when its best viral score is at least its best \
non-viral score over its readable frames (frames without a stop codon), the rule of \
prediction_results_highestscore.csv. A contig is viral when at least half of its readable \
chunks are viral, otherwise nonviral; it is unreadable when no chunk has a readable frame, \
too_short below --min-length, and empty without letters. viral_fraction is viral chunks \
divided by readable chunks; mean_score and max_score are the mean and the maximum over \
readable chunks of the chunk's best viral score; NA where there is none.";

/// Collects the chunks of one input sequence and makes its [`ContigRow`] by
/// [`VERDICT_RULE`].
#[derive(Clone, Debug)]
pub struct ContigVerdict {
    id: String,
    length_nt: u64,
    chunks: u64,
    readable_chunks: u64,
    viral_chunks: u64,
    score_sum: f64,
    scored_chunks: u64,
    max_score: Option<f64>,
}

impl ContigVerdict {
    /// Starts a sequence whose chunks are still to come.
    #[must_use]
    pub fn new(id: impl Into<String>, length_nt: u64) -> Self {
        Self {
            id: id.into(),
            length_nt,
            chunks: 0,
            readable_chunks: 0,
            viral_chunks: 0,
            score_sum: 0.0,
            scored_chunks: 0,
            max_score: None,
        }
    }

    /// Takes in one chunk: the best scores over its readable frames, or `None` where it
    /// has no readable frame.
    ///
    /// A chunk whose scores are all NaN is readable, not viral, and outside mean and
    /// maximum.
    pub fn push_chunk(&mut self, best: Option<BestScores>) {
        self.chunks += 1;
        let Some(best) = best else { return };
        self.readable_chunks += 1;
        self.viral_chunks += u64::from(best.is_virus());
        if let Some(score) = best.virus() {
            self.score_sum += score;
            self.scored_chunks += 1;
            self.max_score = Some(self.max_score.map_or(score, |known| known.max(score)));
        }
    }

    /// The finished row.
    #[must_use]
    pub fn finish(self) -> ContigRow {
        let verdict = if self.length_nt == 0 {
            Verdict::Empty
        } else if self.readable_chunks == 0 {
            Verdict::Unreadable
        } else if self.viral_chunks >= self.readable_chunks - self.viral_chunks {
            Verdict::Viral
        } else {
            Verdict::Nonviral
        };
        ContigRow {
            id: self.id,
            length_nt: self.length_nt,
            chunks: self.chunks,
            readable_chunks: self.readable_chunks,
            viral_chunks: self.viral_chunks,
            viral_fraction: ratio(self.viral_chunks as f64, self.readable_chunks),
            mean_score: ratio(self.score_sum, self.scored_chunks),
            max_score: self.max_score,
            verdict,
        }
    }
}

fn ratio(sum: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}
