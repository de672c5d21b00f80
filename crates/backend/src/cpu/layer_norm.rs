//! LayerNorm, one row at a time.

use pulp::Arch;
use rayon::prelude::*;

use super::matrix::Matrix;
use super::rows_per_task;
use crate::BackendError;

/// Independent partial sums; their fixed order keeps a row's result independent of everything
/// else and lets the sum run in vector registers.
const LANES: usize = 16;

fn check(x: &Matrix, gamma: &[f32], beta: &[f32]) -> Result<(), BackendError> {
    BackendError::expect("layer_norm", "length of gamma", gamma.len(), x.cols())?;
    BackendError::expect("layer_norm", "length of beta", beta.len(), x.cols())
}

/// Normalises `x` into `out`.
pub(super) fn layer_norm(
    x: &Matrix,
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    out: &mut Matrix,
) -> Result<(), BackendError> {
    check(x, gamma, beta)?;
    BackendError::expect("layer_norm", "columns of out", out.cols(), x.cols())?;
    BackendError::expect("layer_norm", "rows of out", out.rows(), x.rows())?;
    let block = rows_per_task(x.cols()) * x.cols().max(1);
    out.values_mut().par_chunks_mut(block).zip(x.values().par_chunks(block)).for_each(
        |(out, x)| {
            out.copy_from_slice(x);
            normalise_rows(out, gamma, beta, eps);
        },
    );
    Ok(())
}

/// Normalises `x` where it lies.
pub(super) fn layer_norm_in_place(
    x: &mut Matrix,
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
) -> Result<(), BackendError> {
    check(x, gamma, beta)?;
    let block = rows_per_task(x.cols()) * x.cols().max(1);
    x.values_mut().par_chunks_mut(block).for_each(|rows| normalise_rows(rows, gamma, beta, eps));
    Ok(())
}

fn normalise_rows(rows: &mut [f32], gamma: &[f32], beta: &[f32], eps: f32) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for row in rows.chunks_exact_mut(gamma.len().max(1)) {
                normalise_row(row, gamma, beta, eps);
            }
        },
    );
}

#[inline(always)]
fn normalise_row(row: &mut [f32], gamma: &[f32], beta: &[f32], eps: f32) {
    let n = row.len() as f32;
    let mean = lane_sum(row, |v| v) / n;
    let variance = lane_sum(row, |v| (v - mean) * (v - mean)) / n;
    let scale = 1.0 / (variance + eps).sqrt();
    for ((v, &g), &b) in row.iter_mut().zip(gamma).zip(beta) {
        *v = (*v - mean) * scale * g + b;
    }
}

#[inline(always)]
fn lane_sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (blocks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for block in blocks {
        for (lane, &v) in lanes.iter_mut().zip(block) {
            *lane += term(v);
        }
    }
    let tail: f32 = rest.iter().map(|&v| term(v)).sum();
    lanes.iter().sum::<f32>() + tail
}
