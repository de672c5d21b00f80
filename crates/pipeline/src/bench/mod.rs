//! `virnucpro bench`: the speed of a device on a model of a published size.
//!
//! Weights are random, so no files are needed; batches are packed beforehand and go through the
//! runner as those of any run do. They are a sample of a large job's batches, which are full but for
//! the last. Entry function: [`bench()`].

mod report;
mod workload;

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use virnucpro_backend::Backend;
use virnucpro_backend::cuda::CudaBackend;
use virnucpro_batch::{PackedBatch, pack_first_fit_decreasing};
use virnucpro_models::{EncoderSource, ModelError, Pooling, PublishedSize, packed_view};
use virnucpro_runner::monitor::{Monitor, RunSummary};
use virnucpro_runner::{
    AsyncInferenceRunner, CancelToken, EncoderTask, InferenceBatch, RunnerConfig, StagedDevice,
};

use crate::device::Cuda;
use crate::engine::{Engine, Stage};
use crate::{Device, PipelineError, TokenBudget};

pub use report::{BenchReport, PlanLine};
pub use workload::Lengths;

/// Seed of the weights.
const WEIGHT_SEED: u64 = 1;

/// How many times the tokens of a pass are packed, to take its batches from: what
/// `bench/peers/measure.py` does for the peers.
const POOL: usize = 8;

/// Settings of [`bench()`].
#[derive(Clone, Debug)]
pub struct BenchConfig {
    /// Which model.
    pub model: PublishedSize,
    /// How long the sequences are.
    pub lengths: Lengths,
    /// Tokens of one pass, about: it has whole batches.
    pub tokens: NonZeroUsize,
    /// Passes that are timed, after one that warms up.
    pub passes: NonZeroUsize,
    /// Tokens of a packed batch.
    pub token_budget: TokenBudget,
}

/// What one pass took.
struct Pass {
    elapsed: Duration,
    summary: RunSummary,
}

/// Measures a device on a model.
///
/// # Errors
/// A model that does not fit the device, or the device's own failure.
pub fn bench(
    config: &BenchConfig,
    device: &Device,
    cancel: &CancelToken,
    monitor: impl Fn() -> Result<Monitor, PipelineError>,
) -> Result<BenchReport, PipelineError> {
    let model = config.model.config()?;
    let source = EncoderSource::random(config.model.name(), model.clone(), WEIGHT_SEED)?;
    let loading = Instant::now();
    let mut engine = Engine::new(device);
    engine.load(config.model.name(), source, None, Pooling::Mean)?;
    let load = loading.elapsed();
    let preparing = Instant::now();
    let token_budget = engine.prepare(config.token_budget)?;
    let prepare = preparing.elapsed();
    // A pass of less than a batch is as small as it was asked to be.
    let pool = if config.tokens < token_budget.tokens { 1 } else { POOL };
    let drawn = config.tokens.get().saturating_mul(pool);
    let sequences = config.lengths.sequences(drawn, &model)?;
    let packed = pack_first_fit_decreasing(sequences, token_budget.tokens)?;
    let packed = spread(packed, config.tokens.get());
    let name: Arc<str> = config.model.name().into();
    let batches: Vec<_> = packed
        .into_iter()
        .map(|packed| InferenceBatch {
            packed,
            task: 0,
            task_name: Arc::clone(&name),
            token_budget: token_budget.tokens.get(),
        })
        .collect();
    let mut report = BenchReport::new(config, device, &token_budget, [load, prepare]);
    let cuda = device.cuda().cloned();
    let passes = match engine.into_stage(token_budget.tokens)? {
        Stage::Cpu(on, encoders) => {
            let encoders = Arc::new(encoders);
            run_passes(config, cancel, &monitor, Arc::new(on), &encoders, &batches)?
        }
        Stage::Cuda(on, encoders) => {
            let encoders = Arc::new(encoders);
            let passes = run_passes(config, cancel, &monitor, Arc::new(on), &encoders, &batches)?;
            if let (Some(cuda), Some(largest)) = (&cuda, largest(&batches)) {
                profile(&mut report, cuda, &encoders.tasks[0], largest)?;
            }
            passes
        }
    };
    report.add_passes(&passes);
    Ok(report)
}

/// Batches of about `tokens` tokens in all, taken evenly.
fn spread(batches: Vec<PackedBatch>, tokens: usize) -> Vec<PackedBatch> {
    let total: usize = batches.iter().map(PackedBatch::total_tokens).sum();
    let every = ((total + tokens / 2) / tokens).max(1);
    let first = (every / 2).min(batches.len().saturating_sub(1));
    batches.into_iter().skip(first).step_by(every).collect()
}

