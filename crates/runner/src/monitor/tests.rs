//! The monitor as a whole, on a clock that the tests move and with devices that they make up.

use std::{sync::Arc, time::Duration};

use virnucpro_batch::{PackedBatch, PackingMetrics, SequenceId, TokenizedSequence};

use super::{clock::manual::ManualClock, *};

const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

const READ: StageSpec = StageSpec {
    name: "read",
    workers: 1,
    role: StageRole::Loader,
    advice: "read from a faster disk",
};
const PACK: StageSpec =
    StageSpec { name: "pack", workers: 2, role: StageRole::Loader, advice: "raise `--threads`" };
const COMPUTE: StageSpec =
    StageSpec { name: "compute", workers: 1, role: StageRole::Device, advice: "add a device" };

fn monitor() -> (Arc<ManualClock>, Monitor) {
    let clock = Arc::new(ManualClock::new());
    let monitor = Monitor::assemble(&MonitorConfig::default(), clock.clone()).unwrap();
    (clock, monitor)
}

fn batch(batch_idx: u64, total_tokens: usize) -> BatchRecord {
    BatchRecord {
        batch_idx,
        task: Arc::from("esm2"),
        num_seqs: 4,
        total_tokens,
        max_seqlen: 300,
        token_budget: 1000,
        fetch_wait: Duration::ZERO,
        slot_wait: Duration::ZERO,
        queues: Vec::new(),
        times: StageTimes::default(),
        idle_before: None,
        htod_bytes: 0,
        dtoh_bytes: 0,
        non_finite: 0,
        recomputed: 0,
    }
}

fn gpu(utilisation_percent: Option<f64>) -> DeviceSample {
    DeviceSample {
        bus_id: "00000000:01:00.0".to_owned(),
        name: "GPU".to_owned(),
        utilisation_percent,
        memory_used_bytes: None,
        memory_total_bytes: None,
        power_watts: None,
        temperature_celsius: None,
        energy_joules: None,
    }
}

#[test]
fn bottleneck_before_the_first_batch_is_unknown() {
    let (clock, monitor) = monitor();
    let compute = monitor.stage(COMPUTE);
    compute.busy("load", &[], || clock.advance(SECOND));
    assert_eq!(monitor.check_bottleneck(), None);
    monitor.record_batch(batch(0, 500));
    assert_eq!(monitor.check_bottleneck().unwrap().slowest_stage, "compute");
}

#[test]
fn bottleneck_with_a_slow_reader_names_the_reader() {
    let (clock, monitor) = monitor();
    let (read, pack, compute) = (monitor.stage(READ), monitor.stage(PACK), monitor.stage(COMPUTE));
    for index in 0..20 {
        read.busy("record", &[], || clock.advance(9 * TENTH));
        compute.busy("batch", &[], || clock.advance(TENTH));
        pack.add_busy(12 * TENTH);
        monitor.record_batch(batch(index, 500));
    }
    let found = monitor.check_bottleneck().unwrap();
    assert_eq!(found.tier, Tier::Critical);
    assert!((found.utilisation_percent - 10.0).abs() < 0.5, "{found:?}");
    // The packer worked longer, but it has two workers.
    assert_eq!(found.slowest_stage, "read");
    assert!((found.slowest_busy - 0.9).abs() < 0.01, "{found:?}");
    assert_eq!(
        found.advice,
        "The slowest stage is `read`, busy 90 % of the time: read from a faster disk."
    );
}

#[test]
fn bottleneck_of_a_stage_that_hangs_in_one_call_is_seen_while_it_hangs() {
    let (clock, monitor) = monitor();
    let (read, pack) = (monitor.stage(READ), monitor.stage(PACK));
    monitor.stage(COMPUTE);
    read.busy("record", &[], || clock.advance(SECOND));
    monitor.record_batch(batch(0, 500));
    let inside = monitor.clone();
    pack.busy("window", &[], || {
        clock.advance(100 * SECOND);
        let found = inside.check_bottleneck().unwrap();
        assert_eq!((found.slowest_stage.as_str(), found.slowest_busy), ("pack", 0.5));
        assert_eq!(found.tier, Tier::Critical);
    });
}

