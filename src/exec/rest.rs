//! Threads that have nothing to do, and how one of them is woken.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

/// Threads that rest, or are about to.
#[derive(Debug, Default)]
pub struct Rest(Mutex<Vec<Thread>>);

impl Rest {
    /// From now on this thread may be woken: even what happens before it parks keeps it from parking for long. So it
    /// comes here before it looks whether there is anything to do.
    pub fn enter(&self) {
        self.threads().push(thread::current());
    }

    /// This thread has something to do.
    pub fn leave(&self) {
        let this = thread::current().id();
        self.threads().retain(|thread| thread.id() != this);
    }

    /// Wakes the one that came last: it still has in its core's cache what it works with.
    pub fn wake(&self) {
        let last = self.threads().pop();
        last.iter().for_each(Thread::unpark);
    }

    /// Wakes all of them.
    pub fn wake_all(&self) {
        let all = std::mem::take(&mut *self.threads());
        all.iter().for_each(Thread::unpark);
    }

    /// How many there are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.threads().len()
    }

    fn threads(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
