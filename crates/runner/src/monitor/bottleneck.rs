//! Which stage limits the run, and what to do about it.
//!
//! Judges readings alone; where they come from is the business of the monitor.

use serde::{Deserialize, Serialize};

use super::{
    number::rounded,
    stage::{StageLoad, StageRole, StageSpec},
};

/// How badly the devices are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// 80 % or more: the device is the limit, as it should be.
    None,
    /// From 50 % to below 80 %.
    Mild,
    /// Below 50 %.
    Critical,
}

impl Tier {
    /// Utilisation below this is critical, in percent.
    pub const CRITICAL_BELOW_PERCENT: f64 = 50.0;
    /// Utilisation below this, and not critical, is mild, in percent.
    pub const MILD_BELOW_PERCENT: f64 = 80.0;

    /// The tier of a utilisation in percent.
    pub fn of(utilisation_percent: f64) -> Tier {
        if utilisation_percent < Self::CRITICAL_BELOW_PERCENT {
            Tier::Critical
        } else if utilisation_percent < Self::MILD_BELOW_PERCENT {
            Tier::Mild
        } else {
            Tier::None
        }
    }

    /// `none`, `mild` or `critical`, as in the metrics log.
    pub fn name(self) -> &'static str {
        match self {
            Tier::None => "none",
            Tier::Mild => "mild",
            Tier::Critical => "critical",
        }
    }
}

/// The limit of the run at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// How badly the devices are used.
    pub tier: Tier,
    /// Mean utilisation of the GPUs as NVML has it, 0..100; without a GPU sample the busy share of
    /// the busiest [`StageRole::Device`] stage, in percent.
    pub utilisation_percent: f64,
    /// The stage with the largest busy share.
    pub slowest_stage: String,
    /// Its busy share, 0..1.
    pub slowest_busy: f64,
    /// What to do, as a sentence.
    pub advice: String,
}

/// Judges the loads of the stages, with the mean utilisation of the GPUs in percent if there are
/// any. `None` when there is neither a GPU nor a device stage to judge, or no stage to name.
pub(crate) fn diagnose(
    stages: &[(&StageSpec, StageLoad)],
    gpu_utilisation_percent: Option<f64>,
) -> Option<Bottleneck> {
    let slowest = busiest(stages.iter())?;
    let device = busiest(stages.iter().filter(|(spec, _)| spec.role == StageRole::Device));
    let utilisation = gpu_utilisation_percent
        .or_else(|| device.map(|(_, load)| load.busy * 100.0))?
        .clamp(0.0, 100.0);
    let tier = Tier::of(utilisation);
    let (spec, load) = slowest;
    let busy = format!("`{}`, busy {:.0} % of the time", spec.name, load.busy * 100.0);
    let remedy = spec.advice.trim().trim_end_matches('.');
    let advice = match tier {
        Tier::None => format!(
            "The device is the limit, in use {utilisation:.0} % of the time; the slowest stage is \
             {busy}."
        ),
        _ if remedy.is_empty() => format!("The slowest stage is {busy}."),
        _ => format!("The slowest stage is {busy}: {remedy}."),
    };
    Some(Bottleneck {
        tier,
        utilisation_percent: rounded(utilisation, 2),
        slowest_stage: spec.name.to_owned(),
        slowest_busy: rounded(load.busy, 4),
        advice,
    })
}

/// The first stage that no other is busier than.
fn busiest<'a>(
    stages: impl Iterator<Item = &'a (&'a StageSpec, StageLoad)>,
) -> Option<&'a (&'a StageSpec, StageLoad)> {
    stages.reduce(|best, next| if next.1.busy > best.1.busy { next } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: StageSpec = StageSpec {
        name: "read",
        workers: 1,
        role: StageRole::Loader,
        advice: "use a faster disk.",
    };
    const COMPUTE: StageSpec =
        StageSpec { name: "compute", workers: 1, role: StageRole::Device, advice: "add a device" };
    const TRANSFER: StageSpec =
        StageSpec { name: "transfer", workers: 1, role: StageRole::Device, advice: "pin memory" };

    fn load(spec: &StageSpec, busy: f64) -> (&StageSpec, StageLoad) {
        let name = spec.name.to_owned();
        (spec, StageLoad { name, workers: spec.workers, busy, wait_in: 0.0, wait_out: 0.0 })
    }

    #[test]
    fn tier_at_its_borders_belongs_to_the_better_side() {
        for (percent, tier) in [
            (0.0, Tier::Critical),
            (49.9, Tier::Critical),
            (50.0, Tier::Mild),
            (79.9, Tier::Mild),
            (80.0, Tier::None),
            (100.0, Tier::None),
        ] {
            assert_eq!(Tier::of(percent), tier, "{percent}");
            assert_eq!(serde_json::to_value(tier).unwrap(), tier.name());
        }
    }

    #[test]
    fn diagnose_without_gpu_takes_the_busiest_device_stage() {
        let stages = [load(&READ, 0.97), load(&TRANSFER, 0.1), load(&COMPUTE, 0.6)];
        let found = diagnose(&stages, None).unwrap();
        assert_eq!(found.tier, Tier::Mild);
        assert_eq!(found.utilisation_percent, 60.0);
        assert_eq!((found.slowest_stage.as_str(), found.slowest_busy), ("read", 0.97));
        assert_eq!(
            found.advice,
            "The slowest stage is `read`, busy 97 % of the time: use a faster disk."
        );
    }

    #[test]
    fn diagnose_with_gpu_believes_the_gpu() {
        let found = diagnose(&[load(&COMPUTE, 0.99)], Some(30.0)).unwrap();
        assert_eq!((found.tier, found.utilisation_percent), (Tier::Critical, 30.0));
    }

    #[test]
    fn diagnose_of_a_busy_device_says_that_it_is_the_limit() {
        let found = diagnose(&[load(&READ, 0.2), load(&COMPUTE, 0.92)], None).unwrap();
        assert_eq!(found.tier, Tier::None);
        assert!(found.advice.starts_with("The device is the limit"), "{}", found.advice);
        assert!(!found.advice.contains("add a device"), "{}", found.advice);
    }

    #[test]
    fn diagnose_with_nothing_to_judge_says_nothing() {
        assert_eq!(diagnose(&[], Some(10.0)), None);
        assert_eq!(diagnose(&[load(&READ, 1.0)], None), None);
    }
}
