//! A gauge of a few characters, for the cells of a table.

use ratatui::style::{Color, Style};
use ratatui::text::Span;

use super::dim;

/// Eighths of a cell, from the left.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// A bar of `width` columns, filled to `share` (0..1), and its empty rest.
pub(super) fn bar(share: f64, width: u16, colour: Color) -> [Span<'static>; 2] {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let width = usize::from(width);
    let eighths = (share * (width * 8) as f64).round() as usize;
    let (full, rest) = (eighths / 8, eighths % 8);
    let filled = "█".repeat(full) + EIGHTHS[rest];
    let empty = "·".repeat(width - full - usize::from(rest > 0));
    [Span::styled(filled, Style::new().fg(colour)), Span::styled(empty, dim())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_has_its_width_whatever_the_share() {
        let text = |share| bar(share, 4, Color::Green).map(|span| span.content).concat();
        assert_eq!(text(0.0), "····");
        assert_eq!(text(0.5), "██··");
        assert_eq!(text(0.53), "██▏·");
        assert_eq!(text(1.0), "████");
        assert_eq!([text(7.0), text(-1.0), text(f64::NAN)], ["████", "····", "····"]);
        for step in 0..=100 {
            assert_eq!(text(f64::from(step) / 100.0).chars().count(), 4, "{step}");
        }
    }
}
