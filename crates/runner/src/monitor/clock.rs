//! Where the time of the instruments comes from, so that tests can set it.

use std::{fmt::Debug, time::Instant};

/// A source of the current instant.
pub(crate) trait Clock: Debug + Send + Sync {
    /// The current instant; never earlier than what an earlier call gave.
    fn now(&self) -> Instant;
}

/// The clock of the system.
#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
}

#[cfg(test)]
pub(crate) mod manual {
    //! A clock that stands still until a test moves it.

    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::{Duration, Instant},
    };

    use super::Clock;

    #[derive(Debug)]
    pub(crate) struct ManualClock {
        base: Instant,
        elapsed_ns: AtomicU64,
    }

    impl ManualClock {
        pub(crate) fn new() -> ManualClock {
            ManualClock { base: Instant::now(), elapsed_ns: AtomicU64::new(0) }
        }

        pub(crate) fn advance(&self, by: Duration) {
            self.elapsed_ns.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> Instant {
            self.base + Duration::from_nanos(self.elapsed_ns.load(Ordering::SeqCst))
        }
    }
}
