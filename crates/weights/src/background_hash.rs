//! Hashing bytes while they are already in use.
//!
//! Owns the thread that does it. The entry type is [`BackgroundHash`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use crate::Bytes;

/// SHA-256 of bytes, computed by a thread of its own: one core hashes less than two gigabytes a second,
/// and the largest encoders have six.
///
/// Dropping it stops the thread.
#[derive(Debug)]
pub struct BackgroundHash {
    bytes: Bytes,
    stop: Arc<AtomicBool>,
    /// `None` where the system gave no thread, or once it was joined.
    thread: Option<JoinHandle<Option<String>>>,
    found: Option<String>,
}

impl BackgroundHash {
    /// Begins to hash `bytes`.
    pub fn start(bytes: Bytes) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (hashed, stopped) = (bytes.clone(), Arc::clone(&stop));
        let hash = move || hashed.sha256_unless(|| stopped.load(Ordering::Relaxed));
        let thread = Builder::new().name("sha256".to_owned()).spawn(hash).ok();
        Self { bytes, stop, thread, found: None }
    }

    /// Whether [`Self::wait`] returns at once; without a thread, which the system may refuse, it never
    /// does the first time.
    pub fn is_ready(&self) -> bool {
        self.found.is_some() || self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// The hash, in lower-case hexadecimal, once it is known.
    pub fn wait(&mut self) -> &str {
        let Self { bytes, thread, found, .. } = self;
        found.get_or_insert_with(|| {
            let hashed = thread.take().and_then(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            hashed.unwrap_or_else(|| bytes.sha256())
        })
    }
}

impl Drop for BackgroundHash {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it found, and whether it panicked, is of no interest any more.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn background_hash_is_that_of_the_bytes() {
        let bytes = Bytes::from(vec![7; 3_000_001]);
        let mut hash = BackgroundHash::start(bytes.clone());
        while !hash.is_ready() {
            std::thread::yield_now();
        }
        assert_eq!(hash.wait(), bytes.sha256());
        assert!(hash.is_ready());
        assert_eq!(hash.wait(), bytes.sha256());
    }

    #[test]
    fn background_hash_that_is_dropped_lets_go_of_the_bytes() {
        let bytes: Arc<[u8]> = vec![7; 3_000_001].into();
        drop(BackgroundHash::start(Arc::clone(&bytes).into()));
        assert_eq!(Arc::strong_count(&bytes), 1);
    }
}
