//! f32 storage that starts on a cache line, so that no vector load straddles two.

use std::ops::{Deref, DerefMut};

/// Values of one cache line.
const LINE: usize = 16;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// A growable buffer of f32 aligned to 64 bytes, in whole lines; dereferences to its values.
#[derive(Clone, Debug, Default)]
pub(super) struct AlignedVec {
    lines: Vec<Line>,
}

impl AlignedVec {
    /// At least `len` zeros, rounded up to whole lines.
    pub(super) fn zeros(len: usize) -> Self {
        Self { lines: vec![Line([0.0; LINE]); len.div_ceil(LINE)] }
    }

    /// Makes room for at least `len` values; what was stored before stays, what is new is zero.
    pub(super) fn reserve_len(&mut self, len: usize) {
        let lines = len.div_ceil(LINE);
        if lines > self.lines.len() {
            self.lines.resize(lines, Line([0.0; LINE]));
        }
    }
}

impl Deref for AlignedVec {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a `Line` is exactly `LINE` f32 without padding (16 × 4 bytes, aligned to 64),
        // so the lines are `LINE × lines` initialised f32 in one allocation, borrowed from self.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), LINE * self.lines.len()) }
    }
}

impl DerefMut for AlignedVec {
    fn deref_mut(&mut self) -> &mut [f32] {
        let values = LINE * self.lines.len();
        // SAFETY: as in `deref`; the borrow of self is exclusive, and every bit pattern is an f32.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), values) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_vec_values_are_zero_aligned_and_kept_when_it_grows() {
        let mut values = AlignedVec::zeros(17);
        assert_eq!(&values[..], &[0.0; 32]);
        values[31] = 5.0;
        values.reserve_len(100);
        assert_eq!((values.len(), values[31], values[111]), (112, 5.0, 0.0));
        values.reserve_len(3);
        assert_eq!(values.len(), 112);
        assert_eq!(values.as_ptr().addr() % 64, 0);
        assert!(AlignedVec::zeros(0).is_empty());
    }
}
