//! `virnucpro predict`: from files of sequences to viral calls.
//!
//! Records stream through in windows of bounded size: translate, embed the frames with both
//! encoders, classify, and write in input order. Entry function: [`predict()`].

mod scorer;
mod summary;
mod window;
mod writer;

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use virnucpro_models::bundle::Verification;
use virnucpro_models::{Bundle, Pooling};
use virnucpro_output::{Counts, DuplicateIds, OutputDir, Summary};
use virnucpro_runner::monitor::{Monitor, RunSummary};
use virnucpro_seq::{Input, translate_records_supervised};

use crate::engine::Engine;
use crate::inputs::{CountedRecords, TotalEstimate};
use crate::loader::Finished;
use crate::stream::{self, StreamConfig};
use crate::watch::supervise;
use crate::{
    CancelToken, ChosenBudget, Device, PipelineError, Progress, ProgressSink, TokenBudget,
};
use scorer::Scorer;
use window::{NUCLEOTIDE, PROTEIN, Window, Windows};
use writer::Outputs;

/// Which model bundle to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ModelChoice {
    /// The small bundle inside the program.
    #[default]
    Mini,
    /// A bundle folder or file.
    Path(PathBuf),
}

impl ModelChoice {
    /// `mini`, or a path.
    pub fn parse(text: &str) -> Self {
        if text == "mini" { Self::Mini } else { Self::Path(text.into()) }
    }

    /// Opens the bundle.
    ///
    /// # Errors
    /// A bundle that is missing or damaged.
    pub fn open(&self) -> Result<Bundle, PipelineError> {
        Ok(match self {
            Self::Mini => Bundle::mini()?,
            Self::Path(path) => Bundle::open(path)?,
        })
    }
}

/// Settings of [`predict()`].
#[derive(Clone, Debug)]
pub struct PredictConfig {
    /// Files to read, in order.
    pub inputs: Vec<Input>,
    /// Folder to write into; made if it does not exist.
    pub output_dir: PathBuf,
    /// Model bundle.
    pub model: ModelChoice,
    /// Length of a chunk in nucleotides; the bundle must have a classifier for it.
    pub chunk_length: NonZeroUsize,
    /// Threads that translate; the device has its own.
    pub threads: NonZeroUsize,
    /// Shorter input sequences are listed as `too_short` and not classified.
    pub min_length_nt: usize,
    /// Tokens of a packed batch.
    pub token_budget: TokenBudget,
    /// Embed identical sequences once; the results are the same either way.
    pub dedup: bool,
}

/// What [`predict()`] did.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictReport {
    /// The content of `summary.json`.
    pub summary: Summary,
    /// What the monitor measured.
    pub performance: RunSummary,
    /// Tokens of a packed batch, and why.
    pub token_budget: ChosenBudget,
    /// Files written.
    pub files: Vec<PathBuf>,
}

