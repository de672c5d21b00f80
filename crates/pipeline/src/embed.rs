//! `virnucpro embed`: embeddings of sequences in input order.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use virnucpro_models::{EncoderConfig, EncoderSource, Pooling};
use virnucpro_output::{EmbeddingFormat, EmbeddingLayout, EmbeddingSpec, EmbeddingWriter};
use virnucpro_runner::monitor::{Monitor, RunSummary};
use virnucpro_seq::{Input, Record, SeqActivity, SeqError, SeqStage, Supervision};

use crate::engine::Engine;
use crate::inputs::{CountedRecords, TotalEstimate, warnings};
use crate::loader::{Finished, Stretch};
use crate::recomputed;
use crate::stream::{self, StreamConfig};
use crate::watch::supervise;
use crate::{
    CancelToken, ChosenBudget, Device, PipelineError, Progress, ProgressSink, TokenBudget,
};

/// Sequences embedded together; bounds the memory of short ones.
const WINDOW_SEQUENCES: usize = 2048;

/// Letters embedded together; bounds the memory of long ones.
const WINDOW_LETTERS: usize = 1 << 20;

/// What the letters of an input stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// Amino acids.
    Protein,
    /// Nucleotides.
    Dna,
}

impl Alphabet {
    fn name(self) -> &'static str {
        match self {
            Self::Protein => "protein",
            Self::Dna => "dna",
        }
    }

    fn of(config: &EncoderConfig) -> Self {
        match config {
            EncoderConfig::Esm2(_) => Self::Protein,
            EncoderConfig::DnabertS(_) => Self::Dna,
        }
    }
}

/// Settings of [`embed`].
#[derive(Clone, Debug)]
pub struct EmbedConfig {
    /// Files to read, in order.
    pub inputs: Vec<Input>,
    /// Model folder, or a fair-esm checkpoint.
    pub model: PathBuf,
    /// File to write: `.npy`, `.safetensors` or `.parquet`.
    pub output: PathBuf,
    /// How hidden states become embeddings.
    pub pooling: Pooling,
    /// What the user says the input is; refused when the model reads the other.
    pub alphabet: Option<Alphabet>,
    /// Representation to take; the last one if not given.
    pub layer: Option<usize>,
    /// Tokens of a packed batch.
    pub token_budget: TokenBudget,
    /// Threads that tokenise; the device has its own.
    pub threads: NonZeroUsize,
    /// Embed identical sequences once; the results are the same either way.
    pub dedup: bool,
}

/// What [`embed`] did.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedReport {
    /// Sequences embedded.
    pub sequences: u64,
    /// Tokens embedded, special tokens included.
    pub tokens: u64,
    /// Tokens that stand for letters outside the alphabet.
    pub unknown_tokens: u64,
    /// Sequences answered without a second embedding.
    pub fanned_out: u64,
    /// Width of an embedding.
    pub hidden_size: usize,
    /// Share of the token budget that was used, from 0 to 1.
    pub packing_efficiency: Option<f64>,
    /// What the monitor measured.
    pub performance: RunSummary,
    /// Tokens of a packed batch, and why.
    pub token_budget: ChosenBudget,
    /// Files written.
    pub files: Vec<PathBuf>,
    /// What a user should know about the input.
    pub warnings: Vec<String>,
}

