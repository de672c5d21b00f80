//! The last lines of the log.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::{RULE, Scene, dim, ruled};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let title = match scene.snapshot.warnings {
        0 => "log".to_owned(),
        1 => "log, 1 warning".to_owned(),
        warnings => format!("log, {warnings} warnings"),
    };
    let rows = usize::from(area.height.saturating_sub(RULE));
    let skipped = scene.log.len().saturating_sub(rows);
    let mut lines: Vec<_> = scene.log[skipped..].iter().map(|line| styled(line)).collect();
    if lines.is_empty() {
        lines.push(Line::styled("nothing yet", dim()));
    }
    frame.render_widget(Paragraph::new(lines).block(ruled(&title)), area);
}

fn styled(line: &str) -> Line<'_> {
    let has = |word| line.split_whitespace().take(2).any(|start| start == word);
    let colour = if has("ERROR") {
        Color::Red
    } else if has("WARN") || has("warning:") {
        Color::Yellow
    } else {
        Color::Reset
    };
    Line::styled(line, Style::new().fg(colour))
}
