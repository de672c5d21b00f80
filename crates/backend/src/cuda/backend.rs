//! The CUDA backend: one device, one precision, three streams.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::CudaError;
use super::activation::CudaActivation;
use super::arena::Arena;
use super::batch::{CudaBatch, Staging};
use super::cache::Cache;
use super::compiler::Compiler;
use super::context::{Context, DeviceProperties};
use super::gemm::{Care, Gemm, PlanReport};
use super::launch::Kernels;
use super::library::{self, CudaLibrary};
use super::memory::DeviceBuffer;
use super::profile::{FamilyTimes, Profile};
use super::source::{HEAD_DIMS, KernelFile, check_precision};
use super::stream::Stream;
use super::upload::Uploader;
use super::weights::{CudaLinear, CudaTable, CudaVector};
use crate::{
    AttentionSpec, Backend, BackendError, Epilogue, NormWeights, NormedLinear, PackedView,
    PoolSpec, Precision, RotarySpec, TensorView, TokenDropout,
};

/// Positions that a rotary table begins with.
const ROTARY_POSITIONS: usize = 1024;

/// How a CUDA device is opened.
#[derive(Clone, Debug, Default)]
pub struct CudaOptions {
    /// Number of the device, as the driver counts.
    pub device: usize,
    /// Number type of weights and activations.
    pub precision: Precision,
    /// Where NVRTC and cuBLASLt are, before the usual places.
    pub library_dir: Option<PathBuf>,
    /// Where compiled kernels and matrix plans are kept; the user's cache folder if not given.
    pub cache_dir: Option<PathBuf>,
}

/// A CUDA device that runs the domain operations.
///
/// All work on activations is queued on one stream, in the order it was asked for; an operation
/// returns as soon as it is queued.
#[derive(Debug)]
pub struct CudaBackend {
    pub(super) context: Arc<Context>,
    pub(super) precision: Precision,
    pub(super) kernels: Kernels,
    pub(super) gemm: Gemm,
    pub(super) arena: Arc<Arena>,
    pub(super) compute: Stream,
    pub(super) htod: Stream,
    pub(super) dtoh: Stream,
    pub(super) profile: Profile,
    uploader: Mutex<Uploader>,
    cache: Cache,
    rotary_tables: Mutex<HashMap<(usize, u32), Arc<RotaryTable>>>,
    slopes: Mutex<HashMap<Vec<u32>, Arc<DeviceBuffer>>>,
    is_fusing: AtomicBool,
    compiled: usize,
}

/// f32 `[positions, head_dim / 2, 2]`, cosine and sine.
#[derive(Debug)]
pub(super) struct RotaryTable {
    pub(super) buffer: DeviceBuffer,
    positions: usize,
}

