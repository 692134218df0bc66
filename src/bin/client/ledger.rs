//! The frames that are under way: when each left, and what its reply will be asked about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A frame that was handed to the request stream.
#[derive(Debug, Clone)]
pub struct Sent {
    pub at: Instant,
    pub timestamp_us: i64,
    /// Of a picture file.
    pub name: Option<Arc<str>>,
}

/// As large as what the connection and the server hold at a time, whatever the length of the video.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashMap<u64, Sent>>);

impl Ledger {
    pub fn enter(&self, sequence: u64, sent: Sent) {
        self.lock().insert(sequence, sent);
    }

    /// The frame of that number; `None` if none is under way.
    pub fn take(&self, sequence: u64) -> Option<Sent> {
        self.lock().remove(&sequence)
    }

    /// Takes out a run of frames, and says how many of them were under way.
    pub fn take_run(&self, first: u64, count: u64) -> u64 {
        let mut sent = self.lock();
        let before = sent.len();
        sent.retain(|sequence, _| sequence.checked_sub(first).is_none_or(|offset| offset >= count));
        (before - sent.len()) as u64
    }

    /// How many are under way.
    pub fn len(&self) -> u64 {
        self.lock().len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_count_only_what_was_sent() {
        let ledger = Ledger::default();
        for sequence in 0..10 {
            ledger.enter(sequence, Sent { at: Instant::now(), timestamp_us: 0, name: None });
        }
        assert!(ledger.take(3).is_some() && ledger.take(3).is_none());
        assert_eq!(ledger.take_run(2, 3), 2);
        assert_eq!(ledger.take_run(8, u64::MAX), 2);
        assert_eq!(ledger.len(), 5);
    }
}
