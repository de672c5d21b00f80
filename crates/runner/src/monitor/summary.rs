//! The numbers of a whole run, as `summary.json` and the last line of the metrics log have them.

use serde::{Deserialize, Serialize};

use super::bottleneck::Bottleneck;

/// What a run did, where its time went, and what limited it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Version of this layout.
    pub schema_version: u32,
    /// From the start of the monitor to its end.
    pub elapsed_ms: f64,
    /// Batches recorded.
    pub batches: u64,
    /// Sequences in them.
    pub sequences: u64,
    /// Tokens in them, special tokens included.
    pub tokens: u64,
    /// Tokens ÷ elapsed time.
    pub tokens_per_s: f64,
    /// Sequences ÷ elapsed time.
    pub sequences_per_s: f64,
    /// Tokens ÷ Σ max(budget, tokens of the batch), 0..1; `None` before any batch.
    pub packing_efficiency: Option<f64>,
    /// Share of the time between first and last batch that the device computed nothing, 0..1, by
    /// its own clock; `None` for a device without one.
    pub device_idle: Option<f64>,
    /// Sequences answered from the cache of earlier ones.
    pub duplicates: u64,
    /// Sequences whose embedding held NaN or an infinity.
    pub non_finite: u64,
    /// Sequences that were computed a second time in f32.
    pub recomputed: u64,
    /// Bytes moved to the devices.
    pub htod_bytes: u64,
    /// Bytes moved back.
    pub dtoh_bytes: u64,
    /// Waits for the loader.
    pub wait: WaitSummary,
    /// Stages, in order of registration.
    pub stages: Vec<StageSummary>,
    /// Encoders, in the order in which they were first seen.
    pub tasks: Vec<TaskSummary>,
    /// GPUs; empty without a sample of one.
    pub devices: Vec<DeviceSummary>,
    /// The process; `None` without a sample.
    pub process: Option<ProcessSummary>,
    /// What limited the run as a whole.
    pub bottleneck: Option<Bottleneck>,
    /// The first warnings, at most 100.
    pub warnings: Vec<String>,
    /// All warnings.
    pub warning_count: u64,
}

/// Waits for the next batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitSummary {
    /// Mean over batches.
    pub mean_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Batches that were ready (below 1 ms).
    pub full: u64,
    /// Batches between.
    pub normal: u64,
    /// Batches that the device idled for (above 50 ms).
    pub starved: u64,
}

/// One stage, its times summed over its workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSummary {
    /// Its name.
    pub name: String,
    /// Its workers.
    pub workers: usize,
    /// Time spent working.
    pub busy_ms: f64,
    /// Time spent waiting for input.
    pub wait_in_ms: f64,
    /// Time spent waiting for room at the output.
    pub wait_out_ms: f64,
    /// `busy_ms` ÷ (workers × elapsed time), 0..1.
    pub busy: f64,
}

/// One encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSummary {
    /// Its name.
    pub task: String,
    /// Batches it ran.
    pub batches: u64,
    /// Sequences in them.
    pub sequences: u64,
    /// Tokens in them.
    pub tokens: u64,
    /// Tokens of the longest sequence.
    pub max_seqlen: usize,
    /// Tokens per sequence.
    pub mean_seqlen: f64,
    /// Tokens ÷ Σ max(budget, tokens of the batch), 0..1.
    pub packing_efficiency: Option<f64>,
    /// Time of its H2D transfers.
    pub htod_ms: f64,
    /// Time of its forward passes.
    pub compute_ms: f64,
    /// Time of its D2H transfers.
    pub dtoh_ms: f64,
    /// Tokens per second of `compute_ms`.
    pub tokens_per_s_of_compute: f64,
}

/// One GPU. A reading that the driver refused throughout is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceSummary {
    /// PCI bus id.
    pub bus_id: String,
    /// Product name.
    pub name: String,
    /// Mean over samples, 0..100.
    pub utilisation_percent_mean: Option<f64>,
    /// Largest sample, 0..100.
    pub utilisation_percent_max: Option<f64>,
    /// Most memory in use, by every process.
    pub memory_used_bytes_max: Option<u64>,
    /// Mean power draw.
    pub power_watts_mean: Option<f64>,
    /// Highest temperature.
    pub temperature_celsius_max: Option<f64>,
    /// Energy used from the first to the last sample.
    pub energy_joules: Option<f64>,
}

/// The process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessSummary {
    /// Mean CPU time as a share of all cores, 0..100.
    pub cpu_percent_mean: f64,
    /// Most resident memory.
    pub resident_bytes_max: u64,
}
