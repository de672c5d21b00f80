//! Interrupt and termination leave no final file.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
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

/// Starts a run that reads from a pipe, gives it `text`, and waits until its outputs are there.
fn waiting_for_input(command: &str, output: &Path, text: &[u8]) -> Child {
    let mut child = program()
        .args([command, "-", "--chunk-length", "300", "-q", "-o", output.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(text).unwrap();
    let start = Instant::now();
    while names(output).is_empty() && start.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(!names(output).is_empty(), "the run has begun");
    child
}

#[test]
fn interrupt_while_the_input_is_silent_ends_with_130_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let record = format!(">a\n{}\n>b\n", open_sequence(3_000, 11));
    for command in ["predict", "translate"] {
        for (name, text) in [("nothing", ""), ("a record", &*record)] {
            let output = folder.path().join(command).join(name);
            let mut child = waiting_for_input(command, &output, text.as_bytes());
            // Still open, so the program cannot take this for the end of the input.
            let pipe = child.stdin.take();
            let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            assert!(kill.unwrap().success());
            assert_eq!(child.wait().unwrap().code(), Some(130), "{command}, {name}");
            drop(pipe);
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            // It ended in good order: a forced exit says nothing.
            assert!(said.contains("stopped before the end"), "{said:?}");
            assert!(!output.exists(), "{command}, {name}: {:?}", names(&output));
        }
    }
}

#[test]
fn interrupt_ends_with_130_and_no_final_file() {
    stops_with("-INT", 130);
}

#[test]
fn termination_ends_with_143_and_no_final_file() {
    stops_with("-TERM", 143);
}
