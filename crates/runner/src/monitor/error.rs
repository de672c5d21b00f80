//! What can go wrong with the instruments; every message is one line that names the file.

use std::{io, path::PathBuf, sync::Arc};

/// The instruments could not be set up, or could not keep their files.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// A file could not be created.
    #[error("cannot create {}: {source}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A line or an event could not be written; the file ends before it.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The thread that takes the samples could not be started.
    #[error("cannot start the thread of the monitor: {source}")]
    Thread {
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The thread that takes the samples ended by a panic; samples after it are missing.
    #[error("the thread of the monitor panicked; its later samples are missing")]
    SamplerPanicked,
}
