//! Weights on their way to the device: from a mapped file through pinned staging, converted there.

use std::sync::Arc;

use super::CudaError;
use super::context::Context;
use super::launch::{Arg, Geometry, Kernel, Kernels};
use super::memory::{DeviceBuffer, PinnedBuffer, PinnedUse};
use super::source::KernelFile;
use super::stream::{Event, Stream};
use super::weights::CudaVector;
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

/// A LayerNorm, the bias of the layer behind it, and where the layer goes when both are one.
pub(super) struct Fold<'a> {
    pub(super) gamma: &'a CudaVector,
    pub(super) beta: &'a CudaVector,
    /// f32, as it is stored.
    pub(super) stored_bias: &'a DeviceBuffer,
    pub(super) weights: &'a DeviceBuffer,
    pub(super) bias: &'a DeviceBuffer,
}

/// f32 values as they lie in memory.
pub(super) fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
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

    /// Stores a weight matrix with a LayerNorm folded into it, beginning with row `first_row` of
    /// the layer.
    ///
    /// # Errors
    /// An element type that is not floating point, or the device's failure.
    pub(super) fn put_folded(
        &mut self,
        kernels: &Kernels,
        tensor: &TensorView<'_>,
        fold: &Fold<'_>,
        first_row: usize,
    ) -> Result<(), BackendError> {
        let widened;
        let (name, bytes, stored_size) = match tensor.dtype() {
            DType::F32 => ("fold_f32", tensor.data(), 4),
            DType::F16 => ("fold_f16", tensor.data(), 2),
            DType::BF16 => ("fold_bf16", tensor.data(), 2),
            DType::F64 => {
                widened = bytes_of(&tensor.to_f32_vec()?);
                ("fold_f32", &widened[..], 4)
            }
            dtype => return Err(BackendError::WeightDType { dtype }),
        };
        let kernel = kernels.get(KernelFile::FoldedNorm, name)?;
        let size = self.precision.size_bytes();
        let cols = fold.gamma.len;
        let row_bytes = cols * stored_size;
        let rows_of_piece = PIECE_BYTES / row_bytes;
        BackendError::expect(
            "normed_linear",
            "bytes of a row",
            row_bytes,
            row_bytes.min(PIECE_BYTES),
        )?;
        let mut row = first_row;
        for piece in bytes.chunks(rows_of_piece * row_bytes) {
            let rows = piece.len() / row_bytes;
            assert!(
                (row + rows) * cols * size <= fold.weights.bytes()
                    && (row + rows) * size <= fold.bias.bytes()
                    && (row + rows) * 4 <= fold.stored_bias.bytes(),
                "the blocks were made for the layer"
            );
            let args = [
                Arg::Pointer(fold.stored_bias.address() + (row * 4) as u64),
                Arg::Pointer(fold.gamma.values.address()),
                Arg::Pointer(fold.beta.values.address()),
                Arg::Pointer(fold.weights.address() + (row * cols * size) as u64),
                Arg::Pointer(fold.bias.address() + (row * size) as u64),
                Arg::count(cols),
            ];
            self.put_piece(kernel, piece, Geometry::row(rows, BLOCK), &args)?;
            row += rows;
        }
        Ok(())
    }

    /// Stores f32 values as elements of the device's type.
    pub(super) fn put_floats(
        &mut self,
        kernels: &Kernels,
        values: &[f32],
        to: &DeviceBuffer,
        first: usize,
    ) -> Result<(), CudaError> {
        self.put_bytes(kernels, "convert_f32", &bytes_of(values), 4, to, first)
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
            let out = to.address() + (at * size) as u64;
            let grid = elements.div_ceil(BLOCK * self.precision.vector());
            let args = [Arg::Pointer(out), Arg::Long(elements as i64)];
            self.put_piece(kernel, piece, Geometry::row(grid, BLOCK), &args)?;
            at += elements;
        }
        Ok(())
    }

    /// Copies a piece to the device and has `kernel` take it from there: its first argument is
    /// where the piece lies, `args` are the others, whose extents the caller has checked.
    fn put_piece(
        &mut self,
        kernel: Kernel,
        piece: &[u8],
        geometry: Geometry,
        args: &[Arg],
    ) -> Result<(), CudaError> {
        let lane = &mut self.lanes[self.next];
        self.next = 1 - self.next;
        lane.done.synchronize()?;
        lane.pinned.bytes_mut()[..piece.len()].copy_from_slice(piece);
        let raw = lane.raw.address();
        let args: Vec<_> = std::iter::once(Arg::Pointer(raw)).chain(args.iter().copied()).collect();
        // SAFETY: `raw` is as large as a piece, the other extents were checked by both callers; the
        // pinned block and `raw` are written again only after `done`.
        unsafe {
            self.stream.copy_htod(raw, &lane.pinned.bytes()[..piece.len()])?;
            kernel.launch(&self.stream, geometry, &args)?;
        }
        lane.done.record(&self.stream)
    }

    /// Waits until everything is on the device.
    pub(super) fn finish(&self) -> Result<(), CudaError> {
        self.stream.synchronize()
    }
}
