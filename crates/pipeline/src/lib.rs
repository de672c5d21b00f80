//! From files of sequences to viral calls and embeddings: the public facade of VirNucPro.
//!
//! Owns the order of the stages, their settings and reports. Does no arithmetic on hidden states
//! and knows no file layout: those belong to the crates below. Each command of the program is one
//! function here: [`predict()`], [`translate()`], [`consensus()`], [`embed()`], [`classify()`].
#![forbid(unsafe_code)]

mod bench;
mod budget;
mod classify;
mod consensus;
mod device;
mod embed;
mod engine;
mod error;
mod inputs;
mod loader;
mod predict;
mod progress;
mod recomputed;
mod selftest;
mod stream;
mod translate;
mod watch;

pub use bench::{BenchConfig, BenchReport, Lengths, PlanLine, bench};
pub use budget::{ChosenBudget, TokenBudget};
pub use classify::{ClassifyConfig, ClassifyReport, classify, classify_to_file};
pub use consensus::{ConsensusReport, consensus};
pub use device::{Device, DeviceChoice, DeviceConfig};
pub use embed::{Alphabet, EmbedConfig, EmbedReport, embed};
pub use error::PipelineError;
pub use predict::{ModelChoice, PredictConfig, PredictReport, predict};
pub use progress::{Progress, ProgressSink};
pub use selftest::{SelftestReport, selftest};
pub use translate::{TranslateConfig, TranslateReport, translate};

pub use virnucpro_backend::Precision;
pub use virnucpro_backend::cuda::{CudaLibrary, CudaProbe};
pub use virnucpro_models::{
    Bundle, Converted, Pooling, PublishedSize, bundle, bundle::BundleRecipe,
    bundle::ClassifierFile, convert,
};
pub use virnucpro_output::{Summary, VERDICT_RULE, discard_unfinished_files};
pub use virnucpro_runner::CancelToken;
pub use virnucpro_runner::monitor::{self, Monitor, MonitorConfig};
pub use virnucpro_seq::Input;
pub use virnucpro_weights::{Checkpoint, Summary as CheckpointSummary};
