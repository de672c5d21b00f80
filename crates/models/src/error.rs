//! What can go wrong with a model.

use std::io;
use std::path::Path;

use virnucpro_backend::BackendError;
use virnucpro_batch::BatchError;
use virnucpro_weights::{WeightsError, one_line};

/// A model could not be loaded, or could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A checkpoint was refused.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// An operation refused its operands.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A tokenizer or a packed batch was refused.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A file of a model could not be read or written.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// The system's reason.
        source: io::Error,
    },
    /// An output is there already; it was not touched.
    #[error("{file}: exists already; remove it or choose another name")]
    OutputExists {
        /// The file or folder.
        file: String,
    },
    /// A `config.json`, or a value inside a checkpoint, cannot be used.
    #[error("{file}: {reason}")]
    Config {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A representation was asked for that the model does not have.
    #[error("layer {layer} does not exist: the model has representations 0 to {last}")]
    NoSuchLayer {
        /// The layer asked for.
        layer: usize,
        /// The last one.
        last: usize,
    },
    /// The checkpoint holds no language-model head.
    #[error("the checkpoint has no language-model head, so there are no logits")]
    NoLmHead,
    /// A model bundle is damaged or incomplete.
    #[error("{bundle}: {reason}")]
    Bundle {
        /// The bundle.
        bundle: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of a bundle is not the one its manifest names.
    #[error("{bundle}: {file} has SHA-256 {found}, the manifest says {expected}")]
    HashMismatch {
        /// The bundle.
        bundle: String,
        /// The file inside it.
        file: String,
        /// Hash in the manifest.
        expected: String,
        /// Hash of the bytes.
        found: String,
    },
    /// No classifier of the bundle was trained for this chunk length.
    #[error(
        "{bundle}: no classifier for chunk length {chunk_length}; this bundle has {}",
        list(available)
    )]
    NoClassifier {
        /// The bundle.
        bundle: String,
        /// The length asked for, in nucleotides.
        chunk_length: usize,
        /// The lengths it has classifiers for.
        available: Vec<usize>,
    },
    /// Features of one width were given to a classifier of another.
    #[error("the classifier takes {expected} features, not {found}")]
    FeatureWidth {
        /// Features the classifier was trained on.
        expected: usize,
        /// Features given: the width of a row where it is known, otherwise all of them.
        found: usize,
    },
}

fn list(lengths: &[usize]) -> String {
    lengths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl From<virnucpro_backend::cuda::CudaError> for ModelError {
    fn from(error: virnucpro_backend::cuda::CudaError) -> Self {
        Self::Backend(error.into())
    }
}

impl ModelError {
    /// Whether a device had no memory left.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Backend(BackendError::Cuda(error)) if error.is_out_of_memory())
    }

    /// A refused setting; foreign text in `reason` is made safe to print.
    pub(crate) fn config(file: &str, reason: impl AsRef<str>) -> Self {
        Self::Config { file: one_line(file), reason: one_line(reason.as_ref()) }
    }

    /// A refused bundle; foreign text in `reason` is made safe to print.
    pub(crate) fn bundle(bundle: &str, reason: impl AsRef<str>) -> Self {
        Self::Bundle { bundle: one_line(bundle), reason: one_line(reason.as_ref()) }
    }

    /// For `map_err`: what the system said about `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = one_line(&path.display().to_string());
        move |source| Self::Io { file, source }
    }
}
