//! Dividing a batch between the threads, at the boundaries of its sequences.
//!
//! Threads that share the rows of every operation wait for each other some ten times a layer.
//! Threads with sequences of their own meet once, at the end of the batch, and each keeps the
//! activations of its part in its own cache.

use super::CpuBatch;

/// Tokens of a part on average, at least: enough rows for a block of weights to be worth loading.
const MIN_PART_TOKENS: usize = 512;

impl CpuBatch {
    /// At most `threads` parts of about the same number of tokens, in order.
    pub(super) fn divide(self, threads: usize) -> Vec<CpuBatch> {
        let total = self.total_tokens();
        let wanted = threads.min(total / MIN_PART_TOKENS).max(1);
        let mut cuts = Vec::with_capacity(wanted + 1);
        cuts.push(0);
        cuts.extend((1..wanted).map(|part| self.boundary_near(total * part / wanted)));
        cuts.push(self.cu_seqlens.len() - 1);
        cuts.dedup();
        if cuts.len() <= 2 {
            return vec![self];
        }
        cuts.windows(2).map(|cut| self.part(cut[0], cut[1])).collect()
    }

    /// Number of the sequence that starts nearest to `token`; of two, the later one.
    fn boundary_near(&self, token: usize) -> usize {
        let start = |sequence: usize| self.cu_seqlens[sequence] as usize;
        // The last boundary is the number of tokens, which is never below `token`.
        let after = self.cu_seqlens.partition_point(|&start| (start as usize) < token);
        if after > 0 && token - start(after - 1) < start(after) - token { after - 1 } else { after }
    }

    /// Sequences `first..end` alone.
    fn part(&self, first: usize, end: usize) -> CpuBatch {
        let boundaries = &self.cu_seqlens[first..=end];
        let offset = boundaries[0];
        let tokens = offset as usize..boundaries[end - first] as usize;
        let cu_seqlens: Box<[i32]> = boundaries.iter().map(|&start| start - offset).collect();
        let lengths = boundaries.windows(2).map(|w| (w[1] - w[0]) as usize);
        CpuBatch {
            max_seqlen: lengths.max().unwrap_or(0),
            input_ids: self.input_ids[tokens.clone()].into(),
            position_ids: self.position_ids[tokens].into(),
            cu_seqlens: cu_seqlens.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lengths: &[usize]) -> CpuBatch {
        let mut cu_seqlens = vec![0];
        let mut position_ids = Vec::new();
        for &length in lengths {
            position_ids.extend(0..length as u32);
            cu_seqlens.push(position_ids.len() as i32);
        }
        CpuBatch {
            input_ids: (0..position_ids.len() as u32).collect(),
            cu_seqlens: cu_seqlens.into(),
            position_ids: position_ids.into(),
            max_seqlen: lengths.iter().copied().max().unwrap_or(0),
        }
    }

    fn lengths(batch: &CpuBatch) -> Vec<usize> {
        batch.sequences().map(|tokens| tokens.len()).collect()
    }

    #[test]
    fn divide_keeps_every_sequence_whole_and_in_order() {
        for sequences in [&[168; 12][..], &[2000, 40], &[40, 2000], &[900, 100, 100, 900], &[3000]]
        {
            for threads in [1, 2, 3, 16] {
                let whole = batch(sequences);
                let parts = whole.clone().divide(threads);
                assert!((1..=threads).contains(&parts.len()));
                let found: Vec<usize> = parts.iter().flat_map(lengths).collect();
                assert_eq!(found, sequences, "{threads} threads");
                let ids: Vec<u32> = parts.iter().flat_map(|p| p.input_ids.to_vec()).collect();
                assert_eq!(ids, *whole.input_ids);
                for part in &parts {
                    let longest = lengths(part).into_iter().max();
                    assert_eq!(Some(part.max_seqlen), longest, "no part is empty");
                    for tokens in part.sequences() {
                        let positions = part.position_ids[tokens].iter();
                        assert!((0..).zip(positions).all(|(place, &position)| place == position));
                    }
                }
            }
        }
    }

    #[test]
    fn divide_cuts_near_equal_shares_and_never_into_small_ones() {
        let shares = |sequences: &[usize], threads| -> Vec<usize> {
            batch(sequences).divide(threads).iter().map(CpuBatch::total_tokens).collect()
        };
        assert_eq!(shares(&[168; 12], 2), [1008, 1008]);
        assert_eq!(shares(&[168; 11], 2), [1008, 840]);
        assert_eq!(shares(&[600, 500, 400], 2), [600, 900]);
        assert_eq!(shares(&[168; 12], 16), [672, 672, 672]);
        assert_eq!(shares(&[100; 10], 2), [1000]);
        assert_eq!(shares(&[], 2), [0]);
    }
}