#[test]
fn bottleneck_with_gpu_samples_is_the_mean_of_the_recent_ones() {
    let (clock, monitor) = monitor();
    let compute = monitor.stage(COMPUTE);
    monitor.record_batch(batch(0, 500));
    compute.busy("batch", &[], || clock.advance(SECOND));
    monitor.shared().sample(vec![gpu(Some(10.0))], None);
    assert_eq!(monitor.check_bottleneck().unwrap().utilisation_percent, 10.0);
    clock.advance(11 * SECOND);
    for percent in [60.0, 100.0] {
        clock.advance(TENTH);
        monitor.shared().sample(vec![gpu(Some(percent)), gpu(None)], None);
    }
    let found = monitor.check_bottleneck().unwrap();
    assert_eq!((found.utilisation_percent, found.tier), (80.0, Tier::None));
    let whole_run = monitor.finish().unwrap();
    assert_eq!(whole_run.bottleneck.unwrap().utilisation_percent, 56.67);
    assert_eq!(whole_run.devices[0].utilisation_percent_max, Some(100.0));
}

#[test]
fn recent_window_forgets_the_past_and_the_whole_run_does_not() {
    let (clock, monitor) = monitor();
    let (read, compute) = (monitor.stage(READ), monitor.stage(COMPUTE));
    for index in 0..10 {
        read.busy("record", &[], || clock.advance(SECOND));
        monitor.record_batch(batch(index, 900));
    }
    let before = monitor.snapshot();
    assert_eq!(before.tokens_per_s, Rates { overall: 900.0, recent: 900.0 });
    assert_eq!(before.sequences_per_s, Rates { overall: 4.0, recent: 4.0 });
    assert_eq!((before.stages[0].busy, before.stages[1].busy), (1.0, 0.0));
    for index in 10..40 {
        compute.busy("batch", &[], || clock.advance(SECOND));
        monitor.record_batch(batch(index, 100));
    }
    let after = monitor.snapshot();
    assert!((after.tokens_per_s.recent - 100.0).abs() < 1e-6, "{:?}", after.tokens_per_s);
    assert_eq!(after.tokens_per_s.overall, 12_000.0 / 40.0);
    assert_eq!((after.stages[0].busy, after.stages[1].busy), (0.0, 1.0));
    assert_eq!(after.bottleneck.unwrap().slowest_stage, "compute");
    let summary = monitor.finish().unwrap();
    let shares: Vec<f64> = summary.stages.iter().map(|stage| stage.busy).collect();
    assert_eq!(shares, [0.25, 0.75]);
    assert_eq!(summary.stages[0].busy_ms, 10_000.0);
}

#[test]
fn rates_before_any_time_has_passed_are_zero() {
    let (_clock, monitor) = monitor();
    monitor.stage(COMPUTE);
    monitor.record_batch(batch(0, 500));
    let snapshot = monitor.snapshot();
    assert_eq!(snapshot.tokens_per_s, Rates::default());
    assert_eq!(snapshot.stages[0].busy, 0.0);
    let text = serde_json::to_string(&monitor.finish().unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<RunSummary>(&text).unwrap(), monitor.summary());
}

#[test]
fn packing_efficiency_moves_with_the_tokens_of_a_batch() {
    let (_clock, monitor) = monitor();
    assert_eq!(monitor.snapshot().packing_efficiency, None);
    assert_eq!(monitor.summary().packing_efficiency, None);
    monitor.record_batch(batch(0, 500));
    assert_eq!(monitor.snapshot().packing_efficiency, Some(0.5));
    monitor.record_batch(batch(1, 1000));
    assert_eq!(monitor.snapshot().packing_efficiency, Some(0.75));
    // A sequence over the budget fills its own batch and no more.
    monitor.record_batch(batch(2, 2000));
    assert_eq!(monitor.snapshot().packing_efficiency, Some(0.875));
    assert_eq!(monitor.summary().tasks[0].packing_efficiency, Some(0.875));
}

