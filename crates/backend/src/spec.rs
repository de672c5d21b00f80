//! Plain settings of the operations: what a model says, independent of the device.

/// ESM-2's rescaling of token embeddings.
///
/// A model trained with masking expects embeddings scaled by the share that was left unmasked:
/// rows of mask tokens become zero, every other row of the sequence is multiplied by
/// `(1 - train_mask_ratio) / (1 - masked share of the sequence)`.
///
/// # Source
/// facebookresearch/esm: esm/model/esm2.py, lines 84-95.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenDropout {
    /// Id of `<mask>`.
    pub mask_token_id: u32,
    /// Share of tokens replaced by `<mask>` in training; 0.15 × 0.8 for ESM-2.
    pub train_mask_ratio: f32,
}

/// What a linear layer does with its result before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// `out = x·Wᵀ + b`.
    Store,
    /// `out = out + x·Wᵀ + b`: the residual addition.
    Accumulate,
    /// `out = gelu(x·Wᵀ + b)`, the exact (erf) form.
    Gelu,
    /// `out = max(0, x·Wᵀ + b)`.
    Relu,
}

/// Rotary position embedding over the full head, pairs `(i, i + head_dim / 2)`.
///
/// # Source
/// facebookresearch/esm: esm/rotary_embedding.py; Su et al. 2021 (RoFormer).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RotarySpec {
    /// Heads in each of q and k.
    pub num_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Frequency base; 10,000 for ESM-2.
    pub base: f32,
}

/// Softmax attention inside each sequence of a packed batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpec<'a> {
    /// Heads in each of q, k and v.
    pub num_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Factor on q·k before softmax.
    pub softmax_scale: f32,
    /// Slope per head: `-slope·|i - j|` is added to the scaled score (symmetric ALiBi).
    pub alibi_slopes: Option<&'a [f32]>,
}

/// How a sequence's hidden states become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolSpec {
    /// Mean over the tokens left after skipping some at both ends.
    Mean {
        /// Tokens skipped at the start (1 leaves out BOS).
        skip_first: usize,
        /// Tokens skipped at the end (1 leaves out EOS).
        skip_last: usize,
        /// At most this many tokens, counted from the start.
        max_tokens: usize,
    },
    /// The first token's hidden state (BOS or CLS).
    First,
}

impl PoolSpec {
    /// Half-open token range, relative to a sequence of `seqlen` tokens, that is averaged.
    ///
    /// A range that would be empty (a sequence of special tokens alone) is empty here; pooling it
    /// gives zeros.
    pub fn token_range(self, seqlen: usize) -> std::ops::Range<usize> {
        match self {
            Self::First => 0..seqlen.min(1),
            Self::Mean { skip_first, skip_last, max_tokens } => {
                let end = seqlen.saturating_sub(skip_last);
                let start = skip_first.min(end);
                start..end.min(start.saturating_add(max_tokens))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_range_skips_special_tokens_and_stops_at_the_limit() {
        let esm = PoolSpec::Mean { skip_first: 1, skip_last: 1, max_tokens: 1024 };
        assert_eq!(esm.token_range(3), 1..2);
        assert_eq!(esm.token_range(1302), 1..1025);
        assert_eq!(esm.token_range(2), 1..1);
        assert_eq!(PoolSpec::First.token_range(7), 0..1);
        let all = PoolSpec::Mean { skip_first: 0, skip_last: 0, max_tokens: usize::MAX };
        assert_eq!(all.token_range(7), 0..7);
    }
}
