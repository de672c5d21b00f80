//! `virnucpro predict`: from files of sequences to viral calls.
//!
//! Records stream through in windows of bounded size: translate, embed the frames with both
//! encoders, classify, and write in input order. Entry function: [`predict()`].

mod scorer;
mod summary;
mod window;
mod writer;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use virnucpro_models::Bundle;
use virnucpro_output::{Counts, DuplicateIds, Summary, create_output_dir};
use virnucpro_seq::{Input, translate_records};

use crate::encode::DEFAULT_TOKEN_BUDGET;
use crate::inputs::{CountedRecords, TotalEstimate};
use crate::timing::Timings;
use crate::{CancelToken, Device, PipelineError, Progress, ProgressSink};
use scorer::Scorer;
use window::Window;
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
    /// Tokens of a packed batch; the default suits the device.
    pub token_budget: Option<NonZeroUsize>,
}

/// What [`predict()`] did.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictReport {
    /// The content of `summary.json`.
    pub summary: Summary,
    /// Files written.
    pub files: Vec<PathBuf>,
}

/// Classifies every input sequence and writes `prediction_results.txt`,
/// `prediction_results_highestscore.csv`, `contigs.tsv`, `viral.fasta` and `summary.json`.
///
/// # Errors
/// A model that cannot be loaded, an input that cannot be read, an output that cannot be written,
/// or [`PipelineError::Cancelled`]; no final file has changed then.
pub fn predict(
    config: &PredictConfig,
    device: &Device,
    cancel: &CancelToken,
    progress: &mut ProgressSink<'_>,
) -> Result<PredictReport, PipelineError> {
    let started = Instant::now();
    let (records, drawn) = CountedRecords::open(&config.inputs)?;
    let total = TotalEstimate::new(&config.inputs, drawn);
    let bundle = config.model.open()?;
    let token_budget = config.token_budget.unwrap_or(
        const { NonZeroUsize::new(DEFAULT_TOKEN_BUDGET).expect("the default is positive") },
    );
    let mut timings = Timings::default();
    let mut scorer = timings.time("load_model", || {
        Scorer::load(device.backend(), &bundle, config.chunk_length.get(), token_budget)
    })?;
    create_output_dir(&config.output_dir)?;
    let mut outputs = Outputs::create(&config.output_dir)?;
    let mut counts = Counts::default();
    let mut ids = DuplicateIds::new(config.output_dir.join("summary.json"));

    let mut state = Progress::default();
    let mut units = translate_records(records, config.chunk_length, config.threads)?;
    device.backend().install(|| -> Result<(), PipelineError> {
        loop {
            let window = timings.time("read_and_translate", || Window::fill(&mut units, config))?;
            cancel.check()?;
            if window.is_empty() {
                return Ok(());
            }
            let letters_before = summary::total_letters(&counts);
            window.count(&mut counts, &mut ids)?;
            let window_letters = summary::total_letters(&counts) - letters_before;
            let frames = window.frames();
            let mut embedded_here = 0;
            let scores = scorer.score(&frames, &mut timings, cancel, &mut |batch| {
                embedded_here += batch.num_seqs() as u64;
                state.embedded += batch.num_seqs() as u64;
                state.tokens += batch.total_tokens() as u64;
                // Each frame is embedded twice, once by either encoder.
                let share = embedded_here as f64 / (2 * frames.len()) as f64;
                state.letters = letters_before + (window_letters as f64 * share) as u64;
                state.total_letters = total.letters();
                progress(state);
            })?;
            drop(frames);
            counts.non_finite += scores.iter().filter(|s| !s.is_finite).count() as u64;
            timings.time("write", || outputs.write(window, &scores, &mut counts))?;
            state.records = counts.contigs.total();
            state.letters = letters_before + window_letters;
            state.total_letters = total.letters();
            progress(state);
        }
    })?;
    let records = units.into_records();
    let input_stats = records.as_ref().map_or(&[][..], CountedRecords::stats);
    counts.duplicate_ids = ids.finish()?;
    let summary = summary::Facts {
        config,
        device,
        bundle: &bundle,
        scorer: &scorer,
        input_stats,
        token_budget,
        started,
        // Nothing watches the run as a whole yet.
        performance: serde_json::Map::new(),
    }
    .summary(counts, &timings)?;
    let files = outputs.commit(&summary)?;
    Ok(PredictReport { summary, files })
}
