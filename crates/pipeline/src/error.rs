//! What can end a run.

use virnucpro_backend::BackendError;
use virnucpro_batch::BatchError;
use virnucpro_models::ModelError;
use virnucpro_output::Error as OutputError;
use virnucpro_seq::SeqError;

/// Why a run ended without its outputs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The input could not be read.
    #[error(transparent)]
    Sequences(#[from] SeqError),
    /// A model could not be loaded or run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A checkpoint could not be opened.
    #[error(transparent)]
    Weights(#[from] virnucpro_weights::WeightsError),
    /// Sequences could not be tokenised or packed.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The device could not be opened.
    #[error(transparent)]
    Device(#[from] BackendError),
    /// An output could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The input was said to be of one alphabet and the model reads the other.
    #[error("{model} is an {architecture} model: it reads {reads}, not {said}")]
    WrongAlphabet {
        /// The model.
        model: String,
        /// Its architecture.
        architecture: &'static str,
        /// What it reads.
        reads: &'static str,
        /// What the input was said to be.
        said: &'static str,
    },
    /// An encoder returned another number of embeddings than it was given sequences.
    #[error("{encoder}: {delivered} embeddings for {received} sequences")]
    LostSequences {
        /// Which encoder.
        encoder: &'static str,
        /// Sequences given.
        received: usize,
        /// Embeddings returned.
        delivered: usize,
    },
    /// The caller asked the run to stop.
    #[error("stopped before the end; no output was written")]
    Cancelled,
}

impl From<std::io::Error> for PipelineError {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error.into())
    }
}
