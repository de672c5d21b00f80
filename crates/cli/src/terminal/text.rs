//! Wording of a snapshot, for lines and the screen alike. No clock, no terminal.

use std::time::Duration;

use indicatif::HumanCount;
use virnucpro_pipeline::monitor::Snapshot;

use super::pace::{Pace, share_done};

/// Minutes and seconds, such as `1:05`, with hours where there are any.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// A count with separators, such as `22,609`.
pub(super) fn grouped(count: f64) -> String {
    HumanCount(count.round() as u64).to_string()
}

/// Letters done, of how many if that is known.
pub(super) fn letters(snapshot: &Snapshot) -> String {
    let millions = |letters: u64| format!("{:.2}", letters as f64 / 1e6);
    let done = millions(snapshot.progress.letters);
    match snapshot.progress.total_letters {
        Some(total) => format!("{done} of {} M letters", millions(total)),
        None => format!("{done} M letters"),
    }
}

/// Tokens and sequences a second; letters a second before there are any.
pub(super) fn rates(snapshot: &Snapshot) -> String {
    if snapshot.tokens == 0 {
        let seconds = snapshot.elapsed.as_secs_f64().max(1e-3);
        let rate = snapshot.progress.letters as f64 / 1e6 / seconds;
        return format!("{rate:.2} M letters/s");
    }
    let (tokens, sequences) = (snapshot.tokens_per_s.recent, snapshot.sequences_per_s.recent);
    format!("{} tokens/s, {} sequences/s", grouped(tokens), grouped(sequences))
}

/// The depth of every queue, such as `queues: batches 3/4`; nothing where there is none.
pub(super) fn queues(snapshot: &Snapshot) -> Option<String> {
    let depths: Vec<_> = snapshot
        .queues
        .iter()
        .map(|queue| format!("{} {}/{}", queue.name, queue.len, queue.capacity))
        .collect();
    (!depths.is_empty()).then(|| format!("queues: {}", depths.join(", ")))
}

/// The depths alone, in the order of the data, such as `queues 4/4 3/4`.
fn depths(snapshot: &Snapshot) -> Option<String> {
    let depths: Vec<_> =
        snapshot.queues.iter().map(|queue| format!("{}/{}", queue.len, queue.capacity)).collect();
    (!depths.is_empty()).then(|| format!("queues {}", depths.join(" ")))
}

/// Everything worth a line, however long.
pub(super) fn line(snapshot: &Snapshot, pace: &Pace) -> String {
    let mut parts = how_far(snapshot, pace);
    parts.push(letters(snapshot));
    parts.extend(queues(snapshot));
    parts.join(", ")
}

/// Everything worth a line of a terminal, the most important first.
pub(super) fn short_line(snapshot: &Snapshot, pace: &Pace) -> String {
    let mut parts = how_far(snapshot, pace);
    parts.extend(depths(snapshot));
    parts.push(letters(snapshot));
    parts.join(", ")
}

fn how_far(snapshot: &Snapshot, pace: &Pace) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(share) = share_done(snapshot) {
        parts.push(format!("{:.0} %", 100.0 * share));
    }
    if let Some(remaining) = pace.remaining(snapshot) {
        parts.push(format!("{} left", clock(remaining)));
    }
    parts.push(rates(snapshot));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::testing::snapshot;

    #[test]
    fn clock_shows_hours_only_where_there_are_any() {
        let of = |seconds| clock(Duration::from_secs(seconds));
        assert_eq!([of(0), of(65), of(3599)], ["0:00", "1:05", "59:59"]);
        assert_eq!([of(3600), of(93_784)], ["1:00:00", "26:03:04"]);
    }

    #[test]
    fn line_has_share_time_left_rates_and_queues() {
        assert_eq!(
            line(&snapshot(), &Pace::default()),
            "25 %, 0:36 left, 22,609 tokens/s, 163 sequences/s, 1.00 of 4.00 M letters, queues: \
             unique sequences 4/4, tokenized 3/4, batches 2/4, results 0/3"
        );
    }

    #[test]
    fn short_line_has_the_depths_without_names_and_fits_a_terminal() {
        let line = short_line(&snapshot(), &Pace::default());
        assert_eq!(
            line,
            "25 %, 0:36 left, 22,609 tokens/s, 163 sequences/s, queues 4/4 3/4 2/4 0/3, \
             1.00 of 4.00 M letters"
        );
    }

    #[test]
    fn line_of_a_run_without_a_model_has_letters_alone() {
        let mut now = snapshot();
        (now.tokens, now.queues) = (0, Vec::new());
        now.progress.total_letters = None;
        assert_eq!(line(&now, &Pace::default()), "0.08 M letters/s, 1.00 M letters");
    }
}
