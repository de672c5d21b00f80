//! Everything a prediction says of itself.

use std::num::NonZeroUsize;
use std::time::Instant;

use serde_json::json;
use virnucpro_backend::Backend;
use virnucpro_models::Bundle;
use virnucpro_output::{Counts, ModelPart, ModelSummary, SCHEMA_VERSION, Summary, Tool};
use virnucpro_seq::InputStats;

use super::scorer::Scorer;
use super::{ModelChoice, PredictConfig};
use crate::inputs::{summarise, warnings};
use crate::timing::Timings;
use crate::{Device, PipelineError};

/// What the summary is made from.
pub(super) struct Facts<'a, B: Backend> {
    pub(super) config: &'a PredictConfig,
    pub(super) device: &'a Device,
    pub(super) bundle: &'a Bundle,
    pub(super) scorer: &'a Scorer<'a, B>,
    pub(super) input_stats: &'a [InputStats],
    pub(super) token_budget: NonZeroUsize,
    /// When the run began.
    pub(super) started: Instant,
    /// What the monitor measured.
    pub(super) performance: serde_json::Map<String, serde_json::Value>,
}

/// Letters of all kinds.
pub(super) fn total_letters(counts: &Counts) -> u64 {
    let letters = counts.letters;
    letters.acgt + letters.n + letters.iupac + letters.other
}

impl<B: Backend> Facts<'_, B> {
    pub(super) fn summary(
        &self,
        mut counts: Counts,
        timings: &Timings,
    ) -> Result<Summary, PipelineError> {
        let (protein, nucleotide) = self.scorer.encode_counts();
        counts.unknown_residues = protein.unknown_tokens;
        counts.unknown_nucleotide_tokens = nucleotide.unknown_tokens;
        counts.protein_tokens = protein.packing.tokens;
        counts.nucleotide_tokens = nucleotide.packing.tokens;
        counts.protein_sequences_embedded = protein.packing.sequences;
        counts.nucleotide_sequences_embedded = nucleotide.packing.sequences;
        // Nothing remembers a sequence, so each one embedded counts.
        counts.unique_proteins = protein.packing.sequences;
        counts.unique_nucleotides = nucleotide.packing.sequences;
        counts.fanned_out = 2 * counts.frames - counts.unique_proteins - counts.unique_nucleotides;
        let model = self.model()?;
        Ok(Summary {
            schema_version: SCHEMA_VERSION,
            tool: Tool { name: "virnucpro".into(), version: env!("CARGO_PKG_VERSION").into() },
            settings: self.settings(),
            model,
            precision: self.device.precision().into(),
            device: self.device.name(),
            inputs: self.input_stats.iter().map(summarise).collect(),
            warnings: self.warnings(&counts),
            counts,
            elapsed_ms: self.started.elapsed().as_secs_f64() * 1e3,
            timings: timings.report(),
            performance: self.performance.clone(),
        })
    }

    fn settings(&self) -> serde_json::Map<String, serde_json::Value> {
        let config = self.config;
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
            "token_budget": self.token_budget.get(),
        });
        settings.as_object().cloned().unwrap_or_default()
    }

    fn model(&self) -> Result<ModelSummary, PipelineError> {
        let [protein, nucleotide, classifier] = self.scorer.parameters();
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
        all
    }
}
