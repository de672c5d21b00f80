//! The record grammar, what is counted on the way, and one clear error for every bad input.
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly too")]

mod common;

use std::fs;

use common::{open_bytes, plain, read_bytes};
use proptest::prelude::*;
use virnucpro_seq::write::write_record;
use virnucpro_seq::{Compression, Input, InputStats, MultiReader, SeqError, SequenceFormat};

fn ids_and_letters(text: &str) -> Vec<(String, String)> {
    let (records, failure) = read_bytes(text);
    assert!(failure.is_none(), "{failure:?}");
    plain(&records)
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(id, seq)| (id.to_owned(), seq.to_owned())).collect()
}

fn stats_of(bytes: &[u8]) -> InputStats {
    let mut reader = open_bytes(bytes).unwrap();
    reader.by_ref().for_each(|record| drop(record.unwrap()));
    reader.stats().clone()
}

fn error_of(bytes: &[u8]) -> String {
    let error = read_bytes(bytes).1.expect("this input must be refused").to_string();
    assert!(error.starts_with("memory: ") && !error.contains('\n'), "{error}");
    error
}

#[test]
fn fasta_blanks_go_and_everything_else_stays() {
    let text = ">a x>y\nAC gt\t-*\nU1>\n>b\n\n>\nN\n  >c\nA\n";
    let expected = [("a", "ACgt-*U1>"), ("b", ""), ("", "N>cA")];
    assert_eq!(ids_and_letters(text), pairs(&expected));
}

#[test]
fn fasta_every_ending_gives_the_last_record() {
    for text in [">a\nAC", ">a\nAC\n", ">a\nAC\n\n\n", ">a\r\nAC\r\n", ">a\rAC\r", ">a\nA\r\r\nC"] {
        assert_eq!(ids_and_letters(text), pairs(&[("a", "AC")]), "{text:?}");
    }
    for text in [">a", ">a\n", ">a\r", ">a\n\n \n"] {
        assert_eq!(ids_and_letters(text), pairs(&[("a", "")]), "{text:?}");
    }
    assert_eq!(ids_and_letters(">a\n>"), pairs(&[("a", ""), ("", "")]));
}

#[test]
fn fasta_whole_header_is_kept() {
    let (records, _) = read_bytes("> id  and\tmore \r\nA\n");
    assert_eq!((records[0].id.as_str(), records[0].header.as_str()), ("id", " id  and\tmore "));
}

#[test]
fn fasta_text_before_the_first_record_is_dropped_and_counted() {
    let stats = stats_of(b"\n; note\r\n@not a read\r\n>a\nAC\n");
    assert_eq!(stats.format, Some(SequenceFormat::Fasta));
    assert_eq!((stats.dropped_lines, stats.dropped_text_lines, stats.records), (3, 2, 1));
}

#[test]
fn fasta_preamble_longer_than_a_block_is_dropped() {
    let mut text = format!("{}>not a record\n", "x".repeat(300_000)).repeat(3).into_bytes();
    text.extend(b">a\nAC\n");
    let stats = stats_of(&text);
    assert_eq!((stats.dropped_lines, stats.records, stats.letters_nt), (3, 1, 2));
}

/// Headers and sequence lines start exactly at, and around, the borders of the reader's blocks.
#[test]
fn fasta_lines_at_block_borders_stay_apart() {
    for shift in 0..3 {
        for end in ["\n", "\r\n", "\r"] {
            let width = 64 - end.len();
            // Every line has 64 bytes, so that without a shift each border is between two lines.
            let record = |index: usize| {
                let header = format!("{index:0>width$}", width = width - 1);
                let letters = &"ACGT".repeat(16)[..width];
                format!(">{header}{end}{letters}{end}")
            };
            let preamble = if shift == 0 { String::new() } else { end.repeat(shift) };
            let text = preamble + &(0..8000).map(record).collect::<String>();
            let (records, failure) = read_bytes(text.clone());
            assert!(failure.is_none());
            assert_eq!(plain(&records), parse_slowly(&text), "shift {shift}, line end {end:?}");
        }
    }
}

