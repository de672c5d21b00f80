//! Softmax attention inside each sequence, a block of queries at a time.

use std::cell::RefCell;
use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::CpuBatch;
use super::gemm::{Destination, Strided, gemm};
use super::math::exp;
use super::matrix::Matrix;
use crate::{AttentionSpec, BackendError};

/// Queries handled together; bounds the score buffer to `QUERY_ROWS × seqlen` values a thread.
const QUERY_ROWS: usize = 64;

thread_local! {
    /// Scores of one block of queries, kept between calls.
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// One unit of work: a block of queries of one sequence, and where its result goes.
struct Block<'a> {
    sequence: Range<usize>,
    queries: Range<usize>,
    out: &'a mut [f32],
}

/// Attention of each sequence over itself.
pub(super) fn attention(
    batch: &CpuBatch,
    spec: AttentionSpec<'_>,
    qkv: &Matrix,
    out: &mut Matrix,
) -> Result<(), BackendError> {
    let width = spec.num_heads * spec.head_dim;
    let tokens = batch.total_tokens();
    BackendError::expect("attention", "columns of qkv", qkv.cols(), 3 * width)?;
    BackendError::expect("attention", "rows of qkv", qkv.rows(), tokens)?;
    BackendError::expect("attention", "columns of out", out.cols(), width)?;
    BackendError::expect("attention", "rows of out", out.rows(), tokens)?;
    if let Some(slopes) = spec.alibi_slopes {
        BackendError::expect("attention", "number of slopes", slopes.len(), spec.num_heads)?;
    }
    let mut blocks = Vec::with_capacity(batch.cu_seqlens.len() + tokens / QUERY_ROWS);
    let mut rest = out.values_mut();
    for sequence in batch.sequences() {
        let mut start = sequence.start;
        while start < sequence.end {
            let queries = start..sequence.end.min(start + QUERY_ROWS);
            let (out, tail) = rest.split_at_mut(queries.len() * width);
            rest = tail;
            start = queries.end;
            blocks.push(Block { sequence: sequence.clone(), queries, out });
        }
    }
    blocks.into_par_iter().for_each(|block| {
        SCORES.with_borrow_mut(|scores| {
            for head in 0..spec.num_heads {
                attend(&spec, qkv, head, &block.sequence, &block.queries, scores, block.out);
            }
        });
    });
    Ok(())
}

/// One head of one block of queries.
fn attend(
    spec: &AttentionSpec<'_>,
    qkv: &Matrix,
    head: usize,
    sequence: &Range<usize>,
    queries: &Range<usize>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let (d, width) = (spec.head_dim, spec.num_heads * spec.head_dim);
    let stride = 3 * width;
    let (num_queries, num_keys) = (queries.len(), sequence.len());
    let part =
        |rows: &Range<usize>, part: usize| &qkv.row_range(rows.clone())[part * width + head * d..];
    scores.clear();
    scores.resize(num_queries * num_keys, 0.0);
    gemm(
        (num_queries, num_keys, d),
        scores,
        num_keys,
        Destination::Overwrite,
        Strided { values: part(queries, 0), row_stride: stride, col_stride: 1 },
        Strided { values: part(sequence, 1), row_stride: 1, col_stride: stride },
    );
    let slope = spec.alibi_slopes.map_or(0.0, |slopes| slopes[head]);
    for (i, row) in scores.chunks_exact_mut(num_keys).enumerate() {
        let query = queries.start - sequence.start + i;
        softmax_row(row, spec.softmax_scale, slope, query);
    }
    gemm(
        (num_queries, d, num_keys),
        &mut out[head * d..],
        width,
        Destination::Overwrite,
        Strided { values: scores, row_stride: num_keys, col_stride: 1 },
        Strided { values: part(sequence, 2), row_stride: stride, col_stride: 1 },
    );
}

/// Scales, biases by distance to `query`, and normalises one row of scores.
fn softmax_row(row: &mut [f32], scale: f32, slope: f32, query: usize) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut lanes = [f32::NEG_INFINITY; 16];
            for (block, values) in row.chunks_mut(16).enumerate() {
                for (lane, v) in values.iter_mut().enumerate() {
                    let distance = (block * 16 + lane) as f32 - query as f32;
                    *v = *v * scale - slope * distance.abs();
                    lanes[lane] = lanes[lane].max(*v);
                }
            }
            let max = lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sums = [0f32; 16];
            for values in row.chunks_mut(16) {
                for (sum, v) in sums.iter_mut().zip(values) {
                    *v = exp(*v - max);
                    *sum += *v;
                }
            }
            let inverse = 1.0 / sums.iter().sum::<f32>();
            for v in row.iter_mut() {
                *v *= inverse;
            }
        },
    );
}
