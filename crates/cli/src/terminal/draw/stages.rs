//! A row for each stage: how busy its workers are, what they wait for, and the queue before it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Row, Table};
use virnucpro_pipeline::monitor::{QueueDepth, Snapshot, StageLoad};

use super::bar::bar;
use super::{RULE, dim, ruled};

/// Which stage takes from which queue; a queue of another name gets a row of its own.
const TAKES_FROM: [(&str, &str); 4] = [
    ("tokenize", "unique sequences"),
    ("pack", "tokenized"),
    ("transfer", "batches"),
    ("write", "results"),
];
/// Columns of the bar of a stage.
const BUSY_BAR: u16 = 8;
/// Columns of the bar of a queue; the names beside it have to fit 80 columns.
const QUEUE_BAR: u16 = 6;

/// The queue that a stage takes from.
pub(super) fn queue_of<'a>(snapshot: &'a Snapshot, stage: &str) -> Option<&'a QueueDepth> {
    let (_, name) = TAKES_FROM.iter().find(|(known, _)| *known == stage)?;
    snapshot.queues.iter().find(|queue| queue.name == *name)
}

/// Queues that no stage is known to take from.
fn orphans(snapshot: &Snapshot) -> impl Iterator<Item = &QueueDepth> {
    let is_shown = |queue: &QueueDepth| {
        snapshot.stages.iter().any(|stage| queue_of(snapshot, &stage.name) == Some(queue))
    };
    snapshot.queues.iter().filter(move |queue| !is_shown(queue))
}

/// Rows of this part: its rule, the names of the columns, the stages, and what is left over.
pub(super) fn height(snapshot: &Snapshot) -> u16 {
    RULE + 1 + (snapshot.stages.len() + orphans(snapshot).count()) as u16
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let slowest = snapshot.bottleneck.as_ref().map(|found| found.slowest_stage.as_str());
    let mut rows: Vec<_> = snapshot
        .stages
        .iter()
        .map(|stage| row(stage, queue_of(snapshot, &stage.name), slowest))
        .collect();
    for queue in orphans(snapshot) {
        let mut cells = vec![Line::default(); 5];
        cells.push(depth(queue));
        rows.push(Row::new(cells));
    }
    let columns = [
        Constraint::Length(9),
        Constraint::Length(BUSY_BAR + 6),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Min(QUEUE_BAR),
    ];
    let header = ["stage", "busy", "waits in", "waits out", "workers", "queue before it"];
    let header = header.into_iter().enumerate().map(|(column, name)| match column {
        2..=4 => Line::raw(name).right_aligned(),
        _ => Line::raw(name),
    });
    let table = Table::new(rows, columns)
        .column_spacing(1)
        .header(Row::new(header).style(dim()))
        .block(ruled("stages, over the last 10 s"));
    frame.render_widget(table, area);
}

fn row(stage: &StageLoad, queue: Option<&QueueDepth>, slowest: Option<&str>) -> Row<'static> {
    let is_slowest = slowest == Some(stage.name.as_str());
    let (colour, style) = if is_slowest {
        (Color::Yellow, Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD))
    } else {
        (Color::Green, Style::new())
    };
    let mut busy: Vec<Span<'_>> = bar(stage.busy, BUSY_BAR, colour).into();
    busy.push(Span::raw(format!(" {}", percent(stage.busy))));
    let right = |text: String| Line::raw(text).right_aligned();
    let cells = vec![
        Line::raw(stage.name.clone()),
        Line::from(busy),
        right(percent(stage.wait_in)),
        right(percent(stage.wait_out)),
        right(stage.workers.to_string()),
        queue.map(depth).unwrap_or_default(),
    ];
    Row::new(cells).style(style)
}

fn percent(share: f64) -> String {
    format!("{:3.0} %", 100.0 * share)
}

/// A queue as a gauge, its depth, and its name.
fn depth(queue: &QueueDepth) -> Line<'static> {
    let share = queue.len as f64 / queue.capacity.max(1) as f64;
    let mut spans: Vec<Span<'_>> = bar(share, QUEUE_BAR, Color::Cyan).into();
    spans.push(Span::raw(format!(" {}/{} {}", queue.len, queue.capacity, queue.name)));
    Line::from(spans).style(Style::new().remove_modifier(Modifier::BOLD))
}
