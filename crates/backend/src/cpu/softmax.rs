//! Softmax of one row of attention scores.

use pulp::Simd;

use super::math::exp;

/// `0, 1, 2, ...`, one for each value of the widest vector.
const COUNT: [f32; 16] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];

/// Scales the scores of `query`, biases them by `-slope` times the distance of their keys, and
/// replaces them by `exp(score - largest score)`; the reciprocal of their sum is returned.
///
/// # Shape
/// `row` holds `seqlen` scores, padded to whole vectors; the padding becomes zeros.
#[inline(always)]
pub(super) fn softmax_row<S: Simd>(
    simd: S,
    row: &mut [f32],
    seqlen: usize,
    scale: f32,
    slope: f32,
    query: usize,
) -> f32 {
    row[seqlen..].fill(f32::NEG_INFINITY);
    let (row, _) = S::as_mut_simd_f32s(row);
    let (count, _) = S::as_simd_f32s(&COUNT);
    let scale = simd.splat_f32s(scale);
    let slope = simd.splat_f32s(-slope);
    let mut max = simd.splat_f32s(f32::NEG_INFINITY);
    for (block, v) in row.iter_mut().enumerate() {
        let offset = (block * S::F32_LANES) as f32 - query as f32;
        let distance = simd.abs_f32s(simd.add_f32s(count[0], simd.splat_f32s(offset)));
        *v = simd.mul_add_e_f32s(slope, distance, simd.mul_f32s(*v, scale));
        max = simd.max_f32s(max, *v);
    }
    let max = simd.splat_f32s(simd.reduce_max_f32s(max));
    let mut sum = simd.splat_f32s(0.0);
    for v in row.iter_mut() {
        *v = exp(simd, simd.sub_f32s(*v, max));
        sum = simd.add_f32s(sum, *v);
    }
    1.0 / simd.reduce_sum_f32s(sum)
}
