//! Interrupt and termination: stop in good order, or at once if that takes too long.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use virnucpro_pipeline::{CancelToken, discard_unfinished_files};

/// How long a run may take to stop in good order. It looks at the token between batches; only a
/// huge batch, or a named pipe that nobody opens for writing, lasts longer.
const PATIENCE: Duration = Duration::from_millis(800);

/// How often the watching thread looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Watches for SIGINT and SIGTERM.
pub(crate) struct Signals {
    received: Arc<AtomicI32>,
    /// Raised when a signal arrives.
    pub(crate) cancel: CancelToken,
}

impl Signals {
    /// Starts watching.
    pub(crate) fn watch() -> std::io::Result<Self> {
        let signals = Self { received: Arc::default(), cancel: CancelToken::default() };
        let mut incoming = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
        let (received, cancel) = (Arc::clone(&signals.received), signals.cancel.clone());
        thread::Builder::new().name("signals".into()).spawn(move || {
            if let Some(signal) = incoming.forever().next() {
                received.store(signal, Ordering::Relaxed);
                cancel.cancel();
                let since = Instant::now();
                while since.elapsed() < PATIENCE && incoming.pending().next().is_none() {
                    thread::sleep(INTERVAL);
                }
                crate::terminal::restore();
                discard_unfinished_files();
                let what = "stopped without waiting for the work in progress";
                crate::console::error(&anyhow::anyhow!(what));
                std::process::exit(128 + signal);
            }
        })?;
        Ok(signals)
    }

    /// 128 + the number of the signal received, as shells report it: 130 or 143.
    pub(crate) fn exit_code(&self) -> Option<ExitCode> {
        match self.received.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))),
        }
    }
}
