//! One way to multiply, ready to run for any number of rows.

use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use cudarc::cublaslt::{result, sys};

use super::super::CudaError;
use super::super::error::BlasResult;
use super::super::memory::DeviceBuffer;
use super::super::stream::Stream;
use super::tune::PlanReport;
use super::{GemmShape, Handle, Operands, types};
use crate::Precision;

/// `CUBLAS_OP_T` of cublas_api.h, which the bindings of cuBLASLt alone do not have.
const TRANSPOSED: u32 = 1;

/// Descriptions of a product, in cuBLASLt's column-major words: `D[m, rows] = Wᵀ[m, k] X[k, rows]`.
#[derive(Debug)]
pub(super) struct Description {
    shape: GemmShape,
    desc: sys::cublasLtMatmulDesc_t,
    w: sys::cublasLtMatrixLayout_t,
    x: sys::cublasLtMatrixLayout_t,
    out: sys::cublasLtMatrixLayout_t,
}

// SAFETY: the descriptions are plain memory of cuBLASLt's; every use is behind one lock.
unsafe impl Send for Description {}

impl Description {
    pub(super) fn new(shape: GemmShape, precision: Precision) -> Result<Self, CudaError> {
        let element = types::element(precision);
        let (m, k) = (shape.m as u64, shape.k as u64);
        let layout = |rows, cols, ld: usize| {
            result::create_matrix_layout(element, rows, cols, ld as i64).doing("describe a matrix")
        };
        let description = Self {
            shape,
            desc: result::create_matmul_desc(types::COMPUTE, types::SCALE)
                .doing("describe a product")?,
            w: layout(k, m, shape.k)?,
            x: layout(k, 1, shape.k)?,
            out: layout(m, 1, shape.m)?,
        };
        use sys::cublasLtEpilogue_t as Epilogue;
        let epilogue = match (shape.has_bias, shape.relu) {
            (false, false) => Epilogue::CUBLASLT_EPILOGUE_DEFAULT,
            (true, false) => Epilogue::CUBLASLT_EPILOGUE_BIAS,
            (false, true) => Epilogue::CUBLASLT_EPILOGUE_RELU,
            (true, true) => Epilogue::CUBLASLT_EPILOGUE_RELU_BIAS,
        };
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &(epilogue as u32))?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
        Ok(description)
    }

    pub(super) fn shape(&self) -> GemmShape {
        self.shape
    }

    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulDescAttributes_t,
        value: &T,
    ) -> Result<(), CudaError> {
        let at = std::ptr::from_ref(value).cast::<c_void>();
        // SAFETY: the description is alive and the value has the size that is given.
        unsafe { result::set_matmul_desc_attribute(self.desc, attribute, at, size_of::<T>()) }
            .doing("describe a product")
    }

    /// Makes the description that of `rows` rows and this bias.
    pub(super) fn fit(&self, rows: usize, bias: u64) -> Result<(), CudaError> {
        if self.shape.has_bias {
            use sys::cublasLtMatmulDescAttributes_t as Attribute;
            self.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        }
        let cols = rows as u64;
        let at = std::ptr::from_ref(&cols).cast::<c_void>();
        let which = sys::cublasLtMatrixLayoutAttribute_t::CUBLASLT_MATRIX_LAYOUT_COLS;
        for layout in [self.x, self.out] {
            // SAFETY: the layout is alive and the attribute is of this size.
            unsafe { result::set_matrix_layout_attribute(layout, which, at, size_of::<u64>()) }
                .doing("describe a matrix")?;
        }
        Ok(())
    }

    /// Queues the product by `algo`; the description must have been fitted.
    ///
    /// # Safety
    /// As for [`super::Gemm::multiply`].
    pub(super) unsafe fn run(
        &self,
        handle: &Handle,
        workspace: &DeviceBuffer,
        stream: &Stream,
        algo: &sys::cublasLtMatmulAlgo_t,
        operands: Operands,
    ) -> Result<(), CudaError> {
        let (alpha, beta) = (1.0f32, if self.shape.accumulate { 1.0f32 } else { 0.0 });
        let out = operands.out as *mut c_void;
        // SAFETY: the caller's promise for the operands; the scalars live through the call, which
        // reads them on the host.
        unsafe {
            result::matmul(
                handle.0,
                self.desc,
                std::ptr::from_ref(&alpha).cast(),
                std::ptr::from_ref(&beta).cast(),
                operands.weights as *const c_void,
                self.w,
                operands.x as *const c_void,
                self.x,
                out,
                self.out,
                out,
                self.out,
                algo,
                workspace.address() as *mut c_void,
                workspace.bytes(),
                stream.handle().cast(),
            )
        }
        .doing("multiply")
    }

    /// Ways to multiply that cuBLASLt expects to be fast, fastest first.
    ///
    /// Sums that are split over several passes are left out: they depend on the number of rows
    /// (BENCHMARKS.md says what that costs).
    pub(super) fn candidates(
        &self,
        handle: &Handle,
        workspace_bytes: usize,
        most: usize,
    ) -> Result<Vec<sys::cublasLtMatmulAlgo_t>, CudaError> {
        let preference = Preference(result::create_matmul_pref().doing("search")?);
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes)?;
        // No reduction scheme at all.
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &0u32)?;
        let mut found = Vec::with_capacity(most);
        let mut count = 0;
        // SAFETY: all descriptions are alive; there is room for `most` results, and `count` says
        // how many were written.
        let status = unsafe {
            let status = sys::cublasLtMatmulAlgoGetHeuristic(
                handle.0,
                self.desc,
                self.w,
                self.x,
                self.out,
                self.out,
                preference.0,
                most as i32,
                found.as_mut_ptr(),
                &mut count,
            );
            found.set_len(usize::try_from(count).unwrap_or(0).min(most));
            status
        };
        if status == sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED {
            return Ok(Vec::new());
        }
        status.result().doing("search")?;
        let usable = |r: &&sys::cublasLtMatmulHeuristicResult_t| {
            r.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS
                && r.workspaceSize <= workspace_bytes
        };
        Ok(found.iter().filter(usable).map(|r| r.algo).collect())
    }

    /// Whether cuBLASLt accepts `algo` for the description as it is.
    pub(super) fn accepts(
        &self,
        handle: &Handle,
        workspace_bytes: usize,
        algo: &sys::cublasLtMatmulAlgo_t,
    ) -> bool {
        // SAFETY: a plain struct of numbers, filled by the call.
        let mut result: sys::cublasLtMatmulHeuristicResult_t = unsafe { std::mem::zeroed() };
        // SAFETY: all descriptions are alive and `result` is valid for the call.
        let status = unsafe {
            sys::cublasLtMatmulAlgoCheck(
                handle.0,
                self.desc,
                self.w,
                self.x,
                self.out,
                self.out,
                algo,
                &mut result,
            )
        };
        status == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS
            && result.workspaceSize <= workspace_bytes
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: made once, destroyed once.
        unsafe {
            let _ = result::destroy_matmul_desc(self.desc);
            for layout in [self.w, self.x, self.out] {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulPreferenceAttributes_t,
        value: &T,
    ) -> Result<(), CudaError> {
        let at = std::ptr::from_ref(value).cast::<c_void>();
        // SAFETY: the preference is alive and the value has the size that is given.
        unsafe { result::set_matmul_pref_attribute(self.0, attribute, at, size_of::<T>()) }
            .doing("search")
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: made once, destroyed once.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

/// A shape with the way that was chosen for it.
#[derive(Debug)]
pub(super) struct Plan {
    description: Mutex<Description>,
    algo: sys::cublasLtMatmulAlgo_t,
    pub(super) report: PlanReport,
}

impl Plan {
    pub(super) fn new(
        description: Description,
        algo: sys::cublasLtMatmulAlgo_t,
        report: PlanReport,
    ) -> Self {
        Self { description: Mutex::new(description), algo, report }
    }

    /// Queues the product.
    ///
    /// # Safety
    /// As for [`super::Gemm::multiply`].
    pub(super) unsafe fn run(
        &self,
        handle: &Handle,
        workspace: &DeviceBuffer,
        stream: &Stream,
        operands: Operands,
    ) -> Result<(), CudaError> {
        // Every use fits the description anew, so a panic in between leaves nothing behind.
        let description = self.description.lock().unwrap_or_else(PoisonError::into_inner);
        description.fit(operands.rows, operands.bias)?;
        // SAFETY: the caller's promise.
        unsafe { description.run(handle, workspace, stream, &self.algo, operands) }
    }
}
