//! The six reading frames of a chunk and the choice of those without a stop codon.
//!
//! Owns the scan for open frames and the cut of nucleotides that goes with a protein; it never
//! sees records or files. Entry point: [`readable_frames`].

use std::fmt;

use crate::codon::{
    AMINO_ACID, BASE_ANY_CASE, COMPLEMENT, FORWARD_STOP, OPPOSITE_AMINO_ACID, REVERSE_STOP, STOPS,
    codon_index,
};

/// One of the six reading frames; `F` reads the given strand, `R` its reverse complement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Frame {
    /// Frame +1.
    F1,
    /// Frame +2.
    F2,
    /// Frame +3.
    F3,
    /// Frame −1.
    R1,
    /// Frame −2.
    R2,
    /// Frame −3.
    R3,
}

impl Frame {
    /// All frames in the order in which they are written.
    pub const ALL: [Self; 6] = [Self::F1, Self::F2, Self::F3, Self::R1, Self::R2, Self::R3];

    /// The suffix of the frame in ids: `F1` to `R3`.
    pub const fn name(self) -> &'static str {
        ["F1", "F2", "F3", "R1", "R2", "R3"][self as usize]
    }

    /// How many letters of its strand the frame skips: 0, 1 or 2 nt.
    pub const fn offset_nt(self) -> usize {
        self as usize % 3
    }

    /// Whether the frame reads the reverse complement.
    pub const fn is_reverse(self) -> bool {
        self as usize >= 3
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A frame without a stop codon and with at least one amino acid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadableFrame {
    /// Which of the six frames it is.
    pub frame: Frame,
    /// Upper-case letters of the translated strand from the frame's first letter on: three per
    /// amino acid and **one more**, cut at the end of the strand.
    pub nucleotide: Vec<u8>,
    /// The protein, one of the twenty letters each; codons that cannot be read are left out.
    pub protein: Vec<u8>,
}

/// The name of a frame of chunk `chunk_index` (0-based): `<id>_chunk_<chunk_index + 1><frame>`.
pub fn frame_id(record_id: &str, chunk_index: usize, frame: Frame) -> String {
    format!("{record_id}_chunk_{}{frame}", chunk_index + 1)
}

/// The frames of `chunk` (upper-cased) that hold no stop codon, in the order of [`Frame::ALL`].
///
/// A codon with a letter other than `A`, `C`, `G`, `T` is skipped; a stop anywhere, also as the
/// last codon, removes the frame; a frame without any readable codon is dropped.
///
/// # Source
/// `identify_seq` and the writing loop of Li-Jing-1997/VirNucPro @0f93f27 (`units.py`,
/// `prediction.py`), the extra nucleotide behind the last codon included.
pub fn readable_frames(chunk: &[u8]) -> Vec<ReadableFrame> {
    let open = OpenFrames::scan(chunk);
    let frames = Frame::ALL.into_iter().filter(|&frame| open.contains(frame, chunk.len()));
    frames.filter_map(|frame| read_frame(chunk, frame)).collect()
}

/// Which frames have no stop codon, by position of their codons modulo 3 on the given strand.
struct OpenFrames {
    stops: [u8; 3],
}

impl OpenFrames {
    /// Looks at each codon of the strand once for both strands, and ends early when all six
    /// frames are closed.
    fn scan(chunk: &[u8]) -> Self {
        const BOTH: u8 = FORWARD_STOP | REVERSE_STOP;
        let mut stops = [0u8; 3];
        let base = |letter: u8| usize::from(BASE_ANY_CASE[usize::from(letter)]);
        let Some((head, rest)) = chunk.split_at_checked(2) else {
            return Self { stops };
        };
        let mut codon = (base(head[0]) << 3) | base(head[1]);
        let (triples, tail) = rest.as_chunks::<3>();
        for triple in triples {
            for (stop, &letter) in stops.iter_mut().zip(triple) {
                codon = ((codon << 3) | base(letter)) & 511;
                *stop |= STOPS[codon];
            }
            if stops[0] & stops[1] & stops[2] == BOTH {
                return Self { stops };
            }
        }
        for (stop, &letter) in stops.iter_mut().zip(tail) {
            codon = ((codon << 3) | base(letter)) & 511;
            *stop |= STOPS[codon];
        }
        Self { stops }
    }

    fn contains(&self, frame: Frame, length_nt: usize) -> bool {
        let offset_nt = frame.offset_nt();
        if length_nt < offset_nt + 3 {
            return false;
        }
        if frame.is_reverse() {
            self.stops[(length_nt - 3 - offset_nt) % 3] & REVERSE_STOP == 0
        } else {
            self.stops[offset_nt] & FORWARD_STOP == 0
        }
    }
}

/// Translates a frame known to be open and at least one codon long.
fn read_frame(chunk: &[u8], frame: Frame) -> Option<ReadableFrame> {
    let offset_nt = frame.offset_nt();
    let strand_end_nt = chunk.len() - offset_nt;
    let mut protein = Vec::with_capacity(strand_end_nt / 3);
    let mut push = |table: &[u8; 512], codon: &[u8; 3]| {
        let amino_acid = table[codon_index(&BASE_ANY_CASE, *codon)];
        if amino_acid != 0 {
            protein.push(amino_acid);
        }
    };
    if frame.is_reverse() {
        let (_, codons) = chunk[..strand_end_nt].as_rchunks::<3>();
        codons.iter().rev().for_each(|codon| push(&OPPOSITE_AMINO_ACID, codon));
    } else {
        let (codons, _) = chunk[offset_nt..].as_chunks::<3>();
        codons.iter().for_each(|codon| push(&AMINO_ACID, codon));
    }
    if protein.is_empty() {
        return None;
    }
    let length_nt = strand_end_nt.min(3 * protein.len() + 1);
    let nucleotide = if frame.is_reverse() {
        let letters = chunk[strand_end_nt - length_nt..strand_end_nt].iter().rev();
        letters.map(|&letter| COMPLEMENT[usize::from(letter)].to_ascii_uppercase()).collect()
    } else {
        chunk[offset_nt..offset_nt + length_nt].to_ascii_uppercase()
    };
    Some(ReadableFrame { frame, nucleotide, protein })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codon::{reverse_complement, translate};
    use proptest::prelude::*;

    /// The definition, written without any of the shortcuts.
    fn readable_frames_slowly(chunk: &[u8]) -> Vec<ReadableFrame> {
        let forward = chunk.to_ascii_uppercase();
        let reverse = reverse_complement(&forward);
        let mut frames = Vec::new();
        for frame in Frame::ALL {
            let strand = if frame.is_reverse() { &reverse } else { &forward };
            let strand = &strand[frame.offset_nt().min(strand.len())..];
            let protein = translate(strand);
            if !protein.is_empty() && !protein.contains(&b'*') {
                let end = strand.len().min(3 * protein.len() + 1);
                frames.push(ReadableFrame { frame, nucleotide: strand[..end].to_vec(), protein });
            }
        }
        frames
    }

    #[test]
    fn readable_frames_stop_as_last_codon_removes_the_frame() {
        let frames = readable_frames(b"ATGGCCTAA");
        assert!(frames.iter().all(|readable| readable.frame != Frame::F1));
        assert_eq!(frames[0].frame, Frame::F2);
    }

    #[test]
    fn readable_frames_slice_is_one_letter_too_long() {
        let frames = readable_frames(&b"GCA".repeat(167)[..500]);
        let lengths: Vec<_> = frames.iter().take(3).map(|f| f.nucleotide.len()).collect();
        assert_eq!(lengths, [499, 499, 498]);
        assert_eq!(frames.len(), 6);
    }

    #[test]
    fn readable_frames_without_readable_codon_are_dropped() {
        assert!(readable_frames(b"").is_empty());
        assert!(readable_frames(b"AC").is_empty());
        assert!(readable_frames(&[b'N'; 300]).is_empty());
    }

    #[test]
    fn frame_id_joins_record_chunk_and_frame() {
        assert_eq!(frame_id("x", 9, Frame::R2), "x_chunk_10R2");
    }

    proptest! {
        #[test]
        fn prop_fast_frames_equal_slow_ones(
            chunk in proptest::collection::vec(
                prop_oneof![
                    12 => proptest::sample::select(b"ACGT".to_vec()),
                    2 => proptest::sample::select(b"CCCGA".to_vec()),
                    1 => proptest::sample::select(b"acgtNnRYU-*7>u".to_vec()),
                    1 => any::<u8>(),
                ],
                0..200,
            )
        ) {
            prop_assert_eq!(readable_frames(&chunk), readable_frames_slowly(&chunk));
        }

        #[test]
        fn prop_fast_frames_equal_slow_ones_without_stops(
            chunk in proptest::collection::vec(proptest::sample::select(b"ACGcgN".to_vec()), 0..700)
        ) {
            prop_assert_eq!(readable_frames(&chunk), readable_frames_slowly(&chunk));
        }
    }
}
