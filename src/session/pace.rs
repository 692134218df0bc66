//! A greatest rate: frames that come faster are dropped, evenly.

use std::time::Duration;

use tokio::time::Instant;

use super::{DropReason, Input, Item, Run};

/// Decides which frames of a stream keep its greatest rate.
#[derive(Debug)]
pub struct Pace {
    period: Duration,
    due: Option<Instant>,
}

impl Pace {
    /// `fps` frames a second; it must be positive.
    pub fn new(fps: f64) -> Self {
        Pace { period: Duration::from_secs_f64(1.0 / fps), due: None }
    }

    /// Whether a frame that comes at this time is kept. One may come a quarter of a period too early, so that a
    /// sender that keeps the rate, but not to the microsecond, loses nothing; on average the rate holds.
    pub fn admits(&mut self, now: Instant) -> bool {
        let due = self.due.unwrap_or(now);
        if now + self.period / 4 < due {
            return false;
        }
        // After a pause the rate counts from now on: nothing is made up for.
        let behind = now.saturating_duration_since(due) > self.period;
        self.due = Some(if behind { now } else { due } + self.period);
        true
    }
}

/// An input as it is, or dropped because it came too soon; then what remains of it follows.
pub fn keep<I: Input, E>(
    pace: &mut Option<Pace>,
    input: Result<I, E>,
) -> impl Iterator<Item = Result<Item<I>, E>> + use<I, E> {
    split(pace, input).into_iter().flatten()
}

fn split<I: Input, E>(pace: &mut Option<Pace>, input: Result<I, E>) -> [Option<Result<Item<I>, E>>; 2] {
    let input = match input {
        Ok(input) => input,
        Err(error) => return [Some(Err(error)), None],
    };
    let frame = input.sequence().is_some();
    let late_enough = !frame || pace.as_mut().is_none_or(|pace| pace.admits(Instant::now()));
    match input.sequence() {
        Some(sequence) if !late_enough => {
            let dropped = Item::Dropped(Run::of(sequence, DropReason::Rate));
            let rest = input.without_frame().map(Item::Input);
            [Some(Ok(dropped)), rest.map(Ok)]
        }
        _ => [Some(Ok(Item::Input(input))), None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the frames that come at these milliseconds are kept at 20 frames a second.
    fn kept(times: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let (mut pace, start) = (Pace::new(20.0), Instant::now());
        times.into_iter().filter(|ms| pace.admits(start + Duration::from_millis(*ms))).collect()
    }

    #[test]
    fn two_of_three_are_kept_where_thirty_come_and_twenty_may() {
        let kept = kept((0..90).map(|n| n * 1000 / 30));
        assert_eq!(kept.len(), 60);
        assert!(kept.windows(2).all(|pair| pair[1] - pair[0] <= 67), "{kept:?}");
    }

    #[test]
    fn a_sender_that_keeps_the_rate_loses_nothing() {
        let jitter = [0, 5, -4, 3, -5, 5, 0, -3];
        let times: Vec<u64> = (1..100_i64).map(|n| (n * 50 + jitter[n as usize % 8]) as u64).collect();
        assert_eq!(kept(times.clone()), times);
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        assert_eq!(kept([0, 10_000, 10_010, 10_020, 10_050]), [0, 10_000, 10_050]);
    }
}
