//! The metrics log of a busy run: every line reads back, every share is a share and every
//! percentage a percentage, and each number moves with what it measures.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::Path,
    sync::{Arc, Barrier, atomic::AtomicUsize, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use virnucpro_runner::monitor::{
    BatchRecord, InputProgress, MetricsEvent, MetricsLine, Monitor, MonitorConfig, QueueState,
    StageRole, StageSpec, StageTimes,
};

const LOAD: StageSpec =
    StageSpec { name: "load", workers: 3, role: StageRole::Loader, advice: "raise `--threads`" };
const COMPUTE: StageSpec =
    StageSpec { name: "compute", workers: 1, role: StageRole::Device, advice: "add a device" };

fn batch(monitor: &Monitor, batch_idx: u64) -> BatchRecord {
    BatchRecord {
        batch_idx,
        task: Arc::from(if batch_idx.is_multiple_of(2) { "esm2" } else { "dnabert_s" }),
        num_seqs: 5,
        total_tokens: 700 + batch_idx as usize,
        max_seqlen: 200,
        token_budget: 1000,
        fetch_wait: Duration::from_millis(batch_idx),
        slot_wait: Duration::from_micros(batch_idx),
        queues: monitor.queue_depths(),
        times: StageTimes {
            htod: Duration::from_micros(100),
            compute: Duration::from_micros(1000 + batch_idx),
            dtoh: Duration::from_micros(50),
        },
        idle_before: None,
        htod_bytes: 8000,
        dtoh_bytes: 400,
        non_finite: usize::from(batch_idx == 7),
        recomputed: usize::from(batch_idx == 7),
    }
}

fn lines(path: &Path) -> Vec<MetricsLine> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Work that no clock can miss.
fn spin(at_least: Duration) {
    let start = Instant::now();
    while start.elapsed() < at_least {
        std::hint::spin_loop();
    }
}

/// Runs more threads than the stage has workers, and batches beside them.
fn busy_run(path: &Path) -> Monitor {
    let config = MonitorConfig {
        metrics: Some(path.to_owned()),
        sample_interval: Duration::from_millis(5),
        nvml_devices: vec!["ffff:ff:1f.0".to_owned()],
        ..MonitorConfig::default()
    };
    let monitor = Monitor::start(config).unwrap();
    monitor.note("precision", json!("f32"));
    let depth = Arc::new(AtomicUsize::new(0));
    let watched = Arc::clone(&depth);
    monitor.queue("batches", 4, move || watched.load(Ordering::Relaxed));
    let (load, compute) = (monitor.stage(LOAD), monitor.stage(COMPUTE));
    let ready = Barrier::new(5);
    thread::scope(|scope| {
        for worker in 0..4 {
            let (load, ready) = (load.clone(), &ready);
            scope.spawn(move || {
                ready.wait();
                for unit in 0..20 {
                    load.busy("window", &[("unit", unit)], || spin(Duration::from_millis(1)));
                    load.wait_in(|| spin(Duration::from_micros(100 * worker)));
                    load.wait_out(|| spin(Duration::from_micros(50)));
                }
            });
        }
        ready.wait();
        for index in 0..25 {
            depth.store(index as usize % 5, Ordering::Relaxed);
            compute.busy("batch", &[], || spin(Duration::from_millis(1)));
            monitor.record_batch(batch(&monitor, index));
            let letters = 1000 * (index + 1);
            monitor.progress(InputProgress { records: index, letters, total_letters: None });
        }
    });
    monitor.note("late", json!([1, 2]));
    monitor.warn("a sequence was longer than the budget".to_owned());
    monitor
}

#[test]
fn log_of_a_busy_run_reads_back_and_is_in_range() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let summary = busy_run(&path).finish().unwrap();
    let lines = lines(&path);

    let MetricsEvent::Run(run) = &lines[0].event else { panic!("the first line is not `run`") };
    assert_eq!((run.schema_version, lines[0].t_ms), (1, 0.0));
    assert_eq!(run.notes["precision"], "f32");
    assert_eq!((run.started.len(), run.sample_interval_ms), (20, 5.0));
    let MetricsEvent::Summary(last) = &lines.last().unwrap().event else {
        panic!("the last line is not `summary`")
    };
    assert_eq!(**last, summary);
    assert!(lines.iter().any(
        |line| matches!(&line.event, MetricsEvent::Note { key, value } if key == "late" && *value == json!([1, 2]))
    ));
    let count = |is: fn(&MetricsEvent) -> bool| lines.iter().filter(|it| is(&it.event)).count();
    assert_eq!(count(|event| matches!(event, MetricsEvent::Batch(_))), 25);
    assert_eq!(count(|event| matches!(event, MetricsEvent::Bottleneck(_))), 2, "at 10 and 20");
    // One that NVML has no such GPU, or none at all, and one from the run.
    assert_eq!(count(|event| matches!(event, MetricsEvent::Warning { .. })), 2);
    assert_eq!(count(|event| matches!(event, MetricsEvent::Run(_))), 1);
    assert!(count(|event| matches!(event, MetricsEvent::Sample(_))) >= 2);
    assert!(lines[1..lines.len() - 1].windows(2).all(|pair| pair[0].t_ms <= pair[1].t_ms));

    // As any other reader sees it: every number finite, every share and percentage in range.
    let mut seen = Vec::new();
    for line in fs::read_to_string(&path).unwrap().lines() {
        check("", &serde_json::from_str(line).unwrap(), &mut seen);
    }
    for share in ["busy", "wait_in", "wait_out", "packing_efficiency", "slowest_busy"] {
        assert!(seen.iter().any(|name| name == share), "no `{share}` was checked");
    }
    for percent in ["utilisation_percent", "cpu_percent", "cpu_percent_mean"] {
        assert!(seen.iter().any(|name| name == percent), "no `{percent}` was checked");
    }
}

