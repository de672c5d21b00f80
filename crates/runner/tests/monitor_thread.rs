//! No thread is left behind. A file of its own, so that no other test's monitor runs beside it.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

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

fn wait_until_none_is_left() {
    while monitor_threads() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn monitor_that_ended_leaves_no_thread() {
    let finished = Monitor::start(MonitorConfig::default()).unwrap();
    finished.finish().unwrap();
    wait_until_none_is_left();
    let dropped = Monitor::start(MonitorConfig::default()).unwrap();
    let other_handle = dropped.clone();
    drop(dropped);
    while monitor_threads() == 0 {
        std::thread::yield_now();
    }
    drop(other_handle);
    wait_until_none_is_left();
    let disabled = Monitor::disabled();
    assert_eq!(monitor_threads(), 0);
    disabled.finish().unwrap();
}
