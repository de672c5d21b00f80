//! Memory of the device and page-locked memory of the host.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::CudaError;
use super::context::Context;
use super::error::DriverResult;

/// A block of device memory.
#[derive(Debug)]
pub(super) struct DeviceBuffer {
    context: Arc<Context>,
    address: sys::CUdeviceptr,
    bytes: usize,
}

impl DeviceBuffer {
    /// Takes `bytes` of memory, with unspecified contents.
    pub(super) fn new(context: &Arc<Context>, bytes: usize) -> Result<Self, CudaError> {
        context.bind()?;
        let bytes = bytes.max(16);
        // SAFETY: the context is current; the block is freed once, in `drop`.
        match unsafe { result::malloc_sync(bytes) } {
            Ok(address) => Ok(Self { context: Arc::clone(context), address, bytes }),
            Err(error) if error.0 == sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY => {
                let (free, _) = context.memory()?;
                let device = context.properties.label();
                Err(CudaError::OutOfMemory { device, bytes, free })
            }
            Err(error) => Err(error).doing("give memory"),
        }
    }

    pub(super) fn address(&self) -> sys::CUdeviceptr {
        self.address
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // Kernels that are queued may use the block, and NVIDIA does not promise that freeing waits for them.
        if self.context.synchronize().is_ok() {
            // SAFETY: the block came from `malloc_sync`, nobody holds its address any more, and all
            // work that was queued with it is done.
            let _ = unsafe { result::free_sync(self.address) };
        }
    }
}

/// What the host does with page-locked memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PinnedUse {
    /// Written in order and never read: write-combined, which transfers fastest.
    Write,
    /// Read by the host: cached as usual.
    Read,
}

/// Page-locked memory of the host, from and to which the device copies by itself.
#[derive(Debug)]
pub(super) struct PinnedBuffer {
    context: Arc<Context>,
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the block is plain memory that this value alone owns.
unsafe impl Send for PinnedBuffer {}
// SAFETY: shared references only read it.
unsafe impl Sync for PinnedBuffer {}

impl PinnedBuffer {
    /// Takes `bytes` of memory, filled with zeros.
    pub(super) fn new(
        context: &Arc<Context>,
        bytes: usize,
        host: PinnedUse,
    ) -> Result<Self, CudaError> {
        context.bind()?;
        let bytes = bytes.max(16);
        let flags = match host {
            PinnedUse::Write => sys::CU_MEMHOSTALLOC_WRITECOMBINED,
            PinnedUse::Read => 0,
        };
        // SAFETY: the context is current; the block is freed once, in `drop`.
        let start =
            unsafe { result::malloc_host(bytes, flags) }.doing("lock memory of the host")?;
        let start = start.cast::<u8>();
        // SAFETY: the block has `bytes` bytes and nobody else knows it yet.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Self { context: Arc::clone(context), start, bytes })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the block has `self.bytes` initialised bytes. The device writes to it only
        // between an asynchronous copy and the synchronisation that follows it, and the owner of
        // this value (a slot) does not look before that.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and `&mut self` makes the reference the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the block came from `malloc_host`, and its owners wait for their copies before
            // they let go of it.
            let _ = unsafe { result::free_host(self.start.cast::<c_void>()) };
        }
    }
}
