//! The full-screen view: a thread that draws what the monitor says and listens to the keys.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::SIGINT;
use signal_hook::low_level::raise;
use virnucpro_pipeline::Monitor;

use super::Log;
use super::draw::{self, Scene};
use super::pace::Pace;
use super::restore::{self, FrameWriter, is_taken, restore};

/// Time between two frames.
const FRAME_INTERVAL: Duration = Duration::from_millis(250);
/// How long a key, a change of size or the end of the run may wait.
const KEY_INTERVAL: Duration = Duration::from_millis(50);

/// The screen while a run shows it; dropping it gives the terminal back.
pub(crate) struct Screen {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    log: Log,
}

impl Screen {
    /// Takes the terminal and starts to draw.
    pub(super) fn open(title: &str, monitor: &Monitor, log: &Log) -> io::Result<Self> {
        restore::take()?;
        // From here on the terminal is given back by the drop.
        log.keep();
        let is_over = Arc::new(AtomicBool::new(false));
        let mut screen = Self { is_over: Arc::clone(&is_over), thread: None, log: log.clone() };
        let terminal = Terminal::new(CrosstermBackend::new(FrameWriter::default()))?;
        let painter = Painter {
            title: title.to_owned(),
            monitor: monitor.clone(),
            log: log.clone(),
            pace: Pace::default(),
            is_stopping: false,
            is_over,
        };
        let thread = thread::Builder::new().name("screen".into());
        screen.thread = Some(thread.spawn(move || painter.run(terminal))?);
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A view that failed has given the terminal back; the run does not depend on it.
            let _ = thread.join();
        }
        restore();
        self.log.print_directly();
    }
}

struct Painter {
    title: String,
    monitor: Monitor,
    log: Log,
    pace: Pace,
    is_stopping: bool,
    is_over: Arc<AtomicBool>,
}

impl Painter {
    fn run(mut self, mut terminal: Terminal<CrosstermBackend<FrameWriter>>) {
        let mut drawn: Option<Instant> = None;
        while !self.is_over.load(Ordering::Relaxed) && is_taken() {
            if drawn.is_none_or(|at| at.elapsed() >= FRAME_INTERVAL) {
                drawn = Some(Instant::now());
                if self.paint(&mut terminal).is_err() {
                    break;
                }
            }
            match next_event() {
                Ok(Some(Event::Key(key))) if stops(key) => {
                    self.is_stopping = true;
                    drawn = None;
                    // The signal takes the one way that every interruption takes.
                    if raise(SIGINT).is_err() {
                        break;
                    }
                }
                Ok(Some(Event::Resize(..))) => drawn = None,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        // Without keys or frames the terminal must not stay in raw mode.
        restore();
    }

    fn paint(&mut self, terminal: &mut Terminal<CrosstermBackend<FrameWriter>>) -> io::Result<()> {
        let snapshot = self.monitor.snapshot();
        self.pace.observe(&snapshot);
        let mut lines = self.log.recent(usize::from(terminal.size()?.height));
        if !self.log.has_warnings() {
            lines.extend(snapshot.recent_warnings.iter().map(|text| format!("warning: {text}")));
        }
        let scene = Scene {
            title: &self.title,
            snapshot: &snapshot,
            remaining: self.pace.remaining(&snapshot),
            log: &lines,
            is_stopping: self.is_stopping,
        };
        terminal.draw(|frame| draw::draw(frame, &scene))?;
        Ok(())
    }
}

fn next_event() -> io::Result<Option<Event>> {
    if event::poll(KEY_INTERVAL)? { event::read().map(Some) } else { Ok(None) }
}

/// Whether a key asks for the end of the run.
fn stops(key: KeyEvent) -> bool {
    let is_interrupt =
        key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let is_quit = matches!(key.code, KeyCode::Char('q' | 'Q'))
        && !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
    key.kind == KeyEventKind::Press && (is_interrupt || is_quit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_on_q_and_ctrl_c_alone() {
        let key = |letter, modifiers| KeyEvent::new(KeyCode::Char(letter), modifiers);
        assert!(stops(key('q', KeyModifiers::NONE)));
        assert!(stops(key('Q', KeyModifiers::SHIFT)));
        assert!(stops(key('c', KeyModifiers::CONTROL)));
        assert!(!stops(key('c', KeyModifiers::NONE)));
        assert!(!stops(key('q', KeyModifiers::CONTROL)));
        assert!(!stops(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE)));
        let released = KeyEvent { kind: KeyEventKind::Release, ..key('q', KeyModifiers::NONE) };
        assert!(!stops(released));
    }
}
