//! Everything counted over a whole run, from batches and samples.

use std::{sync::Arc, time::Duration};

use super::{
    devices::DeviceSample,
    number::{milliseconds, ratio, rounded, share},
    process::ProcessSample,
    record::{BatchRecord, QueueState},
    summary::{DeviceSummary, ProcessSummary, TaskSummary, WaitSummary},
};

/// Totals over batches, of one task or of all.
#[derive(Clone, Debug, Default)]
pub(crate) struct BatchTotals {
    pub(crate) batches: u64,
    pub(crate) sequences: u64,
    pub(crate) tokens: u64,
    /// What the batches could have held, as `PackingMetrics` of the batch crate counts it.
    capacity_tokens: u64,
    max_seqlen: usize,
    htod: Duration,
    compute: Duration,
    dtoh: Duration,
    /// Idle and compute time of the batches whose idle time is known.
    idle: Option<(Duration, Duration)>,
    pub(crate) htod_bytes: u64,
    pub(crate) dtoh_bytes: u64,
    pub(crate) non_finite: u64,
    pub(crate) recomputed: u64,
}

impl BatchTotals {
    pub(crate) fn add(&mut self, record: &BatchRecord) {
        self.batches += 1;
        self.sequences += record.num_seqs as u64;
        self.tokens += record.total_tokens as u64;
        self.capacity_tokens += record.token_budget.max(record.total_tokens) as u64;
        self.max_seqlen = self.max_seqlen.max(record.max_seqlen);
        self.htod += record.times.htod;
        self.compute += record.times.compute;
        self.dtoh += record.times.dtoh;
        if let Some(idle) = record.idle_before {
            let (before, compute) = self.idle.unwrap_or_default();
            self.idle = Some((before + idle, compute + record.times.compute));
        }
        self.htod_bytes += record.htod_bytes;
        self.dtoh_bytes += record.dtoh_bytes;
        self.non_finite += record.non_finite as u64;
        self.recomputed += record.recomputed as u64;
    }

    /// Tokens ÷ Σ max(budget, tokens of the batch), 0..1; `None` before any token could be held.
    pub(crate) fn packing_efficiency(&self) -> Option<f64> {
        (self.capacity_tokens > 0).then(|| share(self.tokens as f64, self.capacity_tokens as f64))
    }

    /// Idle ÷ (idle + compute time) of the device between batches, 0..1, by its own clock.
    pub(crate) fn idle_share(&self) -> Option<f64> {
        let (idle, compute) = self.idle?;
        Some(rounded(share(idle.as_secs_f64(), (idle + compute).as_secs_f64()), 4))
    }

    pub(crate) fn summary(&self, task: &str) -> TaskSummary {
        TaskSummary {
            task: task.to_owned(),
            batches: self.batches,
            sequences: self.sequences,
            tokens: self.tokens,
            max_seqlen: self.max_seqlen,
            mean_seqlen: rounded(ratio(self.tokens as f64, self.sequences as f64), 2),
            packing_efficiency: self.packing_efficiency().map(|value| rounded(value, 4)),
            htod_ms: milliseconds(self.htod),
            compute_ms: milliseconds(self.compute),
            dtoh_ms: milliseconds(self.dtoh),
            tokens_per_s_of_compute: rounded(
                ratio(self.tokens as f64, self.compute.as_secs_f64()),
                1,
            ),
        }
    }
}

/// Waits for the loader.
#[derive(Clone, Debug, Default)]
pub(crate) struct WaitTotals {
    total: Duration,
    max: Duration,
    full: u64,
    normal: u64,
    starved: u64,
}

impl WaitTotals {
    pub(crate) fn add(&mut self, wait: Duration) {
        self.total += wait;
        self.max = self.max.max(wait);
        *match QueueState::of(wait) {
            QueueState::Full => &mut self.full,
            QueueState::Normal => &mut self.normal,
            QueueState::Starved => &mut self.starved,
        } += 1;
    }

    pub(crate) fn summary(&self) -> WaitSummary {
        let count = self.full + self.normal + self.starved;
        WaitSummary {
            mean_ms: rounded(ratio(self.total.as_secs_f64() * 1e3, count as f64), 3),
            max_ms: milliseconds(self.max),
            full: self.full,
            normal: self.normal,
            starved: self.starved,
        }
    }
}

/// Mean and maximum of one reading.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    count: u64,
    sum: f64,
    max: f64,
}

impl Reading {
    pub(crate) fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.max = if self.count == 0 { value } else { self.max.max(value) };
            self.count += 1;
            self.sum += value;
        }
    }

    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| rounded(self.sum / self.count as f64, 2))
    }

    fn max(&self) -> Option<f64> {
        (self.count > 0).then(|| rounded(self.max, 2))
    }
}

/// Samples of one GPU.
#[derive(Clone, Debug)]
pub(crate) struct DeviceTotals {
    bus_id: String,
    name: String,
    pub(crate) utilisation: Reading,
    power: Reading,
    temperature: Reading,
    memory_used_bytes_max: Option<u64>,
    /// First and last reading of the energy counter.
    energy: Option<(f64, f64)>,
}

impl DeviceTotals {
    fn new(sample: &DeviceSample) -> DeviceTotals {
        DeviceTotals {
            bus_id: sample.bus_id.clone(),
            name: sample.name.clone(),
            utilisation: Reading::default(),
            power: Reading::default(),
            temperature: Reading::default(),
            memory_used_bytes_max: None,
            energy: None,
        }
    }

