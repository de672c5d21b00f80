//! Handing slots from stage to stage.
//!
//! Owns the one place where threads of the runner meet; knows nothing of devices. Entry type:
//! [`HandOver`]. `tests/hand_over_model.rs` checks every interleaving of small cases with loom.

use std::collections::VecDeque;
use std::sync::PoisonError;

use crate::sync::{Condvar, Mutex, MutexGuard};

/// A bounded queue between two stages, first in, first out, that either side can end.
///
/// What is in it has one owner at a time: an item is with the stage that pushed it, in the queue,
/// or with the stage that popped it.
#[derive(Debug)]
pub struct HandOver<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    capacity: usize,
}

/// Nothing came in time.
pub(crate) struct TimedOut;

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    is_closed: bool,
}

impl<T> HandOver<T> {
    /// An empty queue for at most `capacity` items, at least one.
    pub fn new(capacity: usize) -> Self {
        let state = State { items: VecDeque::new(), is_closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), capacity: capacity.max(1) }
    }

    /// Adds an item, waiting for room.
    ///
    /// # Errors
    /// The item itself once the queue is closed.
    pub fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        while state.items.len() >= self.capacity && !state.is_closed {
            state = self.wait(state);
        }
        if state.is_closed {
            return Err(item);
        }
        state.items.push_back(item);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes the oldest item, waiting for one; `None` once the queue is closed and empty.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                self.changed.notify_all();
                return Some(item);
            }
            if state.is_closed {
                return None;
            }
            state = self.wait(state);
        }
    }

    /// [`pop`](Self::pop) that gives up after `patience`, with `Err`.
    #[cfg(not(feature = "loom"))]
    pub(crate) fn pop_for(&self, patience: std::time::Duration) -> Result<Option<T>, TimedOut> {
        let state = self.lock();
        let is_waiting = |state: &mut State<T>| state.items.is_empty() && !state.is_closed;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, patience, is_waiting)
            .unwrap_or_else(PoisonError::into_inner);
        match state.items.pop_front() {
            Some(item) => {
                self.changed.notify_all();
                Ok(Some(item))
            }
            None if state.is_closed => Ok(None),
            None => Err(TimedOut),
        }
    }

    /// Loom has no clock: every wait ends.
    #[cfg(feature = "loom")]
    pub(crate) fn pop_for(&self, _: std::time::Duration) -> Result<Option<T>, TimedOut> {
        Ok(self.pop())
    }

    /// Ends the queue: nothing more goes in, what is in it still comes out.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Ends the queue and throws away what is in it.
    pub fn abandon(&self) {
        let dropped = {
            let mut state = self.lock();
            state.is_closed = true;
            std::mem::take(&mut state.items)
        };
        self.changed.notify_all();
        // After the lock: dropping an item may hand its slot to another queue.
        drop(dropped);
    }

    /// Number of items in the queue.
    pub fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Whether nothing is in the queue.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most items that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    // A thread that panics while it holds the lock leaves a valid queue: every change is one call.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a queue when its producer ends, also by a panic, so that no consumer waits for ever.
pub(crate) struct CloseAtEnd<'a, T>(pub(crate) &'a HandOver<T>);

impl<T> Drop for CloseAtEnd<'_, T> {
    fn drop(&mut self) {
        self.0.close();
    }
}
