//! The standard genetic code, case-sensitive translation and reverse complement.
//!
//! Owns the lookup tables; it knows nothing about chunks or which frames are kept. Entry points:
//! [`translate`] and [`reverse_complement`].

/// Amino acids of NCBI `transl_table` 1, codons ordered by base T, C, A, G, first base slowest.
const TRANSL_TABLE_1: &[u8; 64] =
    b"FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG";

/// The letter of a stop codon.
pub const STOP: u8 = b'*';

/// Base code of every letter that is not a base; T, C, A, G are 0 to 3, so a base code XOR 2 is
/// the code of its complement.
const NO_BASE: u8 = 4;

/// Base code of each byte, upper-case letters only.
pub(crate) const BASE: [u8; 256] = base_codes(false);

/// Base code of each byte, both cases.
pub(crate) const BASE_ANY_CASE: [u8; 256] = base_codes(true);

/// Amino acid of a codon read on the given strand, 0 where a letter is not a base.
/// Index: three base codes of three bits, first letter highest.
pub(crate) const AMINO_ACID: [u8; 512] = amino_acids(false);

/// Amino acid of the codon on the opposite strand of the same three letters.
pub(crate) const OPPOSITE_AMINO_ACID: [u8; 512] = amino_acids(true);

/// Set in [`STOPS`] where the codon is a stop on the given strand.
pub(crate) const FORWARD_STOP: u8 = 1;

/// Set in [`STOPS`] where the codon is a stop on the opposite strand.
pub(crate) const REVERSE_STOP: u8 = 2;

/// Which strands a codon stops on.
pub(crate) const STOPS: [u8; 512] = stops();

/// Complement of each byte: A, C, G, T in both cases, every other byte is its own complement.
pub(crate) const COMPLEMENT: [u8; 256] = complements();

const fn base_codes(any_case: bool) -> [u8; 256] {
    let mut codes = [NO_BASE; 256];
    let mut code = 0;
    while code < 4 {
        let letter = b"TCAG"[code];
        codes[letter as usize] = code as u8;
        if any_case {
            codes[letter.to_ascii_lowercase() as usize] = code as u8;
        }
        code += 1;
    }
    codes
}

const fn amino_acids(opposite: bool) -> [u8; 512] {
    let mut table = [0; 512];
    let mut codon = 0;
    while codon < 64 {
        let (a, b, c) = (codon >> 4, (codon >> 2) & 3, codon & 3);
        let source = if opposite { ((c ^ 2) << 4) | ((b ^ 2) << 2) | (a ^ 2) } else { codon };
        table[(a << 6) | (b << 3) | c] = TRANSL_TABLE_1[source];
        codon += 1;
    }
    table
}

const fn stops() -> [u8; 512] {
    let mut table = [0; 512];
    let mut index = 0;
    while index < 512 {
        if AMINO_ACID[index] == STOP {
            table[index] |= FORWARD_STOP;
        }
        if OPPOSITE_AMINO_ACID[index] == STOP {
            table[index] |= REVERSE_STOP;
        }
        index += 1;
    }
    table
}

const fn complements() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'A' => b'T',
            b'C' => b'G',
            b'G' => b'C',
            b'T' => b'A',
            b'a' => b't',
            b'c' => b'g',
            b'g' => b'c',
            b't' => b'a',
            other => other,
        };
        byte += 1;
    }
    table
}

/// Index of a codon in the tables above.
#[inline]
pub(crate) fn codon_index(bases: &[u8; 256], codon: [u8; 3]) -> usize {
    let [a, b, c] = codon.map(|letter| usize::from(bases[usize::from(letter)]));
    (a << 6) | (b << 3) | c
}

/// Translates from the first letter, three letters at a time; leftover letters are ignored.
///
/// Case-sensitive: a codon with any letter other than `A`, `C`, `G`, `T` is **skipped**, so the
/// result holds only the twenty amino acids and `*`, and can be shorter than a third of the input.
///
/// # Source
/// `translate_dna` of Li-Jing-1997/VirNucPro @0f93f27 (`units.py`); NCBI `transl_table` 1.
pub fn translate(strand: &[u8]) -> Vec<u8> {
    let (codons, _) = strand.as_chunks::<3>();
    let amino_acids = codons.iter().map(|&codon| AMINO_ACID[codon_index(&BASE, codon)]);
    amino_acids.filter(|&amino_acid| amino_acid != 0).collect()
}

/// The opposite strand, read from its own start.
///
/// Only `A`, `C`, `G`, `T` (either case) are complemented; every other letter, `U` and the IUPAC
/// codes included, keeps its letter.
///
/// # Source
/// `reverse_complement` of Li-Jing-1997/VirNucPro @0f93f27 (`units.py`).
pub fn reverse_complement(strand: &[u8]) -> Vec<u8> {
    strand.iter().rev().map(|&letter| COMPLEMENT[usize::from(letter)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translate_lower_case_is_skipped() {
        assert_eq!(translate(b"ATGatgTGGNNNTAATT"), b"MW*");
    }

    #[test]
    fn reverse_complement_keeps_letters_that_are_no_base() {
        assert_eq!(reverse_complement(b"AC-GTuNr"), b"rNuAC-GT");
    }

    #[test]
    fn opposite_table_agrees_with_reverse_complement() {
        for a in *b"ACGTN" {
            for b in *b"ACGTN" {
                for c in *b"ACGTN" {
                    let index = codon_index(&BASE, [a, b, c]);
                    let opposite = translate(&reverse_complement(&[a, b, c]));
                    assert_eq!(opposite.first().copied().unwrap_or(0), OPPOSITE_AMINO_ACID[index]);
                    assert_eq!(STOPS[index] & REVERSE_STOP != 0, opposite == [STOP]);
                }
            }
        }
    }
}
