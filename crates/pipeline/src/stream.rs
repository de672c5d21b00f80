//! The whole stream of a run: loader, runner and ledger, started and ended together.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use virnucpro_runner::monitor::{Monitor, StageMeter, StageRole, StageSpec};
use virnucpro_runner::{
    AsyncInferenceRunner, CancelToken, InferenceResults, RunnerConfig, StagedDevice,
};
use virnucpro_seq::{SeqError, Supervision};

use crate::PipelineError;
use crate::engine::{Engine, Stage};
use crate::loader::{Finished, Ledger, Loader, LoaderConfig, LoaderTask, NextWindow, Stretch};

/// How often progress is reported while nothing is finished.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The meter of the thread that writes the outputs.
pub(crate) fn write_meter(monitor: &Monitor) -> StageMeter {
    let advice = "write --output to a faster disk";
    monitor.stage(StageSpec { name: "write", workers: 1, role: StageRole::Writer, advice })
}

/// Settings of a stream.
pub(crate) struct StreamConfig {
    pub(crate) threads: NonZeroUsize,
    pub(crate) token_budget: NonZeroUsize,
    pub(crate) dedup: bool,
    pub(crate) monitor: Monitor,
    pub(crate) cancel: CancelToken,
    /// The threads that fill the source.
    pub(crate) supervision: Supervision,
}

/// Embeds every stretch of `source` and hands it to `take`, in order; gives the source back.
///
/// `report` gets the letters of stretches that are not finished but partly done, several times a second;
/// the run ends if it fails.
pub(crate) fn run<I, S>(
    source: I,
    engine: Engine,
    config: StreamConfig,
    take: impl FnMut(Finished<S>) -> Result<(), PipelineError>,
    report: impl FnMut(u64) -> Result<(), PipelineError>,
) -> Result<Option<I>, PipelineError>
where
    I: Iterator<Item = Result<S, SeqError>> + Send + 'static,
    S: Stretch,
{
    let tasks = engine.loader_tasks(config.token_budget)?;
    match engine.into_stage(config.token_budget)? {
        Stage::Cpu(device, model) => run_on(device, model, tasks, source, config, take, report),
        Stage::Cuda(device, model) => run_on(device, model, tasks, source, config, take, report),
    }
}

fn run_on<M, D, I, S>(
    device: D,
    model: M,
    tasks: Vec<LoaderTask>,
    source: I,
    config: StreamConfig,
    mut take: impl FnMut(Finished<S>) -> Result<(), PipelineError>,
    mut report: impl FnMut(u64) -> Result<(), PipelineError>,
) -> Result<Option<I>, PipelineError>
where
    M: Send + Sync + 'static,
    D: StagedDevice<M> + 'static,
    D::Slot: 'static,
    I: Iterator<Item = Result<S, SeqError>> + Send + 'static,
    S: Stretch,
{
    let StreamConfig { threads, dedup, monitor, cancel, supervision, .. } = config;
    let ledger = Arc::new(Ledger::new(tasks.len(), dedup));
    let runner_config =
        RunnerConfig { monitor: monitor.clone(), cancel: cancel.clone(), ..Default::default() };
    let runner = AsyncInferenceRunner::new(Arc::new(model), Arc::new(device), runner_config)?;
    let loader_config = LoaderConfig { threads, dedup, monitor };
    let (loader, batches) = Loader::start(source, tasks, &ledger, loader_config)?;
    let results = runner.run(batches).inspect_err(|_| {
        ledger.close();
        supervision.stop();
        loader.stop();
    })?;
    let outcome = thread::scope(|scope| {
        let collect = thread::Builder::new().name("collect".into());
        let collecting = collect.spawn_scoped(scope, || collect_all(results, &ledger));
        let outcome = collecting
            .is_ok()
            .then(|| take_all(&ledger, &cancel, &supervision, &mut take, &mut report));
        ledger.close();
        supervision.stop();
        loader.stop();
        // The scope joins it; a panic of its own goes on from there.
        collecting?;
        outcome.unwrap_or(Ok(()))
    });
    let mut source = loader.join();
    outcome?;
    if supervision.has_failed() {
        let on_its_way = || source.as_mut()?.find_map(Result::err).map(PipelineError::from);
        return Err(ledger.take_failure().or_else(on_its_way).unwrap_or_else(|| {
            let (what, message) = ("the input".into(), "it failed and gave no cause".into());
            SeqError::Panicked { what, message }.into()
        }));
    }
    Ok(source)
}

fn collect_all<M, D, S>(results: InferenceResults<M, D>, ledger: &Ledger<S>)
where
    M: Send + Sync + 'static,
    D: StagedDevice<M> + 'static,
    D::Slot: 'static,
    S: Stretch,
{
    for result in results {
        match result {
            Ok(result) if ledger.place(&result) => {}
            Ok(_) => return,
            Err(error) => return ledger.end_results(Some(error.into())),
        }
    }
    ledger.end_results(None);
}

/// Takes stretches until the end, or until the input has failed: the threads that read are ahead
/// by minutes of computing on a slow device, and nothing is written of a run that fails.
fn take_all<S: Stretch>(
    ledger: &Ledger<S>,
    cancel: &CancelToken,
    supervision: &Supervision,
    take: &mut impl FnMut(Finished<S>) -> Result<(), PipelineError>,
    report: &mut impl FnMut(u64) -> Result<(), PipelineError>,
) -> Result<(), PipelineError> {
    loop {
        if cancel.is_cancelled() {
            return Err(PipelineError::Cancelled);
        }
        if supervision.has_failed() {
            return Ok(());
        }
        match ledger.next(PROGRESS_INTERVAL)? {
            NextWindow::Finished(finished) => take(finished)?,
            NextWindow::Waiting => {}
            NextWindow::End => return Ok(()),
        }
        report(ledger.letters_under_way())?;
    }
}
