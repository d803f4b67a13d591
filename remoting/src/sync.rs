//! Locks that outlive a panic of one request.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`. A handler that panicked costs its own connection, not everyone behind its lock:
/// all state here is valid between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
