//! What goes between the threads of the loader, and their meters.

use std::sync::Arc;

use virnucpro_runner::LoaderFailure;
use virnucpro_runner::monitor::{Monitor, StageMeter, StageRole, StageSpec};

/// A step of the stream.
pub(super) enum Step<P> {
    /// Sequences on their way.
    Piece(P),
    /// All sequences of a stretch have been sent.
    EndOfWindow,
    /// The input ended here.
    Failed(LoaderFailure),
}

/// One sequence that an encoder has not seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) id: u64,
    pub(super) sequence: usize,
    pub(super) task: usize,
}

/// Some of the sequences of a stretch.
pub(super) struct Piece<S> {
    pub(super) stretch: Arc<S>,
    pub(super) leaders: Vec<Leader>,
}

/// The meters of the loader's threads.
pub(super) struct Meters {
    pub(super) dedup: StageMeter,
    pub(super) tokenize: StageMeter,
    pub(super) pack: StageMeter,
}

impl Meters {
    pub(super) fn register(monitor: &Monitor, threads: usize) -> Self {
        let stage = |name, advice| {
            monitor.stage(StageSpec { name, workers: 1, role: StageRole::Loader, advice })
        };
        let more_threads = "raise --threads";
        let advice = if threads > 1 { "give the loader more cores" } else { more_threads };
        Self {
            dedup: stage("dedup", "switch it off with --no-dedup"),
            tokenize: stage("tokenize", advice),
            pack: stage("pack", "lower --token-budget"),
        }
    }
}
