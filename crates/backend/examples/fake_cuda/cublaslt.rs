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

/// A kind of description that is made, filled in and destroyed.
macro_rules! description {
    ($create:ident, $set:ident, $destroy:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn $create(made: *mut usize) -> c_int {
            put(made, HANDLE)
        }

        #[unsafe(no_mangle)]
        extern "C" fn $set() -> c_int {
            SUCCESS
        }

        #[unsafe(no_mangle)]
        extern "C" fn $destroy() -> c_int {
            SUCCESS
        }
    };
}

description!(cublasLtMatmulDescCreate, cublasLtMatmulDescSetAttribute, cublasLtMatmulDescDestroy);
description!(
    cublasLtMatrixLayoutCreate,
    cublasLtMatrixLayoutSetAttribute,
    cublasLtMatrixLayoutDestroy
);
description!(
    cublasLtMatmulPreferenceCreate,
    cublasLtMatmulPreferenceSetAttribute,
    cublasLtMatmulPreferenceDestroy
);

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