/// Embeds every input sequence and writes one file, rows in input order.
///
/// Lower-case letters are read as upper case. A sequence without letters has no residue to
/// average: its mean from ESM-2 is NaN.
///
/// # Errors
/// A model that cannot be loaded, an input that cannot be read, an output that cannot be written,
/// or [`PipelineError::Cancelled`]; no final file has changed then.
pub fn embed(
    config: &EmbedConfig,
    device: &Device,
    monitor: &Monitor,
    cancel: &CancelToken,
    progress: &mut ProgressSink<'_>,
) -> Result<EmbedReport, PipelineError> {
    let supervision = supervise(monitor, None);
    let (records, drawn) = CountedRecords::open(&config.inputs, &supervision)?;
    let total = TotalEstimate::new(&config.inputs, drawn);
    let source = EncoderSource::open(&config.model)?;
    let alphabet = check_alphabet(config, &source)?;
    let metadata = metadata(config, &source);
    let has_metadata = EmbeddingFormat::from_path(&config.output)?.has_metadata();
    let hashes = if has_metadata { source.checkpoint().begin_sha256() } else { Vec::new() };
    let mut engine = Engine::new(device);
    engine.load("embed", source, config.layer, config.pooling)?;
    let token_budget = engine.prepare(config.token_budget)?;
    let hidden_size = engine.hidden_size(0);
    monitor.note("settings", settings(config, device, token_budget.tokens));
    let layout = match config.pooling {
        Pooling::None => EmbeddingLayout::PerToken,
        Pooling::Mean | Pooling::Bos => EmbeddingLayout::Pooled,
    };
    let spec = EmbeddingSpec { hidden_size, layout, metadata };
    let mut writer = EmbeddingWriter::create(&config.output, spec)?;
    let state = RefCell::new((Letters::default(), Progress::default()));
    let (mut unknown_tokens, mut fanned_out) = (0, 0);
    let has_empty_mean = config.pooling == Pooling::Mean && alphabet == Alphabet::Protein;
    let write = stream::write_meter(monitor);

    let take = |finished: Finished<RecordWindow>| {
        let (letters, state) = &mut *state.borrow_mut();
        write.busy("write", &[], || -> Result<(), PipelineError> {
            for (sequence, record) in finished.stretch.0.iter().enumerate() {
                letters.count(record);
                let row = finished.row(sequence, 0);
                let nan =
                    (record.seq.is_empty() && has_empty_mean).then(|| vec![f32::NAN; row.len()]);
                let row = nan.as_deref().unwrap_or(row);
                match layout {
                    EmbeddingLayout::Pooled => writer.push(&record.id, row)?,
                    EmbeddingLayout::PerToken => writer.push_tokens(&record.id, row)?,
                }
            }
            Ok(())
        })?;
        unknown_tokens += finished.unknown_tokens[0];
        fanned_out += finished.fanned_out;
        monitor.set_duplicates(fanned_out);
        state.records = writer.num_seqs();
        Ok(())
    };
    let report = |letters_under_way| {
        let (letters, now) = &mut *state.borrow_mut();
        now.letters = letters.total + letters_under_way;
        now.total_letters = total.letters();
        now.report(monitor, progress);
        Ok(())
    };
    let stream_config = StreamConfig {
        threads: config.threads,
        token_budget: token_budget.tokens,
        dedup: config.dedup,
        monitor: monitor.clone(),
        cancel: cancel.clone(),
        supervision: supervision.clone(),
    };
    let windows = RecordWindows { records, supervision };
    let windows = stream::run(windows, engine, stream_config, take, report)?;
    for (index, mut hash) in hashes.into_iter().enumerate() {
        writer.add_metadata(&format!("model_sha256_{index}"), hash.wait())?;
    }
    let letters = state.into_inner().0;
    let performance = monitor.finish()?;
    let mut report = EmbedReport {
        sequences: writer.num_seqs(),
        tokens: performance.tokens,
        unknown_tokens,
        fanned_out,
        hidden_size,
        packing_efficiency: performance.packing_efficiency,
        performance,
        token_budget,
        files: Vec::new(),
        warnings: Vec::new(),
    };
    let stats = windows.as_ref().map_or(&[][..], |windows| windows.records.stats());
    report.warnings = stats.iter().flat_map(warnings).collect();
    report.warnings.extend(letters.warnings(alphabet, unknown_tokens, config.pooling));
    report.warnings.extend(recomputed::warning(&report.performance, device.precision()));
    if cancel.is_cancelled() {
        return Err(PipelineError::Cancelled);
    }
    let outputs = writer.into_outputs()?;
    report.files = outputs.paths();
    outputs.commit()?;
    Ok(report)
}

fn check_alphabet(config: &EmbedConfig, source: &EncoderSource) -> Result<Alphabet, PipelineError> {
    let reads = Alphabet::of(source.config());
    match config.alphabet {
        Some(said) if said != reads => Err(PipelineError::WrongAlphabet {
            model: source.name().to_owned(),
            architecture: source.config().architecture(),
            reads: reads.name(),
            said: said.name(),
        }),
        _ => Ok(reads),
    }
}

