//! The integer arrays of a packed (varlen) batch as a backend receives them.

use crate::{BackendError, InputTensor, TransferLog};

/// Borrowed arrays of one packed batch, checked on construction.
///
/// # Shape
/// `input_ids` u32 `[total_tokens]`; `cu_seqlens` i32 `[num_seqs + 1]`, starts at 0, strictly
/// increasing, ends at `total_tokens`; `position_ids` u32 `[total_tokens]`, below `max_seqlen`;
/// `max_seqlen` is the longest sequence in tokens, special tokens included.
#[derive(Clone, Copy, Debug)]
pub struct PackedView<'a> {
    input_ids: &'a [u32],
    cu_seqlens: &'a [i32],
    position_ids: &'a [u32],
    max_seqlen: usize,
    log: Option<&'a TransferLog>,
}

impl<'a> PackedView<'a> {
    /// Checks the invariants and wraps the arrays.
    ///
    /// # Errors
    /// [`BackendError::InvalidBatch`] naming the invariant that does not hold.
    pub fn new(
        input_ids: &'a [u32],
        cu_seqlens: &'a [i32],
        position_ids: &'a [u32],
        max_seqlen: usize,
    ) -> Result<Self, BackendError> {
        let invalid = |reason: String| Err(BackendError::InvalidBatch { reason });
        if cu_seqlens.first() != Some(&0) {
            return invalid("cu_seqlens does not start at 0".into());
        }
        if let Some(at) = cu_seqlens.windows(2).position(|w| w[1] <= w[0]) {
            return invalid(format!("sequence {at} has no tokens"));
        }
        let last = cu_seqlens[cu_seqlens.len() - 1];
        if usize::try_from(last).ok() != Some(input_ids.len()) {
            return invalid(format!(
                "cu_seqlens ends at {last}, but there are {} tokens",
                input_ids.len()
            ));
        }
        if position_ids.len() != input_ids.len() {
            return invalid(format!(
                "{} position_ids for {} tokens",
                position_ids.len(),
                input_ids.len()
            ));
        }
        let longest = cu_seqlens.windows(2).map(|w| (w[1] - w[0]) as usize).max().unwrap_or(0);
        if longest != max_seqlen {
            return invalid(format!("max_seqlen is {max_seqlen}, the longest sequence {longest}"));
        }
        if let Some(at) = position_ids.iter().position(|&p| p as usize >= max_seqlen) {
            return invalid(format!("position_ids[{at}] is not below max_seqlen"));
        }
        Ok(Self { input_ids, cu_seqlens, position_ids, max_seqlen, log: None })
    }

    /// The same view, with every further look at an array counted in `log`.
    #[must_use]
    pub fn counted(self, log: &'a TransferLog) -> Self {
        Self { log: Some(log), ..self }
    }

    fn look<T>(&self, tensor: InputTensor, values: &'a [T]) -> &'a [T] {
        if let Some(log) = self.log {
            log.record(tensor, size_of_val(values));
        }
        values
    }

    /// Token ids, u32 `[total_tokens]`.
    pub fn input_ids(&self) -> &'a [u32] {
        self.look(InputTensor::InputIds, self.input_ids)
    }

    /// Sequence boundaries, i32 `[num_seqs + 1]`.
    pub fn cu_seqlens(&self) -> &'a [i32] {
        self.look(InputTensor::CuSeqlens, self.cu_seqlens)
    }

    /// Positions that restart at each sequence, u32 `[total_tokens]`.
    pub fn position_ids(&self) -> &'a [u32] {
        self.look(InputTensor::PositionIds, self.position_ids)
    }

    /// Where each sequence ends, in tokens, for bookkeeping on the host; not counted as a transfer.
    pub fn seq_ends(&self) -> impl ExactSizeIterator<Item = usize> + 'a {
        self.cu_seqlens[1..].iter().map(|&end| end as usize)
    }

    /// Tokens of the longest sequence.
    pub fn max_seqlen(&self) -> usize {
        self.max_seqlen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_view_with_a_log_counts_every_look_and_its_bytes() {
        let log = TransferLog::default();
        let view = PackedView::new(&[0, 5, 2], &[0, 3], &[0, 1, 2], 3).unwrap().counted(&log);
        assert_eq!((view.input_ids().len(), view.max_seqlen(), log.bytes()), (3, 3, 12));
        let _ = (view.input_ids(), view.cu_seqlens());
        let counts = InputTensor::ALL.map(|tensor| log.crossings(tensor));
        assert_eq!((counts, log.bytes()), ([2, 1, 0], 32));
    }

    #[test]
    fn packed_view_broken_invariant_is_named() {
        let ids = [0u32, 5, 2, 0, 2];
        let pos = [0u32, 1, 2, 0, 1];
        let bad = |cu: &[i32], pos: &[u32], max| {
            PackedView::new(&ids, cu, pos, max).expect_err("must be refused").to_string()
        };
        assert!(PackedView::new(&ids, &[0, 3, 5], &pos, 3).is_ok());
        assert!(bad(&[1, 3, 5], &pos, 3).contains("start at 0"));
        assert!(bad(&[], &pos, 3).contains("start at 0"));
        assert!(bad(&[0, 3, 3, 5], &pos, 3).contains("sequence 1 has no tokens"));
        assert!(bad(&[0, 3, 4], &pos, 3).contains("ends at 4"));
        assert!(bad(&[0, 3, 5], &pos[..4], 3).contains("4 position_ids"));
        assert!(bad(&[0, 3, 5], &pos, 4).contains("max_seqlen is 4"));
        assert!(bad(&[0, 3, 5], &[0, 1, 3, 0, 1], 3).contains("position_ids[2]"));
    }
}