fn largest(batches: &[InferenceBatch]) -> Option<&PackedBatch> {
    batches.iter().map(|batch| &batch.packed).max_by_key(|packed| packed.total_tokens())
}

fn run_passes<M, D>(
    config: &BenchConfig,
    cancel: &CancelToken,
    monitor: &impl Fn() -> Result<Monitor, PipelineError>,
    device: Arc<D>,
    model: &Arc<M>,
    batches: &[InferenceBatch],
) -> Result<Vec<Pass>, PipelineError>
where
    M: Send + Sync + 'static,
    D: StagedDevice<M> + 'static,
    D::Slot: 'static,
{
    let mut passes = Vec::new();
    for pass in 0..=config.passes.get() {
        // Only the passes that count are worth a log of their own; the last one's stays.
        let monitor = if pass == 0 { Monitor::disabled() } else { monitor()? };
        let runner_config = RunnerConfig {
            monitor: monitor.clone(),
            cancel: cancel.clone(),
            ..RunnerConfig::default()
        };
        let runner =
            AsyncInferenceRunner::new(Arc::clone(model), Arc::clone(&device), runner_config)?;
        let copies: Vec<_> = batches.iter().cloned().map(Ok).collect();
        // The clock starts when the first batch is taken, once slots and threads are there.
        let start = Arc::new(OnceLock::new());
        let started = Arc::clone(&start);
        let taken = copies.into_iter().inspect(move |_| {
            started.get_or_init(Instant::now);
        });
        let mut end = None;
        for result in runner.run(taken)? {
            result?;
            end = Some(Instant::now());
        }
        let summary = monitor.finish()?;
        // A cancelled run may have taken or given nothing.
        if let (Some(&start), Some(end)) = (start.get(), end)
            && pass > 0
        {
            passes.push(Pass { elapsed: end - start, summary });
        }
    }
    Ok(passes)
}

/// Measures one batch by family of kernels, and reads how matrix products are done.
fn profile(
    report: &mut BenchReport,
    cuda: &Cuda,
    task: &EncoderTask<CudaBackend>,
    batch: &PackedBatch,
) -> Result<(), PipelineError> {
    let backend = &*cuda.backend;
    let families = backend.profiled(|| -> Result<(), ModelError> {
        let on_device = backend.upload(packed_view(batch)?)?;
        task.encoder.pooled(backend, &on_device, task.layer, task.pooling).map(drop)
    })?;
    // The ceiling is that of products alone, so those that are fused with something are timed too.
    backend.without_fusing(|| -> Result<(), ModelError> {
        let on_device = backend.upload(packed_view(batch)?)?;
        task.encoder.pooled(backend, &on_device, task.layer, task.pooling).map(drop)
    })?;
    report.add_profile(&families, &backend.plans(), task.encoder.num_hidden_layers());
    report.kernels_compiled = backend.kernels_compiled();
    Ok(())
}

#[cfg(test)]
mod tests {
    use virnucpro_batch::{SequenceId, TokenizedSequence};

    use super::*;

    fn packed(lengths: impl Iterator<Item = usize>) -> Vec<PackedBatch> {
        let sequences = lengths.zip(0..).map(|(length, number)| TokenizedSequence {
            sequence_id: SequenceId(number),
            input_ids: vec![5; length],
        });
        pack_first_fit_decreasing(sequences.collect(), NonZeroUsize::new(100).unwrap()).unwrap()
    }

    fn totals(batches: &[PackedBatch]) -> Vec<usize> {
        batches.iter().map(PackedBatch::total_tokens).collect()
    }

    #[test]
    fn spread_takes_full_batches_evenly_from_long_to_short() {
        // 48 batches of one length each; the last is the emptiest.
        let batches = packed(50..98);
        assert_eq!(batches.len(), 48);
        assert_eq!(totals(&spread(batches, 441)), [93, 85, 77, 69, 61, 53]);
    }

    #[test]
    fn spread_of_few_tokens_is_what_there_is() {
        assert_eq!(totals(&spread(packed([30, 20].into_iter()), 50)), [50]);
        assert_eq!(totals(&spread(packed([90].into_iter()), 1)), [90]);
        assert_eq!(totals(&spread(packed([90, 80].into_iter()), 1000)), [90, 80]);
    }
}
