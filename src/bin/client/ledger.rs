//! The frames that are under way: when each left, and what its reply will be asked about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use frameserve::proto::StreamSettings;
use frameserve::proto::pressure::Mode;
use tokio::sync::Semaphore;

/// A frame that was handed to the request stream.
#[derive(Debug, Clone)]
pub struct Sent {
    pub at: Instant,
    pub timestamp_us: i64,
    /// Of a picture file.
    pub name: Option<Arc<str>>,
}

/// As large as what the connection and the server hold at a time, whatever the length of the video.
#[derive(Debug)]
pub struct Ledger {
    sent: Mutex<HashMap<u64, Sent>>,
    room: Semaphore,
}

impl Ledger {
    /// With room for as many frames as keep the server's window full while as many again are on the wire.
    /// More would only wait in the connection's buffers, when this side is the slow one. Where the server
    /// drops frames there is no bound: it must see every frame to choose, and may tell of a run of dropped
    /// frames only when the run is over.
    pub fn new(settings: &StreamSettings) -> Ledger {
        let pressure = settings.pressure.unwrap_or_default();
        let mode = pressure.mode();
        let lossless = matches!(mode, Mode::Unspecified | Mode::Lossless) && pressure.max_fps == 0.0;
        let room = if lossless { settings.window.max(1) as usize * 2 } else { Semaphore::MAX_PERMITS };
        Ledger { sent: Mutex::default(), room: Semaphore::new(room) }
    }

    /// Waits until there is room for one more frame.
    pub async fn room(&self) {
        // It is never closed, so there is a permit; the frame's reply brings it back.
        if let Ok(permit) = self.room.acquire().await {
            permit.forget();
        }
    }

    /// Notes a frame for which there was room.
    pub fn enter(&self, sequence: u64, sent: Sent) {
        self.lock().insert(sequence, sent);
    }

    /// The frame of that number; `None` if none is under way.
    pub fn take(&self, sequence: u64) -> Option<Sent> {
        let sent = self.lock().remove(&sequence);
        self.room.add_permits(usize::from(sent.is_some()));
        sent
    }

    /// Takes out a run of frames, and says how many of them were under way.
    pub fn take_run(&self, first: u64, count: u64) -> u64 {
        let mut sent = self.lock();
        let before = sent.len();
        sent.retain(|sequence, _| sequence.checked_sub(first).is_none_or(|offset| offset >= count));
        let taken = before - sent.len();
        self.room.add_permits(taken);
        taken as u64
    }

    /// When the one that has been under way for the longest time left.
    pub fn oldest(&self) -> Option<Instant> {
        self.lock().values().map(|sent| sent.at).min()
    }

    /// How many are under way.
    pub fn len(&self) -> u64 {
        self.lock().len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_count_only_what_was_sent() {
        let ledger = Ledger::new(&StreamSettings { window: 5, ..StreamSettings::default() });
        for sequence in 0..10 {
            ledger.enter(sequence, Sent { at: Instant::now(), timestamp_us: 0, name: None });
        }
        assert!(ledger.take(3).is_some() && ledger.take(3).is_none());
        assert_eq!(ledger.take_run(2, 3), 2);
        assert_eq!(ledger.take_run(8, u64::MAX), 2);
        assert_eq!(ledger.len(), 5);
    }

    #[tokio::test]
    async fn the_room_is_twice_the_window() {
        let ledger = Ledger::new(&StreamSettings { window: 1, ..StreamSettings::default() });
        let sent = Sent { at: Instant::now(), timestamp_us: 0, name: None };
        for sequence in 0..2 {
            ledger.room().await;
            ledger.enter(sequence, sent.clone());
        }
        assert_eq!(ledger.room.available_permits(), 0);
        assert!(ledger.take(1).is_some());
        ledger.room().await;
    }
}
