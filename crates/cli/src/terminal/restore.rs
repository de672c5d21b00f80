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

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Read;
    use std::process::{Command, Stdio};
    use std::thread;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};

    use super::*;

    /// Set for the process that panics.
    const PANICS: &str = "VIRNUCPRO_TEST_PANICS_ON_A_TERMINAL";

    #[test]
    fn panic_on_any_thread_gives_the_terminal_back_before_its_message() {
        if std::env::var_os(PANICS).is_some() {
            take().unwrap();
            let worker = thread::spawn(|| panic!("a worker broke"));
            assert!(worker.join().is_err() && !is_taken());
            FrameWriter(b"a late frame".to_vec()).flush().unwrap();
            return;
        }
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let terminal =
            OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let name = "terminal::restore::tests::\
                    panic_on_any_thread_gives_the_terminal_back_before_its_message";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(PANICS, "1")
            // Nobody reads before the end: what is written must fit the terminal.
            .env("RUST_BACKTRACE", "0")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        assert!(child.wait().unwrap().success());
        let modes = tcgetattr(&terminal).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "raw mode is off");
        // Reading ends when the last other end of the terminal is closed.
        drop(terminal);
        let (mut controller, mut bytes, mut block) =
            (File::from(controller), Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = controller.read(&mut block) {
            bytes.extend_from_slice(&block[..count]);
        }
        let text = String::from_utf8(bytes).unwrap();
        let (screen, after) = text.split_once("\u{1b}[?1049l").expect("the screen is left");
        assert!(screen.contains("\u{1b}[?1049h") && !screen.contains("a worker broke"));
        assert!(after.contains("a worker broke") && !after.contains("a late frame"), "{after:?}");
    }
}
