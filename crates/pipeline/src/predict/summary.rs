//! Everything a prediction says of itself.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use serde_json::json;
use virnucpro_models::Bundle;
use virnucpro_output::{
    Counts, ModelPart, ModelSummary, SCHEMA_VERSION, StageTiming, Summary, Tool,
};
use virnucpro_runner::monitor::RunSummary;
use virnucpro_seq::InputStats;

use super::{ModelChoice, NUCLEOTIDE_NAME, PROTEIN_NAME, PredictConfig};
use crate::inputs::{summarise, warnings};
use crate::{Device, PipelineError, recomputed};

/// What the summary is made from.
pub(super) struct Facts<'a> {
    pub(super) config: &'a PredictConfig,
    pub(super) device: &'a Device,
    pub(super) bundle: &'a Bundle,
    /// Parameters of the protein encoder, the nucleotide encoder and the classifier.
    pub(super) parameters: [u64; 3],
    pub(super) input_stats: &'a [InputStats],
    pub(super) token_budget: NonZeroUsize,
    /// When the run began.
    pub(super) started: Instant,
    /// Time to load the models.
    pub(super) load_model: Duration,
    /// Time to wait for the hashes of the models, after all else was done.
    pub(super) verify_model: Duration,
    /// What the monitor measured.
    pub(super) performance: &'a RunSummary,
}

/// Letters of all kinds.
pub(super) fn total_letters(counts: &Counts) -> u64 {
    let letters = counts.letters;
    letters.acgt + letters.n + letters.iupac + letters.other
}

/// The settings of a run, by name.
pub(super) fn settings(
    config: &PredictConfig,
    token_budget: NonZeroUsize,
) -> serde_json::Map<String, serde_json::Value> {
    let model = match &config.model {
        ModelChoice::Mini => "mini".to_owned(),
        ModelChoice::Path(path) => path.display().to_string(),
    };
    let inputs: Vec<String> =
        config.inputs.iter().map(|input| input.path().display().to_string()).collect();
    let settings = json!({
        "command": "predict",
        "inputs": inputs,
        "output_dir": config.output_dir.display().to_string(),
        "model": model,
        "chunk_length_nt": config.chunk_length.get(),
        "min_length_nt": config.min_length_nt,
        "threads": config.threads.get(),
        "token_budget": token_budget.get(),
        "dedup": config.dedup,
    });
    settings.as_object().cloned().unwrap_or_default()
}

impl Facts<'_> {
    pub(super) fn summary(&self, mut counts: Counts) -> Result<Summary, PipelineError> {
        let task = |name: &str| {
            let task = self.performance.tasks.iter().find(|task| task.task == name);
            task.map_or((0, 0), |task| (task.sequences, task.tokens))
        };
        (counts.protein_sequences_embedded, counts.protein_tokens) = task(PROTEIN_NAME);
        (counts.nucleotide_sequences_embedded, counts.nucleotide_tokens) = task(NUCLEOTIDE_NAME);
        counts.unique_proteins = counts.protein_sequences_embedded;
        counts.unique_nucleotides = counts.nucleotide_sequences_embedded;
        let model = self.model()?;
        Ok(Summary {
            schema_version: SCHEMA_VERSION,
            tool: Tool { name: "virnucpro".into(), version: env!("CARGO_PKG_VERSION").into() },
            settings: settings(self.config, self.token_budget),
            model,
            precision: self.device.precision().name().into(),
            device: self.device.name(),
            inputs: self.input_stats.iter().map(summarise).collect(),
            warnings: self.warnings(&counts),
            counts,
            elapsed_ms: self.started.elapsed().as_secs_f64() * 1e3,
            timings: self.timings(),
            performance: self.performance_map(),
        })
    }

    /// The time each stage was at work; stages overlap, so it may be more than the whole run took.
    fn timings(&self) -> Vec<StageTiming> {
        let timing = |stage: &str, elapsed_ms| StageTiming { stage: stage.into(), elapsed_ms };
        let model = [("load_model", self.load_model), ("verify_model", self.verify_model)];
        let model = model.map(|(stage, time)| timing(stage, time.as_secs_f64() * 1e3));
        let stages = self.performance.stages.iter();
        let stages = stages.map(|s| timing(&s.name, s.busy_ms));
        // The part of `compute` that each encoder took.
        let encoders = self.performance.tasks.iter().map(|t| timing(&t.task, t.compute_ms));
        model.into_iter().chain(stages).chain(encoders).collect()
    }

    fn performance_map(&self) -> serde_json::Map<String, serde_json::Value> {
        // A summary of numbers and texts has no way not to become JSON.
        match serde_json::to_value(self.performance) {
            Ok(serde_json::Value::Object(map)) => map,
            _ => serde_json::Map::new(),
        }
    }

    fn model(&self) -> Result<ModelSummary, PipelineError> {
        let [protein, nucleotide, classifier] = self.parameters;
        let parts = self.bundle.parts(self.config.chunk_length.get())?;
        let parameters = |role: &str, path: &str| match role {
            "protein_encoder" if path.ends_with(".safetensors") => protein,
            "nucleotide_encoder" if path.ends_with(".safetensors") => nucleotide,
            "classifier" => classifier,
            _ => 0,
        };
        Ok(ModelSummary {
            name: self.bundle.manifest().name.clone(),
            parts: parts
                .into_iter()
                .map(|part| ModelPart {
                    role: part.role.into(),
                    parameters: parameters(part.role, &part.path),
                    path: part.path.into(),
                    sha256: part.sha256,
                })
                .collect(),
        })
    }

    fn warnings(&self, counts: &Counts) -> Vec<String> {
        let mut all: Vec<String> = self.input_stats.iter().flat_map(warnings).collect();
        let mut warn = |count: u64, what: &str| {
            if count > 0 {
                all.push(format!("{count} {what}"));
            }
        };
        warn(counts.empty_records, "records have no letters; they are listed as empty");
        warn(
            counts.duplicate_ids,
            "records repeat an earlier id; their chunks share rows of \
             prediction_results_highestscore.csv, contigs.tsv lists each record",
        );
        warn(counts.unknown_residues, "residues outside the protein alphabet were read as <unk>");
        warn(
            counts.unknown_nucleotide_tokens,
            "nucleotide tokens outside the nucleotide alphabet were read as [UNK]",
        );
        warn(counts.non_finite, "frames have a NaN or infinite embedding or score");
        all.extend(recomputed::warning(self.performance, self.device.precision()));
        all
    }
}
