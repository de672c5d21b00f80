//! The JSON-lines log of a run.
//!
//! The first line tells the settings, which are known only some time after the instruments were
//! started. Lines from before that are held back: until the first batch, or until a good number of
//! them has gathered.

use std::{io::Write, path::Path, sync::Arc, time::Instant};

use serde_json::Value;

use super::{
    MonitorError,
    clock::Clock,
    line::{MetricsEvent, MetricsLine, RunLine},
    line_file::LineFile,
    number::milliseconds,
};

/// Lines held back before the first line is written with the settings known by then.
const HELD_LINES: usize = 40;

/// A metrics log that is being written.
#[derive(Debug)]
pub(crate) struct MetricsLog {
    file: LineFile,
    clock: Arc<dyn Clock>,
    started: Instant,
    /// The first line, until it is written.
    header: Option<RunLine>,
    held: Vec<MetricsLine>,
    closed: bool,
}

impl MetricsLog {
    /// Creates the file; one that exists is replaced.
    pub(crate) fn create(
        path: &Path,
        header: RunLine,
        clock: Arc<dyn Clock>,
        started: Instant,
    ) -> Result<MetricsLog, MonitorError> {
        let file = LineFile::create(path)?;
        let header = Some(header);
        Ok(MetricsLog { file, clock, started, header, held: Vec::new(), closed: false })
    }

    /// Puts a setting into the first line, or into a line of its own when that one is written.
    pub(crate) fn note(&mut self, key: &str, value: Value) {
        match &mut self.header {
            Some(header) => {
                header.notes.insert(key.to_owned(), value);
            }
            None => self.write(MetricsEvent::Note { key: key.to_owned(), value }),
        }
    }

    /// Writes a line for this moment.
    pub(crate) fn write(&mut self, event: MetricsEvent) {
        if self.closed {
            return;
        }
        let t_ms = milliseconds(self.clock.now().saturating_duration_since(self.started));
        let line = MetricsLine { t_ms, event };
        let may_wait = matches!(line.event, MetricsEvent::Sample(_) | MetricsEvent::Warning { .. });
        if self.header.is_some() && may_wait && self.held.len() < HELD_LINES {
            self.held.push(line);
        } else {
            self.release();
            self.append(&line);
        }
    }

    /// Writes what was gathered to the file.
    pub(crate) fn flush(&mut self) {
        self.file.flush();
    }

    /// Writes what is left; later lines are dropped.
    ///
    /// # Errors
    /// The first write that failed.
    pub(crate) fn close(&mut self) -> Result<(), MonitorError> {
        self.release();
        self.closed = true;
        self.file.flush();
        self.file.failure().map_or(Ok(()), Err)
    }

    fn release(&mut self) {
        if let Some(header) = self.header.take() {
            self.append(&MetricsLine { t_ms: 0.0, event: MetricsEvent::Run(header) });
            for line in std::mem::take(&mut self.held) {
                self.append(&line);
            }
        }
    }

    fn append(&mut self, line: &MetricsLine) {
        self.file.append(|out| {
            serde_json::to_writer(&mut *out, line)?;
            out.write_all(b"\n")
        });
    }
}
