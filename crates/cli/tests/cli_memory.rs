//! Memory does not grow with the input.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/contig_stream.rs"]
mod contig_stream;

use std::io::{BufWriter, Write};
use std::process::Stdio;

use common::{names, program, read};

/// The most that a run with the small bundle and the default settings may hold on two threads
/// beside the cache of repeats, of which this stream fills next to nothing (2 × 64 MiB at most):
/// model, open windows, queues and sort buffers.
const BOUND_BYTES: u64 = 192 << 20;

/// Streams `letters` through `predict` and gives the peak of its resident memory.
fn peak_bytes(letters: u64) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let mut child = program()
        .args(["predict", "-", "--threads", "2", "-q", "-o", output.to_str().unwrap()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = BufWriter::with_capacity(1 << 20, child.stdin.take().unwrap());
    let contigs = contig_stream::write_contigs(&mut pipe, letters).unwrap();
    pipe.flush().unwrap();
    drop(pipe);
    assert!(child.wait().unwrap().success());
    assert_eq!(names(&output).len(), 5);
    let summary: serde_json::Value =
        serde_json::from_str(&read(output.join("summary.json"))).unwrap();
    let counts = &summary["counts"];
    assert_eq!(counts["records"].as_u64(), Some(contigs));
    assert_eq!(counts["contigs"]["unreadable"].as_u64(), Some(contigs - contigs / 11));
    assert!(counts["fanned_out"].as_u64().unwrap() > 0);
    summary["performance"]["process"]["resident_bytes_max"].as_u64().unwrap()
}

#[test]
fn predict_streams_more_letters_than_it_may_hold() {
    let (few, many) = (20_000_000, 220_000_000);
    assert!(many > BOUND_BYTES, "an input that does not fit proves nothing otherwise");
    let (short, long) = (peak_bytes(few), peak_bytes(many));
    assert!(long < BOUND_BYTES, "{long} bytes for {many} letters");
    // Sort buffers fill up to their bounds; a quarter of the input would be seen.
    assert!(long < short + (many - few) / 4, "{short} bytes grew to {long}");
}
