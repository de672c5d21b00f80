//! What can end a run.

use virnucpro_backend::cuda::CudaError;
use virnucpro_backend::{BackendError, Precision};
use virnucpro_batch::BatchError;
use virnucpro_models::ModelError;
use virnucpro_output::Error as OutputError;
use virnucpro_runner::RunnerError;
use virnucpro_runner::monitor::MonitorError;
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
    /// A file was to give lengths of sequences and has none.
    #[error("{file}: no record with letters, so there are no lengths to measure with")]
    NoLengths {
        /// The file.
        file: String,
    },
    /// A precision was asked for that the device does not compute in.
    #[error("precision {precision} was asked for, but {device} computes in f32 ({reason})")]
    Precision {
        /// What was asked for.
        precision: Precision,
        /// The device.
        device: String,
        /// Why this device.
        reason: String,
    },
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
    /// The runner of the encoders failed.
    #[error(transparent)]
    Runner(RunnerError),
    /// What watches the run failed.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// Sequences went in and did not come out.
    #[error("{missing} sequences were given to an encoder and did not come back")]
    LostSequences {
        /// How many.
        missing: u64,
    },
    /// An embedding came for a sequence that is not on its way.
    #[error("an embedding came for sequence #{sequence_id}, which is not on its way")]
    UnknownSequence {
        /// Its number in the run.
        sequence_id: u64,
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

impl From<CudaError> for PipelineError {
    fn from(error: CudaError) -> Self {
        Self::Device(error.into())
    }
}

impl From<RunnerError> for PipelineError {
    /// An input that cannot be read is said in its own words: they name file and record.
    fn from(error: RunnerError) -> Self {
        match error {
            RunnerError::Cancelled => Self::Cancelled,
            RunnerError::Loader { batch_idx, record, source } => match source.downcast() {
                Ok(error) => Self::Sequences(*error),
                Err(source) => Self::Runner(RunnerError::Loader { batch_idx, record, source }),
            },
            other => Self::Runner(other),
        }
    }
}
