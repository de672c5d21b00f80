//! Stored floating-point elements to `f32`.
//!
//! Owns the conversion from unaligned little-endian bytes; it runs at about the speed of memory,
//! because loading a model of billions of parameters is nothing but this. The entry type is
//! [`to_f32_vec`].

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use virnucpro_backend::{DType, TensorView};

use crate::error::{Result, WeightsError};

/// Elements converted at a time where a copy is needed for alignment; 8 KiB stay in the first
/// cache.
const CHUNK_ELEMENTS: usize = 4096;

/// The elements of `view` as `f32`; exact for F32, F16 and BF16, rounded to nearest for F64.
///
/// # Errors
/// [`WeightsError::NotFloat`] for integers and truth values.
pub fn to_f32_vec(view: &TensorView<'_>) -> Result<Vec<f32>> {
    check(view.dtype())?;
    let mut out = vec![0f32; view.data().len() / view.dtype().size_bytes()];
    widen_into(view, &mut out)?;
    Ok(out)
}

/// Like [`to_f32_vec`], into memory the caller has.
///
/// # Errors
/// [`WeightsError::NotFloat`] for integers and truth values.
///
/// # Panics
/// If `out` does not have as many elements as `view`.
pub fn widen_into(view: &TensorView<'_>, out: &mut [f32]) -> Result<()> {
    check(view.dtype())?;
    let data = view.data();
    assert_eq!(out.len(), data.len() / view.dtype().size_bytes(), "one output per element");
    match view.dtype() {
        DType::F32 => each(data, out, f32::from_le_bytes),
        DType::F64 => each(data, out, |bytes| f64::from_le_bytes(bytes) as f32),
        DType::BF16 => {
            each(data, out, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
        }
        DType::F16 => widen_f16(data, out),
        found => return Err(WeightsError::NotFloat { found }),
    }
    Ok(())
}

fn check(found: DType) -> Result<()> {
    match found {
        DType::F32 | DType::F64 | DType::BF16 | DType::F16 => Ok(()),
        found => Err(WeightsError::NotFloat { found }),
    }
}

fn each<const N: usize>(data: &[u8], out: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
    let (elements, _) = data.as_chunks::<N>();
    for (out, &bytes) in out.iter_mut().zip(elements) {
        *out = convert(bytes);
    }
}

/// Through aligned chunks, so that `half` can use the processor's own conversion.
fn widen_f16(data: &[u8], out: &mut [f32]) {
    let mut bits = [0u16; CHUNK_ELEMENTS];
    let (elements, _) = data.as_chunks::<2>();
    for (elements, out) in elements.chunks(CHUNK_ELEMENTS).zip(out.chunks_mut(CHUNK_ELEMENTS)) {
        let bits = &mut bits[..elements.len()];
        for (bits, &bytes) in bits.iter_mut().zip(elements) {
            *bits = u16::from_le_bytes(bytes);
        }
        bits.reinterpret_cast::<f16>().convert_to_f32_slice(out);
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// Every 16-bit pattern, one byte off alignment, against the scalar conversion.
    fn all_patterns(dtype: DType, scalar: impl Fn(u16) -> f32) {
        let mut bytes = vec![0u8];
        bytes.extend((0..=u16::MAX).flat_map(u16::to_le_bytes));
        let view = TensorView::new(dtype, vec![256, 256], &bytes[1..]).unwrap();
        let wide = to_f32_vec(&view).unwrap();
        for (bits, found) in (0..=u16::MAX).zip(wide) {
            let expected = scalar(bits);
            assert!(
                found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
                "{dtype} {bits:#06x}: {found} instead of {expected}"
            );
        }
    }

    #[test]
    fn widen_f16_every_pattern_is_exact() {
        all_patterns(DType::F16, |bits| f16::from_bits(bits).to_f32_const());
    }

    #[test]
    fn widen_bf16_every_pattern_is_exact() {
        all_patterns(DType::BF16, |bits| bf16::from_bits(bits).to_f32_const());
    }

    #[test]
    fn widen_unaligned_f32_and_f64_keep_their_values() {
        let values = [0.1f32, -0.0, f32::MIN_POSITIVE, 3e38, f32::INFINITY];
        let mut bytes = vec![7u8];
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let view = TensorView::new(DType::F32, vec![5], &bytes[1..]).unwrap();
        assert_eq!(to_f32_vec(&view).unwrap(), values);
        let mut bytes = vec![7u8];
        bytes.extend(values.iter().flat_map(|&v| f64::from(v).to_le_bytes()));
        let view = TensorView::new(DType::F64, vec![5], &bytes[1..]).unwrap();
        assert_eq!(to_f32_vec(&view).unwrap(), values);
    }

    #[test]
    fn widen_integers_is_refused() {
        for dtype in [DType::I64, DType::I32, DType::U8, DType::Bool] {
            let bytes = vec![0; dtype.size_bytes()];
            let view = TensorView::new(dtype, vec![1], &bytes).unwrap();
            assert!(
                matches!(to_f32_vec(&view), Err(WeightsError::NotFloat { found }) if found == dtype)
            );
        }
    }
}
