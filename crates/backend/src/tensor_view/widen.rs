//! Widening stored elements to f32.

use half::{bf16, f16};
use rayon::prelude::*;

use super::{DType, TensorView};
use crate::BackendError;

/// Elements converted as one unit of work; large enough to hide scheduling.
const BLOCK_ELEMENTS: usize = 1 << 16;

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
            DType::F16 => |b, out| widen(b, out, |v| f16::from_le_bytes(v).to_f32()),
            DType::BF16 => |b, out| widen(b, out, |v| bf16::from_le_bytes(v).to_f32()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_f32_vec_every_float_type_keeps_its_values() {
        let values = [0.0f32, -1.5, 65504.0, 0.078_125];
        let as_bytes = |dtype: DType| -> Vec<u8> {
            let one = |v: f32| match dtype {
                DType::F16 => f16::from_f32(v).to_le_bytes().to_vec(),
                DType::BF16 => bf16::from_f32(v).to_le_bytes().to_vec(),
                DType::F64 => f64::from(v).to_le_bytes().to_vec(),
                _ => v.to_le_bytes().to_vec(),
            };
            values.iter().flat_map(|&v| one(v)).collect()
        };
        for dtype in [DType::F32, DType::F16, DType::F64] {
            let mut shifted = vec![0u8];
            shifted.extend(as_bytes(dtype));
            let view = TensorView::new(dtype, vec![4], &shifted[1..]).expect("lengths fit");
            assert_eq!(view.to_f32_vec().expect("float"), values, "{dtype}");
        }
        let bytes = as_bytes(DType::BF16);
        let view = TensorView::new(DType::BF16, vec![4], &bytes).expect("lengths fit");
        assert_eq!(view.to_f32_vec().expect("float"), [0.0, -1.5, 65536.0, 0.078_125]);
        let ints = [0u8; 16];
        let view = TensorView::new(DType::I64, vec![2], &ints).expect("lengths fit");
        assert!(view.to_f32_vec().is_err());
    }
}
