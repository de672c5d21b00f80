//! The threaded driver: order, independence from the number of threads, failures, early end.
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly too")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{open_bytes, size, translate_to_files};
use proptest::prelude::*;
use virnucpro_seq::{LetterCounts, Record, SeqError, translate_records};

/// A reproducible sequence of letters, few of them stops.
fn letters(length_nt: usize, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        b"ACGCGTCGNgAC"[(seed % 12) as usize]
    };
    (0..length_nt).map(|_| next()).collect()
}

fn records(lengths: &[usize]) -> Vec<Record> {
    let record = |(index, &length): (usize, &usize)| {
        Record::new(
            index as u64,
            format!("r{index} x").as_bytes(),
            letters(length, 77 + index as u64),
        )
    };
    lengths.iter().enumerate().map(record).collect()
}

fn source(records: Vec<Record>) -> impl Iterator<Item = Result<Record, SeqError>> + Send + 'static {
    records.into_iter().map(Ok)
}

fn no_record() -> SeqError {
    SeqError::NoRecord { path: "x.fa".into(), lines: 3 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn prop_files_do_not_depend_on_thread_count(
        lengths in proptest::collection::vec(
            prop_oneof![6 => 0usize..2000, 1 => 100_000usize..400_000], 0..20),
        chunk_length_nt in 1usize..900,
    ) {
        let chunk_length_nt = chunk_length_nt.max(30);
        let one = translate_to_files(source(records(&lengths)), chunk_length_nt, 1);
        for threads in [2, 5] {
            let many = translate_to_files(source(records(&lengths)), chunk_length_nt, threads);
            prop_assert!(one == many);
        }
    }
}

#[test]
fn units_cover_every_record_in_order() {
    let lengths = [0, 700, 1_000_000, 1, 0, 299, 400_000];
    let all = records(&lengths);
    let units = translate_records(source(all.clone()), size(300), size(3)).unwrap();
    let (mut record, mut chunk, mut counts) = (0, 0, LetterCounts::default());
    let mut units_per_record = vec![0; lengths.len()];
    for unit in units {
        let unit = unit.unwrap();
        assert_eq!(*unit.record, all[record]);
        assert_eq!((unit.first_chunk, unit.is_first()), (chunk, chunk == 0));
        for translated in &unit.chunks {
            assert_eq!(translated.index, chunk);
            chunk += 1;
        }
        counts += unit.letters;
        units_per_record[record] += 1;
        if unit.is_last() {
            assert_eq!(chunk, unit.chunks_in_record);
            assert_eq!(counts, LetterCounts::of(&all[record].seq));
            (record, chunk, counts) = (record + 1, 0, LetterCounts::default());
        }
    }
    assert_eq!(record, lengths.len());
    assert!(units_per_record[2] > 4, "a long record must be split: {units_per_record:?}");
    assert_eq!(units_per_record[4], 1);
}

#[test]
fn units_reader_failure_comes_after_everything_before_it() {
    let good = records(&[500, 200_000, 40]);
    let source = good.clone().into_iter().map(Ok).chain([Err(no_record())]);
    let source = source.chain(good.into_iter().map(Ok));
    let mut units = translate_records(source, size(300), size(2)).unwrap();
    let before: Vec<_> = units.by_ref().map_while(Result::ok).collect();
    assert_eq!(before.last().map(|unit| (unit.record.index, unit.is_last())), Some((2, true)));
    assert!(units.next().is_none());
}

#[test]
fn units_reader_failure_keeps_its_cause() {
    let source = records(&[5]).into_iter().map(Ok).chain([Err(no_record())]);
    let items: Vec<_> = translate_records(source, size(300), size(2)).unwrap().collect();
    assert!(matches!(items[..], [Ok(_), Err(SeqError::NoRecord { lines: 3, .. })]));
}

#[test]
fn units_panicking_reader_is_an_error() {
    let source = records(&[5]).into_iter().map(Ok).chain(std::iter::once_with(|| panic!("broken")));
    let error = translate_records(source, size(300), size(2)).unwrap().find_map(Result::err);
    assert!(error.unwrap().to_string().contains("broken"));
}

/// Counts what was drawn, and says by its reference count whether it was dropped.
struct Endless {
    drawn: Arc<AtomicUsize>,
}

impl Iterator for Endless {
    type Item = Result<Record, SeqError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.drawn.fetch_add(1, Ordering::SeqCst) as u64;
        Some(Ok(Record::new(index, b"endless", letters(50_000, index + 1))))
    }
}

#[test]
fn units_dropped_early_leave_no_thread_behind() {
    let drawn = Arc::new(AtomicUsize::new(0));
    let endless = Endless { drawn: Arc::clone(&drawn) };
    let mut units = translate_records(endless, size(300), size(2)).unwrap();
    assert!(units.next().unwrap().is_ok());
    drop(units);
    assert_eq!(Arc::strong_count(&drawn), 1, "the source thread still owns the records");
}

#[test]
fn units_slow_consumer_bounds_what_is_drawn() {
    let drawn = Arc::new(AtomicUsize::new(0));
    let endless = Endless { drawn: Arc::clone(&drawn) };
    let mut units = translate_records(endless, size(300), size(2)).unwrap();
    assert!(units.next().unwrap().is_ok());
    std::thread::sleep(std::time::Duration::from_millis(300));
    let ahead = drawn.load(Ordering::SeqCst);
    assert!(ahead < 60, "{ahead} records drawn although nobody takes results");
    units.nth(3 * ahead).unwrap().unwrap();
    assert!(drawn.load(Ordering::SeqCst) > ahead);
}

#[test]
fn units_give_the_reader_and_its_statistics_back() {
    let reader = open_bytes(">a\nACGT\n>\nAC\n>c\n").unwrap();
    let mut units = translate_records(reader, size(300), size(2)).unwrap();
    assert_eq!(units.by_ref().count(), 3);
    let reader = units.into_records().unwrap();
    let stats = reader.stats();
    assert_eq!((stats.records, stats.letters_nt, stats.empty_ids), (3, 6, 1));
    assert_eq!((stats.empty_sequences, stats.bytes, stats.sha256.len()), (1, 16, 64));
}
