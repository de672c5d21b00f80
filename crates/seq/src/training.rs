//! Frame choice for training data, where the true proteins of a sequence are known.
//!
//! Owns that one rule; nothing of prediction uses it. Entry point: [`training_frames`].

use crate::codon::{STOP, reverse_complement, translate};
use crate::frame::{Frame, ReadableFrame};

/// The frames of `chunk` whose protein has no stop codon and is part of a reference protein.
///
/// `None` if the chunk holds one of the upper-case codes `N R Y M K S W H B V D`. Nothing is kept
/// when there are no reference proteins. `chunk` is upper-cased after that check.
///
/// # Source
/// `identify_seq(..., istraindata=True)` of Li-Jing-1997/VirNucPro @0f93f27 (`units.py`).
pub fn training_frames(
    chunk: &[u8],
    reference_proteins: &[impl AsRef<[u8]>],
) -> Option<Vec<ReadableFrame>> {
    if chunk.iter().any(|letter| b"NRYMKSWHBVD".contains(letter)) {
        return None;
    }
    let forward = chunk.to_ascii_uppercase();
    let reverse = reverse_complement(&forward);
    let frames = Frame::ALL.into_iter().filter_map(|frame| {
        let strand = if frame.is_reverse() { &reverse } else { &forward };
        let strand = strand.get(frame.offset_nt()..).unwrap_or_default();
        let protein = translate(strand);
        let is_part_of = |reference: &[u8]| memchr::memmem::find(reference, &protein).is_some();
        let is_known = reference_proteins.iter().any(|reference| is_part_of(reference.as_ref()));
        if protein.contains(&STOP) || !is_known {
            return None;
        }
        let nucleotide = strand[..strand.len().min(3 * protein.len() + 1)].to_vec();
        Some(ReadableFrame { frame, nucleotide, protein })
    });
    Some(frames.collect())
}
