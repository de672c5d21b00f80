//! Gauges of the GPUs and of the process. A reading that is not to be had is left out.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use virnucpro_pipeline::monitor::{DeviceSample, Snapshot};

use super::bar::bar;
use super::ruled;

/// Columns of a bar.
const BAR: u16 = 10;

/// The rows of this part.
pub(super) fn lines(snapshot: &Snapshot) -> Vec<Line<'static>> {
    let mut lines: Vec<_> = snapshot.devices.iter().flat_map(gpu).collect();
    match &snapshot.process {
        Some(process) => {
            let percent = process.cpu_percent;
            let what = format!("{percent:3.0} % of all cores");
            lines.push(gauge("CPU", percent / 100.0, what));
            let memory = gibibytes(process.resident_bytes);
            lines.push(Line::raw(format!("{:<7}{memory} resident", "memory")));
        }
        None => lines.push(Line::raw("no reading of the process yet")),
    }
    lines
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>) {
    let title = if lines.len() > 2 { "devices and process" } else { "process" };
    frame.render_widget(Paragraph::new(lines).block(ruled(title)), area);
}

fn gpu(sample: &DeviceSample) -> Vec<Line<'static>> {
    let mut head = vec![sample.name.clone()];
    head.extend(sample.power_watts.map(|watts| format!("{watts:.0} W")));
    head.extend(sample.temperature_celsius.map(|celsius| format!("{celsius:.0} °C")));
    let mut lines = vec![Line::raw(head.join(", "))];
    if let Some(percent) = sample.utilisation_percent {
        lines.push(gauge("  used", percent / 100.0, format!("{percent:3.0} % of the time")));
    }
    match (sample.memory_used_bytes, sample.memory_total_bytes) {
        (Some(used), Some(total)) => {
            let share = used as f64 / total.max(1) as f64;
            let what = format!("{} of {}", gibibytes(used), gibibytes(total));
            lines.push(gauge("  mem", share, what));
        }
        (Some(used), None) => lines.push(Line::raw(format!("  mem  {}", gibibytes(used)))),
        (None, _) => {}
    }
    lines
}

fn gauge(name: &str, share: f64, what: String) -> Line<'static> {
    let mut spans = vec![Span::raw(format!("{name:<7}"))];
    spans.extend(bar(share, BAR, Color::Magenta));
    spans.push(Span::raw(format!(" {what}")));
    Line::from(spans)
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / (1u64 << 30) as f64)
}
