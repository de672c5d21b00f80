//! Where the chunks of a sequence begin and end.
//!
//! Owns the arithmetic of overlapping chunks; it never touches letters. Entry type: [`Chunks`].

use std::iter::FusedIterator;
use std::num::NonZeroUsize;
use std::ops::Range;

/// The chunks of one sequence as half-open, 0-based ranges in nt, in order.
///
/// `ceil(L / c)` chunks of at most `c` letters cover the sequence. What would be missing in the
/// last chunk is spread over the overlaps between neighbours; when there are too few neighbours to
/// take it evenly, the last chunk stays short. A sequence of length zero has no chunk.
///
/// # Source
/// `split_fasta_chunk` of Li-Jing-1997/VirNucPro @0f93f27 (`units.py`). Deliberate difference:
/// the original divides by zero on an empty sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    length_nt: usize,
    chunk_length_nt: usize,
    /// Every overlap is this long or one longer.
    overlap_nt: usize,
    /// The first so many overlaps are one letter longer.
    longer_overlaps: usize,
    pending: Range<usize>,
}

/// Cuts a sequence of `length_nt` letters into chunks of `chunk_length_nt`.
pub fn chunks(length_nt: usize, chunk_length_nt: NonZeroUsize) -> Chunks {
    let chunk_length_nt = chunk_length_nt.get();
    let count = length_nt.div_ceil(chunk_length_nt);
    // count * chunk_length - length, written so that it cannot overflow.
    let excess_nt = (chunk_length_nt - length_nt % chunk_length_nt) % chunk_length_nt;
    let overlap_nt = excess_nt.checked_div(count).unwrap_or(0);
    Chunks {
        length_nt,
        chunk_length_nt,
        overlap_nt,
        longer_overlaps: excess_nt - overlap_nt * count.saturating_sub(1),
        pending: 0..count,
    }
}

impl Chunks {
    /// The number of chunks of the whole sequence, taken ones included.
    pub fn count_all(&self) -> usize {
        self.length_nt.div_ceil(self.chunk_length_nt)
    }

    /// The range of chunk `index` (0-based), or `None` behind the last one.
    pub fn get(&self, index: usize) -> Option<Range<usize>> {
        (index < self.count_all()).then(|| self.range(index))
    }

    fn range(&self, index: usize) -> Range<usize> {
        let overlaps_nt = index * self.overlap_nt + index.min(self.longer_overlaps);
        let start = index * self.chunk_length_nt - overlaps_nt;
        start..self.length_nt.min(start.saturating_add(self.chunk_length_nt))
    }
}

impl Iterator for Chunks {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pending.next().map(|index| self.range(index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pending.size_hint()
    }
}

impl ExactSizeIterator for Chunks {}
impl FusedIterator for Chunks {}

/// The name of chunk `index` (0-based) of the record `record_id`: `<id>_chunk_<index + 1>`.
pub fn chunk_id(record_id: &str, index: usize) -> String {
    format!("{record_id}_chunk_{}", index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(length_nt: usize, chunk_length_nt: usize) -> Vec<Range<usize>> {
        chunks(length_nt, NonZeroUsize::new(chunk_length_nt).unwrap()).collect()
    }

    /// The definition followed step by step, one overlap at a time.
    fn cut_slowly(length: usize, size: usize) -> Vec<Range<usize>> {
        let mut count = 0;
        while count * size < length {
            count += 1;
        }
        if count == 0 {
            return Vec::new();
        }
        let excess = count * size - length;
        let need = excess - (excess / count) * (count - 1);
        let mut start = 0;
        let mut ranges = Vec::new();
        for i in 0..count {
            ranges.push(start..(start + size).min(length));
            let overlap = if i < need.min(count - 1) { excess / count + 1 } else { excess / count };
            start += size - overlap;
        }
        ranges
    }

    #[test]
    fn chunks_of_empty_sequence_are_none() {
        assert!(cut(0, 300).is_empty());
    }

    #[test]
    fn chunks_few_neighbours_leave_last_one_short() {
        assert_eq!(cut(301, 300), [0..300, 150..301]);
        assert_eq!(cut(601, 300), [0..300, 200..500, 400..601]);
    }

    #[test]
    fn chunks_huge_lengths_do_not_overflow() {
        let all = chunks(usize::MAX, NonZeroUsize::new(usize::MAX - 1).unwrap());
        assert_eq!(all.count_all(), 2);
        assert_eq!(all.get(1).unwrap().end, usize::MAX);
        assert_eq!(all.get(2), None);
    }

    #[test]
    fn chunk_id_counts_from_one() {
        assert_eq!(chunk_id("a b", 0), "a b_chunk_1");
        assert_eq!(chunk_id("", 9), "_chunk_10");
    }

    proptest! {
        #[test]
        fn prop_chunks_cover_the_sequence(length in 0usize..5000, size in 1usize..700) {
            let ranges = cut(length, size);
            prop_assert_eq!(&ranges, &cut_slowly(length, size));
            prop_assert_eq!(ranges.len(), length.div_ceil(size));
            let mut covered = 0;
            for range in &ranges {
                prop_assert!(range.start <= covered && range.len() <= size && !range.is_empty());
                covered = range.end;
            }
            prop_assert_eq!(covered, length);
        }
    }
}
