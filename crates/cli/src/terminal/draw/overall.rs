//! The head of the screen: what runs, how far it is, how fast it goes.

use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::Scene;
use super::bar::bar;
use super::dim;
use crate::terminal::pace::share_done;
use crate::terminal::text::{clock, grouped, letters};

/// Rows of the part below the header.
pub(super) const ROWS: u16 = 3;
/// Columns of the bar at most.
const BAR: u16 = 30;

pub(super) fn draw_header(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let right = if scene.is_stopping {
        Span::styled("stopping …", Style::new().fg(Color::Yellow))
    } else {
        Span::styled(format!("{}, q stops", clock(scene.snapshot.elapsed)), dim())
    };
    let right = Line::from(right);
    let columns = area.width.saturating_sub(right.width() as u16 + 1);
    let title = Line::styled(scene.title, Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(title, Rect { width: columns, ..area });
    frame.render_widget(Paragraph::new(right).alignment(Alignment::Right), area);
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let snapshot = scene.snapshot;
    let mut done = Vec::new();
    if let Some(share) = share_done(snapshot) {
        done.push(Span::raw(format!("{:3.0} % ", 100.0 * share)));
        done.extend(bar(share, BAR.min(area.width / 3), Color::Cyan));
        done.push(Span::raw(" "));
    }
    if let Some(remaining) = scene.remaining {
        done.push(Span::raw(format!("{} left, ", clock(remaining))));
    }
    done.push(Span::raw(letters(snapshot)));
    let rates = if snapshot.batches == 0 {
        "opening the model, filling the queues".to_owned()
    } else {
        let (tokens, sequences) = (snapshot.tokens_per_s, snapshot.sequences_per_s);
        format!(
            "{} tokens/s, {} sequences/s now; {} and {} overall",
            grouped(tokens.recent),
            grouped(sequences.recent),
            grouped(tokens.overall),
            grouped(sequences.overall)
        )
    };
    let efficiency = snapshot
        .packing_efficiency
        .map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    let counts = format!(
        "{} sequences in {} batches, {} from the cache; packing_efficiency {efficiency}",
        grouped(snapshot.sequences as f64),
        grouped(snapshot.batches as f64),
        grouped(snapshot.duplicates as f64)
    );
    let lines = vec![Line::from(done), Line::raw(rates), Line::raw(counts)];
    frame.render_widget(Paragraph::new(lines), area);
}
