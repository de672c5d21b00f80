//! What a run shows while it goes on: nothing, lines, or the whole screen; and the log.
//!
//! Owns the terminal from [`View::start`] until the view is dropped, and gives it back in every
//! case. Must not change a run, except that its keys cancel it. Entry types: [`View`], [`Log`].

mod draw;
mod line;
mod log;
mod pace;
mod restore;
mod screen;
#[cfg(test)]
mod testing;
mod text;

use std::io::{self, IsTerminal};

use virnucpro_pipeline::Monitor;

use line::LineView;
pub(crate) use log::{Log, LogLevel};
pub(crate) use restore::restore;
use screen::Screen;

/// How much of a run the user wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Nothing.
    Nothing,
    /// A line of progress.
    Line,
    /// The whole screen.
    Screen,
}

/// The view of one run; dropping it gives the terminal back.
pub(crate) enum View {
    Nothing,
    Line(LineView),
    Screen {
        /// Held for its end.
        _screen: Screen,
    },
}

impl View {
    /// Starts to show the run that `monitor` watches. A screen that cannot be had becomes lines,
    /// and one sentence says why.
    pub(crate) fn start(
        detail: Detail,
        title: &str,
        reads_stdin: bool,
        monitor: &Monitor,
        log: &Log,
    ) -> Self {
        match detail {
            Detail::Nothing => Self::Nothing,
            Detail::Line => Self::Line(LineView::new(monitor, log)),
            Detail::Screen => match open_screen(title, reads_stdin, monitor, log) {
                Ok(screen) => Self::Screen { _screen: screen },
                Err(reason) => {
                    eprintln!("--tui: {reason}; showing lines of progress instead");
                    Self::Line(LineView::new(monitor, log))
                }
            },
        }
    }

    /// Shows how far the run has come, if enough time has passed.
    pub(crate) fn update(&mut self) {
        if let Self::Line(line) = self {
            line.update();
        }
    }

    /// Ends the view; what is printed from now on stays.
    pub(crate) fn finish(self) {
        drop(self);
    }
}

fn open_screen(
    title: &str,
    reads_stdin: bool,
    monitor: &Monitor,
    log: &Log,
) -> Result<Screen, String> {
    if !io::stderr().is_terminal() {
        return Err("standard error is not a terminal".to_owned());
    }
    if reads_stdin && io::stdin().is_terminal() {
        return Err("the keyboard is read as input".to_owned());
    }
    Screen::open(title, monitor, log).map_err(|error| format!("the terminal refused ({error})"))
}
