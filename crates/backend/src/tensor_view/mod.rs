//! A borrowed, device-free view of one tensor as it lies in a checkpoint.

mod widen;

use std::fmt;

/// Element type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    BF16,
    /// IEEE 754 binary64.
    F64,
    /// Signed 64-bit integer (counters such as `num_batches_tracked`).
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned byte.
    U8,
    /// One byte per truth value.
    Bool,
}

impl DType {
    /// Size of one element in bytes.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::U8 | Self::Bool => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::F64 => "F64",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        })
    }
}

/// A contiguous, row-major, little-endian tensor borrowed from a file or another owner.
///
/// # Shape
/// `shape` in elements; `data.len() == product(shape) * dtype.size_bytes()`, checked by
/// [`TensorView::new`]. The bytes need not be aligned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorView<'a> {
    dtype: DType,
    shape: Vec<usize>,
    data: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// Wraps `data`, or returns `None` when its length does not match `shape` and `dtype`.
    pub fn new(dtype: DType, shape: Vec<usize>, data: &'a [u8]) -> Option<Self> {
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        (elements.checked_mul(dtype.size_bytes())? == data.len()).then_some(Self {
            dtype,
            shape,
            data,
        })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extent of each dimension, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The little-endian bytes.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensor_view_wrong_length_is_refused() {
        let bytes = [0u8; 24];
        assert!(TensorView::new(DType::F32, vec![2, 3], &bytes).is_some());
        assert!(TensorView::new(DType::F32, vec![2, 4], &bytes).is_none());
        assert!(TensorView::new(DType::F16, vec![2, 3], &bytes).is_none());
        assert!(TensorView::new(DType::F32, vec![usize::MAX, 2], &bytes).is_none());
    }
}
