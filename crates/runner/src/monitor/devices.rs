//! What the GPUs say of themselves, through NVML.
//!
//! NVML is opened at run time. Where it is missing, or refuses a device or a reading, that is a
//! value with a reason and never a panic: a machine without a GPU is an ordinary machine.

use nvml_wrapper::{Device, Nvml, enum_wrappers::device::TemperatureSensor, error::NvmlError};
use serde::{Deserialize, Serialize};

/// One reading of one GPU. A reading that the driver refuses is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceSample {
    /// PCI bus id.
    pub bus_id: String,
    /// Product name.
    pub name: String,
    /// Share of the driver's last sampling period in which a kernel ran, 0..100.
    pub utilisation_percent: Option<f64>,
    /// Memory in use, by every process.
    pub memory_used_bytes: Option<u64>,
    /// Memory of the device.
    pub memory_total_bytes: Option<u64>,
    /// Power draw of the board.
    pub power_watts: Option<f64>,
    /// Temperature of the die.
    pub temperature_celsius: Option<f64>,
    /// Energy used since the driver was loaded; differences of it mean something.
    pub energy_joules: Option<f64>,
}

/// Which GPUs to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuSelection {
    /// Every one that NVML knows.
    All,
    /// Those with these PCI bus ids.
    BusIds(Vec<String>),
}

/// The GPUs that are watched.
#[derive(Debug)]
pub struct GpuSampler {
    nvml: Option<Nvml>,
    devices: Vec<Watched>,
    missing: Vec<String>,
}

#[derive(Debug)]
struct Watched {
    index: u32,
    bus_id: String,
    name: String,
}

impl GpuSampler {
    /// Opens NVML and finds the devices; what cannot be watched is told by
    /// [`GpuSampler::missing`]. An empty selection opens nothing.
    pub fn open(selection: &GpuSelection) -> GpuSampler {
        Self::open_with(selection, Nvml::init)
    }

    fn open_with(
        selection: &GpuSelection,
        init: impl FnOnce() -> Result<Nvml, NvmlError>,
    ) -> GpuSampler {
        let mut sampler = GpuSampler { nvml: None, devices: Vec::new(), missing: Vec::new() };
        if matches!(selection, GpuSelection::BusIds(ids) if ids.is_empty()) {
            return sampler;
        }
        let nvml = match init() {
            Ok(nvml) => nvml,
            Err(error) => {
                sampler.missing.push(format!("NVML cannot be opened: {}", one_line(&error)));
                return sampler;
            }
        };
        match selection {
            GpuSelection::All => match nvml.device_count() {
                Ok(count) => {
                    for index in 0..count {
                        sampler.watch(&format!("number {index}"), nvml.device_by_index(index));
                    }
                }
                Err(error) => {
                    sampler.missing.push(format!("NVML counts no GPU: {}", one_line(&error)));
                }
            },
            GpuSelection::BusIds(ids) => {
                for id in ids {
                    sampler.watch(id, nvml.device_by_pci_bus_id(id.as_str()));
                }
            }
        }
        sampler.nvml = Some(nvml);
        sampler
    }

    fn watch(&mut self, wanted: &str, device: Result<Device<'_>, NvmlError>) {
        let found = device.and_then(|device| {
            Ok(Watched {
                // An index is found again in no time; a bus id makes the driver look at every one.
                index: device.index()?,
                bus_id: device.pci_info()?.bus_id,
                name: device.name().unwrap_or_else(|_| "GPU".to_owned()),
            })
        });
        match found {
            Ok(watched) => self.devices.push(watched),
            Err(error) => {
                self.missing.push(format!("GPU {wanted} cannot be watched: {}", one_line(&error)));
            }
        }
    }

    /// Why there is no sample of a device that was asked for, a line each; empty when all is well.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Reads every watched device once. A device that is gone gives no sample.
    pub fn sample(&self) -> Vec<DeviceSample> {
        let Some(nvml) = &self.nvml else { return Vec::new() };
        self.devices
            .iter()
            .filter_map(|watched| {
                let device = nvml.device_by_index(watched.index).ok()?;
                Some(read(watched, &device))
            })
            .collect()
    }
}

fn read(watched: &Watched, device: &Device<'_>) -> DeviceSample {
    let memory = device.memory_info().ok();
    DeviceSample {
        bus_id: watched.bus_id.clone(),
        name: watched.name.clone(),
        utilisation_percent: device
            .utilization_rates()
            .ok()
            .map(|rates| f64::from(rates.gpu).clamp(0.0, 100.0)),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        memory_total_bytes: memory.as_ref().map(|memory| memory.total),
        power_watts: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1e3),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        energy_joules: device
            .total_energy_consumption()
            .ok()
            .map(|millijoules| millijoules as f64 / 1e3),
    }
}

fn one_line(error: &NvmlError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn without_library() -> Result<Nvml, NvmlError> {
        Nvml::builder().lib_path(OsStr::new("no-such-library-of-nvml.so.0")).init()
    }

    #[test]
    fn gpu_sampler_without_nvml_is_a_value_with_a_reason() {
        for selection in [GpuSelection::All, GpuSelection::BusIds(vec!["0000:01:00.0".into()])] {
            let sampler = GpuSampler::open_with(&selection, without_library);
            assert_eq!(sampler.sample(), []);
            assert_eq!(sampler.missing().len(), 1);
            let reason = &sampler.missing()[0];
            assert!(reason.contains("no-such-library-of-nvml"), "{reason}");
            assert_eq!(reason.lines().count(), 1);
        }
    }

    #[test]
    fn gpu_sampler_of_no_device_opens_nothing_and_misses_nothing() {
        let sampler = GpuSampler::open_with(&GpuSelection::BusIds(Vec::new()), || {
            panic!("NVML was opened although no device was asked for")
        });
        assert_eq!(sampler.sample(), []);
        assert!(sampler.missing().is_empty());
    }
}
