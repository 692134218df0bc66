//! What became of the requests for pipelines that clients write as text: the counts of those that were asked last.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::statistics::{Snapshot, Statistics};

/// Counts by the pipelines' texts, as they are printed. Those of the pipeline that was asked least recently make room.
#[derive(Debug, Default)]
pub struct Tallies(Mutex<VecDeque<(String, Arc<Statistics>)>>);

/// Clients make up as many texts as they like.
const MOST: usize = 256;

impl Tallies {
    /// The counts of a pipeline that is asked now.
    pub fn of(&self, text: &str) -> Arc<Statistics> {
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tallies.iter().position(|(known, _)| known == text);
        let (text, statistics) =
            known.and_then(|at| tallies.remove(at)).unwrap_or_else(|| (text.to_owned(), Arc::default()));
        tallies.truncate(MOST - 1);
        tallies.push_front((text, Arc::clone(&statistics)));
        statistics
    }

    /// The counts of a pipeline as they are: zeros for one that nobody has asked, or not lately.
    pub fn snapshot(&self, text: &str) -> Snapshot {
        let tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tallies.iter().find(|(known, _)| known == text);
        known.map(|(_, statistics)| statistics.snapshot()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn those_that_were_asked_last_are_kept() {
        let tallies = Tallies::default();
        let fail = |text: &str| tallies.of(text).failed(Duration::ZERO);
        fail("first");
        fail("second");
        for other in 0..MOST - 2 {
            fail(&other.to_string());
            fail("first");
        }
        let failed = |text: &str| tallies.snapshot(text).fail.count;
        assert_eq!((failed("first"), failed("second")), (MOST as u64 - 1, 1));
        fail("one more");
        assert_eq!((failed("first"), failed("second"), failed("0")), (MOST as u64 - 1, 0, 1));
        assert_eq!(tallies.snapshot("nobody"), Snapshot::default());
    }
}
