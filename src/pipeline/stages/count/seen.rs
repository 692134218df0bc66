//! Numbers of tracks that were seen, each counted once, in bounded memory.

use std::collections::BTreeSet;

/// The newest ones.
#[derive(Debug, Default)]
pub struct Numbers {
    newest: BTreeSet<u64>,
    /// All up to this one were counted, or came too late.
    settled: u64,
    count: u64,
}

/// How many are remembered.
const MOST: usize = 4096;

impl Numbers {
    /// Bytes that they may take: nodes of the tree may be half empty.
    pub const MOST_BYTES: usize = MOST * size_of::<u64>() * 4;

    /// Takes in the numbers of one frame. Later tracks have larger ones.
    pub fn add(&mut self, tracks: impl IntoIterator<Item = u64>) {
        for track in tracks {
            if track > self.settled && self.newest.insert(track) {
                self.count += 1;
            }
            if self.newest.len() > MOST
                && let Some(oldest) = self.newest.pop_first()
            {
                self.settled = oldest;
            }
        }
    }

    /// How many different ones there were.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_without_end_takes_no_more_memory() {
        let mut numbers = Numbers::default();
        for first in 1..20_000 {
            numbers.add(first..first + 5);
        }
        assert_eq!((numbers.count(), numbers.newest.len()), (20_003, MOST));
        numbers.add([1, 2, 3, u64::MAX, u64::MAX]);
        assert_eq!(numbers.count(), 20_004);
    }
}