/// The settings of a run, by name, for the log of the monitor.
fn settings(
    config: &EmbedConfig,
    device: &Device,
    token_budget: NonZeroUsize,
) -> serde_json::Value {
    let inputs: Vec<_> =
        config.inputs.iter().map(|input| input.path().display().to_string()).collect();
    serde_json::json!({
        "command": "embed",
        "inputs": inputs,
        "output": config.output.display().to_string(),
        "model": config.model.display().to_string(),
        "layer": config.layer,
        "pooling": pooling_name(config.pooling),
        "device": device.name(),
        "precision": device.precision().name(),
        "threads": config.threads.get(),
        "token_budget": token_budget.get(),
        "dedup": config.dedup,
    })
}

fn pooling_name(pooling: Pooling) -> &'static str {
    match pooling {
        Pooling::Mean => "mean",
        Pooling::Bos => "bos",
        Pooling::None => "none",
    }
}

fn metadata(config: &EmbedConfig, source: &EncoderSource) -> Vec<(String, String)> {
    let layer = config.layer.unwrap_or_else(|| source.config().num_hidden_layers());
    vec![
        ("tool".to_owned(), format!("virnucpro {}", env!("CARGO_PKG_VERSION"))),
        ("architecture".to_owned(), source.config().architecture().to_owned()),
        ("layer".to_owned(), layer.to_string()),
        ("pooling".to_owned(), pooling_name(config.pooling).to_owned()),
    ]
}

/// Consecutive records.
struct RecordWindow(Vec<Record>);

impl Stretch for RecordWindow {
    fn num_sequences(&self) -> usize {
        self.0.len()
    }

    fn letters(&self, sequence: usize, _task: usize) -> &[u8] {
        &self.0[sequence].seq
    }

    fn record(&self, sequence: usize) -> &str {
        &self.0[sequence].id
    }

    fn input_letters(&self) -> u64 {
        self.0.iter().map(|record| record.seq.len() as u64).sum()
    }
}

/// The windows of an input; letters become upper case.
struct RecordWindows {
    records: CountedRecords,
    supervision: Supervision,
}

impl Iterator for RecordWindows {
    type Item = Result<RecordWindow, SeqError>;

    fn next(&mut self) -> Option<Self::Item> {
        let supervision = self.supervision.clone();
        supervision.during(SeqStage::Parse, SeqActivity::Busy, || self.fill())
    }
}

impl RecordWindows {
    fn fill(&mut self) -> Option<Result<RecordWindow, SeqError>> {
        let (mut window, mut letters) = (Vec::new(), 0);
        while window.len() < WINDOW_SEQUENCES && letters < WINDOW_LETTERS {
            match self.records.next() {
                Some(Ok(mut record)) => {
                    letters += record.seq.len();
                    record.seq.make_ascii_uppercase();
                    window.push(record);
                }
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        (!window.is_empty()).then_some(Ok(RecordWindow(window)))
    }
}

/// What the input is made of, for warnings.
#[derive(Default)]
struct Letters {
    total: u64,
    acgtun: u64,
    empty: u64,
    beyond_mean: u64,
}

/// Residues that the mean of ESM-2 covers, as in the original tool.
const MEAN_RESIDUES: usize = 1024;

impl Letters {
    fn count(&mut self, record: &Record) {
        self.total += record.seq.len() as u64;
        let is_base = |letter: &&u8| matches!(letter, b'A' | b'C' | b'G' | b'T' | b'U' | b'N');
        self.acgtun += record.seq.iter().filter(is_base).count() as u64;
        self.empty += u64::from(record.seq.is_empty());
        self.beyond_mean += u64::from(record.seq.len() > MEAN_RESIDUES);
    }

    fn warnings(&self, alphabet: Alphabet, unknown: u64, pooling: Pooling) -> Vec<String> {
        let mut all = Vec::new();
        if alphabet == Alphabet::Protein && self.total > 0 && self.acgtun == self.total {
            all.push("every letter is A, C, G, T, U or N, but the model reads proteins".to_owned());
        }
        if unknown > 0 {
            all.push(format!("{unknown} tokens stand for letters outside the model's alphabet"));
        }
        if self.empty > 0 {
            all.push(format!("{} sequences have no letters", self.empty));
        }
        if alphabet == Alphabet::Protein && pooling == Pooling::Mean && self.beyond_mean > 0 {
            all.push(format!(
                "{} sequences are longer than {MEAN_RESIDUES} residues: the model saw all of \
                 them, the mean covers the first {MEAN_RESIDUES}",
                self.beyond_mean
            ));
        }
        all
    }
}