#[test]
fn fasta_byte_order_mark_hides_nothing() {
    let stats = stats_of(b"\xef\xbb\xbf>a\nAC\n");
    assert!(stats.byte_order_mark);
    assert_eq!((stats.records, stats.dropped_lines), (1, 0));
}

#[test]
fn fasta_oddities_are_counted() {
    let stats = stats_of(b">\xff\nAC\n> \nGT\n>c\n");
    assert_eq!((stats.repaired_headers, stats.empty_ids, stats.empty_sequences), (1, 1, 1));
    assert_eq!((stats.records, stats.letters_nt, stats.bytes), (3, 4, 15));
    assert_eq!(stats.compression, Compression::Plain);
}

#[test]
fn empty_and_blank_inputs_have_no_records() {
    for text in [&b""[..], b"\n", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"] {
        let stats = stats_of(text);
        assert_eq!((stats.records, stats.format, stats.bytes), (0, None, text.len() as u64));
        assert_eq!(stats.sha256.len(), 64);
    }
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(stats_of(b"").sha256, nothing);
}

#[test]
fn fastq_round_trips_with_qualities() {
    let text = "@a one\nACGT\n+\n@I+>\n@b\n\n+\n\n@c\nN\n+\n!\n";
    let (records, failure) = read_bytes(text);
    assert!(failure.is_none(), "{failure:?}");
    let mut written = Vec::new();
    records.iter().for_each(|record| write_record(&mut written, record).unwrap());
    assert_eq!(String::from_utf8(written).unwrap(), text);
    for variant in
        [text.replace('\n', "\r\n"), text.replace('\n', "\r"), format!("\n{text}\n\n\n\n\n")]
    {
        assert_eq!(read_bytes(variant).0, records);
    }
}

#[test]
fn fastq_bad_records_are_named_with_line() {
    let good = "@good\nAC\n+\nII\n";
    for (bad, record, words) in [
        (
            "@bad x\nACG\n+\nII\n",
            "record 2 (\"bad\") at line 5",
            "length is 3 but quality length is 2",
        ),
        ("@bad\nACG\nIII\n@x\n", "record 2 (\"bad\") at line 7", "'+'"),
        ("bad\nACG\n+\nIII\n", "record 2 at line 5", "'@'"),
        ("@bad\nACG\n+\n", "record 2 (\"bad\") at line 5", "quality length is 0"),
        ("@bad\nACG\n", "record 2 (\"bad\") at line 7", "ends inside"),
        ("@bad\nA G\n+\nIII\n", "record 2 (\"bad\") at line 6", "blank"),
    ] {
        let (records, failure) = read_bytes(format!("{good}{bad}"));
        assert_eq!(plain(&records), pairs(&[("good", "AC")]), "{bad:?}");
        let error = failure.unwrap().to_string();
        assert!(error.contains(record) && error.contains(words), "{bad:?}: {error}");
    }
}

#[test]
fn text_without_record_is_refused() {
    let error = error_of(b"sample\tlength\nx\t3\n");
    assert!(error.contains("no FASTA or FASTQ record in 2 lines"), "{error}");
    assert!(error_of(b" x").contains("in 1 lines"));
}

#[test]
fn binary_data_is_refused() {
    assert!(error_of(b"\x7fELF\x02\x01\x01\0\0\0\n>a\nAC\n").contains("NUL at byte 7"));
    assert!(error_of(b">\0a\0\n\0A\0C\0\n\0").contains("NUL at byte 1"));
    assert!(error_of(b"BZh91AY").contains("bzip2"));
    assert!(error_of(b"PK\x03\x04rest").contains("zip"));
}

