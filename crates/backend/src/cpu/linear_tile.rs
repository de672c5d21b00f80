//! One tile of a linear layer: some rows times some panels of weights, and the epilogue.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::math::gelu;
use super::micro_kernel::{ROWS, product, six};
use super::panels::{PANEL_COLS, Panels};
use crate::Epilogue;

/// Terms summed in registers before they are added to the result: a block of a panel is then
/// 64 KiB and stays in the second-level cache while the rows of the tile pass over it. A constant,
/// so that the order of the sum depends on nothing.
const BLOCK_K: usize = 256;

/// A unit of work.
pub(super) struct Tile<'a> {
    /// Rows of the input, `[rows, in_features]`.
    pub(super) x: &'a [f32],
    pub(super) in_features: usize,
    pub(super) weights: &'a Panels,
    /// Bias of all panels, padded to whole ones.
    pub(super) bias: &'a [f32],
    pub(super) epilogue: Epilogue,
    /// The panels of this tile.
    pub(super) panels: Range<usize>,
    /// The same rows of the result, the columns of `panels` alone.
    pub(super) out: Vec<&'a mut [f32]>,
}

/// Sums of one group of rows and one panel, on a cache line.
#[repr(align(64))]
struct Sums([f32; ROWS * PANEL_COLS]);

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, in_features, weights, bias, epilogue, panels, mut out } = self;
        let stride = PANEL_COLS / S::F32_LANES;
        let mut sums = Sums([0.0; ROWS * PANEL_COLS]);
        for start in (0..in_features).step_by(BLOCK_K) {
            let end = in_features.min(start + BLOCK_K);
            let stage = Stage { epilogue, first: start == 0, last: end == in_features };
            for (i, panel) in panels.clone().enumerate() {
                let (block, _) = S::as_simd_f32s(weights.rows(panel, start, end));
                let (bias, _) = S::as_simd_f32s(&bias[panel * PANEL_COLS..][..PANEL_COLS]);
                for (group, out) in out.chunks_mut(ROWS).enumerate() {
                    let cols = PANEL_COLS.min(out[0].len() - i * PANEL_COLS);
                    // A last group of fewer rows repeats its last one and drops the copies.
                    let rows = six(|r| {
                        let row = group * ROWS + r.min(out.len() - 1);
                        &x[row * in_features + start..row * in_features + end]
                    });
                    let (sums, _) = S::as_mut_simd_f32s(&mut sums.0);
                    let vectors = cols.div_ceil(S::F32_LANES);
                    product(simd, &rows, (block, stride), vectors, (&mut *sums, stride));
                    for (sums, out) in sums.chunks_exact(stride).zip(out) {
                        let out = &mut out[i * PANEL_COLS..i * PANEL_COLS + cols];
                        stage.finish(simd, sums, bias, out);
                    }
                }
            }
        }
    }
}

/// What happens to the sums of one block of terms.
#[derive(Clone, Copy)]
struct Stage {
    epilogue: Epilogue,
    first: bool,
    last: bool,
}

impl Stage {
    /// Stores one row of sums.
    #[inline(always)]
    fn finish<S: Simd>(self, simd: S, sums: &[S::f32s], bias: &[S::f32s], out: &mut [f32]) {
        let (out, tail) = S::as_mut_simd_f32s(out);
        for ((out, &sum), &bias) in out.iter_mut().zip(sums).zip(bias) {
            *out = self.value(simd, sum, bias, *out);
        }
        if !tail.is_empty() {
            let (sum, bias) = (sums[out.len()], bias[out.len()]);
            let value = self.value(simd, sum, bias, simd.partial_load_f32s(tail));
            simd.partial_store_f32s(tail, value);
        }
    }

    #[inline(always)]
    fn value<S: Simd>(self, simd: S, sum: S::f32s, bias: S::f32s, out: S::f32s) -> S::f32s {
        let sum = if self.first { simd.add_f32s(sum, bias) } else { sum };
        let keeps_former = !self.first || self.epilogue == Epilogue::Accumulate;
        let sum = if keeps_former { simd.add_f32s(out, sum) } else { sum };
        match self.epilogue {
            Epilogue::Gelu if self.last => gelu(simd, sum),
            Epilogue::Relu if self.last => {
                let zero = simd.splat_f32s(0.0);
                simd.select_f32s(simd.less_than_f32s(sum, zero), zero, sum)
            }
            _ => sum,
        }
    }
}
