//! A device that computes on its own and tells the times by its own clock.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Instant;

use common::{Device, Manners, Model, batches};
use virnucpro_runner::monitor::{Monitor, MonitorConfig};
use virnucpro_runner::{AsyncInferenceRunner, RunnerConfig};

const BATCHES: u64 = 12;

#[test]
fn own_clock_of_a_device_is_what_is_counted_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.json");
    let config = MonitorConfig { trace: Some(trace.clone()), ..MonitorConfig::default() };
    let monitor = Monitor::start(config).unwrap();
    let manners = Manners { own_clock: Some(Instant::now()), ..Manners::default() };
    let config = RunnerConfig { monitor: monitor.clone(), ..RunnerConfig::default() };
    let device = Arc::new(Device::new(manners));
    let runner = AsyncInferenceRunner::new(Arc::new(Model), device, config).unwrap();
    assert_eq!(runner.run(batches(BATCHES)).unwrap().map(Result::unwrap).count(), 12);
    let summary = monitor.finish().unwrap();

    // 2 ms of nothing before each batch but the first, for 8 ms of computing.
    assert_eq!(summary.device_idle, Some(0.2));
    let task = &summary.tasks[0];
    assert_eq!((task.htod_ms, task.compute_ms, task.dtoh_ms), (12.0, 96.0, 12.0));
    let stage = |name: &str| summary.stages.iter().find(|stage| stage.name == name).unwrap();
    assert_eq!((stage("compute").busy_ms, stage("compute").wait_in_ms), (96.0, 22.0));
    assert!(stage("launch").busy_ms > 0.0, "the thread that starts batches has its own row");
    assert!(summary.table().contains("device idle between batches 20.0 %"), "{}", summary.table());

    let events: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(&trace).unwrap()).unwrap();
    let tracks = events.iter().filter(|event| event["name"] == "thread_name");
    let tracks: Vec<_> = tracks.map(|e| (e["tid"].clone(), e["args"]["name"].clone())).collect();
    for (track, ms) in [("H2D", 1.0), ("compute", 8.0), ("D2H", 1.0)] {
        let (tid, _) = tracks.iter().find(|(_, name)| name == track).unwrap();
        let spans = events.iter().filter(|e| e["ph"] == "X" && e["tid"] == *tid);
        let durations: Vec<f64> = spans.map(|e| e["dur"].as_f64().unwrap()).collect();
        assert_eq!(durations.len() as u64, BATCHES, "{track}");
        assert!(durations.iter().all(|&us| (us - ms * 1e3).abs() < 0.01), "{track} {durations:?}");
    }
}

#[test]
fn device_without_a_clock_has_no_idle_time_and_no_launch_stage() {
    let monitor = Monitor::disabled();
    let config = RunnerConfig { monitor: monitor.clone(), ..RunnerConfig::default() };
    let device = Arc::new(Device::new(Manners::default()));
    let runner = AsyncInferenceRunner::new(Arc::new(Model), device, config).unwrap();
    assert_eq!(runner.run(batches(3)).unwrap().map(Result::unwrap).count(), 3);
    let summary = monitor.summary();
    assert_eq!(summary.device_idle, None);
    assert!(summary.stages.iter().all(|stage| stage.name != "launch"));
}
