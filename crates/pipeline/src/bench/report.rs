//! What a measurement found, for people and for programs.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use virnucpro_backend::cuda::{FamilyTimes, PlanReport};

use super::{BenchConfig, Pass};
use crate::{ChosenBudget, Device};

/// Results of [`bench()`](super::bench()).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// Name of the model.
    pub model: String,
    /// Name of the distribution of lengths.
    pub lengths: String,
    /// Number type of the encoder.
    pub precision: String,
    /// Device.
    pub device: String,
    /// Tokens of a packed batch.
    pub token_budget: usize,
    /// Why this many.
    pub token_budget_reason: String,
    /// Seconds to bring the weights to the device.
    pub load_seconds: f64,
    /// Seconds to choose the budget, the plans and the memory.
    pub prepare_seconds: f64,
    /// Kernel files that had to be compiled at the start.
    pub kernels_compiled: usize,
    /// Tokens of one pass.
    pub tokens: u64,
    /// Batches of one pass.
    pub batches: u64,
    /// Seconds of every timed pass, from the first batch on the host to the last result there.
    pub pass_seconds: Vec<f64>,
    /// Tokens per second of the median pass.
    pub tokens_per_second: f64,
    /// Sequences per second of the median pass.
    pub sequences_per_second: f64,
    /// Share of the token budget that was used, 0..1.
    pub packing_efficiency: Option<f64>,
    /// Milliseconds of a batch in each stage, by the device's clock where it has one.
    pub htod_ms: f64,
    /// As `htod_ms`, for the forward pass.
    pub compute_ms: f64,
    /// As `htod_ms`, for the results.
    pub dtoh_ms: f64,
    /// Share of the time between the first and the last batch that the device computed nothing.
    pub device_idle: Option<f64>,
    /// Mean utilisation of the GPU by NVML, 0..100.
    pub utilisation_percent: Option<f64>,
    /// Joules of the GPU per million tokens.
    pub joules_per_million_tokens: Option<f64>,
    /// Tokens per second if there were matrix products alone, at the time each was tuned.
    pub gemm_ceiling_tokens_per_second: Option<f64>,
    /// `tokens_per_second` ÷ `gemm_ceiling_tokens_per_second`.
    pub share_of_gemm_ceiling: Option<f64>,
    /// Share of the time of a batch by family of kernels, 0..1.
    pub families: Vec<(String, f64)>,
    /// How each matrix product is done.
    pub plans: Vec<PlanLine>,
}

/// One matrix product of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanLine {
    /// Output features.
    pub m: usize,
    /// Input features.
    pub k: usize,
    /// Whether a residual is added.
    pub accumulate: bool,
    /// Rows it was tuned with.
    pub rows: usize,
    /// 10¹² operations a second.
    pub tflops: f64,
    /// Milliseconds of the way that is used.
    pub chosen_ms: f64,
    /// Milliseconds of the fastest way without split sums, whether or not its results depend on the
    /// rows.
    pub fastest_ms: f64,
    /// Ways that were refused because their results depend on the rows.
    pub refused: usize,
    /// Whether it was read from disk.
    pub was_remembered: bool,
}

impl From<&PlanReport> for PlanLine {
    fn from(plan: &PlanReport) -> Self {
        Self {
            m: plan.m,
            k: plan.k,
            accumulate: plan.accumulate,
            rows: plan.rows,
            tflops: plan.tflops(),
            chosen_ms: plan.chosen_ms,
            fastest_ms: plan.fastest_ms,
            refused: plan.refused,
            was_remembered: plan.was_remembered,
        }
    }
}

impl BenchReport {
    pub(super) fn new(
        config: &BenchConfig,
        device: &Device,
        token_budget: &ChosenBudget,
        [load, prepare]: [Duration; 2],
    ) -> Self {
        Self {
            model: config.model.to_string(),
            lengths: config.lengths.to_string(),
            precision: device.precision().to_string(),
            device: device.name(),
            token_budget: token_budget.tokens.get(),
            token_budget_reason: token_budget.reason.clone(),
            load_seconds: load.as_secs_f64(),
            prepare_seconds: prepare.as_secs_f64(),
            kernels_compiled: 0,
            tokens: 0,
            batches: 0,
            pass_seconds: Vec::new(),
            tokens_per_second: 0.0,
            sequences_per_second: 0.0,
            packing_efficiency: None,
            htod_ms: 0.0,
            compute_ms: 0.0,
            dtoh_ms: 0.0,
            device_idle: None,
            utilisation_percent: None,
            joules_per_million_tokens: None,
            gemm_ceiling_tokens_per_second: None,
            share_of_gemm_ceiling: None,
            families: Vec::new(),
            plans: Vec::new(),
        }
    }

