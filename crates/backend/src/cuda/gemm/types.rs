//! What cuBLASLt calls our number types.

use cudarc::cublaslt::sys::{cublasComputeType_t, cudaDataType};

use crate::Precision;

/// Type of weights, inputs, bias and results.
pub(super) fn element(precision: Precision) -> cudaDataType {
    match precision {
        Precision::F32 => cudaDataType::CUDA_R_32F,
        Precision::F16 => cudaDataType::CUDA_R_16F,
        Precision::Bf16 => cudaDataType::CUDA_R_16BF,
    }
}

/// Sums are in f32; f32 inputs are not rounded to TF32.
pub(super) const COMPUTE: cublasComputeType_t = cublasComputeType_t::CUBLAS_COMPUTE_32F;

/// Type of alpha and beta.
pub(super) const SCALE: cudaDataType = cudaDataType::CUDA_R_32F;
