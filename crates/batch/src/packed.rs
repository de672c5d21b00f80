//! The packed (varlen) batch: several sequences end to end, without padding.

use std::fmt;
use std::ops::Range;

use crate::BatchError;

/// Identity of a sequence within one run: its position in the stream of inputs.
///
/// Names are not identities here, because duplicate names are legal in FASTA; whoever numbers the
/// sequences keeps the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

impl fmt::Display for SequenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Token ids of one sequence, special tokens included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedSequence {
    /// Which sequence this is.
    pub sequence_id: SequenceId,
    /// Its token ids, u32 `[seqlen]`.
    pub input_ids: Vec<u32>,
}

/// A batch of sequences packed end to end.
///
/// # Shape
/// `input_ids` u32 `[total_tokens]`; `cu_seqlens` i32 `[num_seqs + 1]`, starting at 0, strictly
/// increasing, ending at `total_tokens`; `position_ids` u32 `[total_tokens]`, restarting at 0 with
/// each sequence; `sequence_ids` `[num_seqs]`; `max_seqlen` the longest sequence in tokens. All of
/// it is checked on construction, so a `PackedBatch` that exists is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedBatch {
    input_ids: Vec<u32>,
    cu_seqlens: Vec<i32>,
    position_ids: Vec<u32>,
    sequence_ids: Vec<SequenceId>,
    max_seqlen: usize,
}

impl PackedBatch {
    /// Packs sequences in the order given.
    ///
    /// # Errors
    /// A sequence without tokens, no sequences at all, or more tokens than i32 can count.
    pub fn from_sequences(sequences: &[TokenizedSequence]) -> Result<Self, BatchError> {
        let tokens = sequences.iter().map(|s| s.input_ids.len()).sum();
        let mut input_ids = Vec::with_capacity(tokens);
        let mut position_ids = Vec::with_capacity(tokens);
        let mut cu_seqlens = Vec::with_capacity(sequences.len() + 1);
        cu_seqlens.push(0);
        for sequence in sequences {
            let (sequence_id, seqlen) = (sequence.sequence_id, sequence.input_ids.len());
            if seqlen == 0 {
                return Err(BatchError::EmptySequence { sequence_id });
            }
            input_ids.extend_from_slice(&sequence.input_ids);
            let end = i32::try_from(input_ids.len())
                .map_err(|_| BatchError::TooManyTokens { sequence_id, tokens: seqlen })?;
            position_ids.extend(0..seqlen as u32);
            cu_seqlens.push(end);
        }
        let sequence_ids = sequences.iter().map(|s| s.sequence_id).collect();
        Self::new(input_ids, cu_seqlens, position_ids, sequence_ids)
    }

    /// Takes the arrays of a batch made elsewhere and checks every invariant.
    ///
    /// # Errors
    /// [`BatchError::InvalidBatch`] naming the invariant that does not hold; ids are required and
    /// must match `cu_seqlens` in number.
    pub fn new(
        input_ids: Vec<u32>,
        cu_seqlens: Vec<i32>,
        position_ids: Vec<u32>,
        sequence_ids: Vec<SequenceId>,
    ) -> Result<Self, BatchError> {
        let invalid = |reason: String| Err(BatchError::InvalidBatch { reason });
        if cu_seqlens.first() != Some(&0) {
            return invalid("cu_seqlens does not start at 0".into());
        }
        if sequence_ids.is_empty() {
            return invalid("it has no sequence_ids".into());
        }
        if sequence_ids.len() + 1 != cu_seqlens.len() {
            return invalid(format!(
                "{} sequence_ids for {} sequences in cu_seqlens",
                sequence_ids.len(),
                cu_seqlens.len() - 1
            ));
        }
        if let Some(at) = cu_seqlens.windows(2).position(|w| w[1] <= w[0]) {
            return invalid(format!("sequence {} has no tokens", sequence_ids[at]));
        }
        if cu_seqlens[cu_seqlens.len() - 1] as usize != input_ids.len() {
            return invalid(format!(
                "cu_seqlens ends at {}, but there are {} input_ids",
                cu_seqlens[cu_seqlens.len() - 1],
                input_ids.len()
            ));
        }
        if position_ids.len() != input_ids.len() {
            return invalid(format!(
                "{} position_ids for {} input_ids",
                position_ids.len(),
                input_ids.len()
            ));
        }
        let mut max_seqlen = 0;
        for (w, id) in cu_seqlens.windows(2).zip(&sequence_ids) {
            let positions = &position_ids[w[0] as usize..w[1] as usize];
            if !positions.iter().enumerate().all(|(i, &p)| p as usize == i) {
                return invalid(format!("position_ids of sequence {id} do not count up from 0"));
            }
            max_seqlen = max_seqlen.max(positions.len());
        }
        Ok(Self { input_ids, cu_seqlens, position_ids, sequence_ids, max_seqlen })
    }

