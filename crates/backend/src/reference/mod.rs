//! The slow twin: every operation as its definition reads, one element at a time, sums in f64.
//!
//! This is the oracle of the other backends. It must stay obvious; it is never made faster.

use std::ops::Range;

use crate::cpu::Matrix;
use crate::{
    AttentionSpec, Backend, BackendError, Epilogue, PackedView, PoolSpec, RotarySpec, TensorView,
    TokenDropout,
};

/// Runs the operations by definition, on one thread, with f64 sums and f32 storage.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReferenceBackend;

/// A linear layer as stored: weights `[out_features, in_features]`.
#[derive(Clone, Debug)]
pub struct ReferenceLinear {
    weight: Matrix,
    bias: Vec<f32>,
}

/// A packed batch, copied.
#[derive(Clone, Debug)]
pub struct ReferenceBatch {
    input_ids: Vec<u32>,
    position_ids: Vec<u32>,
    sequences: Vec<Range<usize>>,
}

/// With erfc, since `1 + erf` has no digits left where results are smallest.
fn gelu(x: f64) -> f64 {
    0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2)
}

fn at(x: &Matrix, row: usize, col: usize) -> f64 {
    f64::from(x.row(row)[col])
}

impl Backend for ReferenceBackend {
    type Linear = ReferenceLinear;
    type Table = Matrix;
    type Vector = Vec<f32>;
    type Batch = ReferenceBatch;
    type Activation = Matrix;

    fn device_name(&self) -> String {
        "reference".into()
    }

