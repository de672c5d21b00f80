//! Stages and the meters that their workers carry.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    clock::Clock,
    meter::{Activity, Gauges, StageTotals},
    number::{rounded, share},
    record::Span,
    sync::lock,
    timeline::Timeline,
};

/// What a stage is, told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageSpec {
    /// Its name, in the log and in the timeline.
    pub name: &'static str,
    /// Threads that work in it at once; its busy time is shared out among them.
    pub workers: usize,
    /// On which side of the hand-over it stands.
    pub role: StageRole,
    /// What to do when it is the slowest: a clause without a capital or a full stop, such as
    /// "raise `--threads`".
    pub advice: &'static str,
}

/// On which side of the hand-over a stage stands; ordered as the data flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageRole {
    /// Makes batches.
    Loader,
    /// Runs them; the busiest of these stands for the device where there is no GPU to ask.
    Device,
    /// Uses the results.
    Writer,
}

/// How the workers of a stage spent a stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageLoad {
    /// Name of the stage.
    pub name: String,
    /// Its workers.
    pub workers: usize,
    /// Share of the workers' time spent working, 0..1.
    pub busy: f64,
    /// Share spent waiting for input, 0..1.
    pub wait_in: f64,
    /// Share spent waiting for room at the output, 0..1.
    pub wait_out: f64,
}

impl StageLoad {
    /// The load of `spec` when its workers spent `totals` in `elapsed`. More than all of the time,
    /// as more threads than `workers` would show, is all of it.
    pub(crate) fn of(spec: &StageSpec, totals: StageTotals, elapsed: Duration) -> StageLoad {
        let available = elapsed.as_secs_f64() * spec.workers.max(1) as f64;
        let of = |time: Duration| share(time.as_secs_f64(), available);
        StageLoad {
            name: spec.name.to_owned(),
            workers: spec.workers,
            busy: of(totals.busy),
            wait_in: of(totals.wait_in),
            wait_out: of(totals.wait_out),
        }
    }

    /// With shares as short as the log has them.
    pub(crate) fn rounded(mut self) -> StageLoad {
        for value in [&mut self.busy, &mut self.wait_in, &mut self.wait_out] {
            *value = rounded(*value, 4);
        }
        self
    }
}

/// What the meters of one stage share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) spec: StageSpec,
    gauges: Mutex<Gauges>,
    clock: Arc<dyn Clock>,
    started: Instant,
    timeline: Option<Arc<Timeline>>,
}

impl Stage {
    pub(crate) fn new(
        spec: StageSpec,
        clock: Arc<dyn Clock>,
        started: Instant,
        timeline: Option<Arc<Timeline>>,
    ) -> Stage {
        Stage { spec, gauges: Mutex::default(), clock, started, timeline }
    }

    /// Totals so far, calls in progress included.
    pub(crate) fn totals(&self) -> StageTotals {
        let gauges = lock(&self.gauges);
        gauges.totals(self.since_start(self.clock.now()))
    }

    fn since_start(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.started)
    }
}

/// The instrument that a worker of a stage carries; clones count into the same stage.
#[derive(Clone, Debug)]
pub struct StageMeter {
    stage: Arc<Stage>,
}

impl StageMeter {
    pub(crate) fn new(stage: Arc<Stage>) -> StageMeter {
        StageMeter { stage }
    }

    /// Runs `work` as work of this stage; `name` and `args` describe it in the timeline.
    pub fn busy<R>(&self, name: &str, args: &[(&str, u64)], work: impl FnOnce() -> R) -> R {
        let span = tracing::debug_span!("stage", stage = self.stage.spec.name, work = name);
        let _entered = span.enter();
        let _call = Call::begin(&self.stage, Activity::Busy, Some((name, args)));
        work()
    }

    /// Runs `work`, which blocks on the input of this stage.
    pub fn wait_in<R>(&self, work: impl FnOnce() -> R) -> R {
        let _call = Call::begin(&self.stage, Activity::WaitIn, None);
        work()
    }

    /// Runs `work`, which blocks on the input of this stage in the middle of [`Self::busy`]: the
    /// time counts as waiting and not as work.
    pub fn interrupted<R>(&self, work: impl FnOnce() -> R) -> R {
        let _pause = Pause::begin(&self.stage);
        self.wait_in(work)
    }

    /// Runs `work`, which blocks on the output of this stage.
    pub fn wait_out<R>(&self, work: impl FnOnce() -> R) -> R {
        let _call = Call::begin(&self.stage, Activity::WaitOut, None);
        work()
    }

    /// Counts work that was timed elsewhere, on a device for instance.
    pub fn add_busy(&self, elapsed: Duration) {
        self.add(Activity::Busy, elapsed);
    }

    /// Counts a wait for input that was timed elsewhere.
    pub fn add_wait_in(&self, elapsed: Duration) {
        self.add(Activity::WaitIn, elapsed);
    }

    /// Counts a wait for room at the output that was timed elsewhere.
    pub fn add_wait_out(&self, elapsed: Duration) {
        self.add(Activity::WaitOut, elapsed);
    }

    /// Counts work that the stage did on a device's own time, and draws it.
    pub fn record(&self, name: &str, args: &[(&str, u64)], Span { start, duration }: Span) {
        self.add(Activity::Busy, duration);
        if let Some(timeline) = &self.stage.timeline {
            timeline.span(self.stage.spec.name, name, start, start + duration, args);
        }
    }

    fn add(&self, activity: Activity, elapsed: Duration) {
        lock(&self.stage.gauges).add(activity, elapsed);
    }
}

/// Work that stands still until this is dropped.
struct Pause<'a> {
    stage: &'a Stage,
    is_suspended: bool,
}

impl<'a> Pause<'a> {
    fn begin(stage: &'a Stage) -> Self {
        let mut gauges = lock(&stage.gauges);
        let now = stage.since_start(stage.clock.now());
        Self { stage, is_suspended: gauges.suspend(Activity::Busy, now) }
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if self.is_suspended {
            let mut gauges = lock(&self.stage.gauges);
            let now = self.stage.since_start(self.stage.clock.now());
            gauges.resume(Activity::Busy, now);
        }
    }
}

/// A call in progress; it ends when this is dropped, by a panic of the work too.
struct Call<'a> {
    stage: &'a Stage,
    activity: Activity,
    start: Instant,
    event: Option<(&'a str, &'a [(&'a str, u64)])>,
}

impl<'a> Call<'a> {
    fn begin(
        stage: &'a Stage,
        activity: Activity,
        event: Option<(&'a str, &'a [(&'a str, u64)])>,
    ) -> Call<'a> {
        // The clock is read under the lock, so that no reader of the totals has an earlier `now`.
        let mut gauges = lock(&stage.gauges);
        let start = stage.clock.now();
        gauges.open(activity, stage.since_start(start));
        drop(gauges);
        Call { stage, activity, start, event }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut gauges = lock(&self.stage.gauges);
        let end = self.stage.clock.now();
        let (start, stop) = (self.stage.since_start(self.start), self.stage.since_start(end));
        gauges.close(self.activity, start, stop);
        drop(gauges);
        if let (Some((name, args)), Some(timeline)) = (self.event, &self.stage.timeline) {
            let spec = &self.stage.spec;
            if spec.workers > 1 {
                let thread = std::thread::current();
                let track = match thread.name() {
                    Some(name) => format!("{} {name}", spec.name),
                    None => format!("{} {:?}", spec.name, thread.id()),
                };
                timeline.span(&track, name, self.start, end, args);
            } else {
                timeline.span(spec.name, name, self.start, end, args);
            }
        }
    }
}