// Every change under these locks is complete before anything can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CudaBackend {
    /// Opens a device: finds the libraries, compiles or reads the kernels, makes the streams.
    ///
    /// # Errors
    /// What is missing, too old or refused; nothing panics on a machine without CUDA.
    pub fn open(options: &CudaOptions) -> Result<Self, CudaError> {
        let CudaOptions { device, precision, library_dir, cache_dir } = options;
        for library in CudaLibrary::ALL {
            library::require(library, library_dir.as_deref())?;
        }
        let context = Context::open(*device)?;
        context.bind()?;
        let DeviceProperties { capability, .. } = context.properties;
        check_precision(*precision, capability, &context.properties.label())?;
        let cache = Cache::new(cache_dir.clone());
        let compiler =
            Compiler::new(context.properties.arch(), cache.clone(), library_dir.as_deref())?;
        let kernels = Kernels::new(&context, compiler, *precision);
        // Others are compiled when they come.
        let files = KernelFile::usual(*precision, capability);
        let compiled = kernels.prepare(&files)?;
        let arena = Arena::new(&context);
        Ok(Self {
            gemm: Gemm::new(&context, *precision, &arena, cache.clone())?,
            cache,
            arena,
            compute: Stream::new(&context)?,
            htod: Stream::new(&context)?,
            dtoh: Stream::new(&context)?,
            profile: Profile::default(),
            uploader: Mutex::new(Uploader::new(&context, *precision)?),
            rotary_tables: Mutex::default(),
            slopes: Mutex::default(),
            is_fusing: AtomicBool::new(true),
            precision: *precision,
            kernels,
            compiled,
            context,
        })
    }

    /// Number type of weights and activations.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What the driver says about the device.
    pub fn properties(&self) -> &DeviceProperties {
        &self.context.properties
    }

    /// Kernel files that had to be compiled at the start; 0 where all were in the cache.
    pub fn kernels_compiled(&self) -> usize {
        self.compiled
    }

    /// Compiles or reads every kernel that any model may need, side by side; without it those that
    /// the published models do not need are compiled one by one, when they are first used.
    ///
    /// # Errors
    /// A kernel that does not compile or load.
    pub fn load_all_kernels(&self) -> Result<(), CudaError> {
        self.context.bind()?;
        let files = KernelFile::all(self.precision, self.context.properties.capability);
        self.kernels.prepare(&files).map(drop)
    }

    /// Compiles into the cache what [`Self::load_all_kernels`] of a backend in `precision` will
    /// load. What does not compile is left to that backend to report.
    pub fn compile_all_kernels(&self, precision: Precision) {
        let properties = &self.context.properties;
        if check_precision(precision, properties.capability, &properties.label()).is_ok() {
            let files = KernelFile::all(precision, properties.capability);
            drop(self.kernels.cubins(&files, precision));
        }
    }

    /// Free and total bytes of the device's memory.
    ///
    /// # Errors
    /// The device's own failure.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.context.memory()
    }

    /// Makes matrix plans anew, for the size of the batch that comes next; until then one plan
    /// serves every size, so that results do not depend on it. `lasting` plans are chosen by what
    /// they take on a chip that is busy for long, which takes a second or two; others by a few
    /// runs. Both are remembered on disk.
    pub fn forget_plans(&self, lasting: bool) {
        self.gemm.forget(if lasting { Care::Lasting } else { Care::Quick });
    }

    /// How each matrix product is done, largest first.
    pub fn plans(&self) -> Vec<PlanReport> {
        self.gemm.reports()
    }

    /// A number that a run on such a device, in this precision, has found out and kept under `key`.
    pub fn recall(&self, key: &str) -> Option<u64> {
        let bytes = self.cache.read("found", &self.found_key(key))?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// Keeps a number for later runs, where there is a cache folder.
    pub fn remember(&self, key: &str, number: u64) {
        self.cache.write("found", &self.found_key(key), &number.to_le_bytes());
    }

    fn found_key(&self, key: &str) -> String {
        let DeviceProperties { name, capability, .. } = &self.context.properties;
        let program = env!("CARGO_PKG_VERSION");
        format!("{name} {capability:?} {} {program} {key}", self.precision)
    }

    /// Makes one block of what the largest batch so far has used and a tenth more, so that no
    /// later batch of its size asks the driver for memory. `None` while an activation is alive,
    /// and then nothing changes; otherwise the bytes of the block.
    ///
    /// # Errors
    /// No memory for it.
    pub fn settle_memory(&self) -> Result<Option<usize>, CudaError> {
        self.context.synchronize()?;
        let bytes = self.arena.peak() + self.arena.peak() / 10;
        Ok(self.arena.become_one_region(bytes)?.then_some(bytes))
    }

    /// Gives memory of activations that nobody uses back to the driver.
    ///
    /// # Errors
    /// The device's own failure.
    pub fn release_memory(&self) -> Result<(), CudaError> {
        self.context.synchronize()?;
        self.arena.release();
        Ok(())
    }

    /// Blocks that activations have been taken from so far, and their bytes.
    pub fn activation_blocks(&self) -> (usize, usize) {
        self.arena.regions()
    }

    /// Runs `work` with every operation as kernels of its own: the slow form of those that are
    /// fused, to compare results and times with. A LayerNorm that was folded into weights when they
    /// were made stays folded, with a norm without scale and shift before it.
    pub fn without_fusing<R>(&self, work: impl FnOnce() -> R) -> R {
        /// Fuses again at the end, by a panic of the work too.
        struct Again<'a>(&'a AtomicBool);
        impl Drop for Again<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        self.is_fusing.store(false, Ordering::SeqCst);
        let _again = Again(&self.is_fusing);
        work()
    }

    pub(super) fn is_fusing(&self) -> bool {
        self.is_fusing.load(Ordering::SeqCst)
    }

    /// Measures `work` by family of kernels.
    ///
    /// # Errors
    /// Those of `work`, and the device's own.
    pub fn profiled<E: From<CudaError>>(
        &self,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<FamilyTimes, E> {
        self.profile.start();
        let outcome = work();
        let finished = self.compute.synchronize();
        let times = self.profile.finish();
        outcome?;
        finished?;
        Ok(times?)
    }

    pub(super) fn uploader(&self) -> MutexGuard<'_, Uploader> {
        lock(&self.uploader)
    }

    /// The table for positions below `max_seqlen`, made at first and whenever it is too short.
    pub(super) fn rotary_table(
        &self,
        head_dim: usize,
        base: f32,
        max_seqlen: usize,
    ) -> Result<Arc<RotaryTable>, CudaError> {
        let mut tables = lock(&self.rotary_tables);
        let key = (head_dim, base.to_bits());
        if let Some(table) = tables.get(&key).filter(|table| table.positions >= max_seqlen) {
            return Ok(Arc::clone(table));
        }
        let positions = max_seqlen.next_power_of_two().max(ROTARY_POSITIONS);
        let buffer = DeviceBuffer::new(&self.context, positions * head_dim * 4)?;
        self.fill_rotary_table(buffer.address(), positions, head_dim, base)?;
        let table = Arc::new(RotaryTable { buffer, positions });
        tables.insert(key, Arc::clone(&table));
        Ok(table)
    }

    pub(super) fn slopes(&self, slopes: &[f32]) -> Result<Arc<DeviceBuffer>, CudaError> {
        let mut known = lock(&self.slopes);
        let key: Vec<u32> = slopes.iter().map(|slope| slope.to_bits()).collect();
        if let Some(buffer) = known.get(&key) {
            return Ok(Arc::clone(buffer));
        }
        let buffer = Arc::new(self.floats(slopes)?);
        known.insert(key, Arc::clone(&buffer));
        Ok(buffer)
    }

    /// The attention kernel for a spec, or what is missing.
    pub(super) fn attention_file(
        &self,
        spec: AttentionSpec<'_>,
    ) -> Result<KernelFile, BackendError> {
        let unsupported = |missing: String| {
            Err(BackendError::Unsupported { device: self.device_name(), missing })
        };
        if !HEAD_DIMS.contains(&spec.head_dim) {
            return unsupported(format!(
                "attention with heads of width {}; there is {HEAD_DIMS:?}",
                spec.head_dim
            ));
        }
        let properties = &self.context.properties;
        let file = KernelFile::attention(self.precision, properties.capability, spec.head_dim);
        let needed = file.dynamic_shared_bytes(self.precision);
        if needed > properties.shared_bytes_per_block {
            return unsupported(format!("{needed} bytes of shared memory for a block"));
        }
        Ok(file)
    }
}

