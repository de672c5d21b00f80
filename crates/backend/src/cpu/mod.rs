//! The host backend: packed, f32, all cores.
//!
//! Owns the worker threads. A batch is divided between them at the boundaries of its sequences, and
//! every operation splits its rows over those that are free, in ways that cannot change a result:
//! no row's arithmetic depends on the number of threads or on other sequences.

mod activation;
mod aligned;
mod attention;
mod attention_block;
mod buffers;
mod embed;
mod layer_norm;
mod linear;
mod linear_tile;
mod math;
mod matrix;
mod micro_kernel;
mod panels;
mod parts;
mod pool;
mod rotary;
mod softmax;

use std::sync::Arc;

use rayon::prelude::*;

pub use linear::CpuLinear;
pub use matrix::Matrix;

use crate::{
    AttentionSpec, Backend, BackendError, Epilogue, PackedView, PoolSpec, RotarySpec, TensorView,
    TokenDropout,
};
use buffers::Buffers;
use rotary::RotaryTables;

/// Rows of `cols` values that an element-wise operation handles as one unit of work: 16 KiB or so,
/// which hides the cost of handing it to a thread.
fn rows_per_task(cols: usize) -> usize {
    (1 << 12) / cols.clamp(1, 1 << 12)
}

/// Adds up `0·value`: any NaN or infinity makes the sum NaN, without a branch in the loop.
fn all_finite(row: &[f32]) -> bool {
    let mut sums = [0f32; 16];
    let (blocks, rest) = row.as_chunks::<16>();
    for block in blocks {
        for (sum, value) in sums.iter_mut().zip(block) {
            *sum += 0.0 * value;
        }
    }
    let total: f32 = sums.iter().sum::<f32>() + rest.iter().map(|value| 0.0 * value).sum::<f32>();
    total == 0.0
}

/// Runs the operations on the host in f32.
#[derive(Debug)]
pub struct CpuBackend {
    pool: rayon::ThreadPool,
    rotary_tables: RotaryTables,
    buffers: Arc<Buffers>,
}

/// An embedding table `[vocab, hidden_size]`, f32, row-major.
#[derive(Clone, Debug)]
pub struct CpuTable(Matrix);

/// A packed batch as the host backend holds it.
#[derive(Clone, Debug)]
pub struct CpuBatch {
    input_ids: Arc<[u32]>,
    cu_seqlens: Arc<[i32]>,
    position_ids: Arc<[u32]>,
    max_seqlen: usize,
}

impl CpuBatch {
    fn total_tokens(&self) -> usize {
        self.input_ids.len()
    }

    /// Half-open token range of each sequence, in order.
    fn sequences(&self) -> impl ExactSizeIterator<Item = std::ops::Range<usize>> + '_ {
        self.cu_seqlens.windows(2).map(|w| w[0] as usize..w[1] as usize)
    }
}

impl CpuBackend {
    /// A backend with `threads` worker threads, or one per core for 0.
    ///
    /// # Errors
    /// [`BackendError::Threads`] when the system refuses to start them.
    pub fn new(threads: usize) -> Result<Self, BackendError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("cpu-backend-{i}"))
            .build()
            .map_err(|e| BackendError::Threads { threads, reason: e.to_string() })?;
        let buffers = Arc::new(Buffers::new(pool.current_num_threads()));
        Ok(Self { pool, rotary_tables: RotaryTables::default(), buffers })
    }

    /// Number of worker threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` on the worker threads, so that the operations inside it start without a
    /// hand-over each.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }
}

impl Backend for CpuBackend {
    type Linear = CpuLinear;
    type Table = CpuTable;
    type Vector = Vec<f32>;
    type Batch = CpuBatch;
    type Activation = Matrix;

