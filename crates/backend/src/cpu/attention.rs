//! Softmax attention inside each sequence, a block of queries at a time.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::CpuBatch;
use super::attention_block::Block;
use super::matrix::Matrix;
use super::micro_kernel::ROWS;
use crate::{AttentionSpec, BackendError};

/// Queries of one unit of work at most and at least, multiples of the rows of the micro-kernel.
/// Each unit brings the keys and values of its sequence into order for itself, which many queries
/// pay for.
const MAX_QUERIES: usize = 64 * ROWS;
const MIN_QUERIES: usize = 8 * ROWS;

/// Units of work wanted for each thread, so that the last ones to finish wait little.
const BLOCKS_PER_THREAD: usize = 4;

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
    if width == 0 {
        return Ok(());
    }
    let wanted = tokens / (BLOCKS_PER_THREAD * rayon::current_num_threads());
    let block_queries = wanted.next_multiple_of(ROWS).clamp(MIN_QUERIES, MAX_QUERIES);
    let mut blocks = Vec::with_capacity(batch.cu_seqlens.len() + tokens / block_queries);
    let mut rest = out.values_mut();
    for sequence in batch.sequences() {
        for start in sequence.clone().step_by(block_queries) {
            let queries: Range<usize> = start..sequence.end.min(start + block_queries);
            let (out, tail) = rest.split_at_mut(queries.len() * width);
            rest = tail;
            blocks.push(Block { spec, qkv, sequence: sequence.clone(), queries, out });
        }
    }
    blocks.into_par_iter().for_each(|block| Arch::new().dispatch(block));
    Ok(())
}
