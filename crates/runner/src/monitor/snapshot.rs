//! The state of a run at one moment, for a terminal view.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Bottleneck, DeviceSample, InputProgress, ProcessSample, QueueDepth, StageLoad, number::rounded,
};

/// A rate over the whole run and over the recent window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Since the start of the monitor.
    pub overall: f64,
    /// Over the recent window, or since the start where that is shorter.
    pub recent: f64,
}

impl Rates {
    /// As short as the log has them.
    pub(crate) fn rounded(self) -> Rates {
        Rates { overall: rounded(self.overall, 1), recent: rounded(self.recent, 1) }
    }
}

/// Everything the instruments show at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Since the start of the monitor.
    pub elapsed: Duration,
    /// Batches recorded.
    pub batches: u64,
    /// Sequences in them.
    pub sequences: u64,
    /// Tokens in them.
    pub tokens: u64,
    /// Tokens per second.
    pub tokens_per_s: Rates,
    /// Sequences per second.
    pub sequences_per_s: Rates,
    /// Over the whole run, 0..1; `None` before any batch.
    pub packing_efficiency: Option<f64>,
    /// Depths now.
    pub queues: Vec<QueueDepth>,
    /// Loads over the recent window, in the order of the data: loader, device, writer.
    pub stages: Vec<StageLoad>,
    /// The last sample of each GPU.
    pub devices: Vec<DeviceSample>,
    /// The last sample of the process.
    pub process: Option<ProcessSample>,
    /// What limits the run now.
    pub bottleneck: Option<Bottleneck>,
    /// How far the input was read.
    pub progress: InputProgress,
    /// Sequences answered from the cache of earlier ones.
    pub duplicates: u64,
    /// Tokens per second of each of the last 120 sample intervals, oldest first.
    pub throughput_history: Vec<f64>,
    /// Length of such an interval.
    pub sample_interval: Duration,
    /// Warnings so far.
    pub warnings: u64,
    /// The last of them, at most five, oldest first.
    pub recent_warnings: Vec<String>,
}
