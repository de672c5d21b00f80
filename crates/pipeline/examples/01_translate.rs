//! Chunk and translate a sequence; print the frames without a stop codon.
//!
//! Run with `cargo run -p virnucpro-pipeline --example 01_translate`.

use virnucpro_seq::{chunk_id, chunks, readable_frames};

fn main() {
    let chunk_length = std::num::NonZeroUsize::new(30).expect("30 is not zero");
    let contig = b"ATGGCCAAACTGGCCAAAGCGCTGACCGAAGCCGGTACCAAACTGCGTTAA";
    for (index, range) in chunks(contig.len(), chunk_length).enumerate() {
        for frame in readable_frames(&contig[range]) {
            let protein = String::from_utf8_lossy(&frame.protein);
            println!("{}{}\t{protein}", chunk_id("contig", index), frame.frame.name());
        }
    }
}
