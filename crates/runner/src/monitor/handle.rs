//! The monitor as its users hold it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Map, Value};

use super::{
    BatchRecord, Bottleneck, InputProgress, MonitorError, QueueDepth, RunSummary, Snapshot,
    StageMeter, StageSpec,
    clock::{Clock, SystemClock},
    core::Core,
    devices::GpuSelection,
    line::{RunLine, SCHEMA_VERSION},
    metrics_log::MetricsLog,
    number::milliseconds,
    sampler::Sampler,
    started::rfc3339,
    sync::lock,
    timeline::Timeline,
};

/// What to watch and where to write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorConfig {
    /// The JSON-lines log; a file that exists is replaced.
    pub metrics: Option<PathBuf>,
    /// The timeline, in the Chrome Trace Event Format; a file that exists is replaced.
    pub trace: Option<PathBuf>,
    /// Time between two readings of devices and process; at least 1 ms is taken.
    pub sample_interval: Duration,
    /// PCI bus ids of the GPUs to read through NVML; none, and NVML is not opened.
    pub nvml_devices: Vec<String>,
    /// How far back "recent" reaches; at least one sample interval is taken.
    pub recent_window: Duration,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        MonitorConfig {
            metrics: None,
            trace: None,
            sample_interval: Duration::from_millis(250),
            nvml_devices: Vec::new(),
            recent_window: Duration::from_secs(10),
        }
    }
}

/// The instruments of one run; clones are handles to the same ones.
///
/// The last handle to go ends the run as [`Monitor::finish`] does. Calls after the end are allowed
/// and change no file.
#[derive(Clone, Debug)]
pub struct Monitor {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    core: Arc<Core>,
    sampler: Mutex<Option<Sampler>>,
}

impl Handle {
    fn finish(&self) -> Result<RunSummary, MonitorError> {
        self.core.finish(|| lock(&self.sampler).take().map_or(Ok(()), Sampler::stop))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Whoever wants to know of errors calls `finish`.
        let _ = self.finish();
    }
}

impl Monitor {
    /// Opens the files and starts the thread that takes samples.
    ///
    /// A GPU that cannot be watched is no error: the reason becomes a warning.
    ///
    /// # Errors
    /// When a file cannot be created, named in the message, or the thread cannot be started.
    pub fn start(config: MonitorConfig) -> Result<Monitor, MonitorError> {
        let gpus = GpuSelection::BusIds(config.nvml_devices.clone());
        let monitor = Self::assemble(&config, Arc::new(SystemClock))?;
        let sampler = Sampler::start(Arc::clone(&monitor.handle.core), gpus)?;
        *lock(&monitor.handle.sampler) = Some(sampler);
        Ok(monitor)
    }

    /// Instruments that count as always but have no thread and no files.
    pub fn disabled() -> Monitor {
        let config = MonitorConfig::default();
        Self::with_core(Self::core(&config, Arc::new(SystemClock), Instant::now(), None, None))
    }

    /// All of it but the thread, on any clock.
    pub(crate) fn assemble(
        config: &MonitorConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Monitor, MonitorError> {
        let started = clock.now();
        let header = RunLine {
            schema_version: SCHEMA_VERSION,
            tool: "virnucpro".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: rfc3339(SystemTime::now()),
            sample_interval_ms: milliseconds(sample_interval(config)),
            recent_window_ms: milliseconds(recent_window(config)),
            notes: Map::new(),
        };
        let log = match &config.metrics {
            Some(path) => Some(MetricsLog::create(path, header, Arc::clone(&clock), started)?),
            None => None,
        };
        let timeline = match &config.trace {
            Some(path) => Some(Timeline::create(path, started)?),
            None => None,
        };
        Ok(Self::with_core(Self::core(config, clock, started, log, timeline)))
    }

    fn core(
        config: &MonitorConfig,
        clock: Arc<dyn Clock>,
        started: Instant,
        log: Option<MetricsLog>,
        timeline: Option<Timeline>,
    ) -> Core {
        Core::new(clock, started, recent_window(config), sample_interval(config), log, timeline)
    }

    fn with_core(core: Core) -> Monitor {
        let handle = Handle { core: Arc::new(core), sampler: Mutex::default() };
        Monitor { handle: Arc::new(handle) }
    }

    pub(crate) fn shared(&self) -> &Core {
        &self.handle.core
    }

    /// A meter of a stage. A name that is known already gives a meter of the stage it was first
    /// given for, whatever else `spec` says.
    pub fn stage(&self, spec: StageSpec) -> StageMeter {
        StageMeter::new(self.shared().stage(spec))
    }

    /// Watches a queue: `len` tells how many items it holds. It is called from any thread and
    /// dropped at the end of the run; until then it must not keep a channel open that somebody
    /// waits to see closed. A name that is known already is replaced.
    pub fn queue(
        &self,
        name: &str,
        capacity: usize,
        len: impl Fn() -> usize + Send + Sync + 'static,
    ) {
        self.shared().queue(name, capacity, Box::new(len));
    }

    /// Depths of the watched queues now, in order of registration.
    pub fn queue_depths(&self) -> Vec<QueueDepth> {
        self.shared().queue_depths()
    }

    /// Counts a batch and writes its line; every tenth looks for the bottleneck.
    pub fn record_batch(&self, record: BatchRecord) {
        self.shared().record_batch(&record);
    }

    /// Warns the user: logged now, in the metrics log, and kept for the summary.
    pub fn warn(&self, text: String) {
        self.shared().warn(text);
    }

    /// Sets how far the input was read.
    pub fn progress(&self, progress: InputProgress) {
        lock(&self.shared().state).progress = progress;
    }

    /// Sets how many sequences were answered from the cache of earlier ones.
    pub fn set_duplicates(&self, fanned_out: u64) {
        lock(&self.shared().state).duplicates = fanned_out;
    }

    /// Notes a setting of the run. Before the first batch it goes into the first line of the log,
    /// later into a line of its own.
    pub fn note(&self, key: &str, value: Value) {
        if let Some(log) = &self.shared().log {
            lock(log).note(key, value);
        }
    }

    /// Adds a span to a track of the timeline; without a trace file it does nothing.
    pub fn span(
        &self,
        track: &str,
        name: &str,
        start: Instant,
        end: Instant,
        args: &[(&str, u64)],
    ) {
        if let Some(timeline) = &self.shared().timeline {
            timeline.span(track, name, start, end, args);
        }
    }

    /// The state now.
    pub fn snapshot(&self) -> Snapshot {
        self.shared().snapshot()
    }

    /// What limits the run, judged over the recent window; `None` before the first batch, and
    /// where there is neither a GPU sample nor a stage of the device to judge.
    pub fn check_bottleneck(&self) -> Option<Bottleneck> {
        self.shared().check_bottleneck()
    }

    /// The summary so far; after the end, the one of the whole run, even if a file failed.
    pub fn summary(&self) -> RunSummary {
        self.shared().summary()
    }

    /// Ends the run: stops and joins the thread, writes the last line, completes the files. A
    /// second call does nothing and returns the same.
    ///
    /// # Errors
    /// When a file could not be written in full, named in the message, or the thread panicked;
    /// [`Monitor::summary`] has the numbers all the same.
    pub fn finish(&self) -> Result<RunSummary, MonitorError> {
        self.handle.finish()
    }
}

fn sample_interval(config: &MonitorConfig) -> Duration {
    config.sample_interval.max(Duration::from_millis(1))
}

fn recent_window(config: &MonitorConfig) -> Duration {
    config.recent_window.max(sample_interval(config))
}
