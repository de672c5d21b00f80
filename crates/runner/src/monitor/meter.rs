//! How much time the workers of a stage spent, calls in progress included.

use std::time::Duration;

/// What a worker of a stage does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    Busy,
    WaitIn,
    WaitOut,
}

/// Time summed over the workers of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StageTotals {
    pub(crate) busy: Duration,
    pub(crate) wait_in: Duration,
    pub(crate) wait_out: Duration,
}

impl StageTotals {
    fn zip(self, other: Self, each: impl Fn(Duration, Duration) -> Duration) -> Self {
        StageTotals {
            busy: each(self.busy, other.busy),
            wait_in: each(self.wait_in, other.wait_in),
            wait_out: each(self.wait_out, other.wait_out),
        }
    }

    /// What was added since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        self.zip(earlier, Duration::saturating_sub)
    }

    /// The point `fraction` (0..1) of the way from `self` to `later`.
    pub(crate) fn towards(self, later: Self, fraction: f64) -> Self {
        self.zip(later, |from, to| from + to.saturating_sub(from).mul_f64(fraction))
    }
}

/// One activity of one stage.
#[derive(Debug, Default)]
struct Gauge {
    /// Calls that have ended; with `began`, since a suspended call counts in both.
    done: Duration,
    /// Calls in progress.
    open: u32,
    /// Sum of the times at which the calls in progress began: `open × now − began` is what they
    /// have taken so far, without a list of them.
    began: Duration,
}

impl Gauge {
    fn total(&self, now: Duration) -> Duration {
        (self.done + now.saturating_mul(self.open)).saturating_sub(self.began)
    }
}

/// The gauges of a stage. Times are since the start of the run.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    busy: Gauge,
    wait_in: Gauge,
    wait_out: Gauge,
}

impl Gauges {
    fn gauge(&mut self, activity: Activity) -> &mut Gauge {
        match activity {
            Activity::Busy => &mut self.busy,
            Activity::WaitIn => &mut self.wait_in,
            Activity::WaitOut => &mut self.wait_out,
        }
    }

    /// A worker begins `activity`.
    pub(crate) fn open(&mut self, activity: Activity, start: Duration) {
        let gauge = self.gauge(activity);
        gauge.open += 1;
        gauge.began += start;
    }

    /// A worker ends the `activity` that it began at `start`.
    pub(crate) fn close(&mut self, activity: Activity, start: Duration, end: Duration) {
        let gauge = self.gauge(activity);
        gauge.open -= 1;
        gauge.began -= start;
        gauge.done += end.saturating_sub(start);
    }

    /// A worker lets the `activity` that it is at stand still; `false` when nobody is at it.
    pub(crate) fn suspend(&mut self, activity: Activity, at: Duration) -> bool {
        let gauge = self.gauge(activity);
        let is_open = gauge.open > 0;
        if is_open {
            gauge.open -= 1;
            gauge.done += at;
        }
        is_open
    }

    /// The worker goes on with the `activity` that it suspended.
    pub(crate) fn resume(&mut self, activity: Activity, at: Duration) {
        let gauge = self.gauge(activity);
        gauge.open += 1;
        gauge.began += at;
    }

    /// Counts time that was measured elsewhere.
    pub(crate) fn add(&mut self, activity: Activity, elapsed: Duration) {
        self.gauge(activity).done += elapsed;
    }

    /// Totals at `now`.
    pub(crate) fn totals(&self, now: Duration) -> StageTotals {
        StageTotals {
            busy: self.busy.total(now),
            wait_in: self.wait_in.total(now),
            wait_out: self.wait_out.total(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn gauges_with_calls_in_progress_count_them_up_to_now() {
        let mut gauges = Gauges::default();
        gauges.open(Activity::Busy, SECOND);
        gauges.open(Activity::Busy, 3 * SECOND);
        assert_eq!(gauges.totals(5 * SECOND).busy, 6 * SECOND);
        gauges.close(Activity::Busy, SECOND, 5 * SECOND);
        assert_eq!(gauges.totals(5 * SECOND).busy, 6 * SECOND, "closing changes nothing by itself");
        assert_eq!(gauges.totals(7 * SECOND).busy, 8 * SECOND);
        gauges.close(Activity::Busy, 3 * SECOND, 7 * SECOND);
        assert_eq!(gauges.totals(100 * SECOND).busy, 8 * SECOND);
    }

    #[test]
    fn gauges_suspended_stand_still_until_resumed() {
        let mut gauges = Gauges::default();
        assert!(!gauges.suspend(Activity::Busy, SECOND), "nobody is at work");
        gauges.open(Activity::Busy, SECOND);
        assert!(gauges.suspend(Activity::Busy, 3 * SECOND));
        gauges.open(Activity::WaitIn, 3 * SECOND);
        let totals = gauges.totals(7 * SECOND);
        assert_eq!((totals.busy, totals.wait_in), (2 * SECOND, 4 * SECOND));
        gauges.close(Activity::WaitIn, 3 * SECOND, 7 * SECOND);
        gauges.resume(Activity::Busy, 7 * SECOND);
        assert_eq!(gauges.totals(8 * SECOND).busy, 3 * SECOND);
        gauges.close(Activity::Busy, SECOND, 9 * SECOND);
        let totals = gauges.totals(100 * SECOND);
        assert_eq!((totals.busy, totals.wait_in), (4 * SECOND, 4 * SECOND));
    }

    #[test]
    fn gauges_keep_activities_apart() {
        let mut gauges = Gauges::default();
        gauges.add(Activity::WaitIn, SECOND);
        gauges.add(Activity::WaitOut, 2 * SECOND);
        gauges.add(Activity::Busy, 3 * SECOND);
        let totals = gauges.totals(Duration::ZERO);
        assert_eq!(totals, StageTotals { busy: 3 * SECOND, wait_in: SECOND, wait_out: 2 * SECOND });
    }
}