    fn device_name(&self) -> String {
        let n = self.threads();
        format!("cpu ({n} thread{})", if n == 1 { "" } else { "s" })
    }

    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.install(work)
    }

    fn run_parts<R: Send>(
        &self,
        batch: CpuBatch,
        work: impl Fn(&CpuBatch) -> R + Send + Sync,
    ) -> Vec<R> {
        self.install(|| {
            let parts = batch.divide(rayon::current_num_threads());
            parts.par_iter().with_max_len(1).map(work).collect()
        })
    }

    fn finite_rows(&self, x: &Matrix) -> Result<Vec<bool>, BackendError> {
        Ok(x.values().chunks_exact(x.cols().max(1)).map(all_finite).collect())
    }

    fn linear_weights(
        &self,
        weights: &[TensorView<'_>],
        biases: &[TensorView<'_>],
    ) -> Result<CpuLinear, BackendError> {
        self.install(|| CpuLinear::stack(weights, biases))
    }

    fn table(&self, table: &TensorView<'_>) -> Result<CpuTable, BackendError> {
        BackendError::expect("table", "number of dimensions", table.shape().len(), 2)?;
        let values = self.install(|| table.to_f32_vec())?;
        Ok(CpuTable(Matrix::from_vec(table.shape()[0], table.shape()[1], values)))
    }

    fn vector(&self, values: &[f32]) -> Result<Vec<f32>, BackendError> {
        Ok(values.to_vec())
    }

    fn upload(&self, batch: PackedView<'_>) -> Result<CpuBatch, BackendError> {
        Ok(CpuBatch {
            input_ids: batch.input_ids().into(),
            cu_seqlens: batch.cu_seqlens().into(),
            position_ids: batch.position_ids().into(),
            max_seqlen: batch.max_seqlen(),
        })
    }

    fn largest_token(&self, batch: &CpuBatch) -> u32 {
        batch.input_ids.iter().copied().max().unwrap_or(0)
    }

    fn activation(&self, rows: usize, cols: usize, values: &[f32]) -> Result<Matrix, BackendError> {
        BackendError::expect("activation", "number of values", values.len(), rows * cols)?;
        Ok(Matrix::from_vec(rows, cols, values.to_vec()))
    }

    fn scratch(&self, rows: usize, cols: usize) -> Result<Matrix, BackendError> {
        Ok(Matrix::recycled(&self.buffers, rows, cols))
    }

    fn shape(&self, x: &Matrix) -> (usize, usize) {
        (x.rows(), x.cols())
    }

    fn download(&self, x: &Matrix) -> Result<Vec<f32>, BackendError> {
        Ok(x.values().to_vec())
    }

    fn embed(
        &self,
        batch: &CpuBatch,
        table: &CpuTable,
        shift: Option<&Vec<f32>>,
        token_dropout: Option<TokenDropout>,
    ) -> Result<Matrix, BackendError> {
        let table = &table.0;
        let mut out = Matrix::recycled(&self.buffers, batch.total_tokens(), table.cols());
        let shift = shift.map(Vec::as_slice);
        self.install(|| embed::embed(batch, table, shift, token_dropout, &mut out))?;
        Ok(out)
    }

    fn layer_norm(
        &self,
        x: &Matrix,
        gamma: &Vec<f32>,
        beta: &Vec<f32>,
        eps: f32,
        out: &mut Matrix,
    ) -> Result<(), BackendError> {
        self.install(|| layer_norm::layer_norm(x, gamma, beta, eps, out))
    }

    fn layer_norm_in_place(
        &self,
        x: &mut Matrix,
        gamma: &Vec<f32>,
        beta: &Vec<f32>,
        eps: f32,
    ) -> Result<(), BackendError> {
        self.install(|| layer_norm::layer_norm_in_place(x, gamma, beta, eps))
    }

    fn linear(
        &self,
        x: &Matrix,
        layer: &CpuLinear,
        epilogue: Epilogue,
        out: &mut Matrix,
    ) -> Result<(), BackendError> {
        self.install(|| layer.forward(x, epilogue, out))
    }

    fn rotary(
        &self,
        batch: &CpuBatch,
        spec: RotarySpec,
        qkv: &mut Matrix,
    ) -> Result<(), BackendError> {
        self.install(|| rotary::rotary(batch, spec, &self.rotary_tables, qkv))
    }

    fn attention(
        &self,
        batch: &CpuBatch,
        spec: AttentionSpec<'_>,
        qkv: &Matrix,
        out: &mut Matrix,
    ) -> Result<(), BackendError> {
        self.install(|| attention::attention(batch, spec, qkv, out))
    }

    fn gated_gelu(&self, x: &Matrix, out: &mut Matrix) -> Result<(), BackendError> {
        self.install(|| activation::gated_gelu(x, out))
    }

    fn pool(
        &self,
        batch: &CpuBatch,
        spec: PoolSpec,
        hidden_states: &Matrix,
    ) -> Result<Matrix, BackendError> {
        self.install(|| pool::pool(batch, spec, hidden_states))
    }
}
