//! The arguments of every command, as typed values.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use virnucpro_pipeline::{
    Alphabet, DeviceChoice, Lengths, ModelChoice, Pooling, Precision, PublishedSize, TokenBudget,
};

use crate::terminal::{Detail, LogLevel};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed (one line on standard error says why), 2 bad usage,
130 interrupted (SIGINT), 143 terminated (SIGTERM). A run that does not end with 0
changes no output file.";

/// Reads metagenomic sequences and decides which are viral.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What to log on standard error [default: warn, or error with --quiet].
    #[arg(long, global = true, value_enum, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
}

impl Cli {
    /// What to log: what was asked for, or what suits the command.
    pub(crate) fn log_level(&self) -> LogLevel {
        let is_quiet = match &self.command {
            Command::Predict(args) => args.quiet,
            Command::Translate(args) => args.quiet,
            Command::Consensus(args) => args.quiet,
            Command::Embed(args) => args.quiet,
            Command::Classify(_)
            | Command::Models(_)
            | Command::Devices(_)
            | Command::Bench(_)
            | Command::Selftest(_) => false,
        };
        self.log_level.unwrap_or(if is_quiet { LogLevel::Error } else { LogLevel::Warn })
    }
}

impl Command {
    /// Whether a view of the whole screen was asked for.
    pub(crate) fn wants_screen(&self) -> bool {
        match self {
            Self::Predict(PredictArgs { stream, .. }) | Self::Embed(EmbedArgs { stream, .. }) => {
                stream.tui
            }
            Self::Translate(_)
            | Self::Consensus(_)
            | Self::Classify(_)
            | Self::Models(_)
            | Self::Devices(_)
            | Self::Bench(_)
            | Self::Selftest(_) => false,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Classify sequences: chunk, translate, embed, classify, decide.
    Predict(PredictArgs),
    /// Chunk and translate only.
    Translate(TranslateArgs),
    /// Group a table of frame scores into decisions per chunk.
    Consensus(ConsensusArgs),
    /// Embed sequences with ESM-2 or DNABERT-S.
    Embed(EmbedArgs),
    /// Score features made elsewhere.
    Classify(ClassifyArgs),
    /// Convert, inspect and bundle models.
    Models(ModelsArgs),
    /// Show what can run the models on this machine, and why something cannot.
    Devices(DevicesArgs),
    /// Measure the speed of a device on a model of a published size, with random weights.
    Bench(BenchArgs),
    /// Check every operation and model of a device against slow or published results.
    Selftest(SelftestArgs),
}

fn model(text: &str) -> Result<ModelChoice, std::convert::Infallible> {
    Ok(ModelChoice::parse(text))
}

#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Device that runs the models: auto (the first GPU, otherwise the processor; says which and
    /// why), cpu, cuda, or cuda:N. One that is named and cannot be used is an error.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: DeviceChoice,
    /// Number type of the encoders: f16, bf16 or f32 [default: f16 on a GPU, f32 on the
    /// processor].
    #[arg(long, value_name = "TYPE")]
    pub(crate) precision: Option<Precision>,
    #[command(flatten)]
    pub(crate) cuda: CudaArgs,
    /// Worker threads of the processor [default: one per core].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
pub(crate) struct CudaArgs {
    /// Folder with NVIDIA's libraries (libnvrtc, libcublasLt), before the usual places.
    #[arg(long, value_name = "DIR")]
    pub(crate) cuda_libraries: Option<PathBuf>,
    /// Folder for compiled GPU kernels and matrix plans [default: virnucpro in the user's cache
    /// folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) cuda_cache: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StreamArgs {
    /// Embed identical sequences again each time; results are the same, only slower.
    #[arg(long)]
    pub(crate) no_dedup: bool,
    /// Log what the run does, one JSON object a line (docs/metrics.md).
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,
    /// Write a timeline of all stages for chrome://tracing or Perfetto.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Show the run on the whole screen; q or Ctrl-C stops it (docs/terminal.md).
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) tui: bool,
}

impl StreamArgs {
    /// How much to show of a run that is silent or not.
    pub(crate) fn detail(&self, is_silent: bool) -> Detail {
        match (self.tui, is_silent) {
            (true, _) => Detail::Screen,
            (false, true) => Detail::Nothing,
            (false, false) => Detail::Line,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_long_help = concat_help())]
pub(crate) struct PredictArgs {
    /// FASTA or FASTQ files, plain, gzip, bgzf, zstd or xz; `-` for standard input.
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Folder for the results; made if it does not exist.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Model bundle: `mini` (built in), or a bundle folder or file.
    #[arg(long, value_name = "mini|PATH", value_parser = model, default_value = "mini")]
    pub(crate) model: ModelChoice,
    /// Chunk length in nucleotides; the bundle must have a classifier trained on it.
    #[arg(long, value_name = "N", default_value = "500")]
    pub(crate) chunk_length: NonZeroUsize,
    /// Report shorter sequences as `too_short` instead of classifying them.
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) min_length: usize,
    /// Tokens in a packed batch, or auto: what suits the device; measured on a GPU.
    #[arg(long, value_name = "auto|N", default_value = "auto")]
    pub(crate) token_budget: TokenBudget,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    /// Print nothing but errors.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print the content of summary.json instead of the human summary.
    #[arg(long)]
    pub(crate) json: bool,
}

fn concat_help() -> String {
    format!(
        "Writes into DIR: prediction_results.txt (scores per frame), \
         prediction_results_highestscore.csv (decision per chunk), contigs.tsv (one row per input \
         sequence), viral.fasta (the sequences called viral), summary.json (settings, hashes, \
         counts, timings).\n\nVerdicts in contigs.tsv: {}\n\n{EXIT_CODES}",
        virnucpro_pipeline::VERDICT_RULE
    )
}

#[derive(Debug, Args)]
pub(crate) struct TranslateArgs {
    /// FASTA or FASTQ files, plain, gzip, bgzf, zstd or xz; `-` for standard input.
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Folder for chunked.fa, identified_nucleotide.fa and identified_protein.faa.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Chunk length in nucleotides.
    #[arg(long, value_name = "N")]
    pub(crate) chunk_length: NonZeroUsize,
    /// Worker threads [default: one per core].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Print nothing but errors.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConsensusArgs {
    /// Table in the layout of prediction_results.txt.
    #[arg(value_name = "TABLE")]
    pub(crate) input: PathBuf,
    /// File for the decisions, in the layout of prediction_results_highestscore.csv.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Print nothing but errors.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PoolArg {
    /// Mean: residues without BOS and EOS for ESM-2, all tokens for DNABERT-S.
    Mean,
    /// The first token (BOS or CLS).
    Bos,
    /// Every token, special tokens included.
    None,
}

impl From<PoolArg> for Pooling {
    fn from(pool: PoolArg) -> Self {
        match pool {
            PoolArg::Mean => Self::Mean,
            PoolArg::Bos => Self::Bos,
            PoolArg::None => Self::None,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum AlphabetArg {
    /// Amino acids, for ESM-2.
    Protein,
    /// Nucleotides, for DNABERT-S.
    Dna,
}

impl From<AlphabetArg> for Alphabet {
    fn from(alphabet: AlphabetArg) -> Self {
        match alphabet {
            AlphabetArg::Protein => Self::Protein,
            AlphabetArg::Dna => Self::Dna,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct EmbedArgs {
    /// FASTA or FASTQ files, plain, gzip, bgzf, zstd or xz; `-` for standard input.
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Model folder (Hugging Face layout; its config.json decides ESM-2 or DNABERT-S), or a
    /// fair-esm checkpoint.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// File to write; its ending decides the format: .npy, .safetensors or .parquet.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// How hidden states become embeddings.
    #[arg(long, value_enum, default_value_t = PoolArg::Mean)]
    pub(crate) pool: PoolArg,
    /// What the input is; refused when the model reads the other.
    #[arg(long, value_enum)]
    pub(crate) alphabet: Option<AlphabetArg>,
    /// Representation to take: 0 is the embedding, N the output of layer N [default: the last].
    #[arg(long, value_name = "N")]
    pub(crate) layer: Option<usize>,
    /// Tokens in a packed batch, or auto: what suits the device; measured on a GPU.
    #[arg(long, value_name = "auto|N", default_value = "auto")]
    pub(crate) token_budget: TokenBudget,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    /// Print nothing but errors.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClassifyArgs {
    /// Features, one row a frame (nucleotide embedding, then protein): .npy or .safetensors.
    #[arg(value_name = "FEATURES")]
    pub(crate) features: PathBuf,
    /// Classifier: .safetensors, or a .pth of the original tool.
    #[arg(long, value_name = "FILE")]
    pub(crate) head: PathBuf,
    /// Tensor of a .safetensors file [default: its only matrix].
    #[arg(long, value_name = "NAME")]
    pub(crate) tensor: Option<String>,
    /// File for the table, in the layout of prediction_results.txt [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Worker threads [default: one per core].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Folder with NVIDIA's libraries (libnvrtc, libcublasLt), before the usual places.
    #[arg(long, value_name = "DIR")]
    pub(crate) cuda_libraries: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Model: esm2-8m, esm2-35m, esm2-150m, esm2-650m, esm2-3b, esm2-15b or dnabert-s.
    #[arg(long, value_name = "NAME", default_value = "esm2-650m")]
    pub(crate) model: PublishedSize,
    /// Lengths in tokens: fixed:N, proteome (residues lognormal, median 290), or those of the
    /// records of a FASTA file.
    #[arg(long, value_name = "fixed:N|proteome|FILE", default_value = "proteome")]
    pub(crate) lengths: Lengths,
    /// Tokens of one pass, about: it has whole batches, taken from those of a job eight times as large.
    #[arg(long, value_name = "N", default_value = "500000")]
    pub(crate) tokens: NonZeroUsize,
    /// Passes that are timed, after one that warms up.
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) passes: NonZeroUsize,
    /// Tokens in a packed batch, or auto: what suits the device; measured on a GPU.
    #[arg(long, value_name = "auto|N", default_value = "auto")]
    pub(crate) token_budget: TokenBudget,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Log what the last pass does, one JSON object a line (docs/metrics.md).
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,
    /// Write a timeline of the last pass for chrome://tracing or Perfetto.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SelftestArgs {
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print every comparison, not only those that missed.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    pub(crate) command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Rewrite a checkpoint as safetensors in Hugging Face naming.
    Convert {
        /// Model folder, fair-esm checkpoint, or classifier (.pth, .safetensors).
        #[arg(value_name = "PATH")]
        input: PathBuf,
        /// Folder for an encoder, file for a classifier.
        #[arg(short, long, value_name = "PATH")]
        output: PathBuf,
    },
    /// Show what a checkpoint or bundle holds, without loading it.
    Inspect {
        /// Checkpoint file, model folder, bundle, or `mini`.
        #[arg(value_name = "PATH")]
        input: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put encoders and classifiers together into a bundle for `predict --model`.
    Bundle {
        /// ESM-2: Hugging Face folder or fair-esm checkpoint.
        #[arg(long, value_name = "PATH")]
        protein: PathBuf,
        /// DNABERT-S: folder with config.json, weights and tokenizer.json.
        #[arg(long, value_name = "DIR")]
        nucleotide: PathBuf,
        /// Classifier and the chunk lengths it was trained on, such as `500=500_model.pth` or
        /// `300,500=head.safetensors`; may be repeated.
        #[arg(long, value_name = "LENGTHS=FILE", required = true, value_parser = classifier)]
        classifier: Vec<virnucpro_pipeline::ClassifierFile>,
        /// Name shown in reports [default: the output's name].
        #[arg(long)]
        name: Option<String>,
        /// Bundle to write: a single file if it ends in .vnp, otherwise a folder.
        #[arg(short, long, value_name = "PATH")]
        output: PathBuf,
    },
}

fn classifier(text: &str) -> Result<virnucpro_pipeline::ClassifierFile, String> {
    let (lengths, path) = text.split_once('=').ok_or("expected LENGTHS=FILE")?;
    let chunk_lengths = lengths
        .split(',')
        .map(|length| length.trim().parse::<NonZeroUsize>().map(NonZeroUsize::get))
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{lengths:?} is not a list of chunk lengths: {e}"))?;
    Ok(virnucpro_pipeline::ClassifierFile { chunk_lengths, path: path.into() })
}
