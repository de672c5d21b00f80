//! Streams and events: the order of work on a device.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cudarc::driver::{result, sys};

use super::CudaError;
use super::context::Context;
use super::error::DriverResult;

/// A queue of work of the device.
#[derive(Debug)]
pub(super) struct Stream {
    context: Arc<Context>,
    handle: sys::CUstream,
}

// SAFETY: the driver accepts work for a stream from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above; the handle is never changed.
unsafe impl Sync for Stream {}

impl Stream {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self, CudaError> {
        context.bind()?;
        let kind = result::stream::StreamKind::NonBlocking;
        let handle = result::stream::create(kind).doing("make a stream")?;
        Ok(Self { context: Arc::clone(context), handle })
    }

    pub(super) fn handle(&self) -> sys::CUstream {
        self.handle
    }

    /// Later work of this stream starts after `event`.
    pub(super) fn wait(&self, event: &Event) -> Result<(), CudaError> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: both handles live as long as their owners.
        unsafe { result::stream::wait_event(self.handle, event.handle, flags) }
            .doing("wait for an event")
    }

    /// Waits on the host until all work of this stream is done.
    pub(super) fn synchronize(&self) -> Result<(), CudaError> {
        self.context.bind()?;
        // SAFETY: the stream is alive.
        unsafe { result::stream::synchronize(self.handle) }.doing("finish a stream")
    }

    /// Copies to the device, in the order of this stream.
    ///
    /// # Safety
    /// `to` has room for `from`; `from` is left as it is until the copy is done.
    pub(super) unsafe fn copy_htod(
        &self,
        to: sys::CUdeviceptr,
        from: &[u8],
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_htod_async(to, from, self.handle) }.doing("copy to the device")
    }

    /// Copies to the host, in the order of this stream.
    ///
    /// # Safety
    /// `from` holds as many bytes as `to`, which nobody looks at until the copy is done.
    pub(super) unsafe fn copy_dtoh(
        &self,
        to: &mut [u8],
        from: sys::CUdeviceptr,
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_dtoh_async(to, from, self.handle) }.doing("copy to the host")
    }

    /// Copies from one place of the device to another, in the order of this stream.
    ///
    /// # Safety
    /// There are `bytes` bytes at both places, which do not overlap.
    pub(super) unsafe fn copy_on_device(
        &self,
        to: sys::CUdeviceptr,
        from: sys::CUdeviceptr,
        bytes: usize,
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.handle) }
            .doing("copy on the device")
    }

    /// Sets bytes of the device, in the order of this stream.
    ///
    /// # Safety
    /// There are `bytes` bytes at `at`.
    pub(super) unsafe fn fill(
        &self,
        at: sys::CUdeviceptr,
        value: u8,
        bytes: usize,
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { result::memset_d8_async(at, value, bytes, self.handle) }.doing("fill memory")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: nobody holds the handle any more; the driver finishes its work first.
            let _ = unsafe { result::stream::destroy(self.handle) };
        }
    }
}

type ElapsedTime = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;

/// `cuEventElapsedTime` as every driver has it; the bindings call its second version, which only
/// drivers for CUDA 12.8 and later have.
fn elapsed_time() -> Result<ElapsedTime, CudaError> {
    static FOUND: OnceLock<Option<ElapsedTime>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        // SAFETY: the driver is open, since an event was made; the symbol has this type in every
        // version of its header (cuda.h).
        unsafe { sys::culib().get::<ElapsedTime>(b"cuEventElapsedTime\0").ok().map(|f| *f) }
    });
    found.ok_or_else(|| CudaError::Driver {
        what: "read a time",
        code: "it has no cuEventElapsedTime".to_owned(),
    })
}

/// A mark in a stream, with its time.
#[derive(Debug)]
pub(super) struct Event {
    context: Arc<Context>,
    handle: sys::CUevent,
}

// SAFETY: the driver accepts calls for an event from any thread.
unsafe impl Send for Event {}
// SAFETY: as above; the handle is never changed.
unsafe impl Sync for Event {}

impl Event {
    /// An event that carries its time and lets the waiting thread sleep.
    pub(super) fn new(context: &Arc<Context>) -> Result<Self, CudaError> {
        context.bind()?;
        let flags = sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC;
        let handle = result::event::create(flags).doing("make an event")?;
        Ok(Self { context: Arc::clone(context), handle })
    }

    /// Marks the present end of `stream`.
    pub(super) fn record(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: both handles live as long as their owners, in the same context.
        unsafe { result::event::record(self.handle, stream.handle) }.doing("mark a stream")
    }

    /// Waits on the host until the mark is reached; at once if it was never set.
    pub(super) fn synchronize(&self) -> Result<(), CudaError> {
        self.context.bind()?;
        // SAFETY: the event is alive.
        unsafe { result::event::synchronize(self.handle) }.doing("reach a mark")
    }

    /// Time from `earlier` to this mark, negative if the order is the other way round; both must
    /// have been reached.
    pub(super) fn milliseconds_since(&self, earlier: &Self) -> Result<f64, CudaError> {
        let mut ms = 0.0f32;
        let elapsed = elapsed_time()?;
        // SAFETY: both events are alive and have been recorded, and the place is valid.
        unsafe { elapsed(&mut ms, earlier.handle, self.handle) }.result().doing("read a time")?;
        Ok(f64::from(ms))
    }

    /// [`Self::milliseconds_since`] as a duration, zero where the order is the other way round.
    pub(super) fn since(&self, earlier: &Self) -> Result<Duration, CudaError> {
        let ms = self.milliseconds_since(earlier)?;
        Ok(Duration::from_secs_f64(ms.max(0.0) / 1e3))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: nobody holds the handle any more.
            let _ = unsafe { result::event::destroy(self.handle) };
        }
    }
}
