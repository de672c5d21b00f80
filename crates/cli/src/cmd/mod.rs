//! One file per command: arguments in, one call, a report out.

pub(crate) mod bench;
pub(crate) mod classify;
pub(crate) mod consensus;
pub(crate) mod devices;
pub(crate) mod embed;
pub(crate) mod models;
pub(crate) mod predict;
pub(crate) mod selftest;
pub(crate) mod translate;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

use virnucpro_pipeline::{Device, DeviceConfig, Input, Monitor, MonitorConfig};

use crate::args::{DeviceArgs, StreamArgs};

fn inputs(paths: &[PathBuf]) -> Vec<Input> {
    paths.iter().map(Input::from).collect()
}

/// Whether standard input is one of them.
fn reads_stdin(paths: &[PathBuf]) -> bool {
    paths.iter().any(|path| path.as_os_str() == "-")
}

/// The number asked for, or one per core.
fn threads(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    asked.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

fn open_device(args: &DeviceArgs) -> anyhow::Result<Device> {
    Ok(Device::open(&DeviceConfig {
        choice: args.device,
        threads: threads(args.threads).get(),
        precision: args.precision,
        library_dir: args.cuda.cuda_libraries.clone(),
        cache_dir: args.cuda.cuda_cache.clone(),
    })?)
}

/// Instruments of a run on `device` that write the files that were asked for.
fn monitor_config(
    device: &Device,
    metrics: &Option<PathBuf>,
    trace: &Option<PathBuf>,
) -> MonitorConfig {
    MonitorConfig {
        metrics: metrics.clone(),
        trace: trace.clone(),
        nvml_devices: device.gpu_bus_ids(),
        ..MonitorConfig::default()
    }
}

fn start_monitor(args: &StreamArgs, device: &Device) -> anyhow::Result<Monitor> {
    Ok(Monitor::start(monitor_config(device, &args.metrics, &args.trace))?)
}
