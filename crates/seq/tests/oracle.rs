//! Parity with the original VirNucPro, byte for byte, on the recorded fixtures.
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly too")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{Files, oracle, shared_oracle, size, translate_to_files};
use virnucpro_seq::{
    Frame, Input, Record, RecordReader, chunk_id, chunks, frame_id, readable_frames,
    reverse_complement, training_frames, translate,
};

const LENGTHS: [usize; 2] = [300, 500];

fn translate_case(folder: &Path, case: &str, chunk_length_nt: usize) -> Files {
    let input = folder.join("inputs").join(format!("{case}.fa"));
    translate_to_files(RecordReader::open(&Input::Path(input)).unwrap(), chunk_length_nt, 2)
}

fn read_expected(folder: &Path) -> Files {
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    Files {
        chunked: read("chunked.fa"),
        nucleotide: read("identified_nucleotide.fa"),
        protein: read("identified_protein.faa"),
    }
}

fn assert_same(actual: &Files, expected: &Files, what: &str) {
    assert!(actual.chunked == expected.chunked, "{what}: chunked.fa differs");
    assert!(actual.nucleotide == expected.nucleotide, "{what}: identified_nucleotide.fa differs");
    assert!(actual.protein == expected.protein, "{what}: identified_protein.faa differs");
}

/// Compares every case under `folder`, except the one where the original loses a record.
fn compare_folder(folder: &Path) -> usize {
    let mut compared = 0;
    for entry in fs::read_dir(folder.join("expected")).unwrap() {
        let case = entry.unwrap().file_name().into_string().unwrap();
        for length in LENGTHS {
            if case == "nasty_bom" {
                continue;
            }
            let expected = folder.join("expected").join(&case).join(format!("L{length}"));
            let actual = translate_case(folder, &case, length);
            assert_same(&actual, &read_expected(&expected), &format!("{case} L{length}"));
            compared += 1;
        }
    }
    compared
}

#[test]
fn golden_generated_cases() {
    assert_eq!(compare_folder(&oracle()), 2 * 20);
}

#[test]
fn golden_shared_cases() {
    if let Some(folder) = shared_oracle() {
        assert_eq!(compare_folder(&folder), 2 * 23);
    }
}

/// The original loses the record behind a byte order mark; ours comes first, the rest is equal.
#[test]
fn golden_nasty_bom() {
    for length in LENGTHS {
        let actual = translate_case(&oracle(), "nasty_bom", length);
        let folder = oracle().join(format!("expected/nasty_bom/L{length}"));
        let expected = read_expected(&folder);
        for (actual, expected) in [
            (&actual.chunked, &expected.chunked),
            (&actual.nucleotide, &expected.nucleotide),
            (&actual.protein, &expected.protein),
        ] {
            assert!(actual.ends_with(expected) && actual.len() > expected.len());
            let extra = std::str::from_utf8(&actual[..actual.len() - expected.len()]).unwrap();
            assert!(extra.starts_with(">c0_chunk_1"), "{extra}");
            let headers = || extra.lines().filter(|line| line.starts_with('>'));
            assert!(headers().all(|header| header.starts_with(">c0_chunk_")), "{extra}");
        }
    }
}

/// The original divides by zero; the record is passed over and the others are as they should be.
#[test]
fn golden_nasty_empty_sequence() {
    for length in LENGTHS {
        let actual = translate_case(&oracle(), "nasty_empty_sequence", length);
        let folder = oracle().join(format!("refactored/nasty_empty_sequence/L{length}"));
        let mut expected = read_expected(&folder);
        for file in [&mut expected.chunked, &mut expected.nucleotide, &mut expected.protein] {
            *file = without_record(file, "empty_chunk_1");
        }
        assert_same(&actual, &expected, "nasty_empty_sequence");
    }
}

/// FASTA text without the records of one chunk.
fn without_record(fasta: &[u8], chunk: &str) -> Vec<u8> {
    let records = std::str::from_utf8(fasta).unwrap().split_inclusive('\n');
    let mut is_kept = true;
    let lines = records.filter(|line| {
        if let Some(header) = line.strip_prefix('>') {
            is_kept = !header.starts_with(chunk);
        }
        is_kept
    });
    lines.collect::<String>().into_bytes()
}

#[test]
fn golden_empty_protein_records_are_the_dropped_ones() {
    for case in ["nasty_ambiguous", "nasty_lengths_open", "nasty_lengths_random"] {
        for length in LENGTHS {
            let tsv = format!("refactored/{case}/L{length}/extra_empty_protein_records.tsv");
            let tsv = fs::read_to_string(oracle().join(tsv)).unwrap();
            let row = |line: &str| {
                let fields: Vec<_> = line.split('\t').collect();
                (fields[1].to_owned(), fields[2].to_owned())
            };
            let expected: Vec<_> = tsv.lines().skip(1).map(row).collect();
            let input = oracle().join("inputs").join(format!("{case}.fa"));
            let mut dropped = Vec::new();
            for record in RecordReader::open(&Input::Path(input)).unwrap() {
                dropped.extend(dropped_frames(&record.unwrap(), length));
            }
            assert_eq!(dropped, expected, "{case} L{length}");
        }
    }
}

