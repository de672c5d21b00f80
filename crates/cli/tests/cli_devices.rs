//! Choosing, checking and measuring a device from the command line, on any machine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use common::{names, open_sequence, run, testdata};

fn predict(folder: &Path, more: &[&str]) -> common::Run {
    let input = folder.join("in.fa");
    std::fs::write(&input, format!(">a\n{}\n", open_sequence(600, 3))).unwrap();
    let output = folder.join("out");
    let args = ["predict", input.to_str().unwrap(), "-o", output.to_str().unwrap()];
    run(&[&args[..], more].concat())
}

#[test]
fn devices_names_the_processor_the_libraries_and_the_choice() {
    let found = run(&["devices"]).ok();
    assert!(found.stdout.starts_with("cpu "), "{}", found.stdout);
    for library in ["the CUDA driver (libcuda)", "NVRTC (libnvrtc)", "cuBLASLt (libcublasLt)"] {
        assert!(found.stdout.contains(library), "{library}: {}", found.stdout);
    }
    assert!(found.stdout.contains("--device auto takes "), "{}", found.stdout);
    assert_eq!(found.stderr, "");
}

#[test]
fn device_that_is_not_there_is_an_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // No machine has so many.
    predict(folder.path(), &["--device", "cuda:4096"]).failed_with(&["CUDA"]);
    assert_eq!(names(&folder.path().join("out")), [""; 0]);
    let wrong = predict(folder.path(), &["--device", "gpu"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("auto, cpu, cuda, cuda:N"), "{}", wrong.stderr);
}

#[test]
fn precision_that_the_processor_lacks_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let half = ["--device", "cpu", "--precision", "f16"];
    predict(folder.path(), &half).failed_with(&["f16", "cpu", "f32"]);
    predict(folder.path(), &["--device", "cpu", "--precision", "f32"]).ok();
    assert_eq!(predict(folder.path(), &["--precision", "f8"]).code, Some(2));
}

#[test]
fn folder_without_the_libraries_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().to_str().unwrap();
    let asked = ["--cuda-libraries", named];
    // Without a driver that is the first thing to be missing.
    let on_cuda = [&["--device", "cuda"], &asked[..]].concat();
    predict(folder.path(), &on_cuda).failed_with(&["was not found in"]);
    let devices = run(&[&["devices"], &asked[..]].concat()).ok();
    for library in ["NVRTC (libnvrtc)", "cuBLASLt (libcublasLt)"] {
        let line = devices.stdout.lines().find(|line| line.contains(library)).unwrap();
        assert!(line.contains("was not found in") && line.contains(named), "{line}");
    }
}

#[test]
fn token_budget_says_what_was_taken_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let on_cpu =
        |more: &[&str]| predict(folder.path(), &[&["--device", "cpu"], more].concat()).ok();
    assert!(on_cpu(&[]).stderr.contains("token budget: 2048 tokens, what suits the caches"));
    let asked = on_cpu(&["--token-budget", "300"]);
    assert!(asked.stderr.contains("token budget: 300 tokens, as asked"), "{}", asked.stderr);
    assert_eq!(predict(folder.path(), &["--token-budget", "0"]).code, Some(2));
}

#[test]
fn selftest_of_the_processor_passes_and_shows_a_table() {
    let found = run(&["selftest", "--device", "cpu"]).ok();
    for family in ["attention", "same bits: models", "golden esm2", "golden dnabert-s", "mini"] {
        assert!(found.stdout.contains(family), "{family}: {}", found.stdout);
    }
    assert!(found.stdout.contains("checks passed in "), "{}", found.stdout);
    assert!(!found.stdout.contains("MISSED"), "{}", found.stdout);
}

#[test]
fn bench_prints_one_json_object_with_the_numbers_of_its_median_pass() {
    let args = ["bench", "--device", "cpu", "--model", "esm2-8m", "--lengths", "fixed:20"];
    let more = ["--tokens", "400", "--passes", "3", "--json"];
    let found = run(&[&args[..], &more].concat()).ok();
    let report: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!((&report["model"], &report["lengths"]), (&"esm2-8m".into(), &"fixed:20".into()));
    assert_eq!((&report["tokens"], &report["precision"]), (&400.into(), &"f32".into()));
    let seconds: Vec<f64> = serde_json::from_value(report["pass_seconds"].clone()).unwrap();
    assert_eq!(seconds.len(), 3);
    let mut sorted = seconds.clone();
    sorted.sort_by(f64::total_cmp);
    let rate = report["tokens_per_second"].as_f64().unwrap();
    assert!((rate * sorted[1] / 400.0 - 1.0).abs() < 1e-9, "{rate} {seconds:?}");
    let sequences = report["sequences_per_second"].as_f64().unwrap();
    assert!((rate / sequences / 20.0 - 1.0).abs() < 1e-9);
}

#[test]
fn bench_with_lengths_of_a_file_reads_them() {
    let input = testdata("oracle/inputs/nasty_crlf.fa");
    let args = ["bench", "--device", "cpu", "--model", "dnabert-s", "--tokens", "50"];
    let more = ["--passes", "1", "--lengths", input.to_str().unwrap()];
    let found = run(&[&args[..], &more].concat()).ok();
    assert!(found.stdout.contains("nasty_crlf.fa"), "{}", found.stdout);
    run(&["bench", "--device", "cpu", "--lengths", "no/such.fa"]).failed_with(&["no/such.fa"]);
    assert_eq!(run(&["bench", "--model", "esm3"]).code, Some(2));
}
