//! What can go wrong with a CUDA device.

use cudarc::cublaslt::result::CublasError;
use cudarc::driver::DriverError;

/// Why a CUDA device cannot be used, or stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// A library of NVIDIA's is not on this machine, or cannot be opened.
    #[error("{library} was not found in {looked_in}")]
    Library {
        /// The library, such as `NVRTC (libnvrtc)`.
        library: &'static str,
        /// The places.
        looked_in: String,
    },
    /// The driver refused a call.
    #[error("the CUDA driver refused to {what}: {code}")]
    Driver {
        /// What was asked of it.
        what: &'static str,
        /// Its code and text.
        code: String,
    },
    /// Device memory is used up.
    #[error("{device}: no memory for {bytes} more bytes; {free} bytes are free")]
    OutOfMemory {
        /// The device.
        device: String,
        /// What was asked for.
        bytes: usize,
        /// What the driver says is free.
        free: usize,
    },
    /// The driver is too old.
    #[error("the CUDA driver is for CUDA {}.{}; 12.0 is the least", .found / 1000, .found % 1000 / 10)]
    OldDriver {
        /// The version it is for, such as 11080.
        found: i32,
    },
    /// No such device.
    #[error("there is no CUDA device {index}; the driver knows {count}")]
    NoDevice {
        /// Number asked for.
        index: usize,
        /// Number of devices.
        count: usize,
    },
    /// The chip is too old for what was asked.
    #[error("{device} has compute capability {major}.{minor}; {what} needs {needed}")]
    Capability {
        /// The device.
        device: String,
        /// Its capability.
        major: u32,
        /// Its capability, second number.
        minor: u32,
        /// What was asked for.
        what: &'static str,
        /// The least capability.
        needed: &'static str,
    },
    /// A kernel could not be compiled.
    #[error("{kernel}.cu could not be compiled for {arch}: {log}")]
    Compile {
        /// The kernel file.
        kernel: &'static str,
        /// The chip.
        arch: String,
        /// What the compiler said, first lines.
        log: String,
    },
    /// cuBLASLt refused a call.
    #[error("cuBLASLt refused to {what}: {status}")]
    Blas {
        /// What was asked of it.
        what: String,
        /// Its status.
        status: String,
    },
    /// cuBLASLt offers nothing that fits.
    #[error(
        "cuBLASLt has no way to multiply [tokens, {k}] by [{k}, {m}] that does not depend on the number of tokens"
    )]
    NoPlan {
        /// Output features.
        m: usize,
        /// Input features.
        k: usize,
    },
}

impl CudaError {
    /// Whether the device had no memory left.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::OutOfMemory { .. } => true,
            Self::Driver { code, .. } => code.starts_with("CUDA_ERROR_OUT_OF_MEMORY"),
            Self::Blas { status, .. } => status.ends_with("ALLOC_FAILED"),
            _ => false,
        }
    }
}

/// Turns the driver's answer into ours.
pub(super) trait DriverResult<T> {
    /// Names what was asked of the driver.
    fn doing(self, what: &'static str) -> Result<T, CudaError>;
}

impl<T> DriverResult<T> for Result<T, DriverError> {
    fn doing(self, what: &'static str) -> Result<T, CudaError> {
        self.map_err(|error| CudaError::Driver { what, code: describe(error) })
    }
}

/// Name and text of a code, such as `CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access ...)`.
fn describe(error: DriverError) -> String {
    let text = |text: Result<&std::ffi::CStr, DriverError>| {
        text.map_or_else(|_| format!("{:?}", error.0), |t| t.to_string_lossy().into_owned())
    };
    format!("{} ({})", text(error.error_name()), text(error.error_string()))
}

/// Turns cuBLASLt's answer into ours.
pub(super) trait BlasResult<T> {
    /// Names what was asked of cuBLASLt.
    fn doing(self, what: &str) -> Result<T, CudaError>;
}

impl<T> BlasResult<T> for Result<T, CublasError> {
    fn doing(self, what: &str) -> Result<T, CudaError> {
        self.map_err(|error| CudaError::Blas {
            what: what.to_owned(),
            status: format!("{:?}", error.0),
        })
    }
}
