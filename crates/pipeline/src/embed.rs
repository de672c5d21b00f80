//! `virnucpro embed`: embeddings of sequences in input order.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use virnucpro_batch::PackedBatch;
use virnucpro_models::{EncoderConfig, EncoderSource, Pooling};
use virnucpro_output::{EmbeddingLayout, EmbeddingSpec, EmbeddingWriter};
use virnucpro_seq::{Input, Record};

use crate::encode::{DEFAULT_TOKEN_BUDGET, EncoderStage};
use crate::inputs::{CountedRecords, TotalEstimate, warnings};
use crate::timing::Timings;
use crate::{CancelToken, Device, PipelineError, Progress, ProgressSink};

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
    /// Tokens of a packed batch; the default suits the device.
    pub token_budget: Option<NonZeroUsize>,
}

/// What [`embed`] did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EmbedReport {
    /// Sequences embedded.
    pub sequences: u64,
    /// Tokens embedded, special tokens included.
    pub tokens: u64,
    /// Tokens that stand for letters outside the alphabet.
    pub unknown_tokens: u64,
    /// Width of an embedding.
    pub hidden_size: usize,
    /// Share of the token budget that was used, from 0 to 1.
    pub packing_efficiency: Option<f64>,
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
    cancel: &CancelToken,
    progress: &mut ProgressSink<'_>,
) -> Result<EmbedReport, PipelineError> {
    let (mut records, drawn) = CountedRecords::open(&config.inputs)?;
    let total = TotalEstimate::new(&config.inputs, drawn);
    let source = EncoderSource::open(&config.model)?;
    let alphabet = check_alphabet(config, &source)?;
    let token_budget = config.token_budget.unwrap_or(
        const { NonZeroUsize::new(DEFAULT_TOKEN_BUDGET).expect("the default is positive") },
    );
    let mut stage = EncoderStage::load(
        "embed",
        device.backend(),
        &source,
        token_budget,
        config.layer,
        config.pooling,
    )?;
    let hidden_size = stage.hidden_size();
    let layout = match config.pooling {
        Pooling::None => EmbeddingLayout::PerToken,
        Pooling::Mean | Pooling::Bos => EmbeddingLayout::Pooled,
    };
    let spec = EmbeddingSpec { hidden_size, layout, metadata: metadata(config, &source) };
    let mut writer = EmbeddingWriter::create(&config.output, spec)?;
    let mut report = EmbedReport { hidden_size, ..EmbedReport::default() };
    let (mut letters, mut state) = (Letters::default(), Progress::default());
    let mut timings = Timings::default();
    let has_empty_mean = config.pooling == Pooling::Mean && alphabet == Alphabet::Protein;

    device.backend().install(|| -> Result<(), PipelineError> {
        loop {
            let window = fill(&mut records)?;
            cancel.check()?;
            if window.is_empty() {
                return Ok(());
            }
            window.iter().for_each(|record| letters.count(record));
            let sequences: Vec<&[u8]> = window.iter().map(|record| &record.seq[..]).collect();
            let mut rows = vec![Vec::new(); window.len()];
            let to_rows = |index: usize, row: &[f32]| rows[index] = row.to_vec();
            let mut after_batch = |batch: &PackedBatch| {
                state.embedded += batch.num_seqs() as u64;
                state.tokens += batch.total_tokens() as u64;
                state.total_letters = total.letters();
                progress(state);
            };
            stage.run(&sequences, &mut timings, cancel, to_rows, &mut after_batch)?;
            for (record, row) in window.iter().zip(&mut rows) {
                if record.seq.is_empty() && has_empty_mean {
                    row.fill(f32::NAN);
                }
                match layout {
                    EmbeddingLayout::Pooled => writer.push(&record.id, row)?,
                    EmbeddingLayout::PerToken => writer.push_tokens(&record.id, row)?,
                }
            }
            state.records = writer.num_seqs();
            state.letters = letters.total;
            progress(state);
        }
    })?;

    let counts = stage.counts();
    report.sequences = writer.num_seqs();
    report.tokens = counts.packing.tokens;
    report.unknown_tokens = counts.unknown_tokens;
    report.packing_efficiency = counts.packing.packing_efficiency();
    report.warnings = records.stats().iter().flat_map(warnings).collect();
    report.warnings.extend(letters.warnings(alphabet, counts.unknown_tokens, config.pooling));
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

fn metadata(config: &EmbedConfig, source: &EncoderSource) -> Vec<(String, String)> {
    let layer = config.layer.unwrap_or_else(|| source.config().num_hidden_layers());
    let pooling = match config.pooling {
        Pooling::Mean => "mean",
        Pooling::Bos => "bos",
        Pooling::None => "none",
    };
    let mut metadata = vec![
        ("tool".to_owned(), format!("virnucpro {}", env!("CARGO_PKG_VERSION"))),
        ("architecture".to_owned(), source.config().architecture().to_owned()),
        ("layer".to_owned(), layer.to_string()),
        ("pooling".to_owned(), pooling.to_owned()),
    ];
    for (index, file) in source.checkpoint().sha256().into_iter().enumerate() {
        metadata.push((format!("model_sha256_{index}"), file.sha256));
    }
    metadata
}

/// Draws records until the window is full or the input ends; letters become upper case.
fn fill(records: &mut CountedRecords) -> Result<Vec<Record>, PipelineError> {
    let mut window = Vec::new();
    let mut letters = 0;
    while window.len() < WINDOW_SEQUENCES && letters < WINDOW_LETTERS {
        let Some(mut record) = records.next().transpose()? else { break };
        letters += record.seq.len();
        record.seq.make_ascii_uppercase();
        window.push(record);
    }
    Ok(window)
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
