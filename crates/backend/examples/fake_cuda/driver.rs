//! The driver, `libcuda`.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::sys::CUfunction_attribute as FunctionAttribute;

use crate::device::{bind, capacity, chip, close, device};
use crate::{SUCCESS, misuse, put};

const INVALID_VALUE: c_int = 1;
const OUT_OF_MEMORY: c_int = 2;
/// Dynamic shared memory that a kernel may have without asking, in bytes.
const SHARED_WITHOUT_ASKING: c_int = 48 << 10;
/// What stands for the context, and for a module: not null.
const HANDLE: usize = 16;

struct Function {
    dynamic_shared_bytes: AtomicI32,
}

/// When it was recorded.
type Event = Mutex<Option<Instant>>;

fn event<'a>(event: *const Event) -> &'a Event {
    // SAFETY: events come from `cuEventCreate`, and whoever calls has not destroyed this one.
    unsafe { event.as_ref() }.unwrap_or_else(|| misuse("an event that is null"))
}

fn function<'a>(function: *const Function) -> &'a Function {
    // SAFETY: functions come from `cuModuleGetFunction` and live as long as the process.
    unsafe { function.as_ref() }.unwrap_or_else(|| misuse("a function that is null"))
}

fn recorded(handle: *const Event) -> Option<Instant> {
    *event(handle).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies between places that were checked.
fn copy(to: u64, from: u64, bytes: usize) -> c_int {
    // SAFETY: device addresses were checked to lie in blocks, host addresses are the caller's, and no
    // block is ever both.
    unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: *mut c_int) -> c_int {
    put(version, 13000)
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorName(_code: c_int, name: *mut *const c_char) -> c_int {
    put(name, c"CUDA_ERROR_FAKE".as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorString(_code: c_int, text: *mut *const c_char) -> c_int {
    put(text, c"an error of the fake driver".as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    put(count, 1)
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> c_int {
    put(device, ordinal)
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetName(place: *mut c_char, room: c_int, _device: c_int) -> c_int {
    for (at, &byte) in b"Fake GPU\0".iter().enumerate().take(room.max(0) as usize) {
        put(place.wrapping_add(at), byte as c_char);
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetAttribute(value: *mut c_int, which: c_int, _device: c_int) -> c_int {
    let is = |attribute: Attribute| which == attribute as c_int;
    let chip = chip();
    let found = if is(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) {
        chip.capability.0
    } else if is(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) {
        chip.capability.1
    } else if is(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) {
        chip.multiprocessors
    } else if is(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN) {
        chip.shared_bytes
    } else {
        0
    };
    put(value, found)
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _device: c_int) -> c_int {
    put(bytes, capacity())
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, _device: c_int) -> c_int {
    put(context, HANDLE as *mut c_void)
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> c_int {
    close();
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: *mut c_void) -> c_int {
    bind(!context.is_null());
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> c_int {
    drop(device("cuCtxSynchronize"));
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> c_int {
    put(free, device("cuMemGetInfo").free_bytes());
    put(total, capacity())
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> c_int {
    let mut device = device("cuMemAlloc");
    if bytes > device.free_bytes() {
        device.refused += 1;
        return OUT_OF_MEMORY;
    }
    put(address, device.memory.allocate(bytes))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> c_int {
    device("cuMemFree").memory.free(address);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostAlloc(place: *mut u64, bytes: usize, _flags: c_uint) -> c_int {
    put(place, device("cuMemHostAlloc").pinned.allocate(bytes))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(address: u64) -> c_int {
    device("cuMemFreeHost").pinned.free(address);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: u64, bytes: usize, _stream: usize) -> c_int {
    device("cuMemcpyHtoDAsync").memory.check_inside(to, bytes, "H2D");
    copy(to, from, bytes)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoHAsync_v2(to: u64, from: u64, bytes: usize, _stream: usize) -> c_int {
    device("cuMemcpyDtoHAsync").memory.check_inside(from, bytes, "D2H");
    copy(to, from, bytes)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, _stream: usize) -> c_int {
    let device = device("cuMemcpyDtoDAsync");
    device.memory.check_inside(to, bytes, "D2D");
    device.memory.check_inside(from, bytes, "D2D");
    copy(to, from, bytes)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(address: u64, value: u8, bytes: usize, _stream: usize) -> c_int {
    device("cuMemsetD8Async").memory.check_inside(address, bytes, "memset");
    // SAFETY: the bytes were checked to lie in a block.
    unsafe { std::ptr::write_bytes(address as *mut u8, value, bytes) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreate(stream: *mut usize, _flags: c_uint) -> c_int {
    put(stream, HANDLE)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(_stream: usize) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(_stream: usize) -> c_int {
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(_stream: usize, handle: *const Event, _flags: c_uint) -> c_int {
    // One that was never recorded counts as reached.
    let _ = event(handle);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventCreate(handle: *mut *mut Event, _flags: c_uint) -> c_int {
    drop(device("cuEventCreate"));
    put(handle, Box::into_raw(Box::new(Event::default())))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(handle: *mut Event) -> c_int {
    // SAFETY: events come from `cuEventCreate` and are destroyed once.
    drop(unsafe { Box::from_raw(handle) });
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(handle: *const Event, _stream: usize) -> c_int {
    *event(handle).lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(handle: *const Event) -> c_int {
    let _ = event(handle);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime_v2(ms: *mut f32, start: *const Event, end: *const Event) -> c_int {
    let (Some(start), Some(end)) = (recorded(start), recorded(end)) else {
        misuse("time since an event that was never recorded");
    };
    let forwards = end.saturating_duration_since(start).as_secs_f32();
    put(ms, 1e3 * (forwards - start.saturating_duration_since(end).as_secs_f32()))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime(ms: *mut f32, start: *const Event, end: *const Event) -> c_int {
    cuEventElapsedTime_v2(ms, start, end)
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadData(module: *mut usize, _image: *const c_void) -> c_int {
    drop(device("cuModuleLoadData"));
    put(module, HANDLE)
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetFunction(
    function: *mut *const Function,
    _module: usize,
    _name: *const c_char,
) -> c_int {
    let made = Function { dynamic_shared_bytes: AtomicI32::new(SHARED_WITHOUT_ASKING) };
    put(function, Box::leak(Box::new(made)))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetAttribute(handle: *const Function, which: c_int, value: c_int) -> c_int {
    if which == FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as c_int {
        if value > chip().shared_bytes {
            return INVALID_VALUE;
        }
        function(handle).dynamic_shared_bytes.store(value, Ordering::Relaxed);
    }
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchKernel(
    handle: *const Function,
    blocks_x: c_uint,
    blocks_y: c_uint,
    blocks_z: c_uint,
    threads_x: c_uint,
    threads_y: c_uint,
    threads_z: c_uint,
    shared_bytes: c_uint,
    _stream: usize,
    _arguments: *const c_void,
    _extra: *const c_void,
) -> c_int {
    device("cuLaunchKernel").launches += 1;
    let threads = threads_x * threads_y * threads_z;
    let room = function(handle).dynamic_shared_bytes.load(Ordering::Relaxed);
    let fits = (1..=i32::MAX as c_uint).contains(&blocks_x)
        && (1..=65_535).contains(&blocks_y)
        && (1..=65_535).contains(&blocks_z)
        && (1..=1024).contains(&threads)
        && shared_bytes <= room as c_uint;
    if fits { SUCCESS } else { INVALID_VALUE }
}

#[unsafe(no_mangle)]
extern "C" fn cuTensorMapEncodeTiled() -> c_int {
    SUCCESS
}