impl Backend for CudaBackend {
    type Linear = CudaLinear;
    type Table = CudaTable;
    type Vector = CudaVector;
    type Batch = CudaBatch;
    type Activation = CudaActivation;

    fn device_name(&self) -> String {
        self.context.properties.label()
    }

    fn check_attention(&self, spec: AttentionSpec<'_>) -> Result<(), BackendError> {
        self.attention_file(spec).map(|_| ())
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        Ok(self.compute.synchronize()?)
    }

    fn finite_rows(&self, x: &CudaActivation) -> Result<Vec<bool>, BackendError> {
        self.finite_rows_of(x)
    }

    fn linear_weights(
        &self,
        weights: &[TensorView<'_>],
        biases: &[TensorView<'_>],
    ) -> Result<CudaLinear, BackendError> {
        self.stack(weights, biases)
    }

    fn normed_linear_weights(
        &self,
        norm: NormWeights<'_>,
        weights: &[TensorView<'_>],
        biases: &[TensorView<'_>],
    ) -> Result<NormedLinear<Self>, BackendError> {
        self.stack_behind(norm, weights, biases)
    }

    fn table(&self, table: &TensorView<'_>) -> Result<CudaTable, BackendError> {
        self.stored_table(table)
    }

    fn vector(&self, values: &[f32]) -> Result<CudaVector, BackendError> {
        Ok(self.stored_vector(values)?)
    }

    fn upload(&self, batch: PackedView<'_>) -> Result<CudaBatch, BackendError> {
        let mut staging = Staging::new(&self.context, batch.seq_ends().last().unwrap_or(0))?;
        let batch = staging.stage(&self.compute, batch)?;
        // The pinned half of the staging goes away with it.
        self.compute.synchronize()?;
        Ok(batch)
    }

    fn generation(&self) -> u64 {
        self.gemm.generation() << 1 | u64::from(self.is_fusing())
    }

    fn largest_token(&self, batch: &CudaBatch) -> u32 {
        batch.largest_id.0
    }

    fn activation(
        &self,
        rows: usize,
        cols: usize,
        values: &[f32],
    ) -> Result<CudaActivation, BackendError> {
        BackendError::expect("activation", "number of values", values.len(), rows * cols)?;
        self.elements_from_host(rows, cols, values)
    }

    fn scratch(&self, rows: usize, cols: usize) -> Result<CudaActivation, BackendError> {
        Ok(self.take(rows, cols, self.precision)?)
    }

    fn shape(&self, x: &CudaActivation) -> (usize, usize) {
        (x.rows, x.cols)
    }

    fn download(&self, x: &CudaActivation) -> Result<Vec<f32>, BackendError> {
        Ok(self.elements_to_host(x)?)
    }

    fn embed(
        &self,
        batch: &CudaBatch,
        table: &CudaTable,
        shift: Option<&CudaVector>,
        token_dropout: Option<TokenDropout>,
    ) -> Result<CudaActivation, BackendError> {
        self.look_up(batch, table, shift, token_dropout)
    }

    fn layer_norm(
        &self,
        x: &CudaActivation,
        gamma: &CudaVector,
        beta: &CudaVector,
        eps: f32,
        out: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        BackendError::expect("layer_norm", "columns of out", out.cols, x.cols)?;
        BackendError::expect("layer_norm", "rows of out", out.rows, x.rows)?;
        out.moments = None;
        self.normalise(x, gamma, beta, eps, out.address())
    }

    fn layer_norm_in_place(
        &self,
        x: &mut CudaActivation,
        gamma: &CudaVector,
        beta: &CudaVector,
        eps: f32,
    ) -> Result<(), BackendError> {
        x.moments = None;
        self.normalise(x, gamma, beta, eps, x.address())
    }

    fn linear(
        &self,
        x: &CudaActivation,
        layer: &CudaLinear,
        epilogue: Epilogue,
        out: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        self.multiply(x, layer, epilogue, out)
    }

    fn normed_linear(
        &self,
        x: &CudaActivation,
        layer: &NormedLinear<Self>,
        epilogue: Epilogue,
        normed: &mut CudaActivation,
        out: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        self.normalise_and_multiply(x, layer, epilogue, normed, out)
    }

    fn normed_linear_rotary(
        &self,
        batch: &CudaBatch,
        x: &CudaActivation,
        layer: &NormedLinear<Self>,
        spec: RotarySpec,
        normed: &mut CudaActivation,
        qkv: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        self.normalise_multiply_and_rotate(batch, x, layer, spec, normed, qkv)
    }

    fn rotary(
        &self,
        batch: &CudaBatch,
        spec: RotarySpec,
        qkv: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        qkv.moments = None;
        self.rotate(batch, spec, qkv)
    }

    fn linear_rotary(
        &self,
        batch: &CudaBatch,
        x: &CudaActivation,
        layer: &CudaLinear,
        spec: RotarySpec,
        qkv: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        self.multiply_and_rotate(batch, x, layer, spec, qkv)
    }

    fn attention(
        &self,
        batch: &CudaBatch,
        spec: AttentionSpec<'_>,
        qkv: &CudaActivation,
        out: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        out.moments = None;
        self.attend(batch, spec, qkv, out)
    }

    fn gated_gelu(&self, x: &CudaActivation, out: &mut CudaActivation) -> Result<(), BackendError> {
        out.moments = None;
        self.gate(x, out)
    }

    fn linear_gated(
        &self,
        x: &CudaActivation,
        layer: &CudaLinear,
        gated: &mut CudaActivation,
        out: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        self.multiply_and_gate(x, layer, gated, out)
    }

    fn pool(
        &self,
        batch: &CudaBatch,
        spec: PoolSpec,
        hidden_states: &CudaActivation,
    ) -> Result<CudaActivation, BackendError> {
        self.pool_rows(batch, spec, hidden_states)
    }
}
