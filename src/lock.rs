//! Locking of mutexes whose data stays valid if a holder panics.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, and recovers it if a holder panicked.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
