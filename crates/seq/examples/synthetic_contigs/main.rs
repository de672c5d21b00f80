//! Prints `examples/contigs.fasta` of this repository, always the same bytes:
//! `cargo run -p virnucpro-seq --example synthetic_contigs > examples/contigs.fasta`.
//!
//! The contigs are made from low-order statistics by a small random generator. No letter of them
//! was copied from a real genome.

mod contigs;

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout().write_all(contigs::fasta().as_bytes())
}