    /// Takes the numbers of the median pass.
    pub(super) fn add_passes(&mut self, passes: &[Pass]) {
        self.pass_seconds = passes.iter().map(|pass| pass.elapsed.as_secs_f64()).collect();
        let mut sorted: Vec<_> = passes.iter().collect();
        sorted.sort_by_key(|pass| pass.elapsed);
        let Some(Pass { elapsed, summary }) = sorted.get(sorted.len() / 2) else { return };
        let seconds = elapsed.as_secs_f64();
        let batches = summary.batches.max(1) as f64;
        self.tokens = summary.tokens;
        self.batches = summary.batches;
        self.tokens_per_second = summary.tokens as f64 / seconds;
        self.sequences_per_second = summary.sequences as f64 / seconds;
        self.packing_efficiency = summary.packing_efficiency;
        let sum = |of: fn(&virnucpro_runner::monitor::TaskSummary) -> f64| {
            summary.tasks.iter().map(of).sum::<f64>() / batches
        };
        self.htod_ms = sum(|task| task.htod_ms);
        self.compute_ms = sum(|task| task.compute_ms);
        self.dtoh_ms = sum(|task| task.dtoh_ms);
        self.device_idle = summary.device_idle;
        if let Some(gpu) = summary.devices.first() {
            self.utilisation_percent = gpu.utilisation_percent_mean;
            self.joules_per_million_tokens =
                gpu.energy_joules.map(|joules| joules / (summary.tokens as f64 / 1e6));
        }
        self.share_of_gemm_ceiling =
            self.gemm_ceiling_tokens_per_second.map(|ceiling| self.tokens_per_second / ceiling);
    }

    pub(super) fn add_profile(
        &mut self,
        families: &FamilyTimes,
        plans: &[PlanReport],
        layers: usize,
    ) {
        let total: f64 = families.values().sum();
        self.families =
            families.iter().map(|(&name, ms)| (name.to_owned(), ms / total.max(1e-9))).collect();
        self.families.sort_by(|a, b| b.1.total_cmp(&a.1));
        // Every layer runs each of its products once.
        let seconds_per_token: f64 =
            plans.iter().map(|plan| plan.chosen_ms / 1e3 / plan.rows.max(1) as f64).sum();
        if seconds_per_token > 0.0 {
            self.gemm_ceiling_tokens_per_second = Some(1.0 / (seconds_per_token * layers as f64));
        }
        self.plans = plans.iter().map(PlanLine::from).collect();
    }

    /// A few lines for people.
    pub fn describe(&self) -> String {
        let mut text = format!(
            "{} {} on {}, {}: {} tokens in {} batches, token budget {} ({})\n",
            self.model,
            self.precision,
            self.device,
            self.lengths,
            self.tokens,
            self.batches,
            self.token_budget,
            self.token_budget_reason
        );
        let mut line = |shown: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{shown}");
        };
        line(format!(
            "{:.0} tokens/s, {:.0} sequences/s (median of {} passes{})",
            self.tokens_per_second,
            self.sequences_per_second,
            self.pass_seconds.len(),
            self.packing_efficiency
                .map_or(String::new(), |e| format!(", packing_efficiency {:.1} %", e * 100.0))
        ));
        if let (Some(ceiling), Some(share)) =
            (self.gemm_ceiling_tokens_per_second, self.share_of_gemm_ceiling)
        {
            line(format!("{:.1} % of the GEMM ceiling ({ceiling:.0} tokens/s)", share * 100.0));
        }
        line(format!(
            "a batch: H2D {:.3} ms, compute {:.3} ms, D2H {:.3} ms{}",
            self.htod_ms,
            self.compute_ms,
            self.dtoh_ms,
            self.device_idle.map_or(String::new(), |i| format!(
                "; device idle between batches {:.2} %",
                i * 100.0
            ))
        ));
        if !self.families.is_empty() {
            let shares: Vec<_> = self
                .families
                .iter()
                .map(|(name, share)| format!("{name} {:.1} %", share * 100.0))
                .collect();
            line(format!("kernels: {}", shares.join(", ")));
        }
        for plan in &self.plans {
            line(format!(
                "product {} x {}{}: {:.0} TFLOP/s at {} rows; {} ways refused, the \
                 fastest of them all {:.1} % faster",
                plan.m,
                plan.k,
                if plan.accumulate { " + residual" } else { "" },
                plan.tflops,
                plan.rows,
                plan.refused,
                (plan.chosen_ms / plan.fastest_ms - 1.0) * 100.0
            ));
        }
        if let Some(percent) = self.utilisation_percent {
            line(format!("GPU in use {percent:.0} % of the time (NVML)"));
        }
        if let Some(joules) = self.joules_per_million_tokens {
            line(format!("energy: {:.2} kJ per million tokens", joules / 1e3));
        }
        line(format!(
            "start: weights {:.2} s, plans and budget {:.2} s, {} kernel files compiled",
            self.load_seconds, self.prepare_seconds, self.kernels_compiled
        ));
        text
    }
}
