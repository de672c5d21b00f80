//! Puts genes and gaps together. Must not know which organisms there are.
//!
//! Letters are numbered `A C G T`, codons by their three letters in base 4.

use super::profile::{AMINO_ACIDS, GENETIC_CODE, LETTERS, Profile};
use super::random::Random;

/// Which strands carry genes.
#[derive(Clone, Copy)]
pub(super) enum Strands {
    /// One strand alone, as in the blocks of phage genomes.
    One,
    /// Runs of genes on either strand; one gene in four changes the strand.
    Operons,
}

/// Codon numbers of `ATG` and of the stop codons.
const START: usize = 0b00_11_10;
const STOPS: [usize; 3] = [0b11_00_00, 0b11_00_10, 0b11_10_00];

/// Genes one after another, cut to `length_nt` at a random place, so that a contig starts and
/// ends inside a gene as real ones do.
pub(super) fn coding_stretch(
    profile: &Profile,
    strands: Strands,
    length_nt: usize,
    random: &mut Random,
) -> String {
    let offset_nt = random.below(900) as usize;
    let mut letters = String::new();
    let mut is_reverse = false;
    while letters.len() < offset_nt + length_nt {
        let gene = gene(profile, random);
        if matches!(strands, Strands::Operons) && random.below(4) == 0 {
            is_reverse = !is_reverse;
        }
        letters.push_str(&if is_reverse { reverse_complement(&gene) } else { gene });
        let gap_nt = random.decile(&profile.gap_nt) as usize;
        letters.push_str(&noncoding_stretch(&profile.noncoding, gap_nt, random));
    }
    letters[offset_nt..offset_nt + length_nt].to_owned()
}

/// Letters that depend on the one before and on nothing else.
pub(super) fn noncoding_stretch(
    next: &[[u64; 4]; 4],
    length_nt: usize,
    random: &mut Random,
) -> String {
    let mut letter = random.below(4) as usize;
    let mut letters = String::with_capacity(length_nt);
    for _ in 0..length_nt {
        letter = random.weighted(&next[letter]);
        letters.push(LETTERS[letter]);
    }
    letters
}

/// A start codon, codons drawn one after the other, a stop codon.
fn gene(profile: &Profile, random: &mut Random) -> String {
    let codons = random.decile(&profile.gene_nt) as usize / 3;
    let mut codon = START;
    let mut letters = String::with_capacity(3 * codons + 6);
    for _ in 0..codons {
        push_codon(&mut letters, codon);
        codon = random.weighted(&next_codon_weights(profile, codon));
    }
    push_codon(&mut letters, codon);
    push_codon(&mut letters, STOPS[random.below(3) as usize]);
    letters
}

/// How likely each codon is after `codon`: amino-acid pair × choice among synonymous codons ×
/// what the two letters at the border do to each other.
fn next_codon_weights(profile: &Profile, codon: usize) -> [u64; 64] {
    let mut weights = [0; 64];
    let pairs = &profile.amino_acid_pairs[amino_acid(codon).expect("no stop inside a gene")];
    let border = &profile.bridge[codon & 3];
    for (next, weight) in weights.iter_mut().enumerate() {
        if let Some(amino_acid) = amino_acid(next) {
            *weight = pairs[amino_acid] * profile.synonymous[next] * border[next >> 4];
        }
    }
    weights
}

/// Number of the amino acid a codon stands for; none for a stop.
fn amino_acid(codon: usize) -> Option<usize> {
    AMINO_ACIDS.iter().position(|&letter| letter == GENETIC_CODE[codon])
}

fn push_codon(letters: &mut String, codon: usize) {
    letters.extend([codon >> 4, (codon >> 2) & 3, codon & 3].map(|letter| LETTERS[letter]));
}

/// The other strand.
pub(super) fn reverse_complement(letters: &str) -> String {
    let complement = |letter| LETTERS[3 - LETTERS.iter().position(|&l| l == letter).unwrap_or(0)];
    letters.chars().rev().map(complement).collect()
}
