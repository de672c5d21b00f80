//! What the process itself uses, on every host.

use std::{num::NonZero, thread::available_parallelism, time::Duration};

use serde::{Deserialize, Serialize};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, get_current_pid};

use super::number::{rounded, share};

/// One reading of the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// CPU time since the sample before, as a share of what all cores that the process may use
    /// could give, 0..100.
    pub cpu_percent: f64,
    /// Resident memory.
    pub resident_bytes: u64,
}

/// Reads the process that it runs in.
#[derive(Debug)]
pub struct ProcessSampler {
    system: System,
    pid: Option<Pid>,
    cores: usize,
    last: Option<(Duration, u64)>,
    cpu_percent: Option<f64>,
}

impl ProcessSampler {
    /// A sampler of this process. Cores are those that the scheduler lets it use, as a container
    /// or an affinity mask may leave fewer than the machine has.
    pub fn new() -> ProcessSampler {
        ProcessSampler {
            system: System::new(),
            pid: get_current_pid().ok(),
            cores: available_parallelism().map_or(1, NonZero::get),
            last: None,
            cpu_percent: None,
        }
    }

    /// Reads the process at `now`, a time since any fixed moment; `None` where the system does not
    /// tell, and the first time, when there is nothing to compare with.
    pub fn sample(&mut self, now: Duration) -> Option<ProcessSample> {
        let pid = self.pid?;
        self.system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[pid]),
            false,
            ProcessRefreshKind::nothing().with_cpu().with_memory(),
        );
        let process = self.system.process(pid)?;
        let (cpu_ms, resident_bytes) = (process.accumulated_cpu_time(), process.memory());
        self.count(now, cpu_ms);
        Some(ProcessSample { cpu_percent: rounded(self.cpu_percent?, 2), resident_bytes })
    }

    /// Takes the CPU time the process has used by `now` and compares it with the sample before.
    fn count(&mut self, now: Duration, cpu_ms: u64) {
        if let Some((then, before_ms)) = self.last {
            let elapsed_ms = now.saturating_sub(then).as_secs_f64() * 1e3;
            if elapsed_ms == 0.0 {
                return;
            }
            let used_ms = cpu_ms.saturating_sub(before_ms) as f64;
            self.cpu_percent = Some(100.0 * share(used_ms, elapsed_ms * self.cores as f64));
        }
        self.last = Some((now, cpu_ms));
    }
}

impl Default for ProcessSampler {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn cpu_percent_is_of_all_cores_and_never_over_a_hundred() {
        let mut sampler = ProcessSampler { cores: 4, ..ProcessSampler::new() };
        let mut percent_after = |now, cpu_ms| {
            sampler.count(at(now), cpu_ms);
            sampler.cpu_percent
        };
        assert_eq!(percent_after(1000, 700), None, "nothing to compare with");
        assert_eq!(percent_after(2000, 1700), Some(25.0), "one of four cores");
        assert_eq!(percent_after(2000, 1900), Some(25.0), "no time has passed");
        assert_eq!(percent_after(3000, 5700), Some(100.0));
        assert_eq!(percent_after(4000, 99_999), Some(100.0), "ticks of the system may overshoot");
        assert_eq!(percent_after(5000, 99_999), Some(0.0));
    }

    #[test]
    fn process_sample_sees_memory_that_is_taken() {
        let mut sampler = ProcessSampler::new();
        assert_eq!(sampler.sample(at(0)), None, "no CPU time to compare with");
        let before = sampler.sample(at(50)).unwrap();
        let block = vec![1u8; 256 << 20];
        let after = sampler.sample(at(100)).unwrap();
        assert!(
            after.resident_bytes >= before.resident_bytes + (200 << 20),
            "{} then {}",
            before.resident_bytes,
            after.resident_bytes
        );
        assert_eq!(block.iter().step_by(4096).map(|byte| u64::from(*byte)).sum::<u64>(), 65_536);
        assert!((0.0..=100.0).contains(&after.cpu_percent));
    }
}
