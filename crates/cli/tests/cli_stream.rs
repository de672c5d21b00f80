//! The stream behind `predict` and `embed`: dedup, metrics, timeline.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::open_sequence;

fn example() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/contigs.fasta").to_owned()
}

fn run(folder: &Path, arguments: &[&str]) {
    let input = example();
    let output = folder.to_str().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_virnucpro"))
        .args(["predict", &input, &input, "-q", "-o", output])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success());
}

fn counts(folder: &Path) -> serde_json::Value {
    let text = fs::read_to_string(folder.join("summary.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["counts"].clone()
}

#[test]
fn predict_embeds_repeated_sequences_once_and_writes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (once, again) = (folder.path().join("once"), folder.path().join("again"));
    run(&once, &[]);
    run(&again, &["--no-dedup"]);
    for file in [
        "prediction_results.txt",
        "prediction_results_highestscore.csv",
        "contigs.tsv",
        "viral.fasta",
    ] {
        let read = |folder: &Path| fs::read(folder.join(file)).unwrap();
        assert!(read(&once) == read(&again), "{file}");
    }
    let number = |counts: &serde_json::Value, name: &str| counts[name].as_u64().unwrap();
    let (once, again) = (counts(&once), counts(&again));
    let frames = number(&once, "frames");
    assert_eq!(number(&again, "fanned_out"), 0);
    assert_eq!(number(&again, "unique_proteins"), frames);
    // The input is given twice, so half of it at least has been seen before.
    assert!(number(&once, "fanned_out") >= frames);
    let unique = number(&once, "unique_proteins") + number(&once, "unique_nucleotides");
    assert_eq!(unique + number(&once, "fanned_out"), 2 * frames);
    assert_eq!(once["unknown_residues"], again["unknown_residues"]);
}

#[test]
fn predict_metrics_and_trace_are_complete_and_agree_with_the_summary() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (metrics, trace) = (path("metrics.jsonl"), path("trace.json"));
    let output = folder.path().join("out");
    run(&output, &["--metrics", &metrics, "--trace", &trace]);
    let lines: Vec<serde_json::Value> = fs::read_to_string(metrics)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["type"], "run");
    let tokens = lines.iter().filter(|line| line["type"] == "batch");
    let tokens: u64 = tokens.map(|line| line["total_tokens"].as_u64().unwrap()).sum();
    let counts = counts(&output);
    let expected = ["protein_tokens", "nucleotide_tokens"].map(|n| counts[n].as_u64().unwrap());
    assert_eq!(tokens, expected.iter().sum::<u64>());
    assert_eq!(lines.last().unwrap()["type"], "summary");
    let trace: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(trace).unwrap()).unwrap();
    let text = trace.to_string();
    for stage in [
        "read",
        "parse",
        "translate",
        "dedup",
        "tokenize",
        "pack",
        "transfer",
        "compute",
        "retrieve",
        "write",
    ] {
        assert!(text.contains(&format!("\"{stage}\"")), "no track of {stage}");
    }
}

/// The stage that the summary names, for an input that `feed` writes.
fn slowest_stage(feed: impl FnOnce(&mut dyn Write)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let mut child = Command::new(env!("CARGO_BIN_EXE_virnucpro"))
        .args(["predict", "-", "-q", "-o", output.to_str().unwrap()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    feed(&mut pipe);
    drop(pipe);
    assert!(child.wait().unwrap().success());
    let text = fs::read_to_string(output.join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    summary["performance"]["bottleneck"]["slowest_stage"].as_str().unwrap().to_owned()
}

#[test]
fn predict_names_the_stage_that_holds_the_run_up() {
    let trickle = |pipe: &mut dyn Write| {
        for number in 0..40 {
            writeln!(pipe, ">contig_{number}\n{}", "GCC".repeat(100)).unwrap();
            thread::sleep(Duration::from_millis(50));
        }
    };
    assert_eq!(slowest_stage(trickle), "read");
    let open = open_sequence(40_000, 5);
    assert_eq!(slowest_stage(|pipe| write!(pipe, ">open\n{open}\n").unwrap()), "compute");
}
