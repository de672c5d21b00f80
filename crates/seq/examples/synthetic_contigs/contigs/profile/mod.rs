//! The statistics the contigs are made from: a few hundred numbers for each kind of genome.
//!
//! They were counted once in open reading frames of at least 300 nt (start codon to stop codon,
//! overlapping ones resolved in favour of the longer) of public genomes. Single codons, pairs of
//! amino acids and pairs of letters are all that is kept, so no sequence can be read back.

mod bacterium_low_gc;
mod bacterium_medium_gc;
mod cyanophage;
mod t7_like_phage;

pub(crate) use bacterium_low_gc::BACTERIUM_LOW_GC;
pub(crate) use bacterium_medium_gc::BACTERIUM_MEDIUM_GC;
pub(crate) use cyanophage::CYANOPHAGE;
pub(crate) use t7_like_phage::T7_LIKE_PHAGE;

/// Letters in the order of their numbers.
pub(crate) const LETTERS: [char; 4] = ['A', 'C', 'G', 'T'];

/// Amino acids in the order of [`Profile::amino_acid_pairs`].
pub(crate) const AMINO_ACIDS: &[u8; 20] = b"ACDEFGHIKLMNPQRSTVWY";

/// The standard code, `AAA`, `AAC` ... `TTT`.
pub(crate) const GENETIC_CODE: &[u8; 64] =
    b"KNKNTTTTRSRSIIMIQHQHPPPPRRRRLLLLEDEDAAAAGGGGVVVV*Y*YSSSS*CWCLFLF";

/// What is known of one kind of genome.
pub(crate) struct Profile {
    /// How often (‰) the second amino acid follows the first, one row each.
    pub(crate) amino_acid_pairs: [[u64; 20]; 20],
    /// Share (‰) of each codon among those of its amino acid; 0 for stop codons.
    pub(crate) synonymous: [u64; 64],
    /// How much more often (%) the last letter of a codon and the first of the next occur
    /// together than the two tables above would have it.
    pub(crate) bridge: [[u64; 4]; 4],
    /// How often (‰) the second letter follows the first outside of genes.
    pub(crate) noncoding: [[u64; 4]; 4],
    /// Deciles of the length of genes of at least 600 nt.
    pub(crate) gene_nt: [u64; 11],
    /// Deciles of the gap between genes; overlaps count as 0, longer gaps as 300.
    pub(crate) gap_nt: [u64; 11],
}

/// How often (‰) the second letter follows the first in windows of vertebrate genomes with 36 to
/// 44 % GC (60 windows); `CG` is rare there.
pub(crate) const VERTEBRATE_NONCODING: [[u64; 4]; 4] =
    [[331, 170, 232, 267], [364, 241, 41, 353], [300, 200, 243, 256], [226, 203, 242, 329]];
