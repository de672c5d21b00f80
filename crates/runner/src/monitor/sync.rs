//! Locks that outlive a panic elsewhere: a number of the instruments is never half-written, and a
//! failing stage must not take its monitor with it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The guard, poisoned or not.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
