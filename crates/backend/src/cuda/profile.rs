//! Where the time of a forward pass goes, by family of kernels.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::CudaError;
use super::context::Context;
use super::stream::{Event, Stream};

/// Families of kernels in profiles.
pub(super) mod family {
    pub(in super::super) const GEMM: &str = "gemm";
    pub(in super::super) const ATTENTION: &str = "attention";
    pub(in super::super) const LAYER_NORM: &str = "layer_norm";
    pub(in super::super) const SCALES_OF_ROWS: &str = "scales of rows";
    pub(in super::super) const SCALES_OF_TILES: &str = "scales of rows from their tiles";
    pub(in super::super) const GEMM_GELU: &str = "gemm with gelu";
    pub(in super::super) const GEMM_GATED: &str = "gemm with gated gelu";
    pub(in super::super) const GEMM_ROTARY: &str = "gemm with rotary";
    pub(in super::super) const GEMM_RESIDUAL: &str = "gemm with residual";
    pub(in super::super) const ROTARY: &str = "rotary";
    pub(in super::super) const GELU: &str = "gelu";
    pub(in super::super) const EMBED: &str = "embed";
    pub(in super::super) const POOL: &str = "pool";
}

/// Milliseconds per family of kernels.
pub type FamilyTimes = BTreeMap<&'static str, f64>;

/// A family of kernels between two marks.
#[derive(Debug)]
struct Marked {
    family: &'static str,
    start: Event,
    end: Event,
}

/// Marks around kernels, set only while somebody is measuring.
#[derive(Debug, Default)]
pub(super) struct Profile(Mutex<Option<Vec<Marked>>>);

impl Profile {
    /// Runs `work`, which queues kernels of one family on `stream`.
    pub(super) fn family<R>(
        &self,
        context: &Arc<Context>,
        stream: &Stream,
        family: &'static str,
        work: impl FnOnce() -> Result<R, CudaError>,
    ) -> Result<R, CudaError> {
        if self.lock().is_none() {
            return work();
        }
        let (start, end) = (Event::new(context)?, Event::new(context)?);
        start.record(stream)?;
        let result = work()?;
        end.record(stream)?;
        if let Some(marks) = self.lock().as_mut() {
            marks.push(Marked { family, start, end });
        }
        Ok(result)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Marked>>> {
        // A list that a panic left behind is still a list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn start(&self) {
        *self.lock() = Some(Vec::new());
    }

    /// Ends measuring; everything must have run.
    pub(super) fn finish(&self) -> Result<FamilyTimes, CudaError> {
        let marks = self.lock().take();
        let mut times = FamilyTimes::new();
        for Marked { family, start, end } in marks.into_iter().flatten() {
            *times.entry(family).or_default() += end.milliseconds_since(&start)?;
        }
        Ok(times)
    }
}
