//! The lines of the metrics log; `docs/metrics.md` says the same in words.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Bottleneck, DeviceSample, InputProgress, ProcessSample, QueueDepth, QueueState, Rates,
    RunSummary, StageLoad,
    number::{milliseconds, ratio, rounded, share},
    record::BatchRecord,
};

/// Version of the layout of the log; raised when a reader would notice a change.
pub const SCHEMA_VERSION: u32 = 1;

/// One line of the metrics log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsLine {
    /// Milliseconds since the start of the monitor.
    pub t_ms: f64,
    /// What the line tells.
    #[serde(flatten)]
    pub event: MetricsEvent,
}

/// What a line of the metrics log tells; its name is the line's `type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MetricsEvent {
    /// The first line.
    Run(RunLine),
    /// A setting that became known after the first line was written.
    Note {
        /// Its name.
        key: String,
        /// Its value.
        value: Value,
    },
    /// A batch left its device.
    Batch(BatchLine),
    /// The instruments were read.
    Sample(SampleLine),
    /// The bottleneck was looked for, every 10 batches.
    Bottleneck(Bottleneck),
    /// Something the user should know.
    Warning {
        /// What.
        text: String,
    },
    /// The last line.
    Summary(Box<RunSummary>),
}

/// Who wrote the log, when, and with which settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunLine {
    /// Version of the layout.
    pub schema_version: u32,
    /// Name of the tool.
    pub tool: String,
    /// Its version.
    pub version: String,
    /// Start of the monitor, RFC 3339, UTC.
    pub started: String,
    /// Time between two samples.
    pub sample_interval_ms: f64,
    /// Length of the recent window.
    pub recent_window_ms: f64,
    /// Settings of the run.
    pub notes: Map<String, Value>,
}

/// One batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchLine {
    /// Number of the batch in its stream, from 0.
    pub batch_idx: u64,
    /// Which encoder ran it.
    pub task: String,
    /// Sequences in it.
    pub num_seqs: usize,
    /// Tokens in it.
    pub total_tokens: usize,
    /// Tokens of its longest sequence.
    pub max_seqlen: usize,
    /// Tokens per sequence.
    pub mean_seqlen: f64,
    /// Tokens it was packed to.
    pub token_budget: usize,
    /// Tokens ÷ max(budget, tokens), 0..1.
    pub packing_efficiency: f64,
    /// Wait for the loader.
    pub fetch_wait_ms: f64,
    /// What that wait says of the queue.
    pub queue_state: QueueState,
    /// Wait for a free slot.
    pub slot_wait_ms: f64,
    /// Depths when the batch was handed over.
    pub queues: Vec<QueueDepth>,
    /// H2D transfer.
    pub htod_ms: f64,
    /// Forward pass and pooling.
    pub compute_ms: f64,
    /// D2H transfer.
    pub dtoh_ms: f64,
    /// Bytes moved to the device.
    pub htod_bytes: u64,
    /// Bytes moved back.
    pub dtoh_bytes: u64,
    /// Sequences whose embedding was not finite.
    pub non_finite: usize,
    /// Sequences computed again in f32.
    pub recomputed: usize,
}

impl From<&BatchRecord> for BatchLine {
    fn from(record: &BatchRecord) -> Self {
        let tokens = record.total_tokens as f64;
        BatchLine {
            batch_idx: record.batch_idx,
            task: record.task.to_string(),
            num_seqs: record.num_seqs,
            total_tokens: record.total_tokens,
            max_seqlen: record.max_seqlen,
            mean_seqlen: rounded(ratio(tokens, record.num_seqs as f64), 2),
            token_budget: record.token_budget,
            packing_efficiency: rounded(
                share(tokens, record.token_budget.max(record.total_tokens) as f64),
                4,
            ),
            fetch_wait_ms: milliseconds(record.fetch_wait),
            queue_state: QueueState::of(record.fetch_wait),
            slot_wait_ms: milliseconds(record.slot_wait),
            queues: record.queues.clone(),
            htod_ms: milliseconds(record.times.htod),
            compute_ms: milliseconds(record.times.compute),
            dtoh_ms: milliseconds(record.times.dtoh),
            htod_bytes: record.htod_bytes,
            dtoh_bytes: record.dtoh_bytes,
            non_finite: record.non_finite,
            recomputed: record.recomputed,
        }
    }
}

/// The instruments at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleLine {
    /// Batches so far.
    pub batches: u64,
    /// Tokens per second.
    pub tokens_per_s: Rates,
    /// Sequences per second.
    pub sequences_per_s: Rates,
    /// Over the run so far, 0..1.
    pub packing_efficiency: Option<f64>,
    /// How far the input was read.
    pub progress: InputProgress,
    /// Sequences answered from the cache.
    pub duplicates: u64,
    /// Depths now.
    pub queues: Vec<QueueDepth>,
    /// Loads over the recent window.
    pub stages: Vec<StageLoad>,
    /// GPUs.
    pub devices: Vec<DeviceSample>,
    /// The process.
    pub process: Option<ProcessSample>,
}
