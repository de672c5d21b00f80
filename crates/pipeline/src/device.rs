//! Choosing and opening the device.

use std::sync::Arc;

use virnucpro_backend::Backend;
use virnucpro_backend::cpu::CpuBackend;

use crate::PipelineError;

/// Which device the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best device of this machine.
    #[default]
    Auto,
    /// The processor.
    Cpu,
}

/// An opened device.
#[derive(Debug)]
pub struct Device {
    backend: Arc<CpuBackend>,
    choice: DeviceChoice,
}

impl Device {
    /// Opens a device; `threads` is the number of worker threads, 0 for one per core.
    ///
    /// # Errors
    /// The system's refusal to start the threads.
    pub fn open(choice: DeviceChoice, threads: usize) -> Result<Self, PipelineError> {
        Ok(Self { backend: Arc::new(CpuBackend::new(threads)?), choice })
    }

    /// Name of the device, such as `cpu (2 threads)`.
    pub fn name(&self) -> String {
        self.backend.device_name()
    }

    /// What was chosen and why, in one phrase.
    pub fn reason(&self) -> &'static str {
        match self.choice {
            DeviceChoice::Auto => "the only kind of device this version can use",
            DeviceChoice::Cpu => "as asked",
        }
    }

    /// Number type the encoders compute in.
    pub fn precision(&self) -> &'static str {
        "f32"
    }

    pub(crate) fn backend(&self) -> &Arc<CpuBackend> {
        &self.backend
    }
}
