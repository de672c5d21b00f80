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
    let cols = x.cols().max(1);
    let block = rows_per_task(cols) * cols;
    out.values_mut().par_chunks_mut(block).zip(x.values().par_chunks(block)).for_each(
        |(out, x)| {
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for (out, x) in out.chunks_exact_mut(cols).zip(x.chunks_exact(cols)) {
                        let moments = Moments::of(x, eps);
                        for (out, ((&v, &g), &b)) in
                            out.iter_mut().zip(x.iter().zip(gamma).zip(beta))
                        {
                            *out = moments.normalise(v) * g + b;
                        }
                    }
                },
            );
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
    let cols = x.cols().max(1);
    x.values_mut().par_chunks_mut(rows_per_task(cols) * cols).for_each(|rows| {
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for row in rows.chunks_exact_mut(cols) {
                    let moments = Moments::of(row, eps);
                    for ((v, &g), &b) in row.iter_mut().zip(gamma).zip(beta) {
                        *v = moments.normalise(*v) * g + b;
                    }
                }
            },
        );
    });
    Ok(())
}

/// What a row is normalised by.
#[derive(Clone, Copy)]
struct Moments {
    mean: f32,
    inverse_deviation: f32,
}

impl Moments {
    #[inline(always)]
    fn of(row: &[f32], eps: f32) -> Self {
        let n = row.len() as f32;
        let mean = lane_sum(row, |v| v) / n;
        let variance = lane_sum(row, |v| (v - mean) * (v - mean)) / n;
        Self { mean, inverse_deviation: 1.0 / (variance + eps).sqrt() }
    }

    #[inline(always)]
    fn normalise(self, v: f32) -> f32 {
        (v - self.mean) * self.inverse_deviation
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