    /// Counts `sample` into the totals of its device, which are made when it is first seen.
    pub(crate) fn add_to(devices: &mut Vec<DeviceTotals>, sample: &DeviceSample) {
        let known = devices.iter().position(|device| device.bus_id == sample.bus_id);
        let index = known.unwrap_or_else(|| {
            devices.push(DeviceTotals::new(sample));
            devices.len() - 1
        });
        let device = &mut devices[index];
        device.utilisation.add(sample.utilisation_percent);
        device.power.add(sample.power_watts);
        device.temperature.add(sample.temperature_celsius);
        device.memory_used_bytes_max = device.memory_used_bytes_max.max(sample.memory_used_bytes);
        if let Some(now) = sample.energy_joules {
            device.energy = Some((device.energy.map_or(now, |(first, _)| first), now));
        }
    }

    pub(crate) fn summary(&self) -> DeviceSummary {
        DeviceSummary {
            bus_id: self.bus_id.clone(),
            name: self.name.clone(),
            utilisation_percent_mean: self.utilisation.mean(),
            utilisation_percent_max: self.utilisation.max(),
            memory_used_bytes_max: self.memory_used_bytes_max,
            power_watts_mean: self.power.mean(),
            temperature_celsius_max: self.temperature.max(),
            energy_joules: self.energy.map(|(first, last)| rounded((last - first).max(0.0), 1)),
        }
    }
}

/// Samples of the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessTotals {
    /// Σ percent × seconds, and Σ seconds: a sample speaks of the time since the one before, and
    /// the last of a run comes early.
    cpu_percent_seconds: f64,
    seconds: f64,
    last_at: Duration,
    resident_bytes_max: Option<u64>,
}

impl ProcessTotals {
    pub(crate) fn add(&mut self, at: Duration, sample: Option<&ProcessSample>) {
        let seconds = at.saturating_sub(self.last_at).as_secs_f64();
        self.last_at = at;
        if let Some(sample) = sample {
            self.cpu_percent_seconds += sample.cpu_percent * seconds;
            self.seconds += seconds;
            self.resident_bytes_max = self.resident_bytes_max.max(Some(sample.resident_bytes));
        }
    }

    pub(crate) fn summary(&self) -> Option<ProcessSummary> {
        let mean = ratio(self.cpu_percent_seconds, self.seconds).clamp(0.0, 100.0);
        Some(ProcessSummary {
            cpu_percent_mean: rounded(mean, 2),
            resident_bytes_max: self.resident_bytes_max?,
        })
    }
}

/// Totals of each task, in the order in which tasks were first seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskTotals(Vec<(Arc<str>, BatchTotals)>);

impl TaskTotals {
    pub(crate) fn add(&mut self, record: &BatchRecord) {
        match self.0.iter_mut().find(|(task, _)| *task == record.task) {
            Some((_, totals)) => totals.add(record),
            None => {
                let mut totals = BatchTotals::default();
                totals.add(record);
                self.0.push((Arc::clone(&record.task), totals));
            }
        }
    }

    pub(crate) fn summary(&self) -> Vec<TaskSummary> {
        self.0.iter().map(|(task, totals)| totals.summary(task)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_totals_keep_devices_apart_and_take_energy_as_a_difference() {
        let sample = |bus_id: &str, utilisation, energy| DeviceSample {
            bus_id: bus_id.to_owned(),
            name: "GPU".to_owned(),
            utilisation_percent: utilisation,
            memory_used_bytes: Some(10),
            memory_total_bytes: Some(100),
            power_watts: Some(300.0),
            temperature_celsius: None,
            energy_joules: energy,
        };
        let mut devices = Vec::new();
        for sample in [
            sample("a", Some(20.0), Some(1000.0)),
            sample("b", None, None),
            sample("a", Some(60.0), Some(1600.0)),
        ] {
            DeviceTotals::add_to(&mut devices, &sample);
        }
        let found: Vec<_> = devices.iter().map(DeviceTotals::summary).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].utilisation_percent_mean, Some(40.0));
        assert_eq!(found[0].utilisation_percent_max, Some(60.0));
        assert_eq!(found[0].energy_joules, Some(600.0));
        assert_eq!(found[1].utilisation_percent_mean, None, "what was not read is not 0 %");
        assert_eq!(found[1].temperature_celsius_max, None);
    }

    #[test]
    fn process_totals_weigh_a_sample_by_the_time_it_speaks_of() {
        let mut totals = ProcessTotals::default();
        assert_eq!(totals.summary(), None);
        let at = Duration::from_secs;
        let sample = |cpu_percent, resident_bytes| ProcessSample { cpu_percent, resident_bytes };
        totals.add(at(5), None);
        totals.add(at(14), Some(&sample(10.0, 300)));
        totals.add(at(15), Some(&sample(100.0, 200)));
        let expected = ProcessSummary { cpu_percent_mean: 19.0, resident_bytes_max: 300 };
        assert_eq!(totals.summary(), Some(expected));
    }

    #[test]
    fn wait_totals_count_each_state() {
        let mut waits = WaitTotals::default();
        for ms in [0, 10, 20, 90] {
            waits.add(Duration::from_millis(ms));
        }
        let expected = WaitSummary { mean_ms: 30.0, max_ms: 90.0, full: 1, normal: 2, starved: 1 };
        assert_eq!(waits.summary(), expected);
    }
}
