//! Choosing and opening the device.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::cuda::{CudaBackend, CudaOptions};
use virnucpro_backend::{Backend, Precision};

use crate::PipelineError;

/// Which device the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best device of this machine.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A CUDA device, by its number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not one of auto, cpu, cuda, cuda:N");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let number = text.strip_prefix("cuda:").ok_or_else(wrong)?;
                number.parse().map(Self::Cuda).map_err(|_| wrong())
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// How a device is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Which one.
    pub choice: DeviceChoice,
    /// Worker threads of the processor, 0 for one per core.
    pub threads: usize,
    /// Number type of the encoders; f16 on a GPU and f32 on the processor if not given.
    pub precision: Option<Precision>,
    /// Where NVIDIA's libraries are, before the usual places.
    pub library_dir: Option<PathBuf>,
    /// Where compiled kernels and matrix plans are kept; the user's cache folder if not given.
    pub cache_dir: Option<PathBuf>,
}

impl DeviceConfig {
    /// The processor, with a number of worker threads, 0 for one per core.
    pub fn cpu(threads: usize) -> Self {
        Self { choice: DeviceChoice::Cpu, threads, ..Self::default() }
    }

    fn cuda_options(&self, device: usize) -> CudaOptions {
        CudaOptions {
            device,
            precision: self.precision.unwrap_or(Precision::F16),
            library_dir: self.library_dir.clone(),
            cache_dir: self.cache_dir.clone(),
        }
    }
}

/// An opened device: the processor, and the GPU that runs the encoders if there is one.
#[derive(Debug)]
pub struct Device {
    cpu: Arc<CpuBackend>,
    cuda: Option<Cuda>,
    reason: String,
}

/// An opened GPU, with how to open it once more.
#[derive(Clone, Debug)]
pub(crate) struct Cuda {
    pub(crate) backend: Arc<CudaBackend>,
    pub(crate) options: CudaOptions,
}

impl Device {
    /// Opens a device.
    ///
    /// # Errors
    /// A device or precision that was asked for and cannot be had; the system's refusal to start
    /// threads. `auto` falls back to the processor, and [`Self::reason`] says why.
    pub fn open(config: &DeviceConfig) -> Result<Self, PipelineError> {
        let cpu = Arc::new(CpuBackend::new(config.threads)?);
        let open = |index| -> Result<Cuda, PipelineError> {
            let options = config.cuda_options(index);
            Ok(Cuda { backend: Arc::new(CudaBackend::open(&options)?), options })
        };
        let (cuda, reason) = match config.choice {
            DeviceChoice::Cpu => (None, "as asked".to_owned()),
            DeviceChoice::Cuda(index) => (Some(open(index)?), "as asked".to_owned()),
            DeviceChoice::Auto => match open(0) {
                Ok(cuda) => (Some(cuda), "the first GPU of this machine".to_owned()),
                Err(error) => (None, format!("no GPU can be used: {error}")),
            },
        };
        let precision = config.precision.filter(|&p| cuda.is_none() && p != Precision::F32);
        if let Some(precision) = precision {
            return Err(PipelineError::Precision { precision, device: cpu.device_name(), reason });
        }
        Ok(Self { cpu, cuda, reason })
    }

    /// Name of the device that runs the encoders, such as `cpu (2 threads)`.
    pub fn name(&self) -> String {
        match &self.cuda {
            Some(cuda) => cuda.backend.device_name(),
            None => self.cpu.device_name(),
        }
    }

    /// What was chosen and why, in one phrase.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Number type the encoders compute in.
    pub fn precision(&self) -> Precision {
        self.cuda.as_ref().map_or(Precision::F32, |cuda| cuda.backend.precision())
    }

    /// PCI bus ids of the GPUs in use, for the monitor.
    pub fn gpu_bus_ids(&self) -> Vec<String> {
        self.cuda.iter().map(|cuda| cuda.backend.properties().bus_id.clone()).collect()
    }

    /// The processor, which classifies.
    pub(crate) fn cpu(&self) -> &Arc<CpuBackend> {
        &self.cpu
    }

    pub(crate) fn cuda(&self) -> Option<&Cuda> {
        self.cuda.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_choice_text_and_back() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda:0", DeviceChoice::Cuda(0)),
            ("cuda:12", DeviceChoice::Cuda(12)),
        ] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            let error = wrong.parse::<DeviceChoice>().unwrap_err();
            assert!(error.contains("auto, cpu, cuda, cuda:N"), "{error}");
        }
    }

    #[test]
    fn open_half_precision_on_the_processor_is_refused() {
        let config = DeviceConfig { precision: Some(Precision::F16), ..DeviceConfig::cpu(1) };
        let error = Device::open(&config).unwrap_err().to_string();
        assert!(error.contains("f16") && error.contains("cpu (1 thread)"), "{error}");
    }

    #[test]
    fn open_auto_says_why_it_chose() {
        let device = Device::open(&DeviceConfig::default()).unwrap();
        match device.cuda {
            Some(_) => assert!(device.name().starts_with("cuda:0")),
            None => assert!(device.reason().contains("GPU"), "{}", device.reason()),
        }
    }

    #[test]
    fn open_gpu_that_is_not_there_is_an_error_and_no_fallback() {
        let config = DeviceConfig { choice: DeviceChoice::Cuda(4096), ..DeviceConfig::default() };
        assert!(Device::open(&config).is_err());
    }
}
