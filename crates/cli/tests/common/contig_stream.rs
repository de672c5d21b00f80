//! A stream of synthetic contigs of any length, made as it is read.
//!
//! Most contigs have a stop codon in every frame at least every 72 nt, so they cost reading and
//! translation only; every eleventh is one of a few that are open in all six frames, so that the
//! encoders, the cache and the tables have work to do.
#![allow(dead_code, unreachable_pub, reason = "each user takes its own part")]

use std::io::{self, Write};

/// Letters of a contig without an open frame.
const CLOSED_NT: usize = 20_000;
/// Letters of a contig that is open in all frames.
const OPEN_NT: usize = 1_500;
/// Different open contigs.
const OPEN_CONTIGS: u64 = 32;

/// A stop codon in all six frames.
const STOPS: &[u8] = b"TTAATTAATTAA";

fn letter(seed: &mut u64, alphabet: &[u8; 4]) -> u8 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    alphabet[(*seed >> 32) as usize % 4]
}

/// Writes contigs until there are `letters`; gives their number.
pub fn write_contigs(out: &mut impl Write, letters: u64) -> io::Result<u64> {
    let (mut written, mut contigs, mut text) = (0, 0, Vec::new());
    while written < letters {
        text.clear();
        if contigs % 11 == 10 {
            let mut seed = 0x9e37_79b9 + contigs / 11 % OPEN_CONTIGS;
            text.extend((0..OPEN_NT).map(|_| letter(&mut seed, b"ACGC")));
        } else {
            let mut seed = 0x2545_f491 + contigs;
            while text.len() < CLOSED_NT {
                text.extend((0..60).map(|_| letter(&mut seed, b"ACGT")));
                text.extend(STOPS);
            }
        }
        writeln!(out, ">contig_{contigs}")?;
        out.write_all(&text)?;
        out.write_all(b"\n")?;
        written += text.len() as u64;
        contigs += 1;
    }
    Ok(contigs)
}
