//! One tensor as it lies in a file: bytes plus layout, checked once on construction.
//!
//! Owns the rules that keep a layout inside its storage; must not know where the numbers of the
//! layout came from. The entry type is [`StoredTensor`].

use std::fmt;
use std::sync::OnceLock;

use virnucpro_backend::{DType, TensorView};

use crate::bytes::Bytes;

/// Most dimensions of a tensor; models of this project have at most four.
pub(crate) const MAX_RANK: usize = 16;

/// A tensor inside a checkpoint; contiguous ones are borrowed from the file, others are gathered
/// the first time they are looked at.
///
/// # Shape
/// Any; row-major when viewed. Little-endian elements.
pub struct StoredTensor {
    dtype: DType,
    shape: Vec<usize>,
    layout: Layout,
}

enum Layout {
    /// Exactly the bytes of the tensor, in row-major order.
    Contiguous(Bytes),
    /// `strides` in elements, `storage` starts at the first element.
    Strided { storage: Bytes, strides: Vec<usize>, gathered: OnceLock<Vec<u8>> },
}

impl StoredTensor {
    /// A row-major tensor that fills `bytes`, or why it does not.
    pub(crate) fn contiguous(
        dtype: DType,
        shape: Vec<usize>,
        bytes: Bytes,
    ) -> Result<Self, String> {
        let size_bytes = size_bytes(dtype, &shape)?;
        if size_bytes != bytes.len() {
            return Err(format!(
                "shape {shape:?} of {dtype} needs {size_bytes} bytes, the file gives {}",
                bytes.len()
            ));
        }
        Ok(Self { dtype, shape, layout: Layout::Contiguous(bytes) })
    }

    /// A tensor laid over `storage` from element `offset` with `strides` in elements, or why it
    /// does not fit.
    ///
    /// Layouts in which two indices share an element are refused: what is gathered is then never
    /// larger than the storage, whatever shape a file declares.
    pub(crate) fn strided(
        dtype: DType,
        shape: Vec<usize>,
        strides: Vec<usize>,
        offset: usize,
        storage: &Bytes,
    ) -> Result<Self, String> {
        if shape.len() != strides.len() {
            return Err(format!("shape {shape:?} and strides {strides:?} differ in length"));
        }
        let wanted_bytes = size_bytes(dtype, &shape)?;
        let storage_elements = storage.len() / dtype.size_bytes();
        let outside = || {
            format!(
                "shape {shape:?} with strides {strides:?} from element {offset} leaves its \
                 storage of {storage_elements} elements"
            )
        };
        let end = if wanted_bytes == 0 { Some(offset) } else { end(&shape, &strides, offset) };
        let end = end.filter(|&end| end <= storage_elements).ok_or_else(outside)?;
        if wanted_bytes != 0 && overlaps(&shape, &strides) {
            return Err(format!(
                "shape {shape:?} with strides {strides:?} uses an element more than once"
            ));
        }
        let width = dtype.size_bytes();
        let storage = storage.slice(offset * width..end * width).ok_or_else(outside)?;
        let layout = if wanted_bytes == 0 || is_row_major(&shape, &strides) {
            Layout::Contiguous(storage)
        } else {
            Layout::Strided { storage, strides, gathered: OnceLock::new() }
        };
        Ok(Self { dtype, shape, layout })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extent of each dimension, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Size of the elements in bytes.
    pub fn size_bytes(&self) -> usize {
        self.num_elements() * self.dtype.size_bytes()
    }

    /// Whether looking at the tensor costs nothing, or a copy the first time.
    pub fn is_contiguous(&self) -> bool {
        matches!(self.layout, Layout::Contiguous(_))
    }

    /// The elements in row-major order.
    pub fn view(&self) -> TensorView<'_> {
        let data = match &self.layout {
            Layout::Contiguous(bytes) => bytes,
            Layout::Strided { storage, strides, gathered } => gathered
                .get_or_init(|| gather(storage, &self.shape, strides, self.dtype.size_bytes()))
                .as_slice(),
        };
        TensorView::new(self.dtype, self.shape.clone(), data)
            .expect("the constructors checked the length against shape and dtype")
    }
}

impl fmt::Debug for StoredTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredTensor({} {:?})", self.dtype, self.shape)
    }
}

/// Bytes of a tensor, with every multiplication checked.
fn size_bytes(dtype: DType, shape: &[usize]) -> Result<usize, String> {
    if shape.len() > MAX_RANK {
        return Err(format!("{} dimensions, at most {MAX_RANK} are read", shape.len()));
    }
    shape
        .iter()
        .try_fold(1usize, |n, &extent| n.checked_mul(extent))
        .and_then(|elements| elements.checked_mul(dtype.size_bytes()))
        .ok_or_else(|| format!("shape {shape:?} of {dtype} has more bytes than can be counted"))
}

