//! The log: what `--log-level` lets through, without tearing what the view shows.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use clap::ValueEnum;
use indicatif::ProgressBar;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{FmtSpan, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{self, MakeWriter};

/// Lines that the screen can show.
const RECENT: usize = 200;
/// Warnings and errors that are printed once the screen is gone.
const SERIOUS: usize = 100;

/// What of the log is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum LogLevel {
    /// Nothing.
    Off,
    /// What went wrong.
    Error,
    /// And what may have gone wrong.
    Warn,
    /// And what the run decides, such as which stage limits it.
    Info,
    /// And every piece of work of every stage, with its time.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// Where the lines of the log go; clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    route: Arc<Mutex<Route>>,
    /// Whether warnings come as lines of the log.
    has_warnings: bool,
}

#[derive(Debug, Default)]
enum Route {
    #[default]
    Stderr,
    Above(ProgressBar),
    Kept(Kept),
}

/// Lines while the screen is taken.
#[derive(Debug, Default)]
struct Kept {
    recent: VecDeque<String>,
    serious: Vec<String>,
    not_kept: usize,
}

impl Kept {
    fn add(&mut self, line: String, is_serious: bool) {
        if is_serious && self.serious.len() < SERIOUS {
            self.serious.push(line.clone());
        } else if is_serious {
            self.not_kept += 1;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(line);
    }
}

impl Log {
    /// Starts the log of this process, once; `has_screen` says that a screen may be shown, which
    /// has no use for escape sequences.
    pub(crate) fn start(level: LogLevel, has_screen: bool) -> Self {
        let log = Self { has_warnings: level >= LogLevel::Warn, ..Self::default() };
        if level > LogLevel::Off {
            let has_colour = !has_screen
                && io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            fmt::Subscriber::builder()
                .with_max_level(level.filter())
                .with_span_events(FmtSpan::CLOSE)
                .with_ansi(has_colour)
                .with_target(false)
                .compact()
                .with_timer(SinceStart(Instant::now()))
                .with_writer(log.clone())
                .init();
        }
        log
    }

    /// Whether warnings of the monitor appear among the lines.
    pub(super) fn has_warnings(&self) -> bool {
        self.has_warnings
    }

    /// Prints lines above a bar from now on.
    pub(super) fn print_above(&self, bar: &ProgressBar) {
        *self.route() = Route::Above(bar.clone());
    }

    /// Keeps lines for [`Log::recent`] from now on.
    pub(super) fn keep(&self) {
        *self.route() = Route::Kept(Kept::default());
    }

    /// Prints lines to standard error from now on, beginning with the warnings and errors that
    /// were kept.
    pub(super) fn print_directly(&self) {
        let before = std::mem::take(&mut *self.route());
        if let Route::Kept(kept) = before {
            let mut text = kept.serious.iter().fold(String::new(), |text, line| text + line + "\n");
            if kept.not_kept > 0 {
                text += &format!("and {} more warnings and errors\n", kept.not_kept);
            }
            // A closed standard error leaves no way to say anything.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }

    /// The last lines kept, at most `most`, oldest first.
    pub(super) fn recent(&self, most: usize) -> Vec<String> {
        match &*self.route() {
            Route::Kept(kept) => {
                let skipped = kept.recent.len().saturating_sub(most);
                kept.recent.iter().skip(skipped).cloned().collect()
            }
            Route::Stderr | Route::Above(_) => Vec::new(),
        }
    }

    fn route(&self) -> MutexGuard<'_, Route> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since the start of the program.
struct SinceStart(Instant);

impl FormatTime for SinceStart {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:8.3}s", self.0.elapsed().as_secs_f64())
    }
}

/// Takes one line, which comes in one piece.
pub(crate) struct LineWriter<'a> {
    log: &'a Log,
    is_serious: bool,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.log.route() {
            Route::Stderr => io::stderr().write_all(bytes)?,
            Route::Above(bar) => bar.suspend(|| io::stderr().write_all(bytes))?,
            Route::Kept(kept) => {
                let line = String::from_utf8_lossy(bytes).trim_end().to_owned();
                kept.add(line, self.is_serious);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter { log: self, is_serious: false }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        LineWriter { log: self, is_serious: *metadata.level() <= Level::WARN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept_by(log: &Log, work: impl FnOnce()) -> (Vec<String>, Vec<String>) {
        log.keep();
        let subscriber = fmt::Subscriber::builder()
            .with_max_level(LogLevel::Debug.filter())
            .with_span_events(FmtSpan::CLOSE)
            .with_ansi(false)
            .compact()
            .with_timer(SinceStart(Instant::now()))
            .with_writer(log.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let Route::Kept(kept) = std::mem::take(&mut *log.route()) else {
            return Default::default();
        };
        (kept.recent.into(), kept.serious)
    }

    #[test]
    fn log_that_is_kept_has_one_entry_a_line_and_remembers_what_is_serious() {
        let log = Log::default();
        let (recent, serious) = kept_by(&log, || {
            tracing::info!("ordinary");
            tracing::warn!("odd");
            tracing::debug_span!("stage", stage = "pack").in_scope(|| tracing::error!("broken"));
            tracing::trace!("not asked for");
        });
        let words = ["ordinary", "odd", "broken", "close"];
        assert_eq!(recent.len(), words.len(), "{recent:?}");
        for (line, word) in recent.iter().zip(words) {
            assert!(line.contains(word) && !line.contains('\n'), "{line:?}");
        }
        assert!(recent[3].contains("stage=\"pack\"") && recent[3].contains("time.busy"));
        assert_eq!(serious, recent[1..3]);
    }

    #[test]
    fn log_keeps_no_more_than_it_may() {
        let log = Log::default();
        let (recent, serious) = kept_by(&log, || {
            for number in 0..RECENT + 50 {
                tracing::warn!("number {number}");
            }
        });
        assert_eq!((recent.len(), serious.len()), (RECENT, SERIOUS));
        assert!(recent[RECENT - 1].ends_with(&format!("number {}", RECENT + 49)));
        assert!(serious[0].ends_with("number 0"), "the first cause is kept");
    }

    #[test]
    fn recent_gives_the_last_lines_in_order() {
        let log = Log::default();
        log.keep();
        for line in ["a", "b", "c"] {
            log.make_writer().write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        assert_eq!(log.recent(2), ["b", "c"]);
        log.print_directly();
        assert_eq!(log.recent(2), [""; 0]);
    }
}
