//! Pooling of hidden states into one vector a sequence.

use rayon::prelude::*;

use super::CpuBatch;
use super::matrix::Matrix;
use crate::{BackendError, PoolSpec};

/// Mean over each sequence's token range, accumulated in f64.
pub(super) fn pool(
    batch: &CpuBatch,
    spec: PoolSpec,
    hidden_states: &Matrix,
) -> Result<Matrix, BackendError> {
    let tokens = batch.total_tokens();
    BackendError::expect("pool", "rows of hidden_states", hidden_states.rows(), tokens)?;
    let cols = hidden_states.cols();
    let sequences: Vec<_> = batch.sequences().collect();
    let mut out = Matrix::zeros(sequences.len(), cols);
    out.values_mut().par_chunks_mut(cols.max(1)).zip(sequences).for_each(|(out, sequence)| {
        let range = spec.token_range(sequence.len());
        let count = range.len().max(1) as f64;
        let mut sum = vec![0f64; cols];
        for token in range {
            let row = hidden_states.row(sequence.start + token);
            sum.iter_mut().zip(row).for_each(|(s, &v)| *s += f64::from(v));
        }
        out.iter_mut().zip(&sum).for_each(|(o, s)| *o = (s / count) as f32);
    });
    Ok(out)
}
