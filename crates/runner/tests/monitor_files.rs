//! The monitor's files and its end: errors name the file, the end comes once.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use virnucpro_runner::monitor::{Monitor, MonitorConfig, MonitorError, StageRole, StageSpec};

fn is_shared<T: Clone + Send + Sync + 'static>(_: &T) {}

#[test]
fn monitor_with_an_unwritable_file_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("run.jsonl");
    let metrics = MonitorConfig { metrics: Some(path.clone()), ..MonitorConfig::default() };
    let trace = MonitorConfig { trace: Some(path.clone()), ..MonitorConfig::default() };
    for config in [metrics, trace] {
        let error = Monitor::start(config).unwrap_err();
        assert!(matches!(error, MonitorError::Create { .. }), "{error:?}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn monitor_on_a_full_disk_ends_with_the_error_and_keeps_the_numbers() {
    let config = MonitorConfig { metrics: Some("/dev/full".into()), ..MonitorConfig::default() };
    let monitor = Monitor::start(config).unwrap();
    monitor.set_duplicates(3);
    for _ in 0..2 {
        let error = monitor.finish().unwrap_err();
        assert!(error.to_string().contains("/dev/full"), "{error}");
    }
    assert_eq!(monitor.summary().duplicates, 3);
}

#[test]
fn finish_from_any_handle_ends_the_run_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let config = MonitorConfig { metrics: Some(path.clone()), ..MonitorConfig::default() };
    let monitor = Monitor::start(config).unwrap();
    is_shared(&monitor);
    let summaries: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let monitor = monitor.clone();
                scope.spawn(move || monitor.finish().unwrap())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(summaries.iter().all(|summary| *summary == summaries[0]));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches(r#""type":"summary""#).count(), 1);
    monitor.warn("too late".to_owned());
    drop(monitor);
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "nothing is written after the end");
}

#[test]
fn trace_of_a_stage_has_a_track_for_each_of_its_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let config = MonitorConfig { trace: Some(path.clone()), ..MonitorConfig::default() };
    let monitor = Monitor::start(config).unwrap();
    let pack = monitor.stage(StageSpec {
        name: "pack",
        workers: 2,
        role: StageRole::Loader,
        advice: "raise `--threads`",
    });
    is_shared(&pack);
    thread::scope(|scope| {
        for worker in 0..2 {
            let pack = pack.clone();
            let name = format!("worker-{worker}");
            let work = move || pack.busy("window", &[("unit", 7)], || ());
            thread::Builder::new().name(name).spawn_scoped(scope, work).unwrap();
        }
    });
    let start = Instant::now();
    monitor.span("GPU 0", "batch 3", start, start + Duration::from_micros(2500), &[]);
    monitor.finish().unwrap();
    let events: Vec<Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let mut tracks: Vec<&str> = events
        .iter()
        .filter(|event| event["name"] == "thread_name")
        .map(|event| event["args"]["name"].as_str().unwrap())
        .collect();
    tracks.sort_unstable();
    assert_eq!(tracks, ["GPU 0", "pack worker-0", "pack worker-1"]);
    let spans: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    assert_eq!(spans.len(), 3);
    assert!(spans[..2].iter().all(|span| span["args"]["unit"] == 7));
    assert_eq!((&spans[2]["name"], &spans[2]["dur"]), (&"batch 3".into(), &2500.0.into()));
}
