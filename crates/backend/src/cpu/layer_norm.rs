//! LayerNorm, one row at a time.

use pulp::Arch;
use rayon::prelude::*;

use super::matrix::Matrix;
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
    let cols = x.cols().max(1);
    out.values_mut().par_chunks_mut(cols).zip(x.values().par_chunks(cols)).for_each(|(out, x)| {
        out.copy_from_slice(x);
        normalise_row(out, gamma, beta, eps);
    });
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
    let cols = x.cols().max(1);
    x.values_mut().par_chunks_mut(cols).for_each(|row| normalise_row(row, gamma, beta, eps));
    Ok(())
}

fn normalise_row(row: &mut [f32], gamma: &[f32], beta: &[f32], eps: f32) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let n = row.len() as f32;
            let mean = lane_sum(row, |v| v) / n;
            let variance = lane_sum(row, |v| (v - mean) * (v - mean)) / n;
            let scale = 1.0 / (variance + eps).sqrt();
            for ((v, &g), &b) in row.iter_mut().zip(gamma).zip(beta) {
                *v = (*v - mean) * scale * g + b;
            }
        },
    );
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
