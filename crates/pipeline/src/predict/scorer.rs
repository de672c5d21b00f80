//! The classifier: embeddings of frames in, scores out.

use std::sync::Arc;

use virnucpro_backend::Backend;
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_models::Classifier;

use super::window::{NUCLEOTIDE, PROTEIN, Window};
use crate::PipelineError;
use crate::loader::{Finished, Stretch};

/// The scores of one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FrameScore {
    /// Probability of `others`.
    pub(super) score1: f32,
    /// Probability of `virus`.
    pub(super) score2: f32,
    /// Whether the features and scores are free of NaN and infinity.
    pub(super) is_finite: bool,
}

/// A classifier on its device.
pub(super) struct Scorer {
    pub(super) backend: Arc<CpuBackend>,
    pub(super) classifier: Classifier<CpuBackend>,
}

impl Scorer {
    /// Scores the frames of a window, in their order.
    ///
    /// The features of a frame are its nucleotide embedding followed by its protein embedding.
    pub(super) fn score(
        &self,
        finished: &Finished<Window>,
    ) -> Result<Vec<FrameScore>, PipelineError> {
        let (frames, width) = (finished.stretch.num_sequences(), self.classifier.num_features());
        let mut features = Vec::with_capacity(frames * width);
        for frame in 0..frames {
            features.extend_from_slice(finished.row(frame, NUCLEOTIDE));
            features.extend_from_slice(finished.row(frame, PROTEIN));
        }
        let scores = self.backend.run(|| self.classifier.score(&*self.backend, &features))?;
        let is_finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        Ok(features
            .chunks_exact(width)
            .zip(scores)
            .map(|(features, score)| {
                let [score1, score2] = score.probabilities;
                let is_finite = is_finite(features) && is_finite(&[score1, score2]);
                FrameScore { score1, score2, is_finite }
            })
            .collect())
    }
}