/// Id and slice of the frames that have no stop codon and still are not kept.
fn dropped_frames(record: &Record, length: usize) -> Vec<(String, String)> {
    let mut dropped = Vec::new();
    for (index, range) in chunks(record.seq.len(), size(length)).enumerate() {
        let forward = record.seq[range].to_ascii_uppercase();
        let reverse = reverse_complement(&forward);
        let kept: Vec<_> = readable_frames(&forward).iter().map(|kept| kept.frame).collect();
        for frame in Frame::ALL {
            let strand = if frame.is_reverse() { &reverse } else { &forward };
            let strand = strand.get(frame.offset_nt()..).unwrap_or_default();
            if !translate(strand).contains(&b'*') && !kept.contains(&frame) {
                let slice = strand.iter().take(1).map(|&letter| char::from(letter)).collect();
                dropped.push((frame_id(&record.id, index, frame), slice));
            }
        }
    }
    dropped
}

#[test]
fn golden_chunk_table() {
    let table = fs::read_to_string(oracle().join("chunk_table.tsv")).unwrap();
    let numbers = |field: &str| -> Vec<usize> {
        field.split(',').filter(|text| !text.is_empty()).map(|text| text.parse().unwrap()).collect()
    };
    for row in table.lines().skip(1) {
        let fields: Vec<_> = row.split('\t').map(numbers).collect();
        let ranges: Vec<_> = chunks(fields[1][0], size(fields[0][0])).collect();
        assert_eq!(ranges.len(), fields[2][0], "{row}");
        assert_eq!(ranges.iter().map(|range| range.start).collect::<Vec<_>>(), fields[3], "{row}");
        assert_eq!(ranges.iter().map(|range| range.len()).collect::<Vec<_>>(), fields[4], "{row}");
    }
    assert_eq!(table.lines().count(), 441);
}

#[test]
fn golden_codons() {
    let table = fs::read_to_string(oracle().join("codons.tsv")).unwrap();
    let table: BTreeMap<_, _> = table.lines().map(|row| row.split_once('\t').unwrap()).collect();
    assert_eq!(table.len(), 64);
    for (codon, amino_acid) in table {
        assert_eq!(translate(codon.as_bytes()), amino_acid.as_bytes(), "{codon}");
    }
}

#[test]
fn golden_translate() {
    let table = fs::read_to_string(oracle().join("translate.tsv")).unwrap();
    for row in table.lines().skip(1) {
        let fields: Vec<_> = row.split('\t').map(str::as_bytes).collect();
        let reverse = reverse_complement(fields[0]);
        assert_eq!(reverse, fields[1], "{row}");
        for frame in Frame::ALL {
            let strand = if frame.is_reverse() { &reverse[..] } else { fields[0] };
            let strand = strand.get(frame.offset_nt()..).unwrap_or_default();
            assert_eq!(translate(strand), fields[2 + frame as usize], "{frame}: {row}");
        }
    }
    assert_eq!(table.lines().count(), 213);
}

#[test]
fn golden_train_identify() {
    let cases = fs::read(oracle().join("train_identify.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_slice(&cases).unwrap();
    for case in cases.as_array().unwrap() {
        let seqid = case["seqid"].as_str().unwrap();
        let references = case["reference_proteins"].as_array().unwrap().iter();
        let references: Vec<_> = references.map(|protein| protein.as_str().unwrap()).collect();
        let actual = training_frames(case["sequence"].as_str().unwrap().as_bytes(), &references);
        let actual = actual.map(|frames| {
            let text = |letters: Vec<u8>| String::from_utf8(letters).unwrap();
            let frames = frames.into_iter().map(|kept| {
                let (nucleotide, protein) = (text(kept.nucleotide), text(kept.protein));
                let seqid = format!("{seqid}{}", kept.frame);
                serde_json::json!({"seqid": seqid, "nucleotide": nucleotide, "protein": protein})
            });
            frames.collect::<Vec<_>>()
        });
        assert_eq!(serde_json::json!(actual), case["result"], "{seqid}");
    }
    assert_eq!(cases.as_array().unwrap().len(), 60);
}

#[test]
fn golden_chunk_ids_appear_in_chunked_file() {
    let path = oracle().join("expected/nasty_headers/L300/chunked.fa");
    let text = fs::read_to_string(path).unwrap();
    assert!(text.lines().any(|line| line.strip_prefix('>') == Some(&chunk_id("NA", 1))));
}
