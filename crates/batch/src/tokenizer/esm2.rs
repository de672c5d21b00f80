//! The ESM-2 alphabet: one token a residue.

use super::{Encoding, SequenceTokenizer};
use crate::BatchError;

/// Id of `<cls>`, the first token of every sequence.
pub const CLS: u32 = 0;
/// Id of `<pad>`; packed batches never hold it.
pub const PAD: u32 = 1;
/// Id of `<eos>`, the last token of every sequence.
pub const EOS: u32 = 2;
/// Id of `<unk>`, for letters outside the alphabet.
pub const UNK: u32 = 3;
/// Id of `<mask>`.
pub const MASK: u32 = 32;
/// Number of token ids.
pub const VOCAB_SIZE: usize = 33;

/// Letters in the order of their ids, the first being id 4.
///
/// # Source
/// facebookresearch/esm: esm/constants.py and esm/data.py, lines 94-124.
const LETTERS: &[u8] = b"LAGVSERTIDPKQNFYMHWCXBUZO.-";

/// Tokeniser of ESM-2: `<cls>`, one token a letter, `<eos>`.
///
/// Letters outside the alphabet (lower case included) become `<unk>` and are counted; fair-esm
/// ends with a KeyError there. The text `<mask>`, in any case, is one token, as in fair-esm.
#[derive(Clone, Debug)]
pub struct Esm2Tokenizer {
    ids: [u8; 256],
}

impl Default for Esm2Tokenizer {
    fn default() -> Self {
        let mut ids = [UNK as u8; 256];
        for (i, &letter) in LETTERS.iter().enumerate() {
            ids[usize::from(letter)] = 4 + i as u8;
        }
        Self { ids }
    }
}

/// How the mask token is written in a sequence.
const MASK_TEXT: &[u8] = b"<mask>";

impl Esm2Tokenizer {
    fn id(&self, letter: u8) -> u32 {
        u32::from(self.ids[usize::from(letter)])
    }
}

impl SequenceTokenizer for Esm2Tokenizer {
    fn encode(&self, sequence: &[u8]) -> Result<Encoding, BatchError> {
        let mut input_ids = Vec::with_capacity(sequence.len() + 2);
        input_ids.push(CLS);
        let mut rest = sequence;
        while let Some((&letter, after)) = rest.split_first() {
            match rest.split_at_checked(MASK_TEXT.len()) {
                Some((text, after)) if letter == b'<' && text.eq_ignore_ascii_case(MASK_TEXT) => {
                    input_ids.push(MASK);
                    rest = after;
                }
                _ => {
                    input_ids.push(self.id(letter));
                    rest = after;
                }
            }
        }
        let unknown_tokens = input_ids.iter().filter(|&&id| id == UNK).count();
        input_ids.push(EOS);
        Ok(Encoding { input_ids, unknown_tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encode_letters_outside_the_alphabet_become_unk_and_are_counted() {
        let encoding = Esm2Tokenizer::default().encode(b"Lj*-a").unwrap();
        assert_eq!(encoding.input_ids, [CLS, 4, UNK, UNK, 30, UNK, EOS]);
        assert_eq!(encoding.unknown_tokens, 3);
        assert_eq!(Esm2Tokenizer::default().encode(b"").unwrap().input_ids, [CLS, EOS]);
    }
}
