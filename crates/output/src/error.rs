//! The crate's one error type; every message is a single line that names the file.

use std::{io, path::PathBuf};

/// What can go wrong while writing or reading an output file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be made.
    #[error("cannot create {}: {source}", path.display())]
    Create {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes could not be written or made durable.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The final file name.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A finished file could not be given its final name.
    #[error("cannot move the finished {} to {}: {source}", partial.display(), path.display())]
    Rename {
        /// The complete file under its temporary name.
        partial: PathBuf,
        /// The final file name.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The output name belongs to something that must not be replaced.
    #[error("cannot write {}: it exists and is {kind}, not a regular file", path.display())]
    NotRegular {
        /// The output name.
        path: PathBuf,
        /// What is there, with its article.
        kind: &'static str,
    },
    /// Another run is writing the same output at this moment.
    #[error("cannot write {}: another run is writing it now", path.display())]
    Busy {
        /// The output name.
        path: PathBuf,
    },
    /// A stream failed; files made by [`AtomicFile`](crate::AtomicFile) name themselves inside.
    #[error(transparent)]
    Stream(#[from] io::Error),
    /// What did not fit into memory could not be kept in a temporary file.
    #[error("cannot make {}: the temporary file in its folder failed: {source}", path.display())]
    Spill {
        /// The output the temporary file belongs to.
        path: PathBuf,
        /// What the system said, or that the file was damaged.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A table has a line that breaks its layout.
    #[error("{} line {line}: {reason}", path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// Line number, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A frame id has no two last letters to take the frame name from.
    #[error("frame id {id:?} is shorter than the two letters of a frame name")]
    ShortFrameId {
        /// The id.
        id: String,
    },
    /// An array file is damaged or of a kind that cannot be used.
    #[error("{}: {reason}", path.display())]
    Array {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The name of an embedding file ends in none of the known ways.
    #[error(
        "{}: unknown embedding format, the name must end in .npy, .safetensors or .parquet",
        path.display()
    )]
    UnknownFormat {
        /// The output name.
        path: PathBuf,
    },
    /// An embedding does not fit the file that was opened for it.
    #[error("{}: embedding of {id:?}: {reason}", path.display())]
    Embedding {
        /// The output name.
        path: PathBuf,
        /// Sequence id.
        id: String,
        /// What does not fit.
        reason: String,
    },
    /// The settings of an embedding file contradict each other.
    #[error("{}: {reason}", path.display())]
    EmbeddingSpec {
        /// The output name.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The Parquet library refused the data.
    #[error("cannot write {}: {source}", path.display())]
    Parquet {
        /// The output name.
        path: PathBuf,
        /// What the library said.
        source: parquet::errors::ParquetError,
    },
}