/// One past the last element a non-empty layout touches.
fn end(shape: &[usize], strides: &[usize], offset: usize) -> Option<usize> {
    let mut last = offset;
    for (&extent, &stride) in shape.iter().zip(strides) {
        last = last.checked_add((extent - 1).checked_mul(stride)?)?;
    }
    last.checked_add(1)
}

/// Whether two indices may name one element: sorted by stride, each step must clear everything
/// the smaller ones can reach. Only called when the layout is known to end inside memory.
fn overlaps(shape: &[usize], strides: &[usize]) -> bool {
    let mut steps: Vec<(usize, usize)> = strides
        .iter()
        .copied()
        .zip(shape.iter().copied())
        .filter(|&(_, extent)| extent > 1)
        .collect();
    steps.sort_unstable();
    let mut reach = 0;
    for (stride, extent) in steps {
        if stride <= reach {
            return true;
        }
        reach += stride * (extent - 1);
    }
    false
}

fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    for (&extent, &stride) in shape.iter().zip(strides).rev() {
        if extent != 1 && stride != expected {
            return false;
        }
        expected *= extent;
    }
    true
}

/// Copies the elements into row-major order.
fn gather(storage: &[u8], shape: &[usize], strides: &[usize], width: usize) -> Vec<u8> {
    let elements: usize = shape.iter().product();
    let mut out = Vec::with_capacity(elements * width);
    let mut index = vec![0usize; shape.len()];
    let mut element = 0;
    for _ in 0..elements {
        out.extend_from_slice(&storage[element * width..(element + 1) * width]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            element += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            element -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage() -> Bytes {
        Bytes::from((0u8..24).collect::<Vec<_>>())
    }

    #[test]
    fn strided_transposed_is_gathered_row_major() {
        let t = StoredTensor::strided(DType::U8, vec![4, 2], vec![1, 4], 3, &storage()).unwrap();
        assert!(!t.is_contiguous());
        assert_eq!(t.view().data(), [3, 7, 4, 8, 5, 9, 6, 10]);
    }

    #[test]
    fn strided_row_major_borrows_the_storage() {
        let storage = storage();
        let t = StoredTensor::strided(DType::I32, vec![2, 1, 2], vec![2, 99, 1], 1, &storage);
        let t = t.unwrap();
        assert!(t.is_contiguous());
        assert_eq!(t.view().data().as_ptr(), storage[4..].as_ptr());
    }

    #[test]
    fn strided_outside_storage_is_refused() {
        for (shape, strides, offset) in [
            (vec![25], vec![1], 0),
            (vec![24], vec![1], 1),
            (vec![2], vec![24], 0),
            (vec![2, 2], vec![usize::MAX, 1], 0),
            (vec![], vec![], 24),
            (vec![0], vec![1], 25),
            (vec![1], vec![1], usize::MAX),
        ] {
            let found = StoredTensor::strided(DType::U8, shape, strides, offset, &storage());
            assert!(found.unwrap_err().contains("leaves its storage"));
        }
    }

    #[test]
    fn strided_overlapping_is_refused() {
        for (shape, strides) in
            [(vec![1000], vec![0]), (vec![3, 3], vec![1, 1]), (vec![2, 3], vec![2, 1])]
        {
            let found = StoredTensor::strided(DType::U8, shape, strides, 0, &storage());
            assert!(found.unwrap_err().contains("more than once"));
        }
    }

    #[test]
    fn size_overflow_is_refused() {
        let found = StoredTensor::contiguous(DType::F64, vec![1 << 62, 8], storage());
        assert!(found.unwrap_err().contains("more bytes than"));
        let found = StoredTensor::contiguous(DType::U8, vec![1; 17], storage());
        assert!(found.unwrap_err().contains("17 dimensions"));
    }

    #[test]
    fn empty_tensor_with_huge_extents_is_empty() {
        let shape = vec![usize::MAX, 0, usize::MAX];
        let t = StoredTensor::strided(DType::U8, shape, vec![7, 7, 7], 24, &storage()).unwrap();
        assert_eq!(t.size_bytes(), 0);
        assert!(t.view().data().is_empty());
        let shape = vec![usize::MAX, usize::MAX, 0];
        let found = StoredTensor::strided(DType::U8, shape, vec![7, 7, 7], 0, &storage());
        assert!(found.unwrap_err().contains("more bytes than"));
    }
}
