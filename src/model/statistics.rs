//! What became of a model's requests, counted and timed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Counts of one version of a model, from when it was loaded. Threads share it; each call takes a lock for some
/// additions.
#[derive(Debug, Default)]
pub struct Statistics(Mutex<Snapshot>);

/// The counts at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// When the last request came to its end, in milliseconds since 1970; 0 if there was none.
    pub last_inference_ms: u64,
    /// Rows of the requests that succeeded: those without a dimension for batches have one.
    pub inference_count: u64,
    /// Batches that the model ran.
    pub execution_count: u64,
    /// Requests that succeeded, from when they came to when their reply was ready.
    pub success: Tally,
    /// Requests that failed. Those that were refused before they were queued are none of the model's.
    pub fail: Tally,
    /// The waiting of those that succeeded.
    pub queue: Tally,
    /// Preparing their inputs.
    pub compute_input: Tally,
    /// Running the model on the batches that they were part of.
    pub compute_infer: Tally,
    /// Preparing their outputs.
    pub compute_output: Tally,
    /// The batches that the model ran, by their rows.
    pub batches: BTreeMap<usize, BatchTimes>,
}

/// How often something was done, and how long that took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// All of the time, in nanoseconds.
    pub ns: u64,
}

/// Batches of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchTimes {
    /// Preparing their inputs.
    pub compute_input: Tally,
    /// Running the model.
    pub compute_infer: Tally,
    /// Preparing their outputs.
    pub compute_output: Tally,
}

/// Where the time of one run of the model went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compute {
    /// Preparing inputs.
    pub input: Duration,
    /// Running the model.
    pub infer: Duration,
    /// Preparing outputs.
    pub output: Duration,
}

/// A request that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Success {
    /// Its rows, at least 1.
    pub rows: usize,
    /// How long it waited.
    pub queue: Duration,
    /// The run that it was part of.
    pub compute: Compute,
    /// From when it came to when its reply was ready.
    pub total: Duration,
}

impl Statistics {
    /// Counts a request that succeeded.
    pub fn succeeded(&self, success: Success) {
        let Success { rows, queue, compute, total } = success;
        self.change(|counts| {
            counts.last_inference_ms = now_ms();
            counts.inference_count += rows as u64;
            counts.success.add(total);
            counts.queue.add(queue);
            counts.compute_input.add(compute.input);
            counts.compute_infer.add(compute.infer);
            counts.compute_output.add(compute.output);
        });
    }

    /// Counts a request that failed so long after it came.
    pub fn failed(&self, after: Duration) {
        self.change(|counts| {
            counts.last_inference_ms = now_ms();
            counts.fail.add(after);
        });
    }

    /// Counts a run of the model on so many rows.
    pub fn executed(&self, rows: usize, compute: Compute) {
        self.change(|counts| {
            counts.execution_count += 1;
            let batch = counts.batches.entry(rows).or_default();
            batch.compute_input.add(compute.input);
            batch.compute_infer.add(compute.infer);
            batch.compute_output.add(compute.output);
        });
    }

    /// The counts as they are.
    pub fn snapshot(&self) -> Snapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Tally {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.ns = self.ns.saturating_add(ns);
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_two_requests_is_one_run_and_two_successes() {
        let statistics = Statistics::default();
        let ms = Duration::from_millis;
        let compute = Compute { input: ms(1), infer: ms(20), output: ms(3) };
        statistics.executed(3, compute);
        for rows in [1, 2] {
            statistics.succeeded(Success { rows, queue: ms(5), compute, total: ms(30) });
        }
        statistics.failed(ms(7));
        let counts = statistics.snapshot();
        assert_eq!((counts.inference_count, counts.execution_count), (3, 1));
        assert_eq!(counts.success, Tally { count: 2, ns: 60_000_000 });
        assert_eq!(counts.fail, Tally { count: 1, ns: 7_000_000 });
        assert_eq!(counts.compute_infer, Tally { count: 2, ns: 40_000_000 });
        assert_eq!(counts.batches.keys().copied().collect::<Vec<_>>(), [3]);
        assert_eq!(counts.batches[&3].compute_infer, Tally { count: 1, ns: 20_000_000 });
        assert!(counts.last_inference_ms > 1_700_000_000_000);
    }

    #[test]
    fn threads_lose_no_counts() {
        let statistics = Statistics::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| statistics.failed(Duration::from_nanos(1))));
            }
        });
        assert_eq!(statistics.snapshot().fail, Tally { count: 4000, ns: 4000 });
    }
}
