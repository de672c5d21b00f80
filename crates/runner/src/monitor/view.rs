//! What the counts say: the state now, the bottleneck, the summary. Reads and changes nothing.

use std::time::Duration;

use super::{
    Bottleneck, Rates, RunSummary, Snapshot,
    bottleneck::diagnose,
    core::{Core, State},
    line::SCHEMA_VERSION,
    meter::StageTotals,
    number::{milliseconds, ratio, rounded},
    stage::StageLoad,
    summary::StageSummary,
    sync::lock,
    totals::DeviceTotals,
    window::Counts,
};

/// What was counted over a stretch of time.
struct Stretch {
    elapsed: Duration,
    counts: Counts,
}

impl Stretch {
    fn per_second(&self, count: f64) -> f64 {
        ratio(count.max(0.0), self.elapsed.as_secs_f64())
    }
}

impl Core {
    /// The whole run and the recent window, at the same moment.
    fn stretches(&self, state: &State) -> (Stretch, Stretch) {
        let stages = self.stages();
        let now = self.now();
        let counts = Self::counts(state, &stages);
        let (elapsed, recent) = state.history.recent(now, &counts);
        (Stretch { elapsed: now, counts }, Stretch { elapsed, counts: recent })
    }

    fn loads(&self, stretch: &Stretch) -> Vec<StageLoad> {
        self.stages()
            .iter()
            .zip(&stretch.counts.stages)
            .map(|(stage, totals)| StageLoad::of(&stage.spec, *totals, stretch.elapsed))
            .collect()
    }

    fn diagnose(
        &self,
        state: &State,
        loads: Vec<StageLoad>,
        gpu: Option<f64>,
    ) -> Option<Bottleneck> {
        if state.batches.batches == 0 {
            return None;
        }
        let stages = self.stages();
        let readings: Vec<_> = stages.iter().map(|stage| &stage.spec).zip(loads).collect();
        diagnose(&readings, gpu)
    }

    pub(crate) fn check_bottleneck(&self) -> Option<Bottleneck> {
        let state = lock(&self.state);
        let (_, recent) = self.stretches(&state);
        self.diagnose(&state, self.loads(&recent), recent_gpu_percent(&state))
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let queues = self.queue_depths();
        let state = lock(&self.state);
        let (overall, recent) = self.stretches(&state);
        let rates = |of: fn(&Counts) -> f64| Rates {
            overall: overall.per_second(of(&overall.counts)),
            recent: recent.per_second(of(&recent.counts)),
        };
        let stages = self.loads(&recent);
        let bottleneck = self.diagnose(&state, stages.clone(), recent_gpu_percent(&state));
        let mut stages: Vec<_> = self.stages().into_iter().zip(stages).collect();
        stages.sort_by_key(|(stage, _)| stage.spec.role);
        Snapshot {
            elapsed: overall.elapsed,
            batches: state.batches.batches,
            sequences: state.batches.sequences,
            tokens: state.batches.tokens,
            tokens_per_s: rates(|counts| counts.tokens),
            sequences_per_s: rates(|counts| counts.sequences),
            packing_efficiency: state.batches.packing_efficiency(),
            queues,
            stages: stages.into_iter().map(|(_, load)| load).collect(),
            devices: state.last_devices.clone(),
            process: state.last_process.clone(),
            bottleneck,
            progress: state.progress,
            duplicates: state.duplicates,
            throughput_history: state.throughput.iter().copied().collect(),
            sample_interval: self.sample_interval,
            warnings: state.warning_count,
            recent_warnings: state.recent_warnings.iter().cloned().collect(),
        }
    }

    /// The summary of the run up to now.
    pub(crate) fn summary_now(&self) -> RunSummary {
        let state = lock(&self.state);
        let (overall, _) = self.stretches(&state);
        let loads = self.loads(&overall);
        let batches = &state.batches;
        RunSummary {
            schema_version: SCHEMA_VERSION,
            elapsed_ms: milliseconds(overall.elapsed),
            batches: batches.batches,
            sequences: batches.sequences,
            tokens: batches.tokens,
            tokens_per_s: rounded(overall.per_second(overall.counts.tokens), 1),
            sequences_per_s: rounded(overall.per_second(overall.counts.sequences), 1),
            packing_efficiency: batches.packing_efficiency().map(|value| rounded(value, 4)),
            device_idle: batches.idle_share(),
            duplicates: state.duplicates,
            non_finite: batches.non_finite,
            recomputed: batches.recomputed,
            htod_bytes: batches.htod_bytes,
            dtoh_bytes: batches.dtoh_bytes,
            wait: state.waits.summary(),
            stages: stage_summaries(&loads, &overall.counts.stages),
            tasks: state.tasks.summary(),
            devices: state.devices.iter().map(DeviceTotals::summary).collect(),
            process: state.process.summary(),
            bottleneck: self.diagnose(&state, loads, overall_gpu_percent(&state)),
            warnings: state.warnings.clone(),
            warning_count: state.warning_count,
        }
    }
}

fn stage_summaries(loads: &[StageLoad], totals: &[StageTotals]) -> Vec<StageSummary> {
    loads
        .iter()
        .zip(totals)
        .map(|(load, totals)| StageSummary {
            name: load.name.clone(),
            workers: load.workers,
            busy_ms: milliseconds(totals.busy),
            wait_in_ms: milliseconds(totals.wait_in),
            wait_out_ms: milliseconds(totals.wait_out),
            busy: rounded(load.busy, 4),
        })
        .collect()
}

fn recent_gpu_percent(state: &State) -> Option<f64> {
    mean(state.recent_gpu_percent.iter().map(|(_, percent)| *percent))
}

fn overall_gpu_percent(state: &State) -> Option<f64> {
    mean(state.devices.iter().filter_map(|device| device.utilisation.mean()))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}