#[test]
fn packing_efficiency_is_the_one_of_the_packer() {
    let packed = |lengths: &[usize]| {
        let sequences: Vec<_> = (0u64..)
            .zip(lengths)
            .map(|(id, length)| TokenizedSequence {
                sequence_id: SequenceId(id),
                input_ids: vec![5; *length],
            })
            .collect();
        PackedBatch::from_sequences(&sequences).unwrap()
    };
    let (_clock, monitor) = monitor();
    let mut packer = PackingMetrics::default();
    for lengths in [&[300, 200][..], &[1500], &[10, 20, 30], &[1000]] {
        let packed = packed(lengths);
        packer.record(&packed, 1000);
        monitor.record_batch(batch(0, packed.total_tokens()));
    }
    assert_eq!(monitor.snapshot().packing_efficiency, packer.packing_efficiency());
}

#[test]
fn summary_counts_each_task_by_itself() {
    let (clock, monitor) = monitor();
    let times = StageTimes { htod: TENTH, compute: SECOND, dtoh: 2 * TENTH };
    for (index, task, tokens) in [(0, "esm2", 600), (1, "dnabert_s", 400), (2, "esm2", 800)] {
        clock.advance(SECOND);
        monitor.record_batch(BatchRecord {
            task: Arc::from(task),
            times,
            idle_before: None,
            htod_bytes: 10,
            dtoh_bytes: 20,
            non_finite: 1,
            recomputed: 1,
            fetch_wait: Duration::from_millis(60),
            ..batch(index, tokens)
        });
    }
    monitor.set_duplicates(17);
    let summary = monitor.finish().unwrap();
    let of = |index: usize| {
        let task = &summary.tasks[index];
        (task.task.as_str(), task.batches, task.tokens, task.tokens_per_s_of_compute)
    };
    assert_eq!(of(0), ("esm2", 2, 1400, 700.0));
    assert_eq!(of(1), ("dnabert_s", 1, 400, 400.0));
    assert_eq!((summary.tasks[0].mean_seqlen, summary.tasks[0].max_seqlen), (175.0, 300));
    let esm2 = &summary.tasks[0];
    assert_eq!((esm2.htod_ms, esm2.compute_ms, esm2.dtoh_ms), (200.0, 2000.0, 400.0));
    assert_eq!((summary.htod_bytes, summary.dtoh_bytes), (30, 60));
    assert_eq!((summary.non_finite, summary.recomputed, summary.duplicates), (3, 3, 17));
    assert_eq!((summary.tokens, summary.tokens_per_s), (1800, 600.0));
    assert_eq!((summary.wait.starved, summary.wait.mean_ms), (3, 60.0));
}

#[test]
fn throughput_history_has_one_entry_an_interval_and_forgets() {
    let (clock, monitor) = monitor();
    let interval = MonitorConfig::default().sample_interval;
    for tick in 0..130u64 {
        monitor.record_batch(batch(tick, tick as usize * 10));
        clock.advance(interval);
        monitor.shared().sample(Vec::new(), None);
    }
    // A sample right after another one, as at the end of a run, adds no entry.
    monitor.shared().sample(Vec::new(), None);
    let history = monitor.snapshot().throughput_history;
    assert_eq!(history.len(), 120);
    assert_eq!((history[0], history[119]), (400.0, 5160.0));
}

#[test]
fn stage_that_panics_in_a_call_ends_the_call() {
    let (clock, monitor) = monitor();
    let read = monitor.stage(READ);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        read.busy("record", &[], || {
            clock.advance(SECOND);
            panic!("a corrupt record")
        })
    }));
    assert!(panicked.is_err());
    clock.advance(SECOND);
    assert_eq!(monitor.summary().stages[0].busy_ms, 1000.0);
}