    /// Token ids, u32 `[total_tokens]`.
    pub fn input_ids(&self) -> &[u32] {
        &self.input_ids
    }

    /// Sequence boundaries, i32 `[num_seqs + 1]`.
    pub fn cu_seqlens(&self) -> &[i32] {
        &self.cu_seqlens
    }

    /// Positions that restart at each sequence, u32 `[total_tokens]`.
    pub fn position_ids(&self) -> &[u32] {
        &self.position_ids
    }

    /// Which sequence each stretch of tokens belongs to, `[num_seqs]`.
    pub fn sequence_ids(&self) -> &[SequenceId] {
        &self.sequence_ids
    }

    /// Tokens of the longest sequence, special tokens included.
    pub fn max_seqlen(&self) -> usize {
        self.max_seqlen
    }

    /// Number of sequences.
    pub fn num_seqs(&self) -> usize {
        self.sequence_ids.len()
    }

    /// Number of tokens of all sequences together.
    pub fn total_tokens(&self) -> usize {
        self.input_ids.len()
    }

    /// Half-open token range of each sequence, in packed order.
    pub fn token_ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.cu_seqlens.windows(2).map(|w| w[0] as usize..w[1] as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(n: u64) -> Vec<SequenceId> {
        (0..n).map(SequenceId).collect()
    }

    #[test]
    fn packed_batch_broken_invariant_is_refused_by_name() {
        let make = |cu: &[i32], pos: &[u32], ids: Vec<SequenceId>| {
            PackedBatch::new(vec![1, 2, 3, 4, 5], cu.to_vec(), pos.to_vec(), ids)
        };
        let pos = [0, 1, 2, 0, 1];
        let batch = make(&[0, 3, 5], &pos, ids(2)).unwrap();
        assert_eq!((batch.max_seqlen(), batch.num_seqs(), batch.total_tokens()), (3, 2, 5));
        assert_eq!(batch.token_ranges().collect::<Vec<_>>(), [0..3, 3..5]);
        let reason = |r: Result<PackedBatch, BatchError>| r.unwrap_err().to_string();
        assert!(reason(make(&[0, 3, 5], &pos, ids(1))).contains("1 sequence_ids for 2 sequences"));
        assert!(reason(make(&[0, 3, 5], &pos, vec![])).contains("no sequence_ids"));
        assert!(reason(make(&[], &pos, ids(1))).contains("start at 0"));
        assert!(reason(make(&[1, 5], &pos, ids(1))).contains("start at 0"));
        assert!(reason(make(&[0, 5, 5], &pos, ids(2))).contains("sequence #1 has no tokens"));
        assert!(reason(make(&[0, 6, 5], &pos, ids(2))).contains("no tokens"));
        assert!(reason(make(&[0, 3], &pos, ids(1))).contains("ends at 3"));
        assert!(reason(make(&[0, 3, 5], &pos[..4], ids(2))).contains("4 position_ids"));
        assert!(reason(make(&[0, 2, 5], &pos, ids(2))).contains("sequence #1 do not count up"));
    }

    #[test]
    fn from_sequences_empty_sequence_is_refused() {
        let sequence =
            |id, n: usize| TokenizedSequence { sequence_id: SequenceId(id), input_ids: vec![7; n] };
        let error = PackedBatch::from_sequences(&[sequence(4, 2), sequence(9, 0)]).unwrap_err();
        assert_eq!(error.to_string(), "sequence #9: no tokens");
        assert!(PackedBatch::from_sequences(&[]).is_err());
    }
}
