//! Both encoders and the classifier: readable frames in, scores out.

use std::num::NonZeroUsize;

use virnucpro_backend::Backend;
use virnucpro_batch::PackedBatch;
use virnucpro_models::{Bundle, Classifier, Pooling};
use virnucpro_seq::ReadableFrame;

use crate::encode::{EncodeCounts, EncoderStage};
use crate::timing::Timings;
use crate::{CancelToken, PipelineError};

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

/// The models of a bundle on a device.
pub(super) struct Scorer<'a, B: Backend> {
    backend: &'a B,
    protein: EncoderStage<'a, B>,
    nucleotide: EncoderStage<'a, B>,
    classifier: Classifier<B>,
    parameters: [u64; 3],
}

impl<'a, B: Backend> Scorer<'a, B> {
    /// Loads the bundle's encoders and the classifier for `chunk_length`.
    pub(super) fn load(
        backend: &'a B,
        bundle: &Bundle,
        chunk_length: usize,
        token_budget: NonZeroUsize,
    ) -> Result<Self, PipelineError> {
        let classifier = bundle.classifier(backend, chunk_length)?;
        let sources = [bundle.protein_encoder()?, bundle.nucleotide_encoder()?];
        let [protein, nucleotide] =
            [0, 1].map(|i| sources[i].checkpoint().summary().total_parameters);
        let parameters = [protein, nucleotide, classifier.num_parameters()];
        let load = |name, source| {
            EncoderStage::load(name, backend, source, token_budget, None, Pooling::Mean)
        };
        let protein = load("embed_protein", &sources[0])?;
        let nucleotide = load("embed_nucleotide", &sources[1])?;
        Ok(Self { backend, protein, nucleotide, classifier, parameters })
    }

    /// Scores frames, in their order.
    ///
    /// The features of a frame are its nucleotide embedding followed by its protein embedding.
    /// `after_batch` gets each batch that is done, of either encoder.
    pub(super) fn score(
        &mut self,
        frames: &[&ReadableFrame],
        timings: &mut Timings,
        cancel: &CancelToken,
        after_batch: &mut (dyn FnMut(&PackedBatch) + Send),
    ) -> Result<Vec<FrameScore>, PipelineError> {
        let width = self.classifier.num_features();
        let split = self.nucleotide.hidden_size();
        let mut features = vec![0f32; frames.len() * width];
        let nucleotides: Vec<&[u8]> = frames.iter().map(|f| &f.nucleotide[..]).collect();
        let to_front = |frame: usize, row: &[f32]| {
            features[frame * width..frame * width + split].copy_from_slice(row);
        };
        self.nucleotide.run(&nucleotides, timings, cancel, to_front, after_batch)?;
        let proteins: Vec<&[u8]> = frames.iter().map(|f| &f.protein[..]).collect();
        let to_back = |frame: usize, row: &[f32]| {
            features[frame * width + split..(frame + 1) * width].copy_from_slice(row);
        };
        self.protein.run(&proteins, timings, cancel, to_back, after_batch)?;
        let scores = timings.time("classify", || self.classifier.score(self.backend, &features))?;
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

    /// What the protein and the nucleotide encoder did so far.
    pub(super) fn encode_counts(&self) -> (EncodeCounts, EncodeCounts) {
        (self.protein.counts(), self.nucleotide.counts())
    }

    /// Parameters of the protein encoder, the nucleotide encoder and the classifier.
    pub(super) fn parameters(&self) -> [u64; 3] {
        self.parameters
    }
}
