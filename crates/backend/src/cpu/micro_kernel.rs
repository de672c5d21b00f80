//! The inner product of everything: six rows times a few vectors of columns, in registers.
//!
//! Each element is one chain of fused multiply-adds over k in ascending order, whatever the
//! number of rows and columns around it. Batch invariance rests on this; and wherever the processor
//! has fused multiply-adds, the width of its vectors does not matter either.

use pulp::Simd;

/// Rows of one product. With four vectors of columns they take 24 of 32 registers, with two 12
/// of 16, and leave room for the operands.
pub(super) const ROWS: usize = 6;

/// The [`ROWS`] rows that `row` gives, without a call between them and the registers.
#[inline(always)]
pub(super) fn six<'a>(row: impl Fn(usize) -> &'a [f32]) -> [&'a [f32]; ROWS] {
    [row(0), row(1), row(2), row(3), row(4), row(5)]
}

/// `c[r, v] = Σ_k a[r][k] · b[k, v]` for all [`ROWS`] rows and `vectors` vectors of columns.
///
/// # Shape
/// `a` rows of equal length k, at least 1; `b` `[k, b_stride]` and `c` `[ROWS, c_stride]` in vectors, of which
/// the first `vectors` columns are used.
///
/// # Panics
/// If an operand is too short.
#[inline(always)]
pub(super) fn product<S: Simd>(
    simd: S,
    a: &[&[f32]; ROWS],
    (b, b_stride): (&[S::f32s], usize),
    vectors: usize,
    (c, c_stride): (&mut [S::f32s], usize),
) {
    let mut v = 0;
    if S::REGISTER_COUNT >= 32 {
        while v + 4 <= vectors {
            block::<S, 4>(simd, a, &b[v..], b_stride, &mut c[v..], c_stride);
            v += 4;
        }
    }
    while v + 2 <= vectors {
        block::<S, 2>(simd, a, &b[v..], b_stride, &mut c[v..], c_stride);
        v += 2;
    }
    if v < vectors {
        block::<S, 1>(simd, a, &b[v..], b_stride, &mut c[v..], c_stride);
    }
}

#[inline(always)]
fn block<S: Simd, const VECTORS: usize>(
    simd: S,
    a: &[&[f32]; ROWS],
    b: &[S::f32s],
    b_stride: usize,
    c: &mut [S::f32s],
    c_stride: usize,
) {
    let k = a[0].len();
    let [a0, a1, a2, a3, a4, a5] = six(|r| &a[r][..k]);
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for i in 0..k {
        let b = &b[i * b_stride..][..VECTORS];
        let a = [a0[i], a1[i], a2[i], a3[i], a4[i], a5[i]];
        for r in 0..ROWS {
            let a = simd.splat_f32s(a[r]);
            for v in 0..VECTORS {
                sums[r][v] = simd.mul_add_e_f32s(a, b[v], sums[r][v]);
            }
        }
    }
    for r in 0..ROWS {
        c[r * c_stride..][..VECTORS].copy_from_slice(&sums[r]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::{Arch, Scalar, WithSimd};

    /// `[ROWS, k]` times `[k, 48]`.
    struct Product<'a> {
        k: usize,
        a: &'a [f32],
        b: &'a [f32],
    }

    const COLS: usize = 48;

    impl WithSimd for Product<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
            let mut out = vec![f32::NAN; ROWS * COLS];
            let stride = COLS / S::F32_LANES;
            let rows = six(|r| &self.a[r * self.k..(r + 1) * self.k]);
            let (b, _) = S::as_simd_f32s(self.b);
            let (c, _) = S::as_mut_simd_f32s(&mut out);
            product(simd, &rows, (b, stride), stride, (c, stride));
            out
        }
    }

    #[test]
    fn product_every_vector_width_sums_one_chain_in_order() {
        let value = |i: usize| ((i * 7919) % 2003) as f32 / 1001.0 - 1.0;
        for k in [1, 2, 31, 256] {
            let a: Vec<f32> = (0..ROWS * k).map(value).collect();
            let b: Vec<f32> = (0..k * COLS).map(|i| value(i + 5)).collect();
            let mut expected = vec![0f32; ROWS * COLS];
            for (at, sum) in expected.iter_mut().enumerate() {
                for i in 0..k {
                    *sum = a[at / COLS * k + i].mul_add(b[i * COLS + at % COLS], *sum);
                }
            }
            let product = || Product { k, a: &a, b: &b };
            assert_eq!(Arch::new().dispatch(product()), expected, "widest vectors, k = {k}");
            #[cfg(target_arch = "x86_64")]
            if let Some(avx2) = pulp::x86::V3::try_new() {
                assert_eq!(Simd::vectorize(avx2, product()), expected, "AVX2, k = {k}");
            }
            for (s, e) in product().with_simd(Scalar::new()).iter().zip(&expected) {
                assert!((s - e).abs() < 1e-5, "no vectors, k = {k}: {s} is not {e}");
            }
        }
    }
}
