//! Single-threaded f32 matrix product on strided slices, safe to call.

/// A strided view: element `(i, j)` lies at `i·row_stride + j·col_stride`.
#[derive(Clone, Copy)]
pub(super) struct Strided<'a> {
    pub(super) values: &'a [f32],
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl Strided<'_> {
    fn covers(&self, rows: usize, cols: usize) -> bool {
        rows == 0
            || cols == 0
            || (rows - 1) * self.row_stride + (cols - 1) * self.col_stride < self.values.len()
    }
}

/// What becomes of the destination's former content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    Overwrite,
    Accumulate,
}

/// `dst (+)= lhs[m, k] · rhs[k, n]`, destination row-major with `dst_stride` values between rows.
///
/// For `m ≥ 2` and `n ≥ 2` each element is the sum over k in one fixed order, whatever `m` and
/// `n` are and wherever its row lies (the blocking of the `gemm` crate over k depends on k
/// alone), which makes linear layers batch-invariant; products with a single row or column take
/// another path. `linear.rs` tests this property.
///
/// # Panics
/// If an operand is too short for its extents.
pub(super) fn gemm(
    (m, n, k): (usize, usize, usize),
    dst: &mut [f32],
    dst_stride: usize,
    destination: Destination,
    lhs: Strided<'_>,
    rhs: Strided<'_>,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(dst_stride >= n, "gemm: destination rows overlap");
    assert!((m - 1) * dst_stride + n <= dst.len(), "gemm: destination too short");
    assert!(lhs.covers(m, k), "gemm: left operand too short");
    assert!(rhs.covers(k, n), "gemm: right operand too short");
    // SAFETY: the assertions above keep every element that the product reads or writes inside
    // its slice (largest offset of each operand < its length). `dst` is exclusively borrowed, so
    // it does not alias the operands, and its rows do not overlap. f32 is a type `gemm` accepts.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            dst_stride as isize,
            destination == Destination::Accumulate,
            lhs.values.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.values.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
