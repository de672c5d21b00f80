//! What a run says of itself while it goes on.

use virnucpro_runner::monitor::{InputProgress, Monitor};

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Input records finished.
    pub records: u64,
    /// Letters finished.
    pub letters: u64,
    /// Letters of all inputs, estimated from what was read so far; `None` where the size of an
    /// input is unknown (a pipe).
    pub total_letters: Option<u64>,
    /// Sequences embedded, over all encoders.
    pub embedded: u64,
    /// Tokens embedded, special tokens included.
    pub tokens: u64,
}

/// Receives the progress of a run, on the thread that runs it.
pub type ProgressSink<'a> = dyn FnMut(Progress) + Send + 'a;

impl Progress {
    /// Fills in what the monitor counts, and tells both it and the sink.
    pub(crate) fn report(&mut self, monitor: &Monitor, sink: &mut ProgressSink<'_>) {
        let &mut Self { records, letters, total_letters, .. } = self;
        monitor.progress(InputProgress { records, letters, total_letters });
        let snapshot = monitor.snapshot();
        (self.embedded, self.tokens) = (snapshot.sequences, snapshot.tokens);
        sink(*self);
    }
}
