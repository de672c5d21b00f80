//! What all handles of a monitor share: the counts, the files, and how events reach both.
//!
//! Locks are taken in this order: counts, stages, one stage; the log and the queues by themselves.
//! The functions that tell a queue's length belong to others and are called under no lock.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use super::{
    DeviceSample, InputProgress, MonitorError, ProcessSample, QueueDepth, RunSummary, StageSpec,
    bottleneck::Tier,
    clock::Clock,
    line::{BatchLine, MetricsEvent, SampleLine},
    metrics_log::MetricsLog,
    number::{ratio, rounded},
    record::BatchRecord,
    stage::{Stage, StageLoad},
    sync::lock,
    timeline::Timeline,
    totals::{BatchTotals, DeviceTotals, ProcessTotals, TaskTotals, WaitTotals},
    window::{Counts, History},
};

/// Batches between two looks for the bottleneck.
pub(crate) const BATCHES_PER_CHECK: u64 = 10;
/// Sample intervals whose throughput is kept.
const THROUGHPUT_HISTORY: usize = 120;
/// Warnings whose text is kept.
const WARNINGS_KEPT: usize = 100;
/// Last warnings that a view is given.
const RECENT_WARNINGS: usize = 5;

/// Everything counted.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) batches: BatchTotals,
    pub(crate) tasks: TaskTotals,
    pub(crate) waits: WaitTotals,
    pub(crate) history: History,
    pub(crate) devices: Vec<DeviceTotals>,
    pub(crate) last_devices: Vec<DeviceSample>,
    /// Mean utilisation of the GPUs at the samples of the recent window, in percent.
    pub(crate) recent_gpu_percent: VecDeque<(Duration, f64)>,
    pub(crate) process: ProcessTotals,
    pub(crate) last_process: Option<ProcessSample>,
    pub(crate) progress: InputProgress,
    pub(crate) duplicates: u64,
    pub(crate) warnings: Vec<String>,
    pub(crate) recent_warnings: VecDeque<String>,
    pub(crate) warning_count: u64,
    pub(crate) throughput: VecDeque<f64>,
    throughput_mark: (Duration, u64),
    reported_tier: Option<Tier>,
}

/// A queue whose depth is watched.
pub(crate) struct Queue {
    name: String,
    capacity: usize,
    len: Box<dyn Fn() -> usize + Send + Sync>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({} of {})", self.name, self.capacity)
    }
}

/// The shared part of a monitor.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started: Instant,
    pub(crate) window: Duration,
    pub(crate) sample_interval: Duration,
    pub(crate) state: Mutex<State>,
    stages: Mutex<Vec<Arc<Stage>>>,
    queues: Mutex<Vec<Arc<Queue>>>,
    pub(crate) log: Option<Mutex<MetricsLog>>,
    pub(crate) timeline: Option<Arc<Timeline>>,
    /// When the run ended; nothing is later than this.
    ended: OnceLock<Duration>,
    finished: Mutex<Option<(RunSummary, Result<(), MonitorError>)>>,
}

