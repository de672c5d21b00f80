//! Throughput of the sequence stages. One item is one nt, so items/s reads as nt/s.

use std::fmt::Write as _;
use std::io::{Cursor, sink};
use std::num::NonZeroUsize;
use std::sync::LazyLock;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use virnucpro_seq::write::{write_chunked, write_identified_nucleotide, write_identified_protein};
use virnucpro_seq::{LetterCounts, RecordReader, chunks, readable_frames, translate_records};

const CHUNK_NT: NonZeroUsize = NonZeroUsize::new(500).expect("500 is not zero");

/// Letters of each generated input.
const LETTERS_NT: usize = 64_000_000;

fn main() {
    divan::main();
}

/// Random letters; `alphabet` sets the composition.
fn letters(length_nt: usize, alphabet: &[u8]) -> Vec<u8> {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        alphabet[(seed >> 33) as usize % alphabet.len()]
    };
    (0..length_nt).map(|_| next()).collect()
}

fn fasta(record_nt: usize) -> Vec<u8> {
    let all = letters(LETTERS_NT, b"ACGT");
    let mut text = Vec::with_capacity(LETTERS_NT * 21 / 20);
    for (index, seq) in all.chunks(record_nt).enumerate() {
        text.extend(format!(">contig_{index} made up\n").bytes());
        for line in seq.chunks(60) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
    }
    text
}

static CONTIGS: LazyLock<Vec<u8>> = LazyLock::new(|| fasta(20_000));
static ONE_CONTIG: LazyLock<Vec<u8>> = LazyLock::new(|| fasta(LETTERS_NT));
static READS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let all = letters(LETTERS_NT, b"ACGT");
    let mut text = String::with_capacity(LETTERS_NT * 5 / 2);
    for (index, seq) in all.chunks(150).enumerate() {
        let seq = std::str::from_utf8(seq).expect("letters are ASCII");
        let _ = write!(text, "@read_{index}\n{seq}\n+\n{}\n", "I".repeat(seq.len()));
    }
    text.into_bytes()
});

fn open(text: &'static [u8]) -> RecordReader {
    RecordReader::from_reader("memory", Box::new(Cursor::new(text))).expect("the text is FASTA")
}

/// The six frames of 500-nt chunks; random letters close all frames early, `ACG` never does.
#[divan::bench(args = ["ACGT", "AACCGGT", "ACG"])]
fn frames_of_chunks(bencher: Bencher, alphabet: &str) {
    let seq = letters(1_000_000, alphabet.as_bytes());
    bencher.counter(ItemsCount::new(seq.len())).bench_local(|| {
        for range in chunks(seq.len(), CHUNK_NT) {
            black_box(readable_frames(&seq[range]));
        }
    });
}

#[divan::bench]
fn letter_counts(bencher: Bencher) {
    let seq = letters(1_000_000, b"ACGT");
    bencher.counter(ItemsCount::new(seq.len())).bench_local(|| LetterCounts::of(&seq));
}

#[divan::bench(sample_count = 10)]
fn read_contigs(bencher: Bencher) {
    LazyLock::force(&CONTIGS);
    bencher.counter(ItemsCount::new(LETTERS_NT)).bench_local(|| open(&CONTIGS).count());
}

#[divan::bench(sample_count = 10)]
fn read_reads(bencher: Bencher) {
    LazyLock::force(&READS);
    bencher.counter(ItemsCount::new(LETTERS_NT)).bench_local(|| open(&READS).count());
}

fn translate(text: &'static [u8], threads: usize) -> u64 {
    let threads = NonZeroUsize::new(threads).expect("at least one thread");
    let units = translate_records(open(text), CHUNK_NT, threads).expect("threads start");
    units.map(|unit| unit.expect("the text is whole").letters.total()).sum()
}

#[divan::bench(args = [1, 2], sample_count = 10)]
fn translate_contigs(bencher: Bencher, threads: usize) {
    LazyLock::force(&CONTIGS);
    bencher.counter(ItemsCount::new(LETTERS_NT)).bench_local(|| translate(&CONTIGS, threads));
}

#[divan::bench(args = [1, 2], sample_count = 10)]
fn translate_one_contig(bencher: Bencher, threads: usize) {
    LazyLock::force(&ONE_CONTIG);
    bencher.counter(ItemsCount::new(LETTERS_NT)).bench_local(|| translate(&ONE_CONTIG, threads));
}

#[divan::bench(args = [1, 2], sample_count = 10)]
fn translate_reads(bencher: Bencher, threads: usize) {
    LazyLock::force(&READS);
    bencher.counter(ItemsCount::new(LETTERS_NT)).bench_local(|| translate(&READS, threads));
}

/// As `translate_contigs`, with the text of all three files.
#[divan::bench(args = [1, 2], sample_count = 10)]
fn translate_and_write_contigs(bencher: Bencher, threads: usize) {
    LazyLock::force(&CONTIGS);
    let threads = NonZeroUsize::new(threads).expect("at least one thread");
    bencher.counter(ItemsCount::new(LETTERS_NT)).bench_local(|| {
        let mut target = std::io::BufWriter::with_capacity(1 << 18, sink());
        for unit in translate_records(open(&CONTIGS), CHUNK_NT, threads).expect("threads start") {
            let unit = unit.expect("the text is whole");
            write_chunked(&mut target, &unit).expect("a sink takes everything");
            write_identified_nucleotide(&mut target, &unit).expect("a sink takes everything");
            write_identified_protein(&mut target, &unit).expect("a sink takes everything");
        }
    });
}
