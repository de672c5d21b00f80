//! Element-wise activations.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::math::gelu;
use super::matrix::Matrix;
use super::rows_per_task;
use crate::BackendError;

/// GELU of the first half of each row times its second half.
pub(super) fn gated_gelu(x: &Matrix, out: &mut Matrix) -> Result<(), BackendError> {
    let width = out.cols();
    BackendError::expect("gated_gelu", "columns of x", x.cols(), 2 * width)?;
    BackendError::expect("gated_gelu", "rows of out", out.rows(), x.rows())?;
    if width == 0 {
        return Ok(());
    }
    let rows = rows_per_task(2 * width);
    out.values_mut()
        .par_chunks_mut(rows * width)
        .zip(x.values().par_chunks(rows * 2 * width))
        .for_each(|(out, x)| Arch::new().dispatch(GatedGelu { x, out, width }));
    Ok(())
}

/// Some rows of [`gated_gelu`].
struct GatedGelu<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
    width: usize,
}

impl WithSimd for GatedGelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, out, width } = self;
        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(2 * width)) {
            let (gate, value) = x.split_at(width);
            let (gate, gate_tail) = S::as_simd_f32s(gate);
            let (value, value_tail) = S::as_simd_f32s(value);
            let (out, out_tail) = S::as_mut_simd_f32s(out);
            for ((out, &gate), &value) in out.iter_mut().zip(gate).zip(value) {
                *out = simd.mul_f32s(gelu(simd, gate), value);
            }
            if !out_tail.is_empty() {
                let gate = simd.partial_load_f32s(gate_tail);
                let value = simd.partial_load_f32s(value_tail);
                simd.partial_store_f32s(out_tail, simd.mul_f32s(gelu(simd, gate), value));
            }
        }
    }
}
