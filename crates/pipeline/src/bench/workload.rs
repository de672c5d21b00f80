//! The sequences that a model is measured with: lengths by name, tokens at random.
//!
//! The same numbers as `bench/peers/workloads.py`, so that other programs can be measured with
//! the same sequences.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use virnucpro_backend::selftest::Random;
use virnucpro_batch::{SequenceId, TokenizedSequence};
use virnucpro_models::EncoderConfig;
use virnucpro_seq::{Input, RecordReader};

use crate::PipelineError;

/// Seed of the lengths.
const LENGTH_SEED: u64 = 11;
/// Seed of the token ids.
const ID_SEED: u64 = 12;
/// Special tokens of a sequence, one at each end.
const SPECIAL: usize = 2;

/// How long the sequences are, in tokens, special tokens included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// All the same.
    Fixed(usize),
    /// Like proteins: residues lognormal with median 290 and sigma 0.75, clipped to 30..=1022.
    Proteome,
    /// Those of the records of a FASTA or FASTQ file: one token a letter.
    Records(PathBuf),
}

impl FromStr for Lengths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "proteome" {
            return Ok(Self::Proteome);
        }
        let Some(number) = text.strip_prefix("fixed:") else {
            return Ok(Self::Records(text.into()));
        };
        match number.parse() {
            Ok(tokens) if tokens > SPECIAL => Ok(Self::Fixed(tokens)),
            _ => Err(format!("{text:?}: two special tokens and one more are the least")),
        }
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(tokens) => write!(f, "fixed:{tokens}"),
            Self::Proteome => f.write_str("proteome"),
            Self::Records(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Lengths {
    /// Lengths in the order drawn, until their tokens reach `tokens`; a file is read from the
    /// start again where it has fewer.
    fn draw(&self, tokens: usize) -> Result<Vec<usize>, PipelineError> {
        let mut random = Random::new(LENGTH_SEED);
        let of_records = match self {
            Self::Records(path) => record_lengths(path)?,
            _ => Vec::new(),
        };
        let (mut lengths, mut total) = (Vec::new(), 0);
        while total < tokens {
            let length = match self {
                Self::Fixed(length) => *length,
                Self::Proteome => {
                    let residues = (290f64.ln() + 0.75 * random.normal()).exp() + 0.5;
                    residues.floor().clamp(30.0, 1022.0) as usize + SPECIAL
                }
                Self::Records(_) => of_records[lengths.len() % of_records.len()] + SPECIAL,
            };
            total += length;
            lengths.push(length);
        }
        Ok(lengths)
    }

    /// Random sequences of these lengths for an encoder, at least `tokens` tokens in all.
    pub(super) fn sequences(
        &self,
        tokens: usize,
        config: &EncoderConfig,
    ) -> Result<Vec<TokenizedSequence>, PipelineError> {
        let vocabulary = Vocabulary::of(config);
        let mut random = Random::new(ID_SEED);
        let mut id = || vocabulary.first + (random.unit() * f64::from(vocabulary.count)) as u32;
        let mut sequences = Vec::new();
        for (number, length) in self.draw(tokens)?.into_iter().enumerate() {
            let mut input_ids = Vec::with_capacity(length);
            input_ids.push(vocabulary.start);
            input_ids.extend((SPECIAL..length).map(|_| id()));
            input_ids.push(vocabulary.end);
            sequences.push(TokenizedSequence { sequence_id: SequenceId(number as u64), input_ids });
        }
        Ok(sequences)
    }
}

/// Letters of every record that has some.
fn record_lengths(path: &PathBuf) -> Result<Vec<usize>, PipelineError> {
    let records = RecordReader::open(&Input::from(path))?;
    let lengths: Result<Vec<_>, _> =
        records.map(|record| record.map(|record| record.seq.len())).collect();
    let lengths: Vec<_> = lengths?.into_iter().filter(|&length| length > 0).collect();
    if lengths.is_empty() {
        return Err(PipelineError::NoLengths { file: path.display().to_string() });
    }
    Ok(lengths)
}

/// Special tokens of an encoder, and the ids that stand for letters or words.
struct Vocabulary {
    start: u32,
    end: u32,
    first: u32,
    count: u32,
}

impl Vocabulary {
    fn of(config: &EncoderConfig) -> Self {
        match config {
            EncoderConfig::Esm2(_) => Self { start: 0, end: 2, first: 4, count: 20 },
            EncoderConfig::DnabertS(config) => {
                let words = u32::try_from(config.vocab_size).unwrap_or(u32::MAX).saturating_sub(5);
                Self { start: 1, end: 2, first: 5, count: words }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use virnucpro_models::PublishedSize;

    use super::*;

    fn sequences(model: &str, lengths: &str, tokens: usize) -> Vec<TokenizedSequence> {
        let config = model.parse::<PublishedSize>().unwrap().config().unwrap();
        lengths.parse::<Lengths>().unwrap().sequences(tokens, &config).unwrap()
    }

    #[test]
    fn proteome_has_the_numbers_that_the_peers_have() {
        let found = sequences("esm2-8m", "proteome", 100_000);
        let lengths: Vec<_> = found.iter().map(|s| s.input_ids.len()).collect();
        assert_eq!((lengths.len(), lengths.iter().sum::<usize>()), (293, 100_282));
        assert_eq!(lengths[..8], [278, 102, 191, 311, 563, 289, 1024, 307]);
        assert_eq!(found[0].input_ids[..7], [0, 15, 22, 8, 22, 21, 9]);
        let found = sequences("dnabert-s", "proteome", 1000);
        assert_eq!(found[0].input_ids[..7], [1, 2374, 3848, 965, 3706, 3491, 1208]);
        assert_eq!(found[0].input_ids.last(), Some(&2));
    }

    #[test]
    fn fixed_lengths_reach_the_number_of_tokens() {
        let found = sequences("esm2-8m", "fixed:52", 100);
        assert_eq!(found.iter().map(|s| s.input_ids.len()).collect::<Vec<_>>(), [52, 52]);
        assert!("fixed:2".parse::<Lengths>().is_err() && "fixed:x".parse::<Lengths>().is_err());
    }

    #[test]
    fn record_lengths_are_those_of_the_file_over_and_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.fa");
        std::fs::write(&path, ">a\nACGT\n>none\n>b\nAC\n").unwrap();
        let lengths = Lengths::Records(path.clone()).draw(14).unwrap();
        assert_eq!(lengths, [6, 4, 6]);
        std::fs::write(&path, ">none\n").unwrap();
        assert!(Lengths::Records(path).draw(14).is_err());
    }
}
