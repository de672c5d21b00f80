//! Records: what one is, how one input and several inputs give them, and what was seen on the way.
//!
//! Owns the FASTA and FASTQ grammar as the original tool understands it. Entry types:
//! [`MultiReader`] and [`RecordReader`].

mod multi;
mod reader;
mod stats;

pub use multi::MultiReader;
pub use reader::RecordReader;
pub use stats::{InputStats, SequenceFormat};

/// One sequence of an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Position over all inputs, from 0.
    pub index: u64,
    /// Which input it came from, from 0.
    pub input: usize,
    /// First word of the header; may be empty, need not be unique.
    pub id: String,
    /// The whole header line without `>` or `@`.
    pub header: String,
    /// Whether bytes of the header were not UTF-8 and were replaced by U+FFFD.
    pub header_was_repaired: bool,
    /// Letters as in the file, case kept; blanks, tabs and line ends removed. May be empty.
    pub seq: Vec<u8>,
    /// Quality letters of a FASTQ record, as many as `seq` has.
    pub quality: Option<Vec<u8>>,
}

impl Record {
    /// A record from its header line (without `>` or `@`); the id is the header's first word.
    pub fn new(index: u64, header: &[u8], seq: Vec<u8>) -> Self {
        let header = String::from_utf8_lossy(header);
        let header_was_repaired = matches!(header, std::borrow::Cow::Owned(_));
        let header = header.into_owned();
        let id = first_word(&header).to_owned();
        Self { index, id, header, header_was_repaired, seq, ..Self::default() }
    }
}

/// The first word as Python's `str.split` sees it, empty if there is none.
///
/// Python counts the four ASCII separators `\x1c` to `\x1f` as white space; apart from these its
/// set is Unicode's `White_Space`.
fn first_word(header: &str) -> &str {
    let is_blank = |letter: char| letter.is_whitespace() || ('\x1c'..='\x1f').contains(&letter);
    header.trim_start_matches(is_blank).split(is_blank).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_id_is_first_word_in_the_python_sense() {
        for (header, id) in [
            ("a b", "a"),
            ("  a\tb", "a"),
            ("", ""),
            (" \t ", ""),
            ("a\u{a0}b", "a"),
            ("a\u{3000}b", "a"),
            ("\x1ca\x1fb", "a"),
            ("a\u{200b}b", "a\u{200b}b"),
            ("a\x0bb", "a"),
        ] {
            assert_eq!(Record::new(0, header.as_bytes(), Vec::new()).id, id, "{header:?}");
        }
    }

    #[test]
    fn record_header_invalid_utf8_is_replaced_and_said() {
        let record = Record::new(0, b"x\xff y", Vec::new());
        assert_eq!((record.id.as_str(), record.header_was_repaired), ("x\u{fffd}", true));
        assert!(!Record::new(0, "é".as_bytes(), Vec::new()).header_was_repaired);
    }
}