/// Asserts the range of a field by its name, and looks into what it holds.
fn check(name: &str, value: &Value, seen: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| check(name, value, seen));
        }
        Value::Array(items) => items.iter().for_each(|item| check(name, item, seen)),
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            assert!(number >= 0.0, "{name} = {number}");
            let most = match name {
                "busy" | "wait_in" | "wait_out" | "packing_efficiency" | "slowest_busy" => 1.0,
                _ if name.ends_with("_share") => 1.0,
                _ if name.contains("_percent") => 100.0,
                _ => return,
            };
            assert!(number <= most, "{name} = {number}");
            seen.push(name.to_owned());
        }
        _ => {}
    }
}

#[test]
fn log_numbers_move_with_what_they_measure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let summary = busy_run(&path).finish().unwrap();
    let lines = lines(&path);
    let batches: Vec<_> = lines
        .iter()
        .filter_map(|line| match &line.event {
            MetricsEvent::Batch(batch) => Some(batch),
            _ => None,
        })
        .collect();
    for (index, batch) in batches.iter().enumerate() {
        assert_eq!(batch.total_tokens, 700 + index);
        assert_eq!(batch.packing_efficiency, (700 + index) as f64 / 1000.0);
        assert_eq!(batch.fetch_wait_ms, index as f64);
        assert_eq!(batch.slot_wait_ms, index as f64 / 1000.0);
        assert_eq!(batch.compute_ms, 1.0 + index as f64 / 1000.0);
        assert_eq!((batch.htod_ms, batch.dtoh_ms), (0.1, 0.05));
        assert_eq!(batch.queues[0].len, index % 5);
        assert_eq!(batch.mean_seqlen, (700 + index) as f64 / 5.0);
        let state = if index == 0 { QueueState::Full } else { QueueState::Normal };
        assert_eq!(batch.queue_state, state);
    }
    assert_eq!((summary.batches, summary.sequences), (25, 125));
    assert_eq!(summary.tokens, (0..25).map(|index| 700 + index).sum::<u64>());
    assert_eq!((summary.non_finite, summary.recomputed), (1, 1));
    assert_eq!((summary.htod_bytes, summary.dtoh_bytes), (200_000, 10_000));
    let (load, compute) = (&summary.stages[0], &summary.stages[1]);
    assert!(load.busy_ms >= 80.0 && compute.busy_ms >= 25.0, "{summary:?}");
    assert!(load.wait_in_ms >= 12.0 && load.wait_out_ms >= 4.0, "{summary:?}");
    let process = summary.process.as_ref().unwrap();
    assert!(process.resident_bytes_max > 1 << 20);
    let samples: Vec<_> = lines
        .iter()
        .filter_map(|line| match &line.event {
            MetricsEvent::Sample(sample) => Some(sample),
            _ => None,
        })
        .collect();
    let last = samples.last().unwrap();
    assert_eq!((last.batches, last.progress.letters), (25, 25_000));
    assert!(last.tokens_per_s.overall > 0.0 && last.sequences_per_s.recent > 0.0);
    assert!(samples.windows(2).all(|pair| pair[0].batches <= pair[1].batches));
    assert!(
        samples.iter().filter_map(|sample| sample.process.as_ref()).any(|it| it.cpu_percent > 0.0)
    );
}

