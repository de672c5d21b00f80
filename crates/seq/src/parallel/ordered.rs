//! A parallel map that keeps order, with bounded memory and a defined end.
//!
//! Owns threads and channels and knows nothing of sequences but the names of its two stages. Entry type: [`Ordered`].
//!
//! The source thread puts a ticket for every batch into one bounded queue and the batch itself
//! into another. Workers answer on the ticket; the consumer takes tickets in order. There is no
//! reordering buffer that could grow: when the consumer is slow the ticket queue fills, and the
//! source waits.

use std::collections::VecDeque;
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::SeqError;
use crate::supervision::{SeqActivity, SeqStage, Supervision};
use crate::threads::spawn_named;

/// Batches in flight per worker: one in work, the others so that nobody waits.
const BATCHES_PER_WORKER: NonZeroUsize = NonZeroUsize::new(4).expect("4 is not zero");

type Results<U> = VecDeque<Result<U, SeqError>>;

struct Job<T, U> {
    batch: Vec<T>,
    answer: Sender<Results<U>>,
}

/// What the consumer waits for next: the answer to a batch, or the failure of the source.
type Ticket<U> = Result<Receiver<Results<U>>, SeqError>;

/// Results of a function over batches, one by one and in order; ends after the first failure.
pub(super) struct Ordered<S, U> {
    tickets: Option<Receiver<Ticket<U>>>,
    ready: Results<U>,
    source: Option<JoinHandle<Option<S>>>,
    workers: Vec<JoinHandle<()>>,
}

impl<S, U> Ordered<S, U> {
    /// Starts `threads` workers that apply `work`, and one thread that draws from `source`.
    pub(super) fn start<T>(
        source: S,
        work: impl Fn(&T) -> U + Clone + Send + 'static,
        threads: NonZeroUsize,
        supervision: &Supervision,
    ) -> Result<Self, SeqError>
    where
        S: Iterator<Item = Result<Vec<T>, SeqError>> + Send + 'static,
        T: Display + Send + 'static,
        U: Send + 'static,
    {
        let in_flight = threads.saturating_mul(BATCHES_PER_WORKER);
        let (ticket_sender, tickets) = bounded(in_flight.get());
        let (job_sender, jobs) = bounded(in_flight.get());
        let mut ordered = Self {
            tickets: Some(tickets),
            ready: VecDeque::new(),
            source: None,
            workers: Vec::new(),
        };
        // The source comes first: it takes the job queue's only sender along, so that leaving
        // early because a worker could not be started still ends those that were.
        let watched = supervision.clone();
        let source = spawn_named("records".into(), move || {
            run_source(source, &ticket_sender, &job_sender, &watched)
        });
        ordered.source = Some(source?);
        for number in 0..threads.get() {
            let (jobs, work, watched) = (jobs.clone(), work.clone(), supervision.clone());
            let worker = spawn_named(format!("translate {number}"), move || {
                run_worker(&jobs, &work, &watched);
            })?;
            ordered.workers.push(worker);
        }
        Ok(ordered)
    }

    /// Stops everything and gives the source back; `None` if it panicked.
    pub(super) fn into_source(mut self) -> Option<S> {
        self.stop()
    }

    fn stop(&mut self) -> Option<S> {
        // Closes the ticket queue: the source's next send fails, it ends and closes the job
        // queue, and so the workers end.
        self.tickets = None;
        self.ready.clear();
        let source = self.source.take().and_then(|thread| thread.join().ok().flatten());
        for worker in self.workers.drain(..) {
            // A worker's panics are caught and delivered as results.
            let _ = worker.join();
        }
        source
    }

    fn fail(&mut self, error: SeqError) -> Option<Result<U, SeqError>> {
        self.tickets = None;
        self.ready.clear();
        Some(Err(error))
    }
}

impl<S, U> Iterator for Ordered<S, U> {
    type Item = Result<U, SeqError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.ready.pop_front() {
                Some(Ok(result)) => return Some(Ok(result)),
                Some(Err(error)) => return self.fail(error),
                None => {}
            }
            match self.tickets.as_ref()?.recv() {
                Ok(Ok(answer)) => match answer.recv() {
                    Ok(results) => self.ready = results,
                    Err(_) => {
                        let (what, message) = ("translation".into(), "a worker is gone".into());
                        return self.fail(SeqError::Panicked { what, message });
                    }
                },
                Ok(Err(error)) => return self.fail(error),
                // The source is at its end.
                Err(_) => {
                    self.tickets = None;
                    return None;
                }
            }
        }
    }
}

