//! The device: its chip, its memory, and what has happened.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::misuse;

/// A chip that the kernels are written for.
pub(crate) struct Chip {
    pub(crate) capability: (c_int, c_int),
    pub(crate) multiprocessors: c_int,
    /// Most shared memory of a block, in bytes.
    pub(crate) shared_bytes: c_int,
}

const CHIPS: [Chip; 7] = [
    Chip { capability: (7, 5), multiprocessors: 40, shared_bytes: 64 << 10 },
    Chip { capability: (8, 0), multiprocessors: 108, shared_bytes: 163 << 10 },
    Chip { capability: (8, 6), multiprocessors: 84, shared_bytes: 99 << 10 },
    Chip { capability: (8, 9), multiprocessors: 58, shared_bytes: 99 << 10 },
    Chip { capability: (9, 0), multiprocessors: 132, shared_bytes: 227 << 10 },
    Chip { capability: (10, 0), multiprocessors: 148, shared_bytes: 227 << 10 },
    Chip { capability: (12, 0), multiprocessors: 170, shared_bytes: 99 << 10 },
];

/// The chip that was asked for.
pub(crate) fn chip() -> &'static Chip {
    let asked = std::env::var("FAKE_CUDA_CAPABILITY").unwrap_or_else(|_| "9.0".to_owned());
    let is_asked = |chip: &&Chip| format!("{}.{}", chip.capability.0, chip.capability.1) == asked;
    CHIPS.iter().find(is_asked).unwrap_or_else(|| misuse("no such chip"))
}

/// Bytes of memory that were asked for.
pub(crate) fn capacity() -> usize {
    match std::env::var("FAKE_CUDA_BYTES") {
        Ok(bytes) => bytes.parse().unwrap_or_else(|_| misuse("FAKE_CUDA_BYTES is no number")),
        Err(_) => 16 << 30,
    }
}

/// Blocks of memory that were given out: address to bytes.
pub(crate) struct Blocks {
    sizes: BTreeMap<u64, usize>,
    used: usize,
    peak: usize,
}

/// The device and the host's pinned memory, and counts.
pub(crate) struct Device {
    pub(crate) memory: Blocks,
    pub(crate) pinned: Blocks,
    pub(crate) refused: usize,
    pub(crate) launches: usize,
}

static DEVICE: Mutex<Device> =
    Mutex::new(Device { memory: Blocks::NONE, pinned: Blocks::NONE, refused: 0, launches: 0 });

thread_local! {
    static IS_BOUND: Cell<bool> = const { Cell::new(false) };
}

/// The device, for a call that needs a context.
pub(crate) fn device(call: &str) -> MutexGuard<'static, Device> {
    if !IS_BOUND.get() {
        misuse(&format!("{call} on a thread without a context"));
    }
    DEVICE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the device's context that of the calling thread, or takes it away.
pub(crate) fn bind(is_bound: bool) {
    IS_BOUND.set(is_bound);
}

fn layout(bytes: usize) -> Layout {
    // With a larger alignment zeros would be written, page by page.
    Layout::from_size_align(bytes, 16).unwrap_or_else(|_| misuse("a block of impossible size"))
}

impl Blocks {
    const NONE: Self = Self { sizes: BTreeMap::new(), used: 0, peak: 0 };

    /// A new block, filled with zeros.
    pub(crate) fn allocate(&mut self, bytes: usize) -> u64 {
        let bytes = bytes.max(1);
        // SAFETY: the size is not zero.
        let address = unsafe { alloc_zeroed(layout(bytes)) } as u64;
        self.sizes.insert(address, bytes);
        self.used += bytes;
        self.peak = self.peak.max(self.used);
        address
    }

    pub(crate) fn free(&mut self, address: u64) {
        let Some(bytes) = self.sizes.remove(&address) else { misuse("memory freed twice") };
        self.used -= bytes;
        // SAFETY: the block came from `alloc_zeroed` with this layout and is forgotten now.
        unsafe { dealloc(address as *mut u8, layout(bytes)) };
    }

    /// Ends the process unless a block holds all of these bytes.
    pub(crate) fn check_inside(&self, address: u64, bytes: usize, call: &str) {
        let block = self.sizes.range(..=address).next_back();
        let ends_before =
            |(&at, &size): (&u64, &usize)| at + (size as u64) < address + bytes as u64;
        if block.is_none_or(ends_before) {
            misuse(&format!("{call} of {bytes} bytes beyond a block of memory"));
        }
    }
}

impl Device {
    pub(crate) fn free_bytes(&self) -> usize {
        capacity() - self.memory.used
    }

    /// Writes the counts to the file that was asked for.
    fn report(&self) {
        let Some(path) = std::env::var_os("FAKE_CUDA_REPORT") else { return };
        let counts = serde_json::json!({
            "used_bytes": self.memory.used,
            "pinned_bytes": self.pinned.used,
            "peak_bytes": self.memory.peak,
            "refused": self.refused,
            "launches": self.launches,
        });
        if let Err(error) = std::fs::write(path, counts.to_string()) {
            misuse(&format!("the report cannot be written: {error}"));
        }
    }
}

/// Writes the counts at the end of a context.
pub(crate) fn close() {
    DEVICE.lock().unwrap_or_else(PoisonError::into_inner).report();
}
