//! Owns the decision over the frames of one chunk. Must not know where frames come from.
//!
//! Entry type: [`BestScores`].

use crate::spill::Payload;

/// The best two scores over the frames of one chunk, NaN skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BestScores {
    others: Option<f64>,
    virus: Option<f64>,
}

impl BestScores {
    /// Scores of a chunk whose frames are still to come.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one frame: `score1` is p(others), `score2` is p(virus).
    pub fn push(&mut self, score1: f64, score2: f64) {
        keep_larger(&mut self.others, score1);
        keep_larger(&mut self.virus, score2);
    }

    /// Takes in the best scores over other frames of the same chunk.
    pub fn merge(&mut self, other: Self) {
        let score = |best: Option<f64>| best.unwrap_or(f64::NAN);
        self.push(score(other.others), score(other.virus));
    }

    /// Best p(others); `None` without any number.
    #[must_use]
    pub fn others(&self) -> Option<f64> {
        self.others
    }

    /// Best p(virus); `None` without any number.
    #[must_use]
    pub fn virus(&self) -> Option<f64> {
        self.virus
    }

    /// Whether the best viral score is at least the best non-viral one.
    ///
    /// A tie is viral, although a frame with equal scores is labelled `others`; a chunk
    /// with a score column that is NaN throughout is not viral.
    ///
    /// # Source
    /// `determine_virus` of Li-Jing-1997/VirNucPro@0f93f27:prediction.py.
    #[must_use]
    pub fn is_virus(&self) -> bool {
        matches!((self.others, self.virus), (Some(others), Some(virus)) if virus >= others)
    }
}

fn keep_larger(best: &mut Option<f64>, score: f64) {
    if !score.is_nan() {
        *best = Some(best.map_or(score, |known| known.max(score)));
    }
}

/// One flag and the bits of the number for each score, so that nothing is rounded and "no
/// number" stays apart from every number.
impl Payload for BestScores {
    const BYTES: usize = 2 * SCORE_BYTES;

    fn merge(&mut self, other: Self) {
        Self::merge(self, other);
    }

    fn encode(self, bytes: &mut Vec<u8>) {
        for score in [self.others, self.virus] {
            bytes.push(u8::from(score.is_some()));
            bytes.extend(score.unwrap_or_default().to_le_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let ([others, virus], []) = bytes.as_chunks::<SCORE_BYTES>() else {
            return None;
        };
        Some(Self { others: decode_score(others)?, virus: decode_score(virus)? })
    }
}

const SCORE_BYTES: usize = 1 + size_of::<f64>();

fn decode_score([flag, bits @ ..]: &[u8; SCORE_BYTES]) -> Option<Option<f64>> {
    match flag {
        0 => Some(None),
        1 => Some(Some(f64::from_le_bytes(*bits))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(best: BestScores) -> [Option<u64>; 2] {
        [best.others, best.virus].map(|score| score.map(f64::to_bits))
    }

    fn any_score() -> impl Strategy<Value = f64> {
        prop_oneof![any::<u64>().prop_map(f64::from_bits), Just(f64::NAN), Just(-0.0)]
    }

    #[test]
    fn best_scores_foreign_bytes_are_refused() {
        let mut bytes = Vec::new();
        BestScores::new().encode(&mut bytes);
        assert_eq!(bytes.len(), BestScores::BYTES);
        assert_eq!(BestScores::decode(&bytes[1..]), None);
        bytes[SCORE_BYTES] = 2;
        assert_eq!(BestScores::decode(&bytes), None);
    }

    proptest! {
        #[test]
        fn prop_best_scores_come_back_bit_for_bit(
            scores in prop::collection::vec((any_score(), any_score()), 0..3),
        ) {
            let mut best = BestScores::new();
            scores.iter().for_each(|&(score1, score2)| best.push(score1, score2));
            let mut bytes = Vec::new();
            best.encode(&mut bytes);
            prop_assert_eq!(BestScores::decode(&bytes).map(bits), Some(bits(best)));
        }

        #[test]
        fn prop_best_scores_merged_equal_pushed(
            scores in prop::collection::vec((any_score(), any_score()), 0..6),
            cut in 0_usize..6,
        ) {
            let push = |scores: &[(f64, f64)]| {
                let mut best = BestScores::new();
                scores.iter().for_each(|&(score1, score2)| best.push(score1, score2));
                best
            };
            let (left, right) = scores.split_at(cut.min(scores.len()));
            let mut merged = push(left);
            merged.merge(push(right));
            prop_assert_eq!(merged, push(&scores));
        }
    }
}