impl<S, U> Drop for Ordered<S, U> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Hands out batches until the source ends, fails, panics, or nobody listens any more.
fn run_source<S, T, U>(
    mut source: S,
    tickets: &Sender<Ticket<U>>,
    jobs: &Sender<Job<T, U>>,
    supervision: &Supervision,
) -> Option<S>
where
    S: Iterator<Item = Result<Vec<T>, SeqError>>,
{
    loop {
        let draw = || supervision.during(SeqStage::Parse, SeqActivity::Busy, || source.next());
        let drawn = match panic::catch_unwind(AssertUnwindSafe(draw)) {
            Ok(drawn) => drawn,
            Err(payload) => {
                supervision.note_failure();
                let failure = SeqError::panicked("reading records".into(), payload.as_ref());
                let _ = tickets.send(Err(failure));
                return None;
            }
        };
        let batch = match drawn {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => {
                supervision.note_failure();
                let _ = tickets.send(Err(error));
                return Some(source);
            }
            None => return Some(source),
        };
        let (answer, ticket) = bounded(1);
        // Either fails only when the consumer or all workers are gone.
        let send =
            || tickets.send(Ok(ticket)).is_err() || jobs.send(Job { batch, answer }).is_err();
        if supervision.during(SeqStage::Parse, SeqActivity::WaitOut, send) {
            return Some(source);
        }
    }
}

fn run_worker<T: Display, U>(
    jobs: &Receiver<Job<T, U>>,
    work: &impl Fn(&T) -> U,
    supervision: &Supervision,
) {
    let next = || supervision.during(SeqStage::Translate, SeqActivity::WaitIn, || jobs.recv());
    while let Ok(Job { batch, answer }) = next() {
        let mut results = Results::with_capacity(batch.len());
        supervision.during(SeqStage::Translate, SeqActivity::Busy, || {
            for item in &batch {
                match panic::catch_unwind(AssertUnwindSafe(|| work(item))) {
                    Ok(result) => results.push_back(Ok(result)),
                    Err(payload) => {
                        supervision.note_failure();
                        let failure = SeqError::panicked(item.to_string(), payload.as_ref());
                        results.push_back(Err(failure));
                        break;
                    }
                }
            }
        });
        // The consumer may have left.
        let _ = answer.send(results);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn threads(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).unwrap()
    }

    #[test]
    fn ordered_results_keep_the_order_of_the_source() {
        let batches = (0..200u64).map(|number| Ok(vec![2 * number, 2 * number + 1]));
        let work = |number: &u64| {
            // Later items are often quicker than earlier ones.
            std::thread::sleep(std::time::Duration::from_micros((number * 7919) % 300));
            *number
        };
        let ordered = Ordered::start(batches, work, threads(4), &Supervision::default()).unwrap();
        let results: Vec<_> = ordered.map(Result::unwrap).collect();
        assert_eq!(results, (0..400).collect::<Vec<_>>());
    }

    #[test]
    fn ordered_dropped_early_joins_all_workers() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let work = move |_: &u32| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            Arc::strong_count(&held)
        };
        let batches = std::iter::repeat_with(|| Ok(vec![1, 2]));
        let mut ordered =
            Ordered::start(batches, work, threads(3), &Supervision::default()).unwrap();
        assert!(ordered.next().unwrap().unwrap() >= 4);
        drop(ordered);
        assert_eq!(Arc::strong_count(&alive), 1, "a worker still runs");
    }

    #[test]
    fn ordered_worker_panic_is_delivered_in_its_place() {
        let batches = (0..50u32).map(|number| Ok(vec![3 * number, 3 * number + 1, 3 * number + 2]));
        let work = |number: &u32| {
            assert!(*number != 40, "item forty");
            *number
        };
        let mut ordered =
            Ordered::start(batches, work, threads(3), &Supervision::default()).unwrap();
        let before: Vec<_> = ordered.by_ref().take(40).map(Result::unwrap).collect();
        assert_eq!(before, (0..40).collect::<Vec<_>>());
        let error = ordered.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("40") && error.contains("item forty"), "{error}");
        assert!(ordered.next().is_none());
    }
}
