//! Tokens a second over the last half minute.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::widgets::Sparkline;
use virnucpro_pipeline::monitor::Snapshot;

use super::ruled;
use crate::terminal::text::grouped;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let history = &snapshot.throughput_history;
    let smoothed = smooth(history, snapshot.sample_interval);
    let columns = columns(&smoothed, usize::from(area.width));
    let seconds = snapshot.sample_interval.as_secs_f64() * history.len() as f64;
    let most = columns.iter().copied().max().unwrap_or(0);
    let title = format!("tokens/s, last {seconds:.0} s, up to {}", grouped(most as f64));
    let curve = Sparkline::default()
        .block(ruled(&title))
        .style(Style::new().fg(Color::Cyan))
        .max(most.max(1))
        .data(&columns);
    frame.render_widget(curve, area);
}

/// The mean over the second up to each entry: a sample sees one large batch or none, which says
/// nothing of the rate.
pub(super) fn smooth(history: &[f64], sample_interval: Duration) -> Vec<f64> {
    let interval_ms = sample_interval.as_millis().max(1);
    let window = (1000 / interval_ms).max(1) as usize;
    (1..=history.len())
        .map(|end| {
            let recent = &history[end.saturating_sub(window)..end];
            recent.iter().sum::<f64>() / recent.len() as f64
        })
        .collect()
}

/// One number a column: the mean of as many entries as it takes for all to fit, the newest last.
pub(super) fn columns(history: &[f64], width: usize) -> Vec<u64> {
    let each = history.len().div_ceil(width.max(1)).max(1);
    // Groups are counted from the end, so that a column does not change when it grows old.
    let mut columns: Vec<u64> = history
        .rchunks(each)
        .map(|group| (group.iter().sum::<f64>() / group.len() as f64).round() as u64)
        .collect();
    columns.reverse();
    columns
}
