//! The instruments of a run: what the devices do, where the time goes, and which stage limits it.
//!
//! Owns the counts, the thread that reads devices and process, the JSON-lines log and the timeline.
//! Must not slow a run down, stop it, or say a number that was not measured: a reading that is not
//! to be had is absent. Entry type: [`Monitor`].
//!
//! ```
//! use std::time::Duration;
//! use virnucpro_runner::monitor::{Monitor, StageRole, StageSpec};
//!
//! let monitor = Monitor::disabled();
//! let compute = monitor.stage(StageSpec {
//!     name: "compute",
//!     workers: 1,
//!     role: StageRole::Device,
//!     advice: "add a device",
//! });
//! assert_eq!(compute.busy("batch 0", &[("tokens", 4096)], || 6 * 7), 42);
//! compute.add_wait_in(Duration::from_millis(3));
//! assert_eq!(monitor.summary().stages[0].wait_in_ms, 3.0);
//! ```

mod bottleneck;
mod clock;
mod core;
mod devices;
mod error;
mod handle;
mod line;
mod line_file;
mod meter;
mod metrics_log;
mod number;
mod process;
mod record;
mod sampler;
mod snapshot;
mod stage;
mod started;
mod summary;
mod sync;
mod table;
#[cfg(test)]
mod tests;
mod timeline;
mod totals;
mod view;
mod window;

pub use bottleneck::{Bottleneck, Tier};
pub use devices::{DeviceSample, GpuSampler, GpuSelection};
pub use error::MonitorError;
pub use handle::{Monitor, MonitorConfig};
pub use line::{BatchLine, MetricsEvent, MetricsLine, RunLine, SCHEMA_VERSION, SampleLine};
pub use process::{ProcessSample, ProcessSampler};
pub use record::{
    BatchRecord, InputProgress, QueueDepth, QueueState, Span, StageSpans, StageTimes,
};
pub use snapshot::{Rates, Snapshot};
pub use stage::{StageLoad, StageMeter, StageRole, StageSpec};
pub use summary::{
    DeviceSummary, ProcessSummary, RunSummary, StageSummary, TaskSummary, WaitSummary,
};
