//! Wall-clock time per stage.

use std::time::{Duration, Instant};

use virnucpro_output::StageTiming;

/// Adds up the time spent in each stage, in the order in which stages first ran.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    stages: Vec<(&'static str, Duration)>,
}

impl Timings {
    /// Runs `work` and counts its time for `stage`.
    pub(crate) fn time<R>(&mut self, stage: &'static str, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        self.add(stage, start.elapsed());
        result
    }

    pub(crate) fn add(&mut self, stage: &'static str, elapsed: Duration) {
        match self.stages.iter_mut().find(|(name, _)| *name == stage) {
            Some((_, total)) => *total += elapsed,
            None => self.stages.push((stage, elapsed)),
        }
    }

    pub(crate) fn report(&self) -> Vec<StageTiming> {
        self.stages
            .iter()
            .map(|(stage, elapsed)| StageTiming {
                stage: (*stage).to_owned(),
                elapsed_ms: elapsed.as_micros() as f64 / 1e3,
            })
            .collect()
    }
}
