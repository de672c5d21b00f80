//! The classifier: one hidden layer with batch norm over the two encoders' features.

mod stored;
mod weights;

use virnucpro_backend::{Backend, Epilogue};
use virnucpro_weights::Checkpoint;

use crate::ModelError;
pub(crate) use stored::{EPS_KEY, FIRST_LAYER, StoredClassifier};
use weights::FoldedWeights;

/// Rows scored at a time; bounds the memory of scoring large feature files.
const SCORE_ROWS: usize = 4096;

/// What the classifier says of one row of features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Output of the last layer for `others` and `virus`.
    pub logits: [f32; 2],
    /// Softmax of the logits: `score1` (`others`) and `score2` (`virus`).
    pub probabilities: [f32; 2],
}

/// `Linear → BatchNorm → ReLU → Linear → softmax`, in evaluation mode.
///
/// The running statistics of the batch norm are folded into the first layer when it is loaded, in
/// f64, so that inference is two linear layers.
///
/// # Source
/// Li-Jing-1997/VirNucPro @0f93f27: `MLPClassifier`.
pub struct Classifier<B: Backend> {
    hidden: B::Linear,
    output: B::Linear,
    num_features: usize,
    hidden_size: usize,
}

impl<B: Backend> Classifier<B> {
    /// Loads a classifier: safetensors, a pickled state dict, or a pickled whole module.
    ///
    /// # Errors
    /// A missing, unexpected or misshapen tensor, a value that is not finite, or a running variance
    /// that is negative; each names the file and the tensor.
    pub fn load(backend: &B, checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let folded = FoldedWeights::read(checkpoint)?;
        Ok(Self {
            hidden: folded.hidden(backend)?,
            output: folded.output(backend)?,
            num_features: folded.num_features,
            hidden_size: folded.hidden_size,
        })
    }

    /// Width of a row of features: the nucleotide encoder's mean, then the protein encoder's.
    pub fn num_features(&self) -> usize {
        self.num_features
    }

    /// Trained numbers in both layers and the batch norm.
    pub fn num_parameters(&self) -> u64 {
        let (features, hidden) = (self.num_features as u64, self.hidden_size as u64);
        // Weights, bias, and the batch norm's scale and shift; then two outputs with bias.
        (features + 3) * hidden + 2 * hidden + 2
    }

    /// Scores rows of features.
    ///
    /// # Shape
    /// `features` f32 row-major `[rows, num_features]`, result `[rows]` in the same order.
    ///
    /// # Errors
    /// [`ModelError::FeatureWidth`] when the values do not make whole rows.
    pub fn score(&self, backend: &B, features: &[f32]) -> Result<Vec<Score>, ModelError> {
        let expected = self.num_features;
        if !features.len().is_multiple_of(expected) {
            return Err(ModelError::FeatureWidth { expected, found: features.len() });
        }
        let mut scores = Vec::with_capacity(features.len() / expected);
        for block in features.chunks(SCORE_ROWS * expected) {
            let rows = block.len() / expected;
            let x = backend.activation(rows, expected, block)?;
            let mut hidden = backend.scratch(rows, self.hidden_size)?;
            backend.linear(&x, &self.hidden, Epilogue::Relu, &mut hidden)?;
            let mut logits = backend.scratch(rows, 2)?;
            backend.linear(&hidden, &self.output, Epilogue::Store, &mut logits)?;
            let logits = backend.download(&logits)?;
            scores.extend(
                logits
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|&logits| Score { logits, probabilities: softmax(logits) }),
            );
        }
        Ok(scores)
    }
}

/// Softmax over two logits, evaluated in f64 and rounded once.
fn softmax([a, b]: [f32; 2]) -> [f32; 2] {
    let max = a.max(b);
    let (a, b) = (f64::from(a - max).exp(), f64::from(b - max).exp());
    [(a / (a + b)) as f32, (b / (a + b)) as f32]
}

#[cfg(test)]
mod tests {
    use super::softmax;

    #[test]
    fn softmax_extreme_logits_stay_finite_and_nan_stays_nan() {
        assert_eq!(softmax([0.0, 0.0]), [0.5, 0.5]);
        assert_eq!(softmax([300.0, -300.0]), [1.0, 0.0]);
        assert!(softmax([f32::NAN, 1.0])[0].is_nan());
    }
}