impl Core {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        started: Instant,
        window: Duration,
        sample_interval: Duration,
        log: Option<MetricsLog>,
        timeline: Option<Timeline>,
    ) -> Core {
        let state = State {
            batches: BatchTotals::default(),
            tasks: TaskTotals::default(),
            waits: WaitTotals::default(),
            history: History::new(window),
            devices: Vec::new(),
            last_devices: Vec::new(),
            recent_gpu_percent: VecDeque::new(),
            process: ProcessTotals::default(),
            last_process: None,
            progress: InputProgress::default(),
            duplicates: 0,
            warnings: Vec::new(),
            recent_warnings: VecDeque::new(),
            warning_count: 0,
            throughput: VecDeque::new(),
            throughput_mark: (Duration::ZERO, 0),
            reported_tier: None,
        };
        Core {
            clock,
            started,
            window,
            sample_interval,
            state: Mutex::new(state),
            stages: Mutex::default(),
            queues: Mutex::default(),
            log: log.map(Mutex::new),
            timeline: timeline.map(Arc::new),
            ended: OnceLock::new(),
            finished: Mutex::default(),
        }
    }

    /// Time since the start; once the run has ended, its whole length.
    pub(crate) fn now(&self) -> Duration {
        self.ended
            .get()
            .copied()
            .unwrap_or_else(|| self.clock.now().saturating_duration_since(self.started))
    }

    /// The stage of this name, made from `spec` when it is new.
    pub(crate) fn stage(&self, spec: StageSpec) -> Arc<Stage> {
        let mut stages = lock(&self.stages);
        if let Some(stage) = stages.iter().find(|stage| stage.spec.name == spec.name) {
            return Arc::clone(stage);
        }
        let clock = Arc::clone(&self.clock);
        let stage = Arc::new(Stage::new(spec, clock, self.started, self.timeline.clone()));
        stages.push(Arc::clone(&stage));
        stage
    }

    pub(crate) fn stages(&self) -> Vec<Arc<Stage>> {
        lock(&self.stages).clone()
    }

    pub(crate) fn queue(
        &self,
        name: &str,
        capacity: usize,
        len: Box<dyn Fn() -> usize + Send + Sync>,
    ) {
        let queue = Arc::new(Queue { name: name.to_owned(), capacity, len });
        let mut queues = lock(&self.queues);
        match queues.iter_mut().find(|known| known.name == name) {
            Some(known) => *known = queue,
            None => queues.push(queue),
        }
    }

    pub(crate) fn queue_depths(&self) -> Vec<QueueDepth> {
        let queues = lock(&self.queues).clone();
        queues
            .iter()
            .map(|queue| QueueDepth {
                name: queue.name.clone(),
                len: (queue.len)(),
                capacity: queue.capacity,
            })
            .collect()
    }

    /// Everything that has a rate, now.
    pub(crate) fn counts(state: &State, stages: &[Arc<Stage>]) -> Counts {
        Counts {
            tokens: state.batches.tokens as f64,
            sequences: state.batches.sequences as f64,
            stages: stages.iter().map(|stage| stage.totals()).collect(),
        }
    }

    /// Remembers this moment's counts, so that later ones can be compared with them.
    fn mark(&self, state: &mut State) -> Duration {
        let stages = self.stages();
        let now = self.now();
        let counts = Self::counts(state, &stages);
        state.history.push(now, counts);
        now
    }

    pub(crate) fn record_batch(&self, record: &BatchRecord) {
        let mut state = lock(&self.state);
        state.batches.add(record);
        state.tasks.add(record);
        state.waits.add(record.fetch_wait);
        self.mark(&mut state);
        let check = state.batches.batches.is_multiple_of(BATCHES_PER_CHECK);
        drop(state);
        self.write(|| MetricsEvent::Batch(BatchLine::from(record)));
        if check && let Some(bottleneck) = self.check_bottleneck() {
            let reported = lock(&self.state).reported_tier.replace(bottleneck.tier);
            if reported != Some(bottleneck.tier) {
                let (tier, advice) = (bottleneck.tier.name(), &bottleneck.advice);
                tracing::info!("bottleneck ({tier}): {advice}");
            }
            self.write(|| MetricsEvent::Bottleneck(bottleneck));
        }
    }

    /// Counts one reading of the instruments and writes its line.
    pub(crate) fn sample(&self, devices: Vec<DeviceSample>, process: Option<ProcessSample>) {
        let mut state = lock(&self.state);
        let now = self.mark(&mut state);
        for device in &devices {
            DeviceTotals::add_to(&mut state.devices, device);
        }
        let percents: Vec<f64> =
            devices.iter().filter_map(|device| device.utilisation_percent).collect();
        if !percents.is_empty() {
            let mean = ratio(percents.iter().sum(), percents.len() as f64);
            state.recent_gpu_percent.push_back((now, mean));
        }
        let edge = now.saturating_sub(self.window);
        while state.recent_gpu_percent.front().is_some_and(|(at, _)| *at < edge) {
            state.recent_gpu_percent.pop_front();
        }
        state.process.add(now, process.as_ref());
        state.last_devices = devices;
        state.last_process = process;
        self.add_throughput(&mut state, now);
        drop(state);
        self.write(|| {
            let snapshot = self.snapshot();
            MetricsEvent::Sample(SampleLine {
                batches: snapshot.batches,
                tokens_per_s: snapshot.tokens_per_s.rounded(),
                sequences_per_s: snapshot.sequences_per_s.rounded(),
                packing_efficiency: snapshot.packing_efficiency.map(|value| rounded(value, 4)),
                progress: snapshot.progress,
                duplicates: snapshot.duplicates,
                queues: snapshot.queues,
                stages: snapshot.stages.into_iter().map(StageLoad::rounded).collect(),
                devices: snapshot.devices,
                process: snapshot.process,
            })
        });
        self.flush();
    }

    fn add_throughput(&self, state: &mut State, now: Duration) {
        let (then, before) = state.throughput_mark;
        let elapsed = now.saturating_sub(then);
        // The last sample comes when the run ends: a sliver of an interval shows nothing but noise.
        if elapsed >= self.sample_interval / 2 {
            let tokens = state.batches.tokens;
            state.throughput.push_back(ratio((tokens - before) as f64, elapsed.as_secs_f64()));
            if state.throughput.len() > THROUGHPUT_HISTORY {
                state.throughput.pop_front();
            }
            state.throughput_mark = (now, tokens);
        }
    }

    pub(crate) fn warn(&self, text: String) {
        tracing::warn!("{text}");
        let mut state = lock(&self.state);
        state.warning_count += 1;
        if state.warnings.len() < WARNINGS_KEPT {
            state.warnings.push(text.clone());
        }
        state.recent_warnings.push_back(text.clone());
        if state.recent_warnings.len() > RECENT_WARNINGS {
            state.recent_warnings.pop_front();
        }
        drop(state);
        self.write(|| MetricsEvent::Warning { text });
    }

    pub(crate) fn flush(&self) {
        if let Some(log) = &self.log {
            lock(log).flush();
        }
        if let Some(timeline) = &self.timeline {
            timeline.flush();
        }
    }

    /// Writes a line, which is made only if there is a log.
    fn write(&self, event: impl FnOnce() -> MetricsEvent) {
        if let Some(log) = &self.log {
            let event = event();
            lock(log).write(event);
        }
    }

    /// The summary so far, or the last one once the run has ended.
    pub(crate) fn summary(&self) -> RunSummary {
        match &*lock(&self.finished) {
            Some((summary, _)) => summary.clone(),
            None => self.summary_now(),
        }
    }

    /// Ends the run: `stop` ends what still feeds this, then the files are completed.
    pub(crate) fn finish(
        &self,
        stop: impl FnOnce() -> Result<(), MonitorError>,
    ) -> Result<RunSummary, MonitorError> {
        let mut finished = lock(&self.finished);
        let (summary, result) = finished.get_or_insert_with(|| {
            let stopped = stop();
            self.ended.get_or_init(|| self.clock.now().saturating_duration_since(self.started));
            let summary = self.summary_now();
            self.write(|| MetricsEvent::Summary(Box::new(summary.clone())));
            let logged = self.log.as_ref().map_or(Ok(()), |log| lock(log).close());
            let traced = self.timeline.as_ref().map_or(Ok(()), |timeline| timeline.close());
            // Queues may hold on to channels that others wait to see closed.
            lock(&self.queues).clear();
            (summary, stopped.and(logged).and(traced))
        });
        result.clone().map(|()| summary.clone())
    }
}
