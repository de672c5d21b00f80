//! Progress as one line: rewritten in place on a terminal, printed now and then elsewhere.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use virnucpro_pipeline::Monitor;
use virnucpro_pipeline::monitor::Snapshot;

use super::Log;
use super::pace::{Pace, share_done};
use super::text;

/// Time between lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Time between two looks of the line on a terminal.
const REFRESH: Duration = Duration::from_millis(250);
/// Steps of the bar, finer than its cells.
const STEPS: u64 = 1000;

/// The line of one run.
pub(crate) struct LineView {
    monitor: Monitor,
    log: Log,
    /// `None` where there is no terminal.
    bar: Option<ProgressBar>,
    pace: Pace,
    turns: Turns,
}

impl LineView {
    pub(super) fn new(monitor: &Monitor, log: &Log) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_style(style("{spinner} {wide_msg}"));
            bar.set_message("opening the input and the model");
            bar.enable_steady_tick(Duration::from_millis(120));
            log.print_above(&bar);
            bar
        });
        let interval = if bar.is_some() { REFRESH } else { LINE_INTERVAL };
        let turns = Turns { interval, last: Duration::ZERO };
        Self { monitor: monitor.clone(), log: log.clone(), bar, pace: Pace::default(), turns }
    }

    pub(super) fn update(&mut self) {
        let snapshot = self.monitor.snapshot();
        self.pace.observe(&snapshot);
        if !self.turns.is_due(snapshot.elapsed) {
            return;
        }
        match &self.bar {
            Some(bar) => self.show(bar, &snapshot),
            None => eprintln!(
                "{}: {}",
                text::clock(snapshot.elapsed),
                text::line(&snapshot, &self.pace)
            ),
        }
    }

    fn show(&self, bar: &ProgressBar, snapshot: &Snapshot) {
        if let Some(share) = share_done(snapshot) {
            if bar.length().is_none() {
                bar.set_style(style("{bar:10} {wide_msg}"));
                bar.set_length(STEPS);
            }
            bar.set_position((share * STEPS as f64) as u64);
        }
        bar.set_message(text::short_line(snapshot, &self.pace));
    }
}

impl Drop for LineView {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            self.log.print_directly();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Decides which of many moments are shown.
#[derive(Debug)]
struct Turns {
    interval: Duration,
    last: Duration,
}

impl Turns {
    fn is_due(&mut self, now: Duration) -> bool {
        let is_due = now.saturating_sub(self.last) >= self.interval;
        if is_due {
            self.last = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_once_an_interval() {
        let mut turns = Turns { interval: LINE_INTERVAL, last: Duration::ZERO };
        let due: Vec<u64> =
            (0..=35).filter(|&now| turns.is_due(Duration::from_secs(now))).collect();
        assert_eq!(due, [10, 20, 30]);
    }
}
