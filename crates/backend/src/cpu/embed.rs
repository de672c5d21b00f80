//! Token embedding with ESM-2's token-dropout scale.

use rayon::prelude::*;

use super::CpuBatch;
use super::matrix::Matrix;
use super::rows_per_task;
use crate::{BackendError, TokenDropout};

/// Looks up, scales and shifts one row per token; `out` is `[total_tokens, hidden_size]`.
pub(super) fn embed(
    batch: &CpuBatch,
    table: &Matrix,
    shift: Option<&[f32]>,
    token_dropout: Option<TokenDropout>,
    out: &mut Matrix,
) -> Result<(), BackendError> {
    let rows = table.rows();
    if let Some(position) = batch.input_ids.iter().position(|&id| id as usize >= rows) {
        let id = batch.input_ids[position];
        return Err(BackendError::TokenOutOfRange { id, position, rows });
    }
    if let Some(shift) = shift {
        BackendError::expect("embed", "length of shift", shift.len(), table.cols())?;
    }
    let scales = token_dropout.map(|d| token_scales(batch, d));
    let cols = table.cols().max(1);
    let rows = rows_per_task(cols);
    out.values_mut().par_chunks_mut(rows * cols).enumerate().for_each(|(block, out)| {
        for (t, out) in (block * rows..).zip(out.chunks_exact_mut(cols)) {
            out.copy_from_slice(table.row(batch.input_ids[t] as usize));
            if let Some(scales) = &scales {
                out.iter_mut().for_each(|v| *v *= scales[t]);
            }
            if let Some(shift) = shift {
                out.iter_mut().zip(shift).for_each(|(v, s)| *v += s);
            }
        }
    });
    Ok(())
}

/// Scale of each token: 0 for a mask token, otherwise the token-dropout factor of its sequence.
fn token_scales(batch: &CpuBatch, dropout: TokenDropout) -> Vec<f32> {
    let mut scales = Vec::with_capacity(batch.total_tokens());
    for sequence in batch.sequences() {
        let ids = &batch.input_ids[sequence];
        let masked = ids.iter().filter(|&&id| id == dropout.mask_token_id).count();
        let masked_share = masked as f32 / ids.len() as f32;
        let scale = (1.0 - dropout.train_mask_ratio) / (1.0 - masked_share);
        scales.extend(ids.iter().map(|&id| if id == dropout.mask_token_id { 0.0 } else { scale }));
    }
    scales
}