/// Classifies every input sequence and writes `prediction_results.txt`,
/// `prediction_results_highestscore.csv`, `contigs.tsv`, `viral.fasta` and `summary.json`.
///
/// Begins while the weights are still being hashed.
///
/// # Errors
/// A model that cannot be loaded or was altered, an input that cannot be read, an output that cannot be
/// written, or [`PipelineError::Cancelled`]; no final file has changed then.
pub fn predict(
    config: &PredictConfig,
    device: &Device,
    monitor: &Monitor,
    cancel: &CancelToken,
    progress: &mut ProgressSink<'_>,
) -> Result<PredictReport, PipelineError> {
    let started = Instant::now();
    let supervision = supervise(monitor, Some(config.threads.get()));
    let (records, drawn) = CountedRecords::open(&config.inputs, &supervision)?;
    let total = TotalEstimate::new(&config.inputs, drawn);
    let bundle = config.model.open()?;
    let backend = device.cpu();
    let classifier = bundle.classifier(&**backend, config.chunk_length.get())?;
    let mut verification = Verification::default();
    let sources = [
        bundle.unverified_nucleotide_encoder(&mut verification)?,
        bundle.unverified_protein_encoder(&mut verification)?,
    ];
    let [nucleotide, protein] = [0, 1].map(|i| sources[i].checkpoint().summary().total_parameters);
    let parameters = [protein, nucleotide, classifier.num_parameters()];
    let mut engine = Engine::new(device);
    for (name, source) in [NUCLEOTIDE_NAME, PROTEIN_NAME].into_iter().zip(sources) {
        engine
            .load(name, source, None, Pooling::Mean)
            .map_err(|error| verification.explain(error))?;
    }
    let token_budget = engine
        .prepare(config.token_budget)
        .map_err(|error| verification.explain_if_known(error))?;
    let scorer = Scorer { backend: Arc::clone(backend), classifier };
    let load_model = started.elapsed();
    monitor.note("settings", summary::settings(config, token_budget.tokens).into());
    let output_dir = OutputDir::create(&config.output_dir)?;
    let mut outputs = Outputs::create(&config.output_dir)?;
    let mut ids = DuplicateIds::new(config.output_dir.join("summary.json"));

    let (length, threads) = (config.chunk_length, config.threads);
    let units = translate_records_supervised(records, length, threads, &supervision)?;
    let windows = Windows { units, min_length_nt: config.min_length_nt };
    let state = RefCell::new((Counts::default(), Progress::default()));
    let write = stream::write_meter(monitor);
    let take = |finished: Finished<Window>| {
        let mut state = state.borrow_mut();
        let counts = &mut state.0;
        write.busy("write", &[], || -> Result<(), PipelineError> {
            finished.stretch.count(counts, &mut ids)?;
            let scores = scorer.score(&finished)?;
            counts.non_finite += scores.iter().filter(|s| !s.is_finite).count() as u64;
            counts.unknown_nucleotide_tokens += finished.unknown_tokens[NUCLEOTIDE];
            counts.unknown_residues += finished.unknown_tokens[PROTEIN];
            counts.fanned_out += finished.fanned_out;
            outputs.write(&finished.stretch, &scores, counts)
        })?;
        monitor.set_duplicates(counts.fanned_out);
        Ok(())
    };
    let report = |letters_under_way| {
        let (counts, now) = &mut *state.borrow_mut();
        now.records = counts.contigs.total();
        now.letters = summary::total_letters(counts) + letters_under_way;
        now.total_letters = total.letters();
        now.report(monitor, progress);
        // Not only at the end of a run of hours.
        Ok(verification.check()?)
    };
    let stream_config = StreamConfig {
        threads: config.threads,
        token_budget: token_budget.tokens,
        dedup: config.dedup,
        monitor: monitor.clone(),
        cancel: cancel.clone(),
        supervision,
    };
    let windows = stream::run(windows, engine, stream_config, take, report)
        .map_err(|error| verification.explain_if_known(error))?;
    let awaited = Instant::now();
    let verified = verification.wait()?;
    let verify_model = awaited.elapsed();
    let records = windows.and_then(|windows| windows.units.into_records());
    let input_stats = records.as_ref().map_or(&[][..], CountedRecords::stats);
    let mut counts = state.into_inner().0;
    counts.duplicate_ids = ids.finish()?;
    let performance = &monitor.finish()?;
    let summary = summary::Facts {
        config,
        device,
        bundle: &bundle,
        parameters,
        input_stats,
        token_budget: token_budget.tokens,
        started,
        load_model,
        verify_model,
        performance,
    }
    .summary(counts)?;
    if cancel.is_cancelled() {
        return Err(PipelineError::Cancelled);
    }
    output_dir.keep();
    let files = outputs.commit(&summary, verified)?;
    Ok(PredictReport { summary, performance: performance.clone(), token_budget, files })
}

/// The nucleotide encoder in reports.
const NUCLEOTIDE_NAME: &str = "embed_nucleotide";
/// The protein encoder in reports.
const PROTEIN_NAME: &str = "embed_protein";
