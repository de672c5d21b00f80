//! Matrix products through cuBLASLt.
//!
//! Owns one plan per layer shape, chosen once by time among those whose results do not depend on
//! the number of tokens. Entry type: [`Gemm`]. Everything that depends on the number type is in
//! [`types`], so that narrower ones can follow.

mod plan;
mod tune;
mod types;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::cublaslt::{result, sys};

use super::CudaError;
use super::arena::Arena;
use super::cache::Cache;
use super::context::Context;
use super::error::BlasResult;
use super::memory::DeviceBuffer;
use super::stream::Stream;
use crate::Precision;

pub(crate) use tune::Care;
pub use tune::PlanReport;

use plan::Plan;

/// Scratch memory of every product. NVIDIA advises 32 MiB for Hopper; plans seen on it want less.
const WORKSPACE_BYTES: usize = 32 << 20;

/// A kind of product: `out[rows, m] = x[rows, k] · w[m, k]ᵀ`, and what happens before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct GemmShape {
    /// Output features.
    pub(super) m: usize,
    /// Input features.
    pub(super) k: usize,
    /// A bias is added.
    pub(super) has_bias: bool,
    /// Negative results become 0.
    pub(super) relu: bool,
    /// What was in `out` is added.
    pub(super) accumulate: bool,
}

/// Addresses of the operands of one product, in the element type of the engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands {
    pub(super) x: u64,
    pub(super) weights: u64,
    /// 0 where the shape has no bias.
    pub(super) bias: u64,
    pub(super) out: u64,
    pub(super) rows: usize,
}

/// cuBLASLt on one device, in one element type.
#[derive(Debug)]
pub(super) struct Gemm {
    context: Arc<Context>,
    handle: Handle,
    workspace: DeviceBuffer,
    precision: Precision,
    arena: Arc<Arena>,
    cache: Cache,
    plans: Mutex<HashMap<GemmShape, Arc<Plan>>>,
    generation: AtomicU64,
    care: Mutex<Care>,
}

#[derive(Debug)]
struct Handle(sys::cublasLtHandle_t);

// SAFETY: NVIDIA documents the handle as usable from several threads.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made once, destroyed once.
        let _ = unsafe { result::destroy_handle(self.0) };
    }
}

impl Drop for Gemm {
    fn drop(&mut self) {
        // The handle, which goes next, is given up in the context that is current.
        let _ = self.context.bind();
    }
}

/// Version of cuBLASLt, such as 130100; the library must be ready.
pub(super) fn version() -> usize {
    // SAFETY: takes no arguments and needs no device.
    unsafe { sys::cublasLtGetVersion() }
}

impl Gemm {
    /// Opens cuBLASLt on a device; the library must be ready.
    pub(super) fn new(
        context: &Arc<Context>,
        precision: Precision,
        arena: &Arc<Arena>,
        cache: Cache,
    ) -> Result<Self, CudaError> {
        context.bind()?;
        let handle = Handle(result::create_handle().doing("start")?);
        Ok(Self {
            context: Arc::clone(context),
            handle,
            workspace: DeviceBuffer::new(context, WORKSPACE_BYTES)?,
            precision,
            arena: Arc::clone(arena),
            cache,
            plans: Mutex::default(),
            generation: AtomicU64::new(0),
            care: Mutex::new(Care::Quick),
        })
    }

    /// Queues a product on `stream`; the first one of its shape chooses the plan.
    ///
    /// # Safety
    /// The operands are as large as the shape says and stay so until the product is done; all
    /// products of this engine are queued on the same stream, since they share the workspace.
    pub(super) unsafe fn multiply(
        &self,
        stream: &Stream,
        shape: GemmShape,
        operands: Operands,
    ) -> Result<(), CudaError> {
        if operands.rows == 0 {
            return Ok(());
        }
        let known = self.lock().get(&shape).cloned();
        let plan = match known {
            Some(plan) => plan,
            None => {
                // SAFETY: the caller's promise.
                let plan = Arc::new(unsafe { self.choose(stream, shape, operands) }?);
                Arc::clone(self.lock().entry(shape).or_insert(plan))
            }
        };
        // SAFETY: the caller's promise; the workspace belongs to this engine.
        unsafe { plan.run(&self.handle, &self.workspace, stream, operands) }
    }

    /// Makes plans anew, for the number of rows that comes next and with this care.
    pub(super) fn forget(&self, care: Care) {
        self.lock().clear();
        self.generation.fetch_add(1, Ordering::SeqCst);
        // A copy of one word is never half done.
        *self.care.lock().unwrap_or_else(PoisonError::into_inner) = care;
    }

    /// How often plans were made anew.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn care(&self) -> Care {
        *self.care.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of every plan, largest first.
    pub(super) fn reports(&self) -> Vec<PlanReport> {
        let mut reports: Vec<_> = self.lock().values().map(|plan| plan.report.clone()).collect();
        reports.sort_by_key(|report| (std::cmp::Reverse(report.m * report.k), report.accumulate));
        reports
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<GemmShape, Arc<Plan>>> {
        // An entry is complete before it is inserted.
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
