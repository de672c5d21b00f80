//! What there is of CUDA on this machine, and why something cannot be used.

use std::path::Path;

use super::context::{self, Context, DeviceProperties};
use super::library::{self, CudaLibrary};
use super::source::check_precision;
use super::{CudaError, compiler, gemm};
use crate::Precision;

/// What was found.
#[derive(Clone, Debug)]
pub struct CudaProbe {
    /// Each library with its version, or why it cannot be used.
    pub libraries: Vec<(CudaLibrary, Result<String, CudaError>)>,
    /// The devices, or why there are none.
    pub devices: Result<Vec<FoundDevice>, CudaError>,
}

/// A device that the driver knows.
#[derive(Clone, Debug)]
pub struct FoundDevice {
    /// What the driver says about it.
    pub properties: DeviceProperties,
    /// Free bytes of memory, or why it cannot be opened.
    pub free_bytes: Result<usize, CudaError>,
    /// Precisions it computes in.
    pub precisions: Vec<Precision>,
}

impl CudaProbe {
    /// Looks; never panics, whatever is missing.
    pub fn look(library_dir: Option<&Path>) -> Self {
        let libraries: Vec<_> = CudaLibrary::ALL
            .map(|library| {
                let version =
                    library::require(library, library_dir).and_then(|()| version_of(library));
                (library, version)
            })
            .into();
        let devices = match &libraries[0].1 {
            Ok(_) => find_devices(),
            Err(error) => Err(error.clone()),
        };
        Self { libraries, devices }
    }

    /// Why the first device cannot be used, if it cannot.
    pub fn obstacle(&self) -> Option<CudaError> {
        let missing = self.libraries.iter().find_map(|(_, found)| found.as_ref().err().cloned());
        missing.or_else(|| match &self.devices {
            Err(error) => Some(error.clone()),
            Ok(devices) => match devices.first() {
                None => Some(CudaError::NoDevice { index: 0, count: 0 }),
                Some(FoundDevice { properties, free_bytes, .. }) => {
                    let DeviceProperties { capability, .. } = properties;
                    let old = check_precision(Precision::F16, *capability, &properties.label());
                    old.err().or_else(|| free_bytes.as_ref().err().cloned())
                }
            },
        })
    }
}

fn version_of(library: CudaLibrary) -> Result<String, CudaError> {
    Ok(match library {
        CudaLibrary::Driver => {
            context::device_count()?;
            let version = context::driver_version()?;
            format!("for CUDA {}.{}", version / 1000, version % 1000 / 10)
        }
        CudaLibrary::Nvrtc => {
            let (major, minor) = compiler::version()?;
            format!("{major}.{minor}")
        }
        CudaLibrary::CublasLt => {
            let version = gemm::version();
            format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
        }
    })
}

fn find_devices() -> Result<Vec<FoundDevice>, CudaError> {
    (0..context::device_count()?)
        .map(|index| {
            let properties = context::properties(index)?;
            let free_bytes = Context::open(index).and_then(|c| c.memory()).map(|(free, _)| free);
            let can = |precision: &Precision| {
                check_precision(*precision, properties.capability, &properties.name).is_ok()
            };
            let precisions = Precision::ALL.into_iter().filter(can).collect();
            Ok(FoundDevice { properties, free_bytes, precisions })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_without_a_gpu_says_what_is_missing_and_does_not_panic() {
        let probe = CudaProbe::look(None);
        assert_eq!(probe.libraries.len(), 3);
        if probe.devices.as_ref().is_ok_and(|devices| !devices.is_empty()) {
            return;
        }
        let obstacle = probe.obstacle().expect("without a device something is missing");
        assert!(!obstacle.to_string().is_empty());
    }
}
