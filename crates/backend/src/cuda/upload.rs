//! Weights on their way to the device: from a mapped file through pinned staging, converted there.

use std::sync::Arc;

use super::CudaError;
use super::context::Context;
use super::launch::{Arg, Geometry, Kernels};
use super::memory::{DeviceBuffer, PinnedBuffer, PinnedUse};
use super::source::KernelFile;
use super::stream::{Event, Stream};
use crate::{BackendError, DType, Precision, TensorView};

/// Bytes of one piece; two are under way at a time.
const PIECE_BYTES: usize = 16 << 20;
/// Threads of a block of the conversion kernels.
const BLOCK: usize = 256;

/// Brings stored tensors to the device.
#[derive(Debug)]
pub(super) struct Uploader {
    stream: Stream,
    precision: Precision,
    lanes: [Lane; 2],
    next: usize,
}

/// One piece under way.
#[derive(Debug)]
struct Lane {
    pinned: PinnedBuffer,
    raw: DeviceBuffer,
    done: Event,
}

impl Uploader {
    pub(super) fn new(context: &Arc<Context>, precision: Precision) -> Result<Self, CudaError> {
        let lane = || {
            Ok::<_, CudaError>(Lane {
                pinned: PinnedBuffer::new(context, PIECE_BYTES, PinnedUse::Write)?,
                raw: DeviceBuffer::new(context, PIECE_BYTES)?,
                done: Event::new(context)?,
            })
        };
        Ok(Self { stream: Stream::new(context)?, precision, lanes: [lane()?, lane()?], next: 0 })
    }

    /// Stores a tensor as elements of the device's type, `first` elements into `to`.
    ///
    /// # Errors
    /// An element type that is not floating point, or the device's failure.
    pub(super) fn put(
        &mut self,
        kernels: &Kernels,
        tensor: &TensorView<'_>,
        to: &DeviceBuffer,
        first: usize,
    ) -> Result<(), BackendError> {
        let name = match tensor.dtype() {
            DType::F32 => "convert_f32",
            DType::F16 => "convert_f16",
            DType::BF16 => "convert_bf16",
            DType::F64 => {
                let values = tensor.to_f32_vec()?;
                return Ok(self.put_floats(kernels, &values, to, first)?);
            }
            dtype => return Err(BackendError::WeightDType { dtype }),
        };
        let stored_size = tensor.dtype().size_bytes();
        Ok(self.put_bytes(kernels, name, tensor.data(), stored_size, to, first)?)
    }

    /// Stores f32 values as elements of the device's type.
    pub(super) fn put_floats(
        &mut self,
        kernels: &Kernels,
        values: &[f32],
        to: &DeviceBuffer,
        first: usize,
    ) -> Result<(), CudaError> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.put_bytes(kernels, "convert_f32", &bytes, 4, to, first)
    }

    fn put_bytes(
        &mut self,
        kernels: &Kernels,
        name: &'static str,
        bytes: &[u8],
        stored_size: usize,
        to: &DeviceBuffer,
        first: usize,
    ) -> Result<(), CudaError> {
        let kernel = kernels.get(KernelFile::Convert, name)?;
        let size = self.precision.size_bytes();
        let mut at = first;
        for piece in bytes.chunks(PIECE_BYTES) {
            let elements = piece.len() / stored_size;
            assert!((at + elements) * size <= to.bytes(), "the block was made for the tensor");
            let lane = &mut self.lanes[self.next];
            self.next = 1 - self.next;
            lane.done.synchronize()?;
            lane.pinned.bytes_mut()[..piece.len()].copy_from_slice(piece);
            let out = to.address() + (at * size) as u64;
            let grid = elements.div_ceil(BLOCK * self.precision.vector());
            let args =
                [Arg::Pointer(lane.raw.address()), Arg::Pointer(out), Arg::Long(elements as i64)];
            // SAFETY: `raw` is as large as a piece, `to` was checked; the pinned block and `raw`
            // are written again only after `done`.
            unsafe {
                self.stream.copy_htod(lane.raw.address(), &lane.pinned.bytes()[..piece.len()])?;
                kernel.launch(&self.stream, Geometry::row(grid, BLOCK), &args)?;
            }
            lane.done.record(&self.stream)?;
            at += elements;
        }
        Ok(())
    }

    /// Waits until everything is on the device.
    pub(super) fn finish(&self) -> Result<(), CudaError> {
        self.stream.synchronize()
    }
}