/// Waits for what the file is to hold; a minute is for a test that would otherwise hang.
fn wait_until(path: &Path, holds: impl Fn(&str) -> bool) {
    let start = Instant::now();
    while !holds(&fs::read_to_string(path).unwrap()) {
        assert!(start.elapsed() < Duration::from_secs(60), "it was never written");
        thread::yield_now();
    }
}

#[test]
fn log_can_be_followed_while_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let config = MonitorConfig {
        metrics: Some(path.clone()),
        sample_interval: Duration::from_millis(1),
        ..MonitorConfig::default()
    };
    let monitor = Monitor::start(config).unwrap();
    monitor.record_batch(batch(&monitor, 0));
    // The next sample flushes; nothing else is done to the monitor.
    wait_until(&path, |text| text.contains(r#""type":"batch""#));
    for line in fs::read_to_string(&path).unwrap().lines() {
        serde_json::from_str::<MetricsLine>(line).unwrap();
    }
    drop(monitor);
    assert!(matches!(lines(&path).last().unwrap().event, MetricsEvent::Summary(_)));
}

#[test]
fn log_of_a_run_without_batches_has_its_settings_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    fs::write(&path, "an older log").unwrap();
    let config = MonitorConfig { metrics: Some(path.clone()), ..MonitorConfig::default() };
    let monitor = Monitor::start(config).unwrap();
    monitor.warn("nothing to do".to_owned());
    monitor.note("input", json!("empty.fasta"));
    monitor.finish().unwrap();
    let lines = lines(&path);
    let MetricsEvent::Run(run) = &lines[0].event else { panic!("the first line is not `run`") };
    assert_eq!(run.notes["input"], "empty.fasta");
    let MetricsEvent::Summary(summary) = &lines.last().unwrap().event else { panic!() };
    assert_eq!((summary.batches, summary.packing_efficiency), (0, None));
    assert_eq!(summary.bottleneck, None);
}

#[test]
fn log_of_a_long_start_is_written_before_the_first_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let config = MonitorConfig {
        metrics: Some(path.clone()),
        sample_interval: Duration::from_millis(1),
        ..MonitorConfig::default()
    };
    let monitor = Monitor::start(config).unwrap();
    monitor.note("early", json!(true));
    wait_until(&path, |text| !text.is_empty());
    monitor.note("late", json!(true));
    monitor.finish().unwrap();
    let lines = lines(&path);
    let MetricsEvent::Run(run) = &lines[0].event else { panic!("the first line is not `run`") };
    assert_eq!(run.notes.keys().collect::<Vec<_>>(), ["early"]);
    assert!(
        lines
            .iter()
            .any(|line| matches!(&line.event, MetricsEvent::Note { key, .. } if key == "late"))
    );
}
