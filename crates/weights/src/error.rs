//! Everything that can be wrong with a checkpoint, each as one line that names the file.

use std::io;

use virnucpro_backend::DType;

/// Result of reading or writing checkpoints.
pub type Result<T, E = WeightsError> = std::result::Result<T, E>;

/// Why a checkpoint was refused or could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The operating system refused.
    #[error("{file}: {source}")]
    Io {
        /// File or folder.
        file: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A folder holds none of the files a checkpoint may be in.
    #[error("{folder}: no weights found; looked for {}", looked_for.join(", "))]
    NoWeights {
        /// The folder.
        folder: String,
        /// File names that were tried, in order.
        looked_for: Vec<&'static str>,
    },
    /// The first bytes belong to no format this crate reads.
    #[error("{file}: {what}")]
    UnknownFormat {
        /// File.
        file: String,
        /// What it looks like, and what to do about it.
        what: String,
    },
    /// A safetensors file breaks its own rules.
    #[error("{file}: safetensors header: {what}")]
    BadSafetensors {
        /// File.
        file: String,
        /// The broken rule.
        what: String,
    },
    /// A zip archive is damaged, or it is not laid out as the files it should hold.
    #[error("{file}: archive: {what}")]
    BadArchive {
        /// File.
        file: String,
        /// The broken rule.
        what: String,
    },
    /// The pickle inside a PyTorch archive is damaged or uses something that is not supported.
    #[error("{file}: byte {byte}: {what}")]
    BadPickle {
        /// File.
        file: String,
        /// Position in the file of the instruction that failed.
        byte: u64,
        /// The broken rule.
        what: String,
    },
    /// The pickle asks for a function or class outside the list of harmless ones.
    #[error("{file}: byte {byte}: the pickle wants to call {module}.{name}; refused{hint}")]
    ForbiddenGlobal {
        /// File.
        file: String,
        /// Position in the file of the instruction.
        byte: u64,
        /// Python module.
        module: String,
        /// Function or class in that module.
        name: String,
        /// How to get a file that can be read, if there is a known way; starts with `: `.
        hint: &'static str,
    },
    /// The pickle holds data, but no named tensors.
    #[error("{file}: no named tensors: {what}")]
    NotAStateDict {
        /// File.
        file: String,
        /// What was found instead.
        what: String,
    },
    /// The index of a sharded checkpoint is damaged or does not match its shards.
    #[error("{file}: {what}")]
    BadIndex {
        /// Index file.
        file: String,
        /// The broken rule.
        what: String,
    },
    /// A tensor has an element type this project does not use.
    #[error("{file}: tensor {name}: element type {dtype} is not supported")]
    UnsupportedDType {
        /// File.
        file: String,
        /// Tensor (or storage) as the file calls it.
        name: String,
        /// Element type as the file calls it.
        dtype: String,
    },
    /// A tensor the model needs is not there.
    #[error("{file}: tensor {name} is missing")]
    MissingTensor {
        /// File.
        file: String,
        /// Tensor.
        name: String,
    },
    /// A tensor does not have the shape that the configuration implies.
    #[error("{file}: tensor {name} has shape {found:?}, expected {expected:?}")]
    WrongShape {
        /// File.
        file: String,
        /// Tensor.
        name: String,
        /// Shape asked for.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// A tensor has an element type the caller cannot use.
    #[error("{file}: tensor {name} has element type {found}, expected {expected}")]
    WrongDType {
        /// File.
        file: String,
        /// Tensor.
        name: String,
        /// What the caller accepts.
        expected: String,
        /// Element type in the file.
        found: DType,
    },
    /// A tensor that no part of the model uses and nobody declared harmless.
    #[error("{file}: unexpected tensor {name}; this is not the model that was asked for")]
    UnexpectedTensor {
        /// File.
        file: String,
        /// Tensor.
        name: String,
    },
}
