//! Whose turn it is among streams and single requests that want the same model.

use std::collections::HashMap;

/// The time by which turns are given out goes in fractions of what the cheapest request takes.
const FRACTION: u64 = 1 << 8;

/// Gives out turns so that all who wait get the same share: weighted fair queueing, where a stream's next request
/// has its turn as much later than its last one as it takes of the model, and the time goes the slower the more wait.
#[derive(Debug, Default)]
pub struct Turns {
    now: u64,
    /// When each stream's next request has its turn at the earliest, and how many of its requests wait.
    streams: HashMap<u64, Ahead>,
    /// Requests of no stream that wait.
    alone: u64,
}

#[derive(Debug, Default)]
struct Ahead {
    next: u64,
    waiting: u64,
}

/// When a request is to be run: before all whose turn is later.
#[derive(Debug)]
pub struct Turn {
    /// In the time by which turns are given out.
    pub at: u64,
    takes: u64,
    stream: Option<u64>,
}

impl Turns {
    /// The turn of a request that comes now, and takes so much of the model.
    pub fn give(&mut self, stream: Option<u64>, cost: u64) -> Turn {
        let takes = FRACTION.saturating_mul(cost.max(1));
        let Some(number) = stream else {
            self.alone += 1;
            return Turn { at: self.now, takes, stream };
        };
        let ahead = self.streams.entry(number).or_default();
        let at = ahead.next.max(self.now);
        ahead.next = at.saturating_add(takes);
        ahead.waiting += 1;
        Turn { at, takes, stream }
    }

    /// A request is run: the time goes on by its share of what all who wait are given.
    pub fn taken(&mut self, turn: &Turn) {
        let waiting = self.streams.values().filter(|ahead| ahead.waiting > 0).count() as u64 + self.alone;
        let took = turn.takes / waiting.max(1);
        self.now = self.now.saturating_add(took).max(turn.at);
        self.gone(turn);
        // Who has nothing to make up for and waits for nothing is as one who is new.
        self.streams.retain(|_, ahead| ahead.waiting > 0 || ahead.next > self.now);
    }

    /// A request waits no more. Never true, for filters of what is to stay.
    pub fn gone(&mut self, turn: &Turn) -> bool {
        match turn.stream.and_then(|stream| self.streams.get_mut(&stream)) {
            Some(ahead) => ahead.waiting = ahead.waiting.saturating_sub(1),
            None => self.alone = self.alone.saturating_sub(1),
        }
        false
    }

    /// Streams that something is remembered of.
    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        self.streams.len()
    }
}