#[test]
fn failing_system_read_keeps_whole_records_only() {
    struct Failing(Vec<u8>, usize);
    impl std::io::Read for Failing {
        fn read(&mut self, target: &mut [u8]) -> std::io::Result<usize> {
            if self.1 == self.0.len() {
                return Err(std::io::Error::other("cable pulled"));
            }
            let count = target.len().min(self.0.len() - self.1).min(1000);
            target[..count].copy_from_slice(&self.0[self.1..self.1 + count]);
            self.1 += count;
            Ok(count)
        }
    }
    let text = format!(">a\n{0}\n>b\n{0}\n>c\n{0}", "ACGT".repeat(100_000)).into_bytes();
    let length = text.len();
    let reader = virnucpro_seq::RecordReader::from_reader("net.fa", Box::new(Failing(text, 0)));
    let items: Vec<_> = reader.unwrap().collect();
    let [Ok(a), Ok(b), Err(error)] = &items[..] else { panic!("{} items", items.len()) };
    assert_eq!((a.seq.len(), b.seq.len()), (400_000, 400_000));
    let expected =
        format!("net.fa: cannot read at byte {length} (after 2 whole records): cable pulled");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn multi_reader_numbers_records_over_all_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        Input::Path(folder.path().join(name))
    };
    let inputs = vec![
        write("a.fa", ">x\nA\n>y\nC\n"),
        write("empty.fa", ""),
        write("b.fq", "@x\nG\n+\nI\n"),
    ];
    let mut reader = MultiReader::open(inputs).unwrap();
    let records: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    let numbers: Vec<_> = records.iter().map(|r| (r.index, r.input, r.id.as_str())).collect();
    assert_eq!(numbers, [(0, 0, "x"), (1, 0, "y"), (2, 2, "x")]);
    let stats: Vec<_> = reader.finished_stats().iter().map(|stats| stats.records).collect();
    assert_eq!(stats, [2, 0, 1]);
    assert!(reader.current_stats().is_none());
}

#[test]
fn multi_reader_stops_at_the_first_failure() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        Input::Path(folder.path().join(name))
    };
    let inputs = vec![write("a.fa", ">x\nA\n"), write("b.fa", "no record"), write("c.fa", ">z\nA")];
    let items: Vec<_> = MultiReader::open(inputs).unwrap().collect();
    assert!(
        matches!(&items[..], [Ok(_), Err(SeqError::NoRecord { path, .. })] if path.ends_with("b.fa"))
    );
    let missing = vec![write("a.fa", ">x\nA\n"), Input::Path(folder.path().join("gone.fa"))];
    assert!(matches!(MultiReader::open(missing), Err(SeqError::Open { .. })));
    let twice = MultiReader::open(vec![Input::Stdin, Input::Stdin]);
    assert!(matches!(twice, Err(SeqError::StdinTwice)));
}

/// The grammar line by line, as the original's reader works through a text.
fn parse_slowly(text: &str) -> Vec<(String, String)> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut records: Vec<(String, String)> = Vec::new();
    for line in text.split('\n') {
        if let Some(header) = line.strip_prefix('>') {
            let id = header.split_whitespace().next().unwrap_or_default();
            records.push((id.to_owned(), String::new()));
        } else if let Some((_, seq)) = records.last_mut() {
            seq.extend(line.chars().filter(|letter| !" \t".contains(*letter)));
        }
    }
    records
}

proptest! {
    #[test]
    fn prop_fasta_equals_reading_line_by_line(
        text in "(>[a >\t]{0,5}(\n|\r|\r\n)([ACg>*1 \t\n\r]{0,12}(\n|\r|\r\n)){0,4}){1,6}[\r\n]{0,3}"
    ) {
        prop_assert_eq!(ids_and_letters(&text), parse_slowly(&text));
    }

    #[test]
    fn prop_line_end_variants_give_the_same_records(
        seqs in proptest::collection::vec("[ACGTN]{0,200}", 1..6), width in 1usize..90
    ) {
        let mut text = String::new();
        for (index, seq) in seqs.iter().enumerate() {
            text += &format!(">r{index} words\n");
            for line in seq.as_bytes().chunks(width) {
                text += &format!("{}\n", std::str::from_utf8(line).unwrap());
            }
        }
        let records = read_bytes(text.clone()).0;
        prop_assert_eq!(records.len(), seqs.len());
        prop_assert!(records.iter().zip(&seqs).all(|(record, seq)| record.seq == seq.as_bytes()));
        for end in ["\r\n", "\r"] {
            prop_assert_eq!(&read_bytes(text.replace('\n', end)).0, &records);
        }
    }
}
