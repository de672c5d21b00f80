//! Draws the screen: a pure function of what is known, without clock or terminal.
//!
//! Each part of the screen is a file. Parts get their rows in order of importance, so that a small
//! terminal shows less, never garbage.

mod bar;
mod bottleneck;
mod devices;
mod layout;
mod messages;
mod overall;
mod stages;
#[cfg(test)]
mod tests;
mod throughput;

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders};
use virnucpro_pipeline::monitor::Snapshot;

use layout::{Part, allot};

/// Columns from which throughput and devices stand side by side.
const WIDE: u16 = 70;
/// Rows of a part's rule.
const RULE: u16 = 1;

/// Everything that the screen shows.
pub(super) struct Scene<'a> {
    /// What runs, and where.
    pub(super) title: &'a str,
    pub(super) snapshot: &'a Snapshot,
    /// Time left, where it is known.
    pub(super) remaining: Option<Duration>,
    /// The last lines of the log, oldest first.
    pub(super) log: &'a [String],
    /// Whether the user has asked for the end.
    pub(super) is_stopping: bool,
}

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>) {
    let area = frame.area();
    let device_lines = devices::lines(scene.snapshot);
    let heights = allot(area.height, &parts(scene, area, device_lines.len()));
    let [header, overall, stages, bottleneck, middle, messages] =
        Layout::vertical(heights.map(Constraint::Length)).areas(area);
    overall::draw_header(frame, header, scene);
    overall::draw(frame, overall, scene);
    stages::draw(frame, stages, scene.snapshot);
    bottleneck::draw(frame, bottleneck, scene.snapshot);
    if area.width >= WIDE {
        let halves = [Constraint::Fill(1), Constraint::Length(1), Constraint::Fill(1)];
        let [left, _, right] = Layout::horizontal(halves).areas(middle);
        throughput::draw(frame, left, scene.snapshot);
        devices::draw(frame, right, device_lines);
    } else {
        // One below the other; the gauges need their rows, the curve takes what is left.
        let rows = (device_lines.len() as u16 + RULE).min(middle.height);
        let [above, below] =
            Layout::vertical([Constraint::Fill(1), Constraint::Length(rows)]).areas(middle);
        throughput::draw(frame, above, scene.snapshot);
        devices::draw(frame, below, device_lines);
    }
    messages::draw(frame, messages, scene);
}

/// What each part needs and would like, from top to bottom, the importance with it.
fn parts(scene: &Scene<'_>, area: Rect, device_lines: usize) -> [Part; 6] {
    let stages = stages::height(scene.snapshot);
    let devices = device_lines as u16 + RULE;
    let advice = bottleneck::height(scene.snapshot, area.width);
    let middle = if area.width >= WIDE { devices.max(5) } else { devices + 4 };
    [
        Part { importance: 0, least: 1, most: 1 },
        Part { importance: 1, least: 1, most: overall::ROWS },
        Part { importance: 3, least: 3, most: stages },
        Part { importance: 2, least: 1, most: advice },
        Part { importance: 4, least: 2, most: middle },
        Part { importance: 5, least: 2, most: u16::MAX },
    ]
}

/// A rule with a title above a part.
fn ruled(title: &str) -> Block<'_> {
    let title = Line::styled(format!(" {title} "), Style::new().add_modifier(Modifier::BOLD));
    Block::new().borders(Borders::TOP).border_style(dim()).title(title)
}

/// What is there to explain, not to be read first.
fn dim() -> Style {
    Style::new().fg(Color::DarkGray)
}
