//! What several test files need: fixture folders, records from bytes, the three files in memory.
#![allow(dead_code, reason = "each test file uses a part")]

use std::num::NonZeroUsize;
use std::path::PathBuf;

use virnucpro_seq::write::{write_chunked, write_identified_nucleotide, write_identified_protein};
use virnucpro_seq::{Record, RecordReader, SeqError, translate_records};

/// The fixtures that are committed with the project.
pub(crate) fn oracle() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/oracle"))
}

/// The fixtures beside the checkout, real sequences among them, if they are there.
pub(crate) fn shared_oracle() -> Option<PathBuf> {
    let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures/oracle_visible");
    let shared = PathBuf::from(shared);
    if !shared.is_dir() {
        println!("shared fixtures are absent, their cases are left out");
        return None;
    }
    Some(shared)
}

pub(crate) fn size(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

pub(crate) fn open_bytes(bytes: impl Into<Vec<u8>>) -> Result<RecordReader, SeqError> {
    RecordReader::from_reader("memory", Box::new(std::io::Cursor::new(bytes.into())))
}

/// Records of `bytes` and the failure at the end, if any.
pub(crate) fn read_bytes(bytes: impl Into<Vec<u8>>) -> (Vec<Record>, Option<SeqError>) {
    let reader = match open_bytes(bytes) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let (mut records, mut failure) = (Vec::new(), None);
    for item in reader {
        assert!(failure.is_none(), "nothing may follow a failure");
        match item {
            Ok(record) => records.push(record),
            Err(error) => failure = Some(error),
        }
    }
    (records, failure)
}

/// Id and sequence of each record.
pub(crate) fn plain(records: &[Record]) -> Vec<(String, String)> {
    let text = |seq: &[u8]| String::from_utf8_lossy(seq).into_owned();
    records.iter().map(|record| (record.id.clone(), text(&record.seq))).collect()
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) chunked: Vec<u8>,
    pub(crate) nucleotide: Vec<u8>,
    pub(crate) protein: Vec<u8>,
}

/// What the three files would hold.
pub(crate) fn translate_to_files<R>(records: R, chunk_length_nt: usize, threads: usize) -> Files
where
    R: Iterator<Item = Result<Record, SeqError>> + Send + 'static,
{
    let mut files = Files::default();
    for unit in translate_records(records, size(chunk_length_nt), size(threads)).unwrap() {
        let unit = unit.unwrap();
        write_chunked(&mut files.chunked, &unit).unwrap();
        write_identified_nucleotide(&mut files.nucleotide, &unit).unwrap();
        write_identified_protein(&mut files.protein, &unit).unwrap();
    }
    files
}
