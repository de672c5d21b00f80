//! The recent past: what was counted over the last few seconds, without keeping every event.

use std::{collections::VecDeque, time::Duration};

use super::meter::StageTotals;

/// Marks kept per window; the window's edge is known to this part of its length.
const MARKS_PER_WINDOW: u32 = 64;

/// Everything that has a rate, counted since the start of the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) tokens: f64,
    pub(crate) sequences: f64,
    /// In order of registration; a stage registered later is missing in earlier counts.
    pub(crate) stages: Vec<StageTotals>,
}

impl Counts {
    fn stage(&self, index: usize) -> StageTotals {
        self.stages.get(index).copied().unwrap_or_default()
    }

    fn towards(&self, later: &Counts, fraction: f64) -> Counts {
        let stages = (0..later.stages.len())
            .map(|index| self.stage(index).towards(later.stage(index), fraction))
            .collect();
        Counts {
            tokens: self.tokens + (later.tokens - self.tokens) * fraction,
            sequences: self.sequences + (later.sequences - self.sequences) * fraction,
            stages,
        }
    }

    fn since(&self, earlier: &Counts) -> Counts {
        let stages = (0..self.stages.len())
            .map(|index| self.stage(index).since(earlier.stage(index)))
            .collect();
        Counts {
            tokens: self.tokens - earlier.tokens,
            sequences: self.sequences - earlier.sequences,
            stages,
        }
    }
}

#[derive(Debug)]
struct Mark {
    at: Duration,
    counts: Counts,
}

/// Counts at chosen moments, dense enough to look one window back from any moment.
#[derive(Debug)]
pub(crate) struct History {
    window: Duration,
    marks: VecDeque<Mark>,
}

impl History {
    /// A history that begins with nothing counted.
    pub(crate) fn new(window: Duration) -> History {
        let start = Mark { at: Duration::ZERO, counts: Counts::default() };
        History { window, marks: VecDeque::from([start]) }
    }

    /// Remembers the counts of this moment and drops what no later question can reach.
    pub(crate) fn push(&mut self, at: Duration, counts: Counts) {
        // The newest mark moves along until it is far enough from the one before it, so that the
        // last counts are always known and the number of marks is bounded.
        let count = self.marks.len();
        if count >= 2 {
            let newest = self.marks[count - 1].at;
            let before = self.marks[count - 2].at;
            if newest.saturating_sub(before) < self.window / MARKS_PER_WINDOW {
                self.marks.pop_back();
            }
        }
        self.marks.push_back(Mark { at, counts });
        let edge = at.saturating_sub(self.window);
        while self.marks.len() >= 2 && self.marks[1].at <= edge {
            self.marks.pop_front();
        }
    }

    /// What was counted over the window that ends `now`, and how long that window is: shorter than
    /// asked for at the start of the run. Between two marks the counts are taken to have grown
    /// evenly.
    pub(crate) fn recent(&self, now: Duration, current: &Counts) -> (Duration, Counts) {
        let edge = now.saturating_sub(self.window);
        let after = self.marks.iter().position(|mark| mark.at > edge).unwrap_or(self.marks.len());
        let before = &self.marks[after.saturating_sub(1)];
        let (later_at, later) =
            self.marks.get(after).map_or((now, current), |mark| (mark.at, &mark.counts));
        let gap = later_at.saturating_sub(before.at);
        let fraction =
            super::number::share(edge.saturating_sub(before.at).as_secs_f64(), gap.as_secs_f64());
        (now - edge, current.since(&before.counts.towards(later, fraction)))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.marks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(value: f64) -> Duration {
        Duration::from_secs_f64(value)
    }

    fn counts(tokens: f64, busy: f64) -> Counts {
        let stage = StageTotals { busy: seconds(busy), ..StageTotals::default() };
        Counts { tokens, sequences: tokens / 10.0, stages: vec![stage] }
    }

    #[test]
    fn history_before_the_window_is_full_uses_what_there_is() {
        let mut history = History::new(seconds(10.0));
        history.push(seconds(2.0), counts(200.0, 1.0));
        let (elapsed, recent) = history.recent(seconds(4.0), &counts(400.0, 3.0));
        assert_eq!(elapsed, seconds(4.0));
        assert_eq!(recent, counts(400.0, 3.0));
    }

    #[test]
    fn history_at_the_start_is_empty_and_takes_no_time() {
        let history = History::new(seconds(10.0));
        let (elapsed, recent) = history.recent(Duration::ZERO, &Counts::default());
        assert_eq!((elapsed, recent), (Duration::ZERO, Counts::default()));
    }

    #[test]
    fn history_after_a_window_forgets_the_past() {
        let mut history = History::new(seconds(10.0));
        for second in 1..=5 {
            history.push(seconds(f64::from(second)), counts(1000.0 * f64::from(second), 1.0));
        }
        history.push(seconds(15.0), counts(5000.0, 1.0));
        let (elapsed, recent) = history.recent(seconds(20.0), &counts(5030.0, 1.5));
        assert_eq!(elapsed, seconds(10.0));
        assert_eq!(recent.tokens, 30.0);
        assert_eq!(recent.stages[0].busy, seconds(0.5));
    }

    #[test]
    fn history_between_two_marks_takes_growth_to_be_even() {
        let mut history = History::new(seconds(10.0));
        history.push(seconds(20.0), counts(2000.0, 10.0));
        let (_, recent) = history.recent(seconds(25.0), &counts(2000.0, 10.0));
        assert!((recent.tokens - 500.0).abs() < 1e-6, "{}", recent.tokens);
    }

    #[test]
    fn history_of_many_events_keeps_few_marks_and_the_last_counts() {
        let mut history = History::new(seconds(10.0));
        for event in 1..=100_000u32 {
            let at = f64::from(event) / 1000.0;
            history.push(seconds(at), counts(f64::from(event), at));
        }
        assert!(history.len() <= MARKS_PER_WINDOW as usize + 4, "{}", history.len());
        let (_, recent) = history.recent(seconds(100.0), &counts(100_000.0, 100.0));
        assert!((recent.tokens - 10_000.0).abs() < 1.0, "{}", recent.tokens);
        // Nothing more happens: ten seconds later the window is empty.
        let (_, later) = history.recent(seconds(110.0), &counts(100_000.0, 100.0));
        assert_eq!(later.tokens, 0.0);
    }
}
