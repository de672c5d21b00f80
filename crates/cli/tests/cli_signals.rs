//! Interrupt and termination leave no final file.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{names, open_sequence, program};

fn stops_with(signal: &str, code: i32) {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("long.fa");
    std::fs::write(&input, format!(">a\n{}\n", open_sequence(3_000_000, 11))).unwrap();
    let output = folder.path().join("out");
    let mut child = program()
        .args(["predict", input.to_str().unwrap(), "-o", output.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while names(&output).is_empty() && start.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(!names(&output).is_empty(), "the run has begun");
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(code));
    let finals: Vec<_> =
        names(&output).into_iter().filter(|name| !name.contains(".partial")).collect();
    assert_eq!(finals, [""; 0], "no file under a final name");
}

#[test]
fn interrupt_ends_with_130_and_no_final_file() {
    stops_with("-INT", 130);
}

#[test]
fn termination_ends_with_143_and_no_final_file() {
    stops_with("-TERM", 143);
}
