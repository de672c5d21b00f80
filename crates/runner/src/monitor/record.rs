//! What the runner tells the monitor about one batch.
//!
//! Plain data: how it is counted is the business of `totals`, how it is written of `line`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// Time a batch spent on its device, by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// H2D transfer of the inputs.
    pub htod: Duration,
    /// Forward pass and pooling.
    pub compute: Duration,
    /// D2H transfer of the embeddings.
    pub dtoh: Duration,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub start: Instant,
    /// How long it took.
    pub duration: Duration,
}

impl Span {
    /// When it was over.
    pub fn end(self) -> Instant {
        self.start + self.duration
    }
}

/// When a batch was in which stage, by the device's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageSpans {
    /// H2D transfer of the inputs.
    pub htod: Span,
    /// Forward pass and pooling.
    pub compute: Span,
    /// D2H transfer of the embeddings; `None` for a result that stays on the device.
    pub dtoh: Option<Span>,
}

impl StageSpans {
    /// How long each took.
    pub fn times(self) -> StageTimes {
        let Self { htod, compute, dtoh } = self;
        let dtoh = dtoh.map_or(Duration::ZERO, |span| span.duration);
        StageTimes { htod: htod.duration, compute: compute.duration, dtoh }
    }
}

/// How full the loader's queue was, judged by how long the device waited for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueState {
    /// A batch was there: the wait was below [`QueueState::FULL_BELOW`].
    Full,
    /// Neither full nor starved.
    Normal,
    /// The device idled: the wait was above [`QueueState::STARVED_ABOVE`].
    Starved,
}

impl QueueState {
    /// Waits below this mean that a batch was ready.
    pub const FULL_BELOW: Duration = Duration::from_millis(1);
    /// Waits above this mean that the loader is too slow.
    pub const STARVED_ABOVE: Duration = Duration::from_millis(50);

    /// The state that a wait for the next batch speaks of; exactly 1 ms and exactly 50 ms are
    /// normal.
    pub fn of(wait: Duration) -> QueueState {
        if wait < Self::FULL_BELOW {
            QueueState::Full
        } else if wait > Self::STARVED_ABOVE {
            QueueState::Starved
        } else {
            QueueState::Normal
        }
    }

    /// `full`, `normal` or `starved`, as in the metrics log.
    pub fn name(self) -> &'static str {
        match self {
            QueueState::Full => "full",
            QueueState::Normal => "normal",
            QueueState::Starved => "starved",
        }
    }
}

/// Items in one bounded queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueDepth {
    /// Name it was registered under.
    pub name: String,
    /// Items in it.
    pub len: usize,
    /// Items it can hold.
    pub capacity: usize,
}

/// One batch, after its results left the device.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchRecord {
    /// Number of the batch in its stream, from 0.
    pub batch_idx: u64,
    /// Which encoder ran it.
    pub task: Arc<str>,
    /// Sequences in it.
    pub num_seqs: usize,
    /// Tokens in it, special tokens included.
    pub total_tokens: usize,
    /// Tokens of its longest sequence.
    pub max_seqlen: usize,
    /// Tokens it was packed to.
    pub token_budget: usize,
    /// How long the device waited for the loader, around the fetch alone.
    pub fetch_wait: Duration,
    /// How long the batch waited for a free slot.
    pub slot_wait: Duration,
    /// Depths of the queues when the batch was handed over.
    pub queues: Vec<QueueDepth>,
    /// Time on the device.
    pub times: StageTimes,
    /// How long the device computed nothing before this batch, by its own clock; `None` before
    /// the first one and for devices without a clock.
    pub idle_before: Option<Duration>,
    /// Bytes moved to the device.
    pub htod_bytes: u64,
    /// Bytes moved back.
    pub dtoh_bytes: u64,
    /// Sequences whose embedding held NaN or an infinity.
    pub non_finite: usize,
    /// Sequences that were computed a second time in f32.
    pub recomputed: usize,
}

/// How far the input was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputProgress {
    /// Records read.
    pub records: u64,
    /// Sequence letters read.
    pub letters: u64,
    /// Sequence letters there are in all, where that is known.
    pub total_letters: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_state_at_its_borders_is_normal() {
        let nanosecond = Duration::from_nanos(1);
        for (wait, state) in [
            (Duration::ZERO, QueueState::Full),
            (Duration::from_millis(1) - nanosecond, QueueState::Full),
            (Duration::from_millis(1), QueueState::Normal),
            (Duration::from_millis(50), QueueState::Normal),
            (Duration::from_millis(50) + nanosecond, QueueState::Starved),
            (Duration::MAX, QueueState::Starved),
        ] {
            assert_eq!(QueueState::of(wait), state, "{wait:?}");
        }
    }

    #[test]
    fn queue_state_name_is_the_one_of_the_log() {
        for state in [QueueState::Full, QueueState::Normal, QueueState::Starved] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }
}
