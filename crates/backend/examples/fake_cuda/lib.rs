//! A GPU that computes nothing: the CUDA driver, NVRTC and cuBLASLt, as far as the backend calls them.
//!
//! It shows what the host does with a GPU on machines that have none. Memory, copies and events are real,
//! and happen at once; kernels and matrix products leave memory as it is. Capacity and the chip's limits
//! hold as on a chip. What a driver may crash on ends the process with a line on standard error: a call
//! without a context, a copy beyond a block, memory freed twice, an event that was never recorded.
//!
//! Linked under the three libraries' names in a folder of the linker's path, it is what the backend finds.
//!
//! | variable | what it sets |
//! |---|---|
//! | `FAKE_CUDA_CAPABILITY` | compute capability of the chip, such as `7.5`; `9.0` unless set |
//! | `FAKE_CUDA_BYTES` | memory of the device; 16 GiB unless set |
//! | `FAKE_CUDA_REPORT` | a file for counts, written when the device is closed |
#![allow(non_snake_case, reason = "the names are NVIDIA's")]

mod cublaslt;
mod device;
mod driver;
mod nvrtc;

use std::ffi::c_int;

/// All three libraries' word for success.
const SUCCESS: c_int = 0;

/// Ends the process as a crash would, but says why.
fn misuse(what: &str) -> ! {
    eprintln!("fake_cuda: {what}");
    std::process::abort()
}

/// Answers a call with a value and success.
fn put<T>(place: *mut T, value: T) -> c_int {
    if place.is_null() {
        misuse("no place for an answer");
    }
    // SAFETY: who calls a C function gives it places that are valid for what it answers.
    unsafe { place.write(value) };
    SUCCESS
}
