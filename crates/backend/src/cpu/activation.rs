//! Element-wise activations.

use pulp::Arch;
use rayon::prelude::*;

use super::math::gelu;
use super::matrix::Matrix;
use crate::BackendError;

/// Exact GELU of every element, in place.
pub(super) fn gelu_slice(values: &mut [f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for v in values.iter_mut() {
                *v = gelu(*v);
            }
        },
    );
}

/// `max(0, x)` of every element, in place; NaN stays NaN.
pub(super) fn relu_slice(values: &mut [f32]) {
    for v in values {
        *v = if *v < 0.0 { 0.0 } else { *v };
    }
}

/// GELU of the first half of each row times its second half.
pub(super) fn gated_gelu(x: &Matrix, out: &mut Matrix) -> Result<(), BackendError> {
    let width = out.cols();
    BackendError::expect("gated_gelu", "columns of x", x.cols(), 2 * width)?;
    BackendError::expect("gated_gelu", "rows of out", out.rows(), x.rows())?;
    if width == 0 {
        return Ok(());
    }
    out.values_mut().par_chunks_mut(width).zip(x.values().par_chunks(2 * width)).for_each(
        |(out, row)| {
            let (gate, value) = row.split_at(width);
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for ((o, &g), &v) in out.iter_mut().zip(gate).zip(value) {
                        *o = gelu(g) * v;
                    }
                },
            );
        },
    );
    Ok(())
}
