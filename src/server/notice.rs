//! Warnings that strangers can cause: a few at a time, and then how many there were.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For so long what was not said is counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Warnings in that time.
const MOST: u32 = 5;

/// How often something happened, and how often it was said.
#[derive(Debug, Default)]
pub struct Notice(Mutex<Option<Window>>);

#[derive(Debug)]
struct Window {
    began: Instant,
    said: u32,
    unsaid: u64,
}

impl Notice {
    /// Whether it is to be said that something happened `now`; then with how many of its kind were not said before.
    pub fn due(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match window.as_mut().filter(|window| now.duration_since(window.began) < WINDOW) {
            Some(window) if window.said < MOST => {
                window.said += 1;
                Some(0)
            }
            Some(window) => {
                window.unsaid += 1;
                None
            }
            None => {
                let unsaid = window.as_ref().map_or(0, |window| window.unsaid);
                *window = Some(Window { began: now, said: 1, unsaid: 0 });
                Some(unsaid)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_said() {
        let (notice, start) = (Notice::default(), Instant::now());
        let said = (0..100).filter(|_| notice.due(start).is_some()).count();
        assert_eq!(said, MOST as usize);
        assert_eq!(notice.due(start + WINDOW), Some(95));
        assert_eq!(notice.due(start + WINDOW), Some(0));
    }
}
