//! Activations from and to ordinary memory of the host, and flags of their rows.
//!
//! For tests and single calls; the runner's slots copy through pinned memory instead.

use half::{bf16, f16};

use super::activation::CudaActivation;
use super::memory::DeviceBuffer;
use super::{CudaBackend, CudaError};
use crate::{BackendError, Precision};

impl CudaBackend {
    pub(super) fn elements_from_host(
        &self,
        rows: usize,
        cols: usize,
        values: &[f32],
    ) -> Result<CudaActivation, BackendError> {
        let bytes: Vec<u8> = match self.precision {
            Precision::F32 => values.iter().flat_map(|v| v.to_ne_bytes()).collect(),
            Precision::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_ne_bytes()).collect(),
            Precision::Bf16 => {
                values.iter().flat_map(|&v| bf16::from_f32(v).to_ne_bytes()).collect()
            }
        };
        self.context.bind()?;
        let out = self.take(rows, cols, self.precision)?;
        // SAFETY: the piece is as large as the bytes, which live until the copy is done.
        unsafe { self.compute.copy_htod(out.address(), &bytes) }?;
        self.compute.synchronize()?;
        Ok(out)
    }

    pub(super) fn elements_to_host(&self, x: &CudaActivation) -> Result<Vec<f32>, CudaError> {
        let bytes = self.bytes_to_host(x.address(), x.size_bytes())?;
        let halves = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        Ok(match x.element {
            Precision::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Precision::F16 => halves().map(|b| f16::from_ne_bytes(b).to_f32()).collect(),
            Precision::Bf16 => halves().map(|b| bf16::from_ne_bytes(b).to_f32()).collect(),
        })
    }

    /// Whether each row is finite; of a pooled result, whether each sequence is.
    pub(super) fn finite_rows_of(&self, x: &CudaActivation) -> Result<Vec<bool>, BackendError> {
        if let Some(flags) = &x.not_finite
            && x.num_seqs == x.rows
        {
            return Ok(self.flags_to_host(flags.address(), x.rows)?);
        }
        BackendError::expect(
            "finite_rows",
            "bytes of an element",
            x.element.size_bytes(),
            self.precision.size_bytes(),
        )?;
        // Every row as a sequence of its own.
        let starts: Vec<u8> = (0..=x.rows as i32).flat_map(i32::to_ne_bytes).collect();
        self.context.bind()?;
        let cu_seqlens = DeviceBuffer::new(&self.context, starts.len())?;
        // SAFETY: the buffer is as large as the bytes, which live until the copy is done.
        unsafe { self.compute.copy_htod(cu_seqlens.address(), &starts) }?;
        let widened = self.results("widen_rows", x, cu_seqlens.address(), x.rows, x.rows, &[])?;
        let flags = widened.not_finite.as_ref().map_or(0, |flags| flags.address());
        Ok(self.flags_to_host(flags, x.rows)?)
    }

    fn flags_to_host(&self, flags: u64, count: usize) -> Result<Vec<bool>, CudaError> {
        let bytes = self.bytes_to_host(flags, count * 4)?;
        Ok(bytes.chunks_exact(4).map(|flag| flag == [0; 4]).collect())
    }

    fn bytes_to_host(&self, from: u64, count: usize) -> Result<Vec<u8>, CudaError> {
        self.context.bind()?;
        let mut bytes = vec![0u8; count];
        // SAFETY: both sides have `count` bytes; nobody looks before the stream is done.
        unsafe { self.compute.copy_dtoh(&mut bytes, from) }?;
        self.compute.synchronize()?;
        Ok(bytes)
    }
}
