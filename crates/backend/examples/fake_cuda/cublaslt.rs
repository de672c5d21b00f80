//! The matrix library, `libcublasLt`: it knows one way for every product.

use std::ffi::{c_int, c_void};

use cudarc::cublaslt::sys::cublasLtMatmulHeuristicResult_t as Way;

use crate::{SUCCESS, put};

const HANDLE: usize = 16;

/// A way that needs no workspace.
fn way() -> Way {
    // SAFETY: plain numbers, all of which may be zero.
    unsafe { std::mem::zeroed() }
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtGetVersion() -> usize {
    130_100
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtCreate(handle: *mut usize) -> c_int {
    put(handle, HANDLE)
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtDestroy(_handle: usize) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulDescCreate(made: *mut usize, _compute: c_int, _scale: c_int) -> c_int {
    put(made, HANDLE)
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulDescDestroy(_: usize) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulDescSetAttribute() -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatrixLayoutCreate(
    made: *mut usize,
    _type: c_int,
    _rows: u64,
    _cols: u64,
    _stride: i64,
) -> c_int {
    put(made, HANDLE)
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatrixLayoutDestroy(_: usize) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatrixLayoutSetAttribute() -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulPreferenceCreate(made: *mut usize) -> c_int {
    put(made, HANDLE)
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulPreferenceDestroy(_: usize) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulPreferenceSetAttribute() -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulAlgoGetHeuristic(
    _handle: usize,
    _operation: usize,
    _a: usize,
    _b: usize,
    _c: usize,
    _d: usize,
    _preference: usize,
    wanted: c_int,
    ways: *mut Way,
    found: *mut c_int,
) -> c_int {
    if wanted > 0 {
        put(ways, way());
    }
    put(found, wanted.clamp(0, 1))
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulAlgoCheck(
    _handle: usize,
    _operation: usize,
    _a: usize,
    _b: usize,
    _c: usize,
    _d: usize,
    _algorithm: *const c_void,
    result: *mut Way,
) -> c_int {
    put(result, way())
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmul() -> c_int {
    SUCCESS
}
