//! How long a run will still take.

use std::time::Duration;

use virnucpro_pipeline::monitor::Snapshot;

/// Remembers when the first letters were done: what came before, such as loading the model, says
/// nothing of the pace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    began: Duration,
}

impl Pace {
    /// Takes note of a moment of the run.
    pub(super) fn observe(&mut self, snapshot: &Snapshot) {
        if snapshot.progress.letters == 0 {
            self.began = snapshot.elapsed;
        }
    }

    /// Time left at the pace so far; `None` where the size of the input is unknown or nothing is
    /// done yet.
    pub(super) fn remaining(&self, snapshot: &Snapshot) -> Option<Duration> {
        let share = share_done(snapshot)?;
        let spent = snapshot.elapsed.saturating_sub(self.began);
        (share > 0.0)
            .then(|| Duration::try_from_secs_f64(spent.as_secs_f64() * (1.0 - share) / share).ok())
            .flatten()
    }
}

/// Letters done ÷ letters of the input, 0..1; `None` where its size is unknown.
pub(super) fn share_done(snapshot: &Snapshot) -> Option<f64> {
    let progress = snapshot.progress;
    let total = progress.total_letters.filter(|&total| total > 0)?;
    Some((progress.letters as f64 / total as f64).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::testing::snapshot;

    #[test]
    fn pace_does_not_count_the_time_before_the_first_letter() {
        let mut now = snapshot();
        let mut pace = Pace::default();
        (now.progress.letters, now.progress.total_letters) = (0, Some(400));
        now.elapsed = Duration::from_secs(60);
        pace.observe(&now);
        assert_eq!(pace.remaining(&now), None, "nothing is done");
        now.progress.letters = 100;
        now.elapsed = Duration::from_secs(70);
        pace.observe(&now);
        assert_eq!(pace.remaining(&now), Some(Duration::from_secs(30)));
    }

    #[test]
    fn remaining_of_an_input_of_unknown_size_is_unknown() {
        let mut now = snapshot();
        now.progress.total_letters = None;
        assert_eq!(Pace::default().remaining(&now), None);
        now.progress.total_letters = Some(0);
        assert_eq!(Pace::default().remaining(&now), None, "nothing to read");
    }

    #[test]
    fn share_done_is_never_over_one() {
        let mut now = snapshot();
        (now.progress.letters, now.progress.total_letters) = (401, Some(400));
        assert_eq!(share_done(&now), Some(1.0));
        assert_eq!(Pace::default().remaining(&now), Some(Duration::ZERO));
    }
}
