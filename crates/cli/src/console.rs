//! What goes to the terminal: progress, warnings, errors.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use virnucpro_pipeline::Progress;

/// Time between lines of progress where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows progress: a bar with rate and remaining time on a terminal, a line now and then
/// elsewhere, nothing when asked to be quiet.
pub(crate) struct ProgressView {
    mode: Mode,
    start: Instant,
}

enum Mode {
    Quiet,
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl ProgressView {
    pub(crate) fn new(is_quiet: bool) -> Self {
        let start = Instant::now();
        let mode = if is_quiet {
            Mode::Quiet
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            Mode::Bar(bar)
        } else {
            Mode::Lines { last: start }
        };
        Self { mode, start }
    }

    pub(crate) fn update(&mut self, progress: Progress) {
        let start = self.start;
        match &mut self.mode {
            Mode::Quiet => {}
            Mode::Bar(bar) => {
                if let Some(total) = progress.total_letters.filter(|_| bar.length().is_none()) {
                    bar.set_style(style());
                    bar.set_length(total);
                }
                if let Some(total) = progress.total_letters {
                    bar.set_length(total);
                }
                bar.set_position(progress.letters);
                bar.set_message(describe(progress, start));
            }
            Mode::Lines { last } => {
                if last.elapsed() >= LINE_INTERVAL {
                    *last = Instant::now();
                    let share = progress.total_letters.filter(|&total| total > 0).map_or_else(
                        String::new,
                        |total| {
                            format!("{:.0} %, ", 100.0 * progress.letters as f64 / total as f64)
                        },
                    );
                    let elapsed = HumanDuration(start.elapsed());
                    eprintln!("{share}{}, {elapsed}", describe(progress, start));
                }
            }
        }
    }

    pub(crate) fn finish(self) {
        if let Mode::Bar(bar) = self.mode {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {percent:>3} % {msg}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn describe(progress: Progress, start: Instant) -> String {
    let seconds = start.elapsed().as_secs_f64().max(1e-3);
    let megabases = progress.letters as f64 / 1e6;
    let mut text = format!("{megabases:.2} Mbp, {:.2} Mbp/s", megabases / seconds);
    if progress.records > 0 {
        text.push_str(&format!(", {} sequences", HumanCount(progress.records)));
    }
    if progress.tokens > 0 {
        let rate = progress.tokens as f64 / seconds;
        text.push_str(&format!(", {} tokens/s", HumanCount(rate as u64)));
    }
    text
}

/// Prints warnings, one line each.
pub(crate) fn warnings(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// Prints an error as one line.
pub(crate) fn error(error: &anyhow::Error) {
    // A closed standard error leaves no way to say anything.
    let _ = writeln!(std::io::stderr(), "error: {}", one_line(error));
}

/// The error and its causes; a cause that its effect already quotes is not said twice.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    line.replace(['\n', '\r'], " ")
}

/// A count with its noun, such as `1 sequence` or `2 sequences`.
pub(crate) fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_every_cause_once() {
        let cause = std::io::Error::other("disk on fire");
        let quoting = anyhow::anyhow!("cannot write x: disk on fire");
        assert_eq!(one_line(&quoting), "cannot write x: disk on fire");
        let chained = anyhow::Error::from(cause).context("cannot write\nx");
        assert_eq!(one_line(&chained), "cannot write x: disk on fire");
        let both = anyhow::Error::from(std::io::Error::other("a")).context("a happened");
        assert_eq!(one_line(&both), "a happened");
    }

    #[test]
    fn count_one_has_no_plural() {
        assert_eq!((count(1, "chunk"), count(0, "chunk")), ("1 chunk".into(), "0 chunks".into()));
    }
}
