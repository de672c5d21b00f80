//! A made-up run for the tests of the views.

use std::time::Duration;

use virnucpro_pipeline::monitor::{
    Bottleneck, DeviceSample, InputProgress, ProcessSample, QueueDepth, Rates, Snapshot, StageLoad,
    Tier,
};

/// Twelve seconds into a run whose device is the limit.
pub(crate) fn snapshot() -> Snapshot {
    let stages = [
        ("dedup", 1, 0.01, 0.0, 0.97),
        ("tokenize", 2, 0.05, 0.01, 0.93),
        ("pack", 1, 0.02, 0.0, 0.96),
        ("transfer", 1, 0.0, 0.01, 0.98),
        ("compute", 1, 0.972, 0.006, 0.0),
        ("retrieve", 1, 0.004, 0.976, 0.001),
        ("write", 1, 0.003, 0.99, 0.0),
    ];
    let queues =
        [("unique sequences", 4, 4), ("tokenized", 3, 4), ("batches", 2, 4), ("results", 0, 3)];
    Snapshot {
        elapsed: Duration::from_secs(12),
        batches: 133,
        sequences: 1_956,
        tokens: 271_308,
        tokens_per_s: Rates { overall: 21_500.0, recent: 22_609.0 },
        sequences_per_s: Rates { overall: 150.0, recent: 163.0 },
        packing_efficiency: Some(0.914),
        queues: queues
            .map(|(name, len, capacity)| QueueDepth { name: name.into(), len, capacity })
            .into(),
        stages: stages
            .map(|(name, workers, busy, wait_in, wait_out)| StageLoad {
                name: name.into(),
                workers,
                busy,
                wait_in,
                wait_out,
            })
            .into(),
        devices: Vec::new(),
        process: Some(ProcessSample { cpu_percent: 95.0, resident_bytes: 64 << 20 }),
        bottleneck: Some(Bottleneck {
            tier: Tier::None,
            utilisation_percent: 97.2,
            slowest_stage: "compute".into(),
            slowest_busy: 0.972,
            advice: "The device is the limit, in use 97 % of the time; the slowest stage is \
                     `compute`, busy 97 % of the time."
                .into(),
        }),
        progress: InputProgress {
            records: 217,
            letters: 1_000_000,
            total_letters: Some(4_000_000),
        },
        duplicates: 41,
        throughput_history: (0..48).map(|i| 20_000.0 + 100.0 * f64::from(i)).collect(),
        sample_interval: Duration::from_millis(250),
        warnings: 0,
        recent_warnings: Vec::new(),
    }
}

/// A GPU that answers every question.
pub(crate) fn gpu() -> DeviceSample {
    DeviceSample {
        bus_id: "0000:01:00.0".into(),
        name: "NVIDIA H200".into(),
        utilisation_percent: Some(88.0),
        memory_used_bytes: Some(40 << 30),
        memory_total_bytes: Some(160 << 30),
        power_watts: Some(512.4),
        temperature_celsius: Some(61.0),
        energy_joules: None,
    }
}