#[test]
fn stage_of_a_known_name_is_the_same_stage() {
    let (clock, monitor) = monitor();
    monitor.stage(PACK).wait_in(|| clock.advance(SECOND));
    monitor.stage(PACK).wait_out(|| clock.advance(SECOND));
    let summary = monitor.summary();
    assert_eq!(summary.stages.len(), 1);
    assert_eq!((summary.stages[0].wait_in_ms, summary.stages[0].wait_out_ms), (1000.0, 1000.0));
    let load = &monitor.snapshot().stages[0];
    assert_eq!((load.busy, load.wait_in, load.wait_out), (0.0, 0.25, 0.25));
}

#[test]
fn snapshot_has_the_stages_in_the_order_of_the_data_with_their_own_loads() {
    let (clock, monitor) = monitor();
    let stage = |name, role| monitor.stage(StageSpec { name, workers: 1, role, advice: "" });
    let write = stage("write", StageRole::Writer);
    let compute = stage("compute", StageRole::Device);
    stage("read", StageRole::Loader);
    stage("pack", StageRole::Loader);
    clock.advance(SECOND);
    write.add_busy(SECOND / 4);
    compute.add_busy(SECOND / 2);
    let stages = monitor.snapshot().stages;
    let seen: Vec<_> = stages.iter().map(|stage| (stage.name.as_str(), stage.busy)).collect();
    assert_eq!(seen, [("read", 0.0), ("pack", 0.0), ("compute", 0.5), ("write", 0.25)]);
}

#[test]
fn summary_after_the_end_no_longer_moves() {
    let (clock, monitor) = monitor();
    monitor.record_batch(batch(0, 500));
    clock.advance(SECOND);
    let summary = monitor.finish().unwrap();
    clock.advance(SECOND);
    monitor.record_batch(batch(1, 500));
    assert_eq!(monitor.finish().unwrap(), summary);
    assert_eq!(monitor.summary(), summary);
    assert_eq!(monitor.snapshot().elapsed, SECOND);
}

#[test]
fn warnings_beyond_the_kept_ones_are_counted() {
    let (_clock, monitor) = monitor();
    for index in 0..150 {
        monitor.warn(format!("warning {index}"));
    }
    assert_eq!(monitor.snapshot().warnings, 150);
    let last = ["warning 145", "warning 146", "warning 147", "warning 148", "warning 149"];
    assert_eq!(monitor.snapshot().recent_warnings, last);
    let summary = monitor.finish().unwrap();
    assert_eq!((summary.warnings.len(), summary.warning_count), (100, 150));
    assert_eq!(summary.warnings[0], "warning 0");
}

#[test]
fn queue_that_is_watched_tells_its_depth_until_the_end_and_is_let_go() {
    let (_clock, monitor) = monitor();
    let (sender, receiver) = crossbeam_channel::bounded(4);
    let watched = receiver.clone();
    monitor.queue("tokens", 4, move || watched.len());
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    let expected = QueueDepth { name: "tokens".to_owned(), len: 2, capacity: 4 };
    assert_eq!(monitor.queue_depths(), [expected]);
    assert_eq!(monitor.snapshot().queues, monitor.queue_depths());
    drop(receiver);
    monitor.finish().unwrap();
    assert!(sender.send(3).is_err(), "the watched end was dropped");
}

#[test]
fn sample_brings_what_was_gathered_into_both_files() {
    let folder = tempfile::tempdir().unwrap();
    let (metrics, trace) = (folder.path().join("run.jsonl"), folder.path().join("trace.json"));
    let config = MonitorConfig {
        metrics: Some(metrics.clone()),
        trace: Some(trace.clone()),
        ..MonitorConfig::default()
    };
    let monitor = Monitor::assemble(&config, Arc::new(ManualClock::new())).unwrap();
    monitor.stage(COMPUTE).busy("batch 0", &[], || ());
    monitor.record_batch(batch(0, 500));
    monitor.shared().sample(Vec::new(), None);
    let text = std::fs::read_to_string(metrics).unwrap();
    let types: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].to_string())
        .collect();
    assert_eq!(types, [r#""run""#, r#""batch""#, r#""sample""#]);
    assert!(std::fs::read_to_string(trace).unwrap().contains("batch 0"));
}
