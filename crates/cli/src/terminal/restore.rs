//! Taking the terminal and giving it back, whatever happens.
//!
//! Owns the one record of whether the alternate screen is open. Every byte of the screen passes
//! here, so that none arrives after the terminal was given back.

use std::io::{self, Write};
use std::panic;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// Whether the terminal is ours. It is locked for single writes only, which do not panic, so a
/// panic hook may lock it.
static IS_OPEN: Mutex<bool> = Mutex::new(false);

static PANIC_HOOK: Once = Once::new();

fn is_open() -> MutexGuard<'static, bool> {
    IS_OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the terminal: raw mode, alternate screen, no cursor. A panic on any thread gives it back
/// before its message is printed.
pub(super) fn take() -> io::Result<()> {
    PANIC_HOOK.call_once(|| {
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            next(panic);
        }));
    });
    let mut is_open = is_open();
    enable_raw_mode()?;
    *is_open = true;
    let entered = execute!(io::stderr(), EnterAlternateScreen, Hide);
    drop(is_open);
    entered.inspect_err(|_| restore())
}

/// Gives the terminal back; does nothing if it is not taken.
pub(crate) fn restore() {
    let mut is_open = is_open();
    if std::mem::take(&mut *is_open) {
        // A terminal that is gone cannot be restored, and there is nobody to tell.
        let _ = execute!(io::stderr(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Whether the terminal is taken.
pub(super) fn is_taken() -> bool {
    *is_open()
}

/// Gathers a frame and writes it in one go, while the terminal is ours.
#[derive(Debug, Default)]
pub(super) struct FrameWriter(Vec<u8>);

impl Write for FrameWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let frame = std::mem::take(&mut self.0);
        if *is_open() { io::stderr().write_all(&frame) } else { Ok(()) }
    }
}
