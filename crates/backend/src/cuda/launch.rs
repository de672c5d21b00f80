//! Loaded kernels and their launches.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use cudarc::driver::{result, sys};

use super::CudaError;
use super::compiler::{Compiler, Cubin};
use super::context::Context;
use super::error::DriverResult;
use super::source::KernelFile;
use super::stream::Stream;
use super::tensor_map::TensorMap;
use crate::Precision;

/// One argument of a kernel, by the type it has there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg {
    /// A pointer; 0 is the null pointer.
    Pointer(u64),
    /// `int`.
    Int(i32),
    /// `long long`.
    Long(i64),
    /// `float`.
    Float(f32),
    /// A tensor map, by value.
    Map(TensorMap),
}

impl Arg {
    /// An `int` from a count that a batch bounds.
    pub(super) fn count(value: usize) -> Self {
        Self::Int(i32::try_from(value).unwrap_or(i32::MAX))
    }
}

/// Blocks, threads of a block, and bytes of dynamic shared memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) grid: (usize, usize),
    pub(super) block: usize,
    pub(super) shared_bytes: usize,
}

impl Geometry {
    /// A row of `blocks` blocks.
    pub(super) fn row(blocks: usize, block: usize) -> Self {
        Self { grid: (blocks, 1), block, shared_bytes: 0 }
    }
}

/// A kernel, ready to be launched; its module stays loaded as long as the context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel(sys::CUfunction);

// SAFETY: a function of a loaded module may be launched from any thread.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

impl Kernel {
    /// Queues the kernel on `stream`.
    ///
    /// # Safety
    /// `args` are the kernel's own, in order and type; every pointer leads to as much memory as
    /// the kernel uses for this geometry, which stays there until the kernel has run.
    pub(super) unsafe fn launch(
        self,
        stream: &Stream,
        Geometry { grid, block, shared_bytes }: Geometry,
        args: &[Arg],
    ) -> Result<(), CudaError> {
        if grid.0 == 0 || grid.1 == 0 {
            return Ok(());
        }
        let mut places: Vec<*mut c_void> = args
            .iter()
            .map(|arg| match arg {
                Arg::Pointer(address) => std::ptr::from_ref(address).cast(),
                Arg::Int(value) => std::ptr::from_ref(value).cast(),
                Arg::Long(value) => std::ptr::from_ref(value).cast(),
                Arg::Float(value) => std::ptr::from_ref(value).cast(),
                Arg::Map(map) => std::ptr::from_ref(map).cast(),
            })
            .map(|place: *const c_void| place.cast_mut())
            .collect();
        // SAFETY: the driver reads, from each place, as many bytes as the argument's type has, and
        // writes none. The rest is the caller's promise.
        unsafe {
            result::launch_kernel(
                self.0,
                (grid.0 as u32, grid.1 as u32, 1),
                (block as u32, 1, 1),
                shared_bytes as u32,
                stream.handle(),
                &mut places,
            )
        }
        .doing("launch a kernel")
    }
}

/// The kernels of a device in one precision, compiled and loaded as they are asked for.
#[derive(Debug)]
pub(super) struct Kernels {
    context: Arc<Context>,
    compiler: Compiler,
    precision: Precision,
    loaded: Mutex<Loaded>,
}

/// What is on the device.
#[derive(Debug, Default)]
struct Loaded {
    modules: HashMap<KernelFile, Module>,
    kernels: HashMap<(KernelFile, &'static str), Kernel>,
}

/// A loaded module; never unloaded, since the primary context takes it along.
#[derive(Clone, Copy, Debug)]
struct Module(sys::CUmodule);

// SAFETY: a module handle is a name that the driver looks up under its own lock.
unsafe impl Send for Module {}

impl Kernels {
    pub(super) fn new(context: &Arc<Context>, compiler: Compiler, precision: Precision) -> Self {
        let context = Arc::clone(context);
        Self { context, compiler, precision, loaded: Mutex::default() }
    }

    /// Compiles several files at once and loads them; returns how many had to be compiled.
    pub(super) fn prepare(&self, files: &[KernelFile]) -> Result<usize, CudaError> {
        let mut files = files.to_vec();
        files.retain(|file| !self.lock().modules.contains_key(file));
        let cubins = self.cubins(&files, self.precision);
        let mut compiled = 0;
        for (file, cubin) in files.into_iter().zip(cubins) {
            let cubin = cubin?;
            compiled += usize::from(!cubin.was_cached);
            self.load(file, &cubin.code)?;
        }
        Ok(compiled)
    }

    /// Machine code of several files, compiled at once; all of it is kept in the cache.
    pub(super) fn cubins(
        &self,
        files: &[KernelFile],
        precision: Precision,
    ) -> Vec<Result<Cubin, CudaError>> {
        thread::scope(|scope| {
            let cubin = |file| self.compiler.cubin(file, precision);
            let threads: Vec<_> =
                files.iter().map(|&file| scope.spawn(move || cubin(file))).collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
                })
                .collect()
        })
    }

    /// A kernel by its file and name.
    pub(super) fn get(&self, file: KernelFile, name: &'static str) -> Result<Kernel, CudaError> {
        self.context.bind()?;
        let module = {
            let loaded = self.lock();
            if let Some(&kernel) = loaded.kernels.get(&(file, name)) {
                return Ok(kernel);
            }
            loaded.modules.get(&file).copied()
        };
        let module = match module {
            Some(module) => module,
            None => self.load(file, &self.compiler.cubin(file, self.precision)?.code)?,
        };
        let c_name = CString::new(name).expect("names of kernels hold no zero byte");
        // SAFETY: the module is loaded and stays so.
        let function = unsafe { result::module::get_function(module.0, c_name) };
        let function = function.doing("find a kernel")?;
        let shared_bytes = file.dynamic_shared_bytes(self.precision);
        if shared_bytes > 48 * 1024 {
            let which =
                sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function belongs to a loaded module.
            unsafe {
                result::function::set_function_attribute(function, which, shared_bytes as i32)
            }
            .doing("give a kernel its shared memory")?;
        }
        self.lock().kernels.insert((file, name), Kernel(function));
        Ok(Kernel(function))
    }

    fn lock(&self) -> MutexGuard<'_, Loaded> {
        // An entry is complete before it is inserted.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self, file: KernelFile, code: &[u8]) -> Result<Module, CudaError> {
        self.context.bind()?;
        // SAFETY: `code` is a whole cubin: NVRTC's, or what the cache proved by its checksum.
        let module = unsafe { result::module::load_data(code.as_ptr().cast()) };
        let module = Module(module.doing("load a kernel")?);
        Ok(*self.lock().modules.entry(file).or_insert(module))
    }
}
