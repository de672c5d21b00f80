//! The example file of the repository against the program that makes it.

#[path = "../examples/synthetic_contigs/contigs/mod.rs"]
mod contigs;

use std::io::Cursor;
use std::num::NonZeroUsize;

use virnucpro_seq::{RecordReader, chunks, readable_frames};

#[test]
fn golden_example_contigs_equal_the_generator() {
    let committed = include_str!("../../../examples/contigs.fasta");
    let made = contigs::fasta();
    let differs = committed.lines().zip(made.lines()).position(|(a, b)| a != b);
    assert!(committed == made, "first line that differs (from 0): {differs:?}");
}

#[test]
fn example_contigs_without_open_frame_have_none_at_any_trained_length() {
    let text = contigs::fasta();
    let records = RecordReader::from_reader("example", Box::new(Cursor::new(text))).unwrap();
    let mut seen = Vec::new();
    for record in records {
        let record = record.unwrap();
        for length in [300, 500] {
            let length = NonZeroUsize::new(length).unwrap();
            let has_frame = chunks(record.seq.len(), length)
                .any(|range| !readable_frames(&record.seq[range]).is_empty());
            let expects_frame = !["no_open_frame", "all_n", "two_letters"]
                .iter()
                .any(|name| record.id == format!("synthetic_{name}"));
            // Chance decides for a sequence without genes.
            if record.id != "synthetic_intergenic" {
                assert_eq!(has_frame, expects_frame, "{} at {length}", record.id);
            }
        }
        seen.push(record.id);
    }
    assert_eq!(seen.len(), 30);
    assert_eq!(seen.iter().filter(|id| id.starts_with("synthetic_host_")).count(), 12);
}
