//! Watching and stopping the threads of this crate from outside.
//!
//! Owns the seam to instruments that this crate knows nothing about, and the flag that ends a
//! read in progress. Entry type: [`Supervision`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a thread of this crate works at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeqStage {
    /// Reading, hashing and decompressing; a wait for a slow disk or pipe counts as its work.
    Read,
    /// Finding the records in the text and planning their chunks.
    Parse,
    /// Translating chunks, on several threads.
    Translate,
}

/// How a thread of this crate spends a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeqActivity {
    /// At work.
    Busy,
    /// Waiting for input.
    WaitIn,
    /// Waiting for input in the middle of work: the work stands still meanwhile.
    Interrupted,
    /// Waiting for room at the output.
    WaitOut,
}

/// Instruments for the threads of this crate.
pub trait Watch: Send + Sync {
    /// Runs `work`, exactly once, as `activity` of `stage`.
    fn during(&self, stage: SeqStage, activity: SeqActivity, work: &mut dyn FnMut());
}

/// Handle to the threads that read and translate; clones are handles to the same ones.
#[derive(Clone, Default)]
pub struct Supervision {
    watch: Option<Arc<dyn Watch>>,
    is_stopped: Arc<AtomicBool>,
    has_failed: Arc<AtomicBool>,
    until: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl Supervision {
    /// Threads that `watch` looks at.
    pub fn watched(watch: Arc<dyn Watch>) -> Self {
        Self { watch: Some(watch), ..Self::default() }
    }

    /// Threads that also stop reading as soon as `is_over`.
    pub fn until(is_over: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { until: Some(Arc::new(is_over)), ..Self::default() }
    }

    /// Ends reading: a wait for a pipe, socket or terminal ends within a tenth of a second.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Whether reading was ended.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed) || self.until.as_ref().is_some_and(|over| over())
    }

    /// Whether the threads have met a failure, which may still be on its way behind what came
    /// before it.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    pub(crate) fn note_failure(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// Runs `work` as `activity` of `stage`.
    pub fn during<R>(&self, stage: SeqStage, activity: SeqActivity, work: impl FnOnce() -> R) -> R {
        let Some(watch) = &self.watch else {
            return work();
        };
        let (mut work, mut result) = (Some(work), None);
        watch.during(stage, activity, &mut || result = work.take().map(|work| work()));
        result.expect("a watch runs the work that it watches")
    }
}

/// The read was ended by [`Supervision::stop`].
pub(crate) fn stopped() -> io::Error {
    io::Error::other("reading was stopped")
}
