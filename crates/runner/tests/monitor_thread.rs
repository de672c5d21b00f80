//! No thread is left behind. A file of its own, so that no other test's monitor runs beside it.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    time::{Duration, Instant},
};

use virnucpro_runner::monitor::{Monitor, MonitorConfig};

/// Threads of this process with the monitor's name. A thread that has been joined may be listed
/// for a moment longer, so a number that should be 0 is asked for again.
fn monitor_threads() -> usize {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .filter(|name| name.trim() == "monitor")
        .count()
}

/// Waits for that; a minute is for a test that would otherwise hang.
fn wait_until(holds: impl Fn(usize) -> bool) {
    let start = Instant::now();
    while !holds(monitor_threads()) {
        assert!(start.elapsed() < Duration::from_secs(60), "{} threads", monitor_threads());
        std::thread::yield_now();
    }
}

#[test]
fn monitor_that_ended_leaves_no_thread() {
    let finished = Monitor::start(MonitorConfig::default()).unwrap();
    finished.finish().unwrap();
    wait_until(|threads| threads == 0);
    let dropped = Monitor::start(MonitorConfig::default()).unwrap();
    let other_handle = dropped.clone();
    drop(dropped);
    wait_until(|threads| threads == 1);
    drop(other_handle);
    wait_until(|threads| threads == 0);
    let disabled = Monitor::disabled();
    assert_eq!(monitor_threads(), 0);
    disabled.finish().unwrap();
}
