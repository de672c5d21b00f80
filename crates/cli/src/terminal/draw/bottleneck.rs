//! What limits the run, in a sentence.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::widgets::{Paragraph, Wrap};
use virnucpro_pipeline::monitor::{Snapshot, Tier};

/// Rows of the sentence at most; a blank one above it where there is room.
const MOST: u16 = 3;
const BLANK: u16 = 1;

fn sentence(snapshot: &Snapshot) -> String {
    match &snapshot.bottleneck {
        Some(found) => format!("bottleneck ({}): {}", found.tier.name(), found.advice),
        None => "bottleneck: not known before the first batch".to_owned(),
    }
}

/// Rows that the sentence and the blank row take at this width, about.
pub(super) fn height(snapshot: &Snapshot, width: u16) -> u16 {
    let columns = usize::from(width.max(1));
    // Words do not fill the rows to the last column.
    let rows = (sentence(snapshot).chars().count() + columns / 8).div_ceil(columns);
    (rows as u16).clamp(1, MOST) + BLANK
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let colour = match snapshot.bottleneck.as_ref().map(|found| found.tier) {
        Some(Tier::Critical) => Color::Red,
        Some(Tier::Mild) => Color::Yellow,
        Some(Tier::None) | None => Color::Reset,
    };
    let blank = if area.height >= height(snapshot, area.width) { BLANK } else { 0 };
    let rows = Rect { y: area.y + blank, height: area.height - blank, ..area };
    let text = Paragraph::new(sentence(snapshot)).wrap(Wrap { trim: true });
    frame.render_widget(text.style(Style::new().fg(colour)), rows);
}
