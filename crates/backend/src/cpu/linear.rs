//! Linear layers with their epilogues.

use rayon::prelude::*;

use super::activation::{gelu_slice, relu_slice};
use super::gemm::{Destination, Strided, gemm};
use super::matrix::Matrix;
use crate::{BackendError, Epilogue, TensorView};

/// Rows computed as one unit of work: enough to reuse the packed weights, few enough that the
/// result is still in cache for the epilogue. 64 reached 0.9 of the rate of 512 rows on every
/// ESM-2 shape tried (AMD EPYC with AVX-512).
const TILE_ROWS: usize = 64;

/// A linear layer on the host: weights f32 `[in_features, out_features]`, that is, transposed,
/// which the matrix product reads without repacking; bias f32 `[out_features]`, zeros if absent.
#[derive(Clone, Debug)]
pub struct CpuLinear {
    in_features: usize,
    out_features: usize,
    transposed: Vec<f32>,
    bias: Vec<f32>,
}

impl CpuLinear {
    /// Stacks `[out_i, in_features]` weights along the output.
    pub(super) fn stack(
        weights: &[TensorView<'_>],
        biases: &[TensorView<'_>],
    ) -> Result<Self, BackendError> {
        const OP: &str = "linear_weights";
        let first = weights.first().map_or(&[][..], |w| w.shape());
        BackendError::expect(OP, "number of weight dimensions", first.len(), 2)?;
        let in_features = first[1];
        if !biases.is_empty() {
            BackendError::expect(OP, "number of biases", biases.len(), weights.len())?;
        }
        let mut out_features = 0;
        for (i, weight) in weights.iter().enumerate() {
            BackendError::expect(OP, "number of weight dimensions", weight.shape().len(), 2)?;
            BackendError::expect(OP, "in_features", weight.shape()[1], in_features)?;
            if let Some(bias) = biases.get(i) {
                let expected = weight.shape()[0];
                BackendError::expect(OP, "bias length", bias.shape().iter().product(), expected)?;
            }
            out_features += weight.shape()[0];
        }
        let mut transposed = vec![0f32; in_features * out_features];
        let mut bias = Vec::with_capacity(out_features);
        let mut column = 0;
        for (i, weight) in weights.iter().enumerate() {
            let rows = weight.shape()[0];
            let values = weight.to_f32_vec()?;
            transposed.par_chunks_mut(out_features.max(1)).enumerate().for_each(|(k, out)| {
                for (row, out) in out[column..column + rows].iter_mut().enumerate() {
                    *out = values[row * in_features + k];
                }
            });
            match biases.get(i) {
                Some(b) => bias.extend(b.to_f32_vec()?),
                None => bias.resize(bias.len() + rows, 0.0),
            }
            column += rows;
        }
        Ok(Self { in_features, out_features, transposed, bias })
    }

    /// `[rows, in_features] → [rows, out_features]` with the epilogue.
    pub(super) fn forward(
        &self,
        x: &Matrix,
        epilogue: Epilogue,
        out: &mut Matrix,
    ) -> Result<(), BackendError> {
        BackendError::expect("linear", "columns of x", x.cols(), self.in_features)?;
        BackendError::expect("linear", "columns of out", out.cols(), self.out_features)?;
        BackendError::expect("linear", "rows of out", out.rows(), x.rows())?;
        if self.out_features == 0 || self.in_features == 0 {
            return Ok(());
        }
        out.values_mut()
            .par_chunks_mut(TILE_ROWS * self.out_features)
            .zip(x.values().par_chunks(TILE_ROWS * self.in_features))
            .for_each(|(out, x)| self.tile(x, epilogue, out));
        Ok(())
    }

    fn tile(&self, x: &[f32], epilogue: Epilogue, out: &mut [f32]) {
        for row in out.chunks_exact_mut(self.out_features) {
            if epilogue == Epilogue::Accumulate {
                row.iter_mut().zip(&self.bias).for_each(|(o, b)| *o += b);
            } else {
                row.copy_from_slice(&self.bias);
            }
        }
        if out.len() == self.out_features {
            self.single_row(x, out);
        } else {
            self.product(x, out);
        }
        match epilogue {
            Epilogue::Store | Epilogue::Accumulate => {}
            Epilogue::Gelu => gelu_slice(out),
            Epilogue::Relu => relu_slice(out),
        }
    }

    fn product(&self, x: &[f32], out: &mut [f32]) {
        let rows = out.len() / self.out_features;
        gemm(
            (rows, self.out_features, self.in_features),
            out,
            self.out_features,
            Destination::Accumulate,
            Strided { values: x, row_stride: self.in_features, col_stride: 1 },
            Strided { values: &self.transposed, row_stride: self.out_features, col_stride: 1 },
        );
    }

    /// One row alone goes through the path of many rows (as two equal ones), because the
    /// matrix-vector path sums in another order and would make the result depend on company.
    fn single_row(&self, x: &[f32], out: &mut [f32]) {
        let twice = [x, x].concat();
        let mut pair = [&*out, &*out].concat();
        self.product(&twice, &mut pair);
        out.copy_from_slice(&pair[..out.len()]);
    }
}
