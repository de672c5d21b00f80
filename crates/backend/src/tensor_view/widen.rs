//! Widening stored elements to f32.
//!
//! Loading a model of billions of parameters is little else than this, so it runs at about the
//! speed of memory.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use rayon::prelude::*;

use super::{DType, TensorView};
use crate::BackendError;

/// Elements converted as one unit of work; large enough to hide scheduling.
const BLOCK_ELEMENTS: usize = 1 << 16;

/// Elements copied at a time where the conversion needs them aligned; 8 KiB stay in the first
/// cache.
const ALIGNED_ELEMENTS: usize = 4096;

impl TensorView<'_> {
    /// The elements as f32, converted in parallel on the current rayon pool.
    ///
    /// f16 and bf16 widen exactly; f64 is rounded to nearest.
    ///
    /// # Errors
    /// [`BackendError::WeightDType`] for integer and boolean elements.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>, BackendError> {
        let convert: fn(&[u8], &mut [f32]) = match self.dtype() {
            DType::F32 => |b, out| widen(b, out, f32::from_le_bytes),
            DType::F16 => widen_f16,
            // A bfloat16 is the upper half of an f32.
            DType::BF16 => {
                |b, out| widen(b, out, |v| f32::from_bits(u32::from(u16::from_le_bytes(v)) << 16))
            }
            DType::F64 => |b, out| widen(b, out, |v| f64::from_le_bytes(v) as f32),
            dtype => return Err(BackendError::WeightDType { dtype }),
        };
        let mut out = vec![0f32; self.shape().iter().product()];
        out.par_chunks_mut(BLOCK_ELEMENTS)
            .zip(self.data().par_chunks(BLOCK_ELEMENTS * self.dtype().size_bytes()))
            .for_each(|(out, bytes)| convert(bytes, out));
        Ok(out)
    }
}

fn widen<const N: usize>(bytes: &[u8], out: &mut [f32], to_f32: impl Fn([u8; N]) -> f32) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (out, &element) in out.iter_mut().zip(elements) {
        *out = to_f32(element);
    }
}

/// Whole slices at a time, so that `half` uses the processor's own conversion and looks for it
/// once a slice, not once an element.
fn widen_f16(bytes: &[u8], out: &mut [f32]) {
    let mut aligned = [0u16; ALIGNED_ELEMENTS];
    let (elements, _) = bytes.as_chunks::<2>();
    for (elements, out) in elements.chunks(ALIGNED_ELEMENTS).zip(out.chunks_mut(ALIGNED_ELEMENTS)) {
        let aligned = &mut aligned[..elements.len()];
        for (bits, &element) in aligned.iter_mut().zip(elements) {
            *bits = u16::from_le_bytes(element);
        }
        aligned.reinterpret_cast::<f16>().convert_to_f32_slice(out);
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// Every 16-bit pattern, one byte off alignment, against the scalar conversion.
    fn check_every_pattern(dtype: DType, scalar: impl Fn(u16) -> f32) {
        let mut bytes = vec![0u8];
        bytes.extend((0..=u16::MAX).flat_map(u16::to_le_bytes));
        let view = TensorView::new(dtype, vec![256, 256], &bytes[1..]).expect("lengths fit");
        let wide = view.to_f32_vec().expect("a float type");
        assert_eq!(wide.len(), 1 << 16);
        for (bits, found) in (0..=u16::MAX).zip(wide) {
            let expected = scalar(bits);
            assert!(
                found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
                "{dtype} {bits:#06x}: {found} instead of {expected}"
            );
        }
    }

    #[test]
    fn to_f32_vec_f16_every_pattern_is_exact() {
        check_every_pattern(DType::F16, |bits| f16::from_bits(bits).to_f32_const());
    }

    #[test]
    fn to_f32_vec_bf16_every_pattern_is_exact() {
        check_every_pattern(DType::BF16, |bits| bf16::from_bits(bits).to_f32_const());
    }

    #[test]
    fn to_f32_vec_unaligned_f32_and_f64_keep_their_values() {
        // More than one block, and a last one that is not full.
        let count = BLOCK_ELEMENTS + 3;
        let special = [0.1f32, -0.0, f32::MIN_POSITIVE, 3e38, f32::INFINITY];
        let values: Vec<f32> = (0..count).map(|i| special[i % 5] + (i % 7) as f32).collect();
        let mut bytes = vec![7u8];
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let view = TensorView::new(DType::F32, vec![count], &bytes[1..]).expect("lengths fit");
        assert_eq!(view.to_f32_vec().expect("a float type"), values);
        let mut bytes = vec![7u8];
        bytes.extend(values.iter().flat_map(|&v| f64::from(v).to_le_bytes()));
        let view = TensorView::new(DType::F64, vec![count], &bytes[1..]).expect("lengths fit");
        assert_eq!(view.to_f32_vec().expect("a float type"), values);
    }

    #[test]
    fn to_f32_vec_integers_are_refused() {
        for dtype in [DType::I64, DType::I32, DType::U8, DType::Bool] {
            let bytes = vec![0; dtype.size_bytes()];
            let view = TensorView::new(dtype, vec![1], &bytes).expect("lengths fit");
            let error = view.to_f32_vec().expect_err("not a float type");
            assert!(matches!(error, BackendError::WeightDType { dtype: found } if found == dtype));
        }
    }
}
