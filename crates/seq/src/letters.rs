//! What a sequence is made of, in a few counts.
//!
//! Owns the classes of letters that reports speak of; it judges nothing. Entry type:
//! [`LetterCounts`].

use std::ops::AddAssign;

/// Counts of letters by class; the first four classes exclude each other and sum to the length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetterCounts {
    /// `A`, `C`, `G`, `T` in either case.
    pub acgt: u64,
    /// `N` in either case.
    pub n: u64,
    /// The other IUPAC nucleotide codes `R Y S W K M B D H V` and `U`, in either case.
    pub other_iupac: u64,
    /// Everything else: digits, gaps, `*`, bytes outside ASCII.
    pub other: u64,
    /// ASCII lower-case letters, whichever of the classes above they are in.
    pub lower_case: u64,
}

/// Below so many letters a plain loop is faster than tables per byte value.
const SHORT: usize = 1024;

/// Which field of [`LetterCounts`] a byte belongs to.
const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [3; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match (byte as u8).to_ascii_uppercase() {
            b'A' | b'C' | b'G' | b'T' => 0,
            b'N' => 1,
            b'R' | b'Y' | b'S' | b'W' | b'K' | b'M' | b'B' | b'D' | b'H' | b'V' | b'U' => 2,
            _ => 3,
        };
        byte += 1;
    }
    table
}

impl LetterCounts {
    /// Counts the letters of `sequence`.
    pub fn of(sequence: &[u8]) -> Self {
        let mut counts = Self::default();
        // Few enough bytes at a time for the 32-bit counters.
        for part in sequence.chunks(1 << 30) {
            counts += Self::of_part(part);
        }
        counts
    }

    fn of_part(part: &[u8]) -> Self {
        // Setting up and summing tables costs more than the letters of a read.
        if part.len() < SHORT { Self::of_short(part) } else { Self::of_long(part) }
    }

    fn of_short(part: &[u8]) -> Self {
        let mut classes = [0u64; 4];
        let mut lower_case = 0;
        for &letter in part {
            classes[usize::from(CLASS[usize::from(letter)])] += 1;
            lower_case += u64::from(letter.is_ascii_lowercase());
        }
        Self::from_classes(classes, lower_case)
    }

    fn of_long(part: &[u8]) -> Self {
        // Four tables, so that a run of one letter does not wait for its own last increment.
        let mut tables = [[0u32; 256]; 4];
        let (quads, rest) = part.as_chunks::<4>();
        for quad in quads {
            for (table, &letter) in tables.iter_mut().zip(quad) {
                table[usize::from(letter)] += 1;
            }
        }
        for &letter in rest {
            tables[0][usize::from(letter)] += 1;
        }
        let mut classes = [0u64; 4];
        let mut lower_case = 0;
        for (letter, class) in (0..=u8::MAX).zip(CLASS) {
            let count: u64 = tables.iter().map(|table| u64::from(table[usize::from(letter)])).sum();
            classes[usize::from(class)] += count;
            if letter.is_ascii_lowercase() {
                lower_case += count;
            }
        }
        Self::from_classes(classes, lower_case)
    }

    fn from_classes([acgt, n, other_iupac, other]: [u64; 4], lower_case: u64) -> Self {
        Self { acgt, n, other_iupac, other, lower_case }
    }

    /// All letters counted.
    pub fn total(&self) -> u64 {
        self.acgt + self.n + self.other_iupac + self.other
    }
}

impl AddAssign for LetterCounts {
    fn add_assign(&mut self, more: Self) {
        self.acgt += more.acgt;
        self.n += more.n;
        self.other_iupac += more.other_iupac;
        self.other += more.other;
        self.lower_case += more.lower_case;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letter_counts_every_class_is_counted_once() {
        let counts = LetterCounts::of(b"ACGTacgtNnRYSWKMBDHVUu-*1>\xff x");
        let expected = LetterCounts { acgt: 8, n: 2, other_iupac: 12, other: 7, lower_case: 7 };
        assert_eq!(counts, expected);
        assert_eq!(counts.total(), 29);
    }

    #[test]
    fn letter_counts_long_and_short_ways_agree() {
        let all: Vec<u8> = (0..=u8::MAX).cycle().take(5003).collect();
        assert!(all.len() > SHORT);
        assert_eq!(LetterCounts::of(&all), LetterCounts::of_short(&all));
    }
}
