//! The copy engine's view of a matrix in device memory (compute capability 9.0).

use cudarc::driver::sys;

use super::CudaError;
use super::error::DriverResult;

/// Elements of a box along a row: 128 bytes, within which 16-byte pieces are exchanged.
const BOX_COLUMNS: u32 = 64;

/// A matrix of 16-bit elements as the copy engine sees it, with zeros outside.
///
/// It holds an address, not the memory: whoever uses it keeps the memory alive.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct TensorMap(sys::CUtensorMap);

impl TensorMap {
    /// The row-major matrix `[rows, cols]` at `address`, taken in boxes of 64 columns and
    /// `box_rows` rows. The context must be current.
    pub(super) fn new(
        address: u64,
        rows: usize,
        cols: usize,
        box_rows: usize,
    ) -> Result<Self, CudaError> {
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        let extents = [cols as u64, rows as u64];
        let stride_bytes = [cols as u64 * 2];
        let box_extents = [BOX_COLUMNS, box_rows as u32];
        let steps = [1u32; 2];
        // SAFETY: all arrays have as many elements as the rank of 2 asks for and live through the
        // call, which keeps nothing and looks at no device memory.
        unsafe {
            sys::cuTensorMapEncodeTiled(
                &mut map,
                // Bits are only moved, whatever they mean.
                sys::CUtensorMapDataType_enum::CU_TENSOR_MAP_DATA_TYPE_UINT16,
                2,
                address as *mut std::ffi::c_void,
                extents.as_ptr(),
                stride_bytes.as_ptr(),
                box_extents.as_ptr(),
                steps.as_ptr(),
                sys::CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_128B,
                sys::CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        }
        .result()
        .doing("describe a matrix to the copy engine")?;
        Ok(Self(map))
    }
}