    fn linear_weights(
        &self,
        weights: &[TensorView<'_>],
        biases: &[TensorView<'_>],
    ) -> Result<ReferenceLinear, BackendError> {
        let mut values = Vec::new();
        let mut bias = Vec::new();
        let mut rows = 0;
        for weight in weights {
            BackendError::expect("linear_weights", "dimensions", weight.shape().len(), 2)?;
            rows += weight.shape()[0];
            values.extend(weight.to_f32_vec()?);
        }
        for b in biases {
            bias.extend(b.to_f32_vec()?);
        }
        if biases.is_empty() {
            bias = vec![0.0; rows];
        }
        BackendError::expect("linear_weights", "bias length", bias.len(), rows)?;
        let cols = weights.first().map_or(0, |w| w.shape()[1]);
        BackendError::expect("linear_weights", "number of values", values.len(), rows * cols)?;
        Ok(ReferenceLinear { weight: Matrix::from_vec(rows, cols, values), bias })
    }

    fn table(&self, table: &TensorView<'_>) -> Result<Matrix, BackendError> {
        BackendError::expect("table", "number of dimensions", table.shape().len(), 2)?;
        Ok(Matrix::from_vec(table.shape()[0], table.shape()[1], table.to_f32_vec()?))
    }

    fn vector(&self, values: &[f32]) -> Result<Vec<f32>, BackendError> {
        Ok(values.to_vec())
    }

    fn upload(&self, batch: PackedView<'_>) -> Result<ReferenceBatch, BackendError> {
        Ok(ReferenceBatch {
            input_ids: batch.input_ids().to_vec(),
            position_ids: batch.position_ids().to_vec(),
            sequences: batch
                .cu_seqlens()
                .windows(2)
                .map(|w| w[0] as usize..w[1] as usize)
                .collect(),
        })
    }

    fn largest_token(&self, batch: &ReferenceBatch) -> u32 {
        batch.input_ids.iter().copied().max().unwrap_or(0)
    }

    fn activation(&self, rows: usize, cols: usize, values: &[f32]) -> Result<Matrix, BackendError> {
        BackendError::expect("activation", "number of values", values.len(), rows * cols)?;
        Ok(Matrix::from_vec(rows, cols, values.to_vec()))
    }

    fn finite_rows(&self, x: &Matrix) -> Result<Vec<bool>, BackendError> {
        let row = |r: usize| &x.values()[r * x.cols()..(r + 1) * x.cols()];
        Ok((0..x.rows()).map(|r| row(r).iter().all(|value| value.is_finite())).collect())
    }

    fn scratch(&self, rows: usize, cols: usize) -> Result<Matrix, BackendError> {
        Ok(Matrix::zeros(rows, cols))
    }

    fn shape(&self, x: &Matrix) -> (usize, usize) {
        (x.rows(), x.cols())
    }

    fn download(&self, x: &Matrix) -> Result<Vec<f32>, BackendError> {
        Ok(x.values().to_vec())
    }

    fn embed(
        &self,
        batch: &ReferenceBatch,
        table: &Matrix,
        shift: Option<&Vec<f32>>,
        token_dropout: Option<TokenDropout>,
    ) -> Result<Matrix, BackendError> {
        let mut out = Matrix::zeros(batch.input_ids.len(), table.cols());
        for sequence in &batch.sequences {
            let is_mask = |id: u32| token_dropout.is_some_and(|d| d.mask_token_id == id);
            let masked = sequence.clone().filter(|&t| is_mask(batch.input_ids[t])).count();
            let share = masked as f64 / sequence.len() as f64;
            let scale = token_dropout
                .map_or(1.0, |d| (1.0 - f64::from(d.train_mask_ratio)) / (1.0 - share));
            for t in sequence.clone() {
                let id = batch.input_ids[t];
                if id as usize >= table.rows() {
                    return Err(BackendError::TokenOutOfRange {
                        id,
                        position: t,
                        rows: table.rows(),
                    });
                }
                for c in 0..table.cols() {
                    let scaled = if is_mask(id) { 0.0 } else { at(table, id as usize, c) * scale };
                    let shift = shift.map_or(0.0, |s| f64::from(s[c]));
                    out.values_mut()[t * table.cols() + c] = (scaled + shift) as f32;
                }
            }
        }
        Ok(out)
    }

    fn layer_norm(
        &self,
        x: &Matrix,
        gamma: &Vec<f32>,
        beta: &Vec<f32>,
        eps: f32,
        out: &mut Matrix,
    ) -> Result<(), BackendError> {
        let n = x.cols() as f64;
        for r in 0..x.rows() {
            let mean = (0..x.cols()).map(|c| at(x, r, c)).sum::<f64>() / n;
            let variance = (0..x.cols()).map(|c| (at(x, r, c) - mean).powi(2)).sum::<f64>() / n;
            for c in 0..x.cols() {
                let normal = (at(x, r, c) - mean) / (variance + f64::from(eps)).sqrt();
                out.values_mut()[r * x.cols() + c] =
                    (normal * f64::from(gamma[c]) + f64::from(beta[c])) as f32;
            }
        }
        Ok(())
    }

    fn layer_norm_in_place(
        &self,
        x: &mut Matrix,
        gamma: &Vec<f32>,
        beta: &Vec<f32>,
        eps: f32,
    ) -> Result<(), BackendError> {
        let before = x.clone();
        self.layer_norm(&before, gamma, beta, eps, x)
    }

    fn linear(
        &self,
        x: &Matrix,
        layer: &ReferenceLinear,
        epilogue: Epilogue,
        out: &mut Matrix,
    ) -> Result<(), BackendError> {
        BackendError::expect("linear", "columns of x", x.cols(), layer.weight.cols())?;
        BackendError::expect("linear", "columns of out", out.cols(), layer.weight.rows())?;
        for r in 0..x.rows() {
            for o in 0..layer.weight.rows() {
                let dot: f64 = (0..x.cols()).map(|k| at(x, r, k) * at(&layer.weight, o, k)).sum();
                let sum = dot + f64::from(layer.bias[o]);
                let result = match epilogue {
                    Epilogue::Store => sum,
                    Epilogue::Accumulate => at(out, r, o) + sum,
                    Epilogue::Gelu => gelu(sum),
                    Epilogue::Relu => sum.max(0.0),
                };
                let cols = out.cols();
                out.values_mut()[r * cols + o] = result as f32;
            }
        }
        Ok(())
    }

    fn rotary(
        &self,
        batch: &ReferenceBatch,
        spec: RotarySpec,
        qkv: &mut Matrix,
    ) -> Result<(), BackendError> {
        let RotarySpec { num_heads, head_dim, base } = spec;
        let cols = qkv.cols();
        BackendError::expect("rotary", "columns of qkv", cols, 3 * num_heads * head_dim)?;
        for t in 0..qkv.rows() {
            for head in 0..2 * num_heads {
                for i in 0..head_dim / 2 {
                    // The reference rounds frequency and angle to f32; at position 1,500 that moves
                    // an angle by up to 1e-4, so it is part of the function.
                    let power = f64::from(base).powf((2 * i) as f64 / head_dim as f64);
                    let angle = batch.position_ids[t] as f32 * (1.0 / power as f32);
                    let (sin, cos) = f64::from(angle).sin_cos();
                    let (low, high) = (head * head_dim + i, head * head_dim + i + head_dim / 2);
                    let (a, b) = (at(qkv, t, low), at(qkv, t, high));
                    qkv.values_mut()[t * cols + low] = (a * cos - b * sin) as f32;
                    qkv.values_mut()[t * cols + high] = (b * cos + a * sin) as f32;
                }
            }
        }
        Ok(())
    }

    fn attention(
        &self,
        batch: &ReferenceBatch,
        spec: AttentionSpec<'_>,
        qkv: &Matrix,
        out: &mut Matrix,
    ) -> Result<(), BackendError> {
        let (d, width) = (spec.head_dim, spec.num_heads * spec.head_dim);
        BackendError::expect("attention", "columns of qkv", qkv.cols(), 3 * width)?;
        for sequence in &batch.sequences {
            for (i, head) in sequence.clone().flat_map(|i| (0..spec.num_heads).map(move |h| (i, h)))
            {
                let (q, k, v) = (head * d, width + head * d, 2 * width + head * d);
                let slope = spec.alibi_slopes.map_or(0.0, |s| f64::from(s[head]));
                let score = |j: usize| -> f64 {
                    let dot: f64 = (0..d).map(|c| at(qkv, i, q + c) * at(qkv, j, k + c)).sum();
                    dot * f64::from(spec.softmax_scale) - slope * i.abs_diff(j) as f64
                };
                let max = sequence.clone().map(score).fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = sequence.clone().map(|j| (score(j) - max).exp()).collect();
                let total: f64 = weights.iter().sum();
                for c in 0..d {
                    let mixed: f64 =
                        sequence.clone().zip(&weights).map(|(j, w)| w * at(qkv, j, v + c)).sum();
                    out.values_mut()[i * width + head * d + c] = (mixed / total) as f32;
                }
            }
        }
        Ok(())
    }

    fn gated_gelu(&self, x: &Matrix, out: &mut Matrix) -> Result<(), BackendError> {
        let width = out.cols();
        BackendError::expect("gated_gelu", "columns of x", x.cols(), 2 * width)?;
        for r in 0..x.rows() {
            for c in 0..width {
                out.values_mut()[r * width + c] = (gelu(at(x, r, c)) * at(x, r, width + c)) as f32;
            }
        }
        Ok(())
    }

    fn pool(
        &self,
        batch: &ReferenceBatch,
        spec: PoolSpec,
        hidden_states: &Matrix,
    ) -> Result<Matrix, BackendError> {
        let cols = hidden_states.cols();
        let mut out = Matrix::zeros(batch.sequences.len(), cols);
        for (s, sequence) in batch.sequences.iter().enumerate() {
            let range = spec.token_range(sequence.len());
            let count = range.len();
            for c in 0..cols {
                let sum: f64 =
                    range.clone().map(|t| at(hidden_states, sequence.start + t, c)).sum();
                out.values_mut()[s * cols + c] =
                    if count == 0 { 0.0 } else { (sum / count as f64) as f32 };
            }
        }
        Ok(out)
    }
}
