//! A device of the driver and its context.

use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::CudaError;
use super::error::DriverResult;

/// The driver of CUDA 12.0: what the libraries of CUDA 12 and 13 need.
const OLDEST_DRIVER: i32 = 12_000;

/// What the driver says about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceProperties {
    /// Number of the device, as the driver counts.
    pub index: usize,
    /// Name, such as `NVIDIA H200`.
    pub name: String,
    /// Address on the PCI bus, such as `0000:1b:00.0`.
    pub bus_id: String,
    /// Compute capability.
    pub capability: (u32, u32),
    /// Number of multiprocessors.
    pub multiprocessors: usize,
    /// Most bytes of shared memory for a block that asks for it.
    pub shared_bytes_per_block: usize,
    /// Memory of the device.
    pub total_bytes: usize,
}

impl DeviceProperties {
    /// Name and number for users, such as `cuda:0 (NVIDIA H200)`.
    pub fn label(&self) -> String {
        format!("cuda:{} ({})", self.index, self.name)
    }

    /// The compiler's name of the chip, such as `sm_90`.
    pub(super) fn arch(&self) -> String {
        format!("sm_{}{}", self.capability.0, self.capability.1)
    }
}

/// Number of devices the driver knows; the libraries must be ready.
pub(super) fn device_count() -> Result<usize, CudaError> {
    let found = driver_version()?;
    if found < OLDEST_DRIVER {
        return Err(CudaError::OldDriver { found });
    }
    result::init().doing("start")?;
    let count = result::device::get_count().doing("count the devices")?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The CUDA version that the driver is for, such as 13000.
pub(super) fn driver_version() -> Result<i32, CudaError> {
    let mut version = 0;
    // SAFETY: the place is valid for the call, which needs nothing started.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().doing("tell its version")?;
    Ok(version)
}

/// Reads what the driver says about device `index`.
pub(super) fn properties(index: usize) -> Result<DeviceProperties, CudaError> {
    let count = device_count()?;
    let ordinal = i32::try_from(index).ok().filter(|_| index < count);
    let ordinal = ordinal.ok_or(CudaError::NoDevice { index, count })?;
    let device = result::device::get(ordinal).doing("find the device")?;
    let attribute = |which| {
        // SAFETY: `device` is the driver's own number of a device that exists.
        let value = unsafe { result::device::get_attribute(device, which) };
        value.doing("describe the device").map(|value| value.max(0) as u32)
    };
    use sys::CUdevice_attribute as Attribute;
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    let [domain, bus, slot] = [
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)?,
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)?,
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)?,
    ];
    // SAFETY: as above.
    let total = unsafe { result::device::total_mem(device) }.doing("measure the memory")?;
    Ok(DeviceProperties {
        index,
        name: result::device::get_name(device).doing("name the device")?,
        bus_id: format!("{domain:04x}:{bus:02x}:{slot:02x}.0"),
        capability: (major, minor),
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as usize,
        shared_bytes_per_block: attribute(
            Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
        )? as usize,
        total_bytes: total,
    })
}

/// The primary context of a device, shared by everything that lives on it.
#[derive(Debug)]
pub(super) struct Context {
    device: sys::CUdevice,
    handle: sys::CUcontext,
    pub(super) properties: DeviceProperties,
}

// SAFETY: a context may be current on any number of threads at once; the driver locks.
unsafe impl Send for Context {}
// SAFETY: as above; the fields are never changed.
unsafe impl Sync for Context {}

impl Context {
    pub(super) fn open(index: usize) -> Result<Arc<Self>, CudaError> {
        let properties = properties(index)?;
        let device = result::device::get(index as i32).doing("find the device")?;
        // SAFETY: the device exists; the reference taken here is given back in `drop`.
        let handle = unsafe { result::primary_ctx::retain(device) }.doing("open the device")?;
        Ok(Arc::new(Self { device, handle, properties }))
    }

    /// Makes this context the one that the calling thread works in.
    pub(super) fn bind(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained as long as `self` lives.
        unsafe { result::ctx::set_current(self.handle) }.doing("enter the device")
    }

    /// Waits for everything on the device.
    pub(super) fn synchronize(&self) -> Result<(), CudaError> {
        self.bind()?;
        result::ctx::synchronize().doing("finish")
    }

    /// Free and total bytes of memory.
    pub(super) fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.bind()?;
        result::mem_get_info().doing("measure the memory")
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: gives back the one reference taken in `open`. A failure can only mean that the
        // driver is already shutting down.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}
