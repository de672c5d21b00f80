//! Owns the decision over the frames of one chunk. Must not know where frames come from.
//!
//! Entry type: [`BestScores`].

/// The best two scores over the frames of one chunk, NaN skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BestScores {
    others: Option<f64>,
    virus: Option<f64>,
}

impl BestScores {
    /// Scores of a chunk whose frames are still to come.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one frame: `score1` is p(others), `score2` is p(virus).
    pub fn push(&mut self, score1: f64, score2: f64) {
        keep_larger(&mut self.others, score1);
        keep_larger(&mut self.virus, score2);
    }

    /// Best p(others); `None` without any number.
    #[must_use]
    pub fn others(&self) -> Option<f64> {
        self.others
    }

    /// Best p(virus); `None` without any number.
    #[must_use]
    pub fn virus(&self) -> Option<f64> {
        self.virus
    }

    /// Whether the best viral score is at least the best non-viral one.
    ///
    /// A tie is viral, although a frame with equal scores is labelled `others`; a chunk
    /// with a score column that is NaN throughout is not viral.
    ///
    /// # Source
    /// `determine_virus` of Li-Jing-1997/VirNucPro@0f93f27:prediction.py.
    #[must_use]
    pub fn is_virus(&self) -> bool {
        matches!((self.others, self.virus), (Some(others), Some(virus)) if virus >= others)
    }
}

fn keep_larger(best: &mut Option<f64>, score: f64) {
    if !score.is_nan() {
        *best = Some(best.map_or(score, |known| known.max(score)));
    }
}
