//! Starting named threads.
//!
//! Owns the one place where a thread of this crate begins; whoever starts one also joins it. Entry
//! point: [`spawn_named`].

use std::thread::{self, JoinHandle};

use crate::error::SeqError;

/// Starts a thread that debuggers and profilers show as `name`.
pub(crate) fn spawn_named<O: Send + 'static>(
    name: String,
    body: impl FnOnce() -> O + Send + 'static,
) -> Result<JoinHandle<O>, SeqError> {
    let spawned = thread::Builder::new().name(name.clone()).spawn(body);
    spawned.map_err(|source| SeqError::Thread { name, source })
}
