//! One block of queries of one sequence: scores, softmax and the mix of values, head by head.

use std::cell::RefCell;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::aligned::AlignedVec;
use super::matrix::Matrix;
use super::micro_kernel::{ROWS, product, six};
use super::panels::{PANEL_COLS, Panels, transpose_into};
use super::softmax::softmax_row;
use crate::AttentionSpec;

/// Values to which rows of scores and of v are padded: the widest vector.
const PAD: usize = 16;

/// A unit of work.
pub(super) struct Block<'a> {
    pub(super) spec: AttentionSpec<'a>,
    pub(super) qkv: &'a Matrix,
    /// Token range of the sequence.
    pub(super) sequence: Range<usize>,
    /// Token range of the queries, inside the sequence.
    pub(super) queries: Range<usize>,
    /// Rows of the queries, `[queries, num_heads × head_dim]`.
    pub(super) out: &'a mut [f32],
}

/// Buffers of one thread, kept between calls.
#[derive(Default)]
struct Workspace {
    /// Keys of one head, transposed: `[head_dim, seqlen]`.
    keys: Panels,
    /// Values of one head, `[seqlen, head_dim]`, rows padded; what the padding holds reaches no
    /// result.
    values: AlignedVec,
    /// Scores of one group of queries, `[ROWS, seqlen]`, rows padded.
    scores: AlignedVec,
    /// Mixed values of that group, `[ROWS, head_dim]`, rows padded.
    mixed: AlignedVec,
}

thread_local! {
    static WORKSPACE: RefCell<Workspace> = RefCell::default();
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // Taken out, not borrowed, so that no closure stands between the vector code and the
        // function that enables the vector instructions.
        let mut workspace = WORKSPACE.take();
        for head in 0..self.spec.num_heads {
            self.load_head(head, &mut workspace);
            self.attend(simd, head, &mut workspace);
        }
        WORKSPACE.set(workspace);
    }
}

impl Block<'_> {
    /// One head of q (0), k (1) or v (2) of one token.
    #[inline(always)]
    fn part(&self, token: usize, part: usize, head: usize) -> &[f32] {
        let d = self.spec.head_dim;
        &self.qkv.row(token)[(part * self.spec.num_heads + head) * d..][..d]
    }

    /// Brings keys and values of one head into the order of the micro-kernel.
    #[inline(always)]
    fn load_head(&self, head: usize, workspace: &mut Workspace) {
        let (d, seqlen) = (self.spec.head_dim, self.sequence.len());
        let (padded_d, padded_keys) = (d.next_multiple_of(PAD), seqlen.next_multiple_of(PAD));
        workspace.keys.reshape(d, seqlen);
        let panels = seqlen.div_ceil(PANEL_COLS);
        for (p, panel) in workspace.keys.panels_mut().take(panels).enumerate() {
            transpose_into(panel, d, |c| {
                let token = self.sequence.start + p * PANEL_COLS + c;
                (token < self.sequence.end).then(|| self.part(token, 1, head))
            });
        }
        workspace.values.reserve_len(seqlen * padded_d);
        for (out, token) in workspace.values.chunks_exact_mut(padded_d).zip(self.sequence.clone()) {
            out[..d].copy_from_slice(self.part(token, 2, head));
        }
        workspace.scores.reserve_len(ROWS * padded_keys);
        workspace.mixed.reserve_len(ROWS * padded_d);
    }

    #[inline(always)]
    fn attend<S: Simd>(&mut self, simd: S, head: usize, workspace: &mut Workspace) {
        let Workspace { keys, values, scores, mixed } = workspace;
        let (d, seqlen) = (self.spec.head_dim, self.sequence.len());
        let width = self.spec.num_heads * d;
        let (padded_d, padded_keys) = (d.next_multiple_of(PAD), seqlen.next_multiple_of(PAD));
        let lanes = S::F32_LANES;
        let slope = self.spec.alibi_slopes.map_or(0.0, |slopes| slopes[head]);
        let (values, _) = S::as_simd_f32s(&values[..seqlen * padded_d]);
        for first in self.queries.clone().step_by(ROWS) {
            let rows = ROWS.min(self.queries.end - first);
            // A last group of fewer queries repeats its last one and drops the copies.
            let queries = six(|r| self.part(first + r.min(rows - 1), 0, head));
            let (score_vectors, _) = S::as_mut_simd_f32s(&mut scores[..ROWS * padded_keys]);
            for start in (0..padded_keys).step_by(PANEL_COLS) {
                let (keys, _) = S::as_simd_f32s(keys.rows(start / PANEL_COLS, 0, d));
                let vectors = PANEL_COLS.min(padded_keys - start) / lanes;
                let out = &mut score_vectors[start / lanes..];
                let (k_stride, c_stride) = (PANEL_COLS / lanes, padded_keys / lanes);
                product(simd, &queries, (keys, k_stride), vectors, (out, c_stride));
            }
            let mut inverse_sums = [0f32; ROWS];
            for r in 0..rows {
                let row = &mut scores[r * padded_keys..(r + 1) * padded_keys];
                let query = first + r - self.sequence.start;
                inverse_sums[r] =
                    softmax_row(simd, row, seqlen, self.spec.softmax_scale, slope, query);
            }
            let weights = six(|r| &scores[r.min(rows - 1) * padded_keys..][..seqlen]);
            let (mixed_vectors, _) = S::as_mut_simd_f32s(&mut mixed[..ROWS * padded_d]);
            let stride = padded_d / lanes;
            product(simd, &weights, (values, stride), stride, (mixed_vectors, stride));
            for r in 0..rows {
                let row = (first - self.queries.start + r) * width + head * d;
                let mixed = &mixed[r * padded_d..][..d];
                for (out, &value) in self.out[row..row + d].iter_mut().zip(mixed) {
                    *out = value * inverse_sums[r];
                }
            }
        }
    }
}
