//! Which requests wait, and which of them are run together: the rules alone, without threads or a clock.

use std::collections::BTreeMap;
use std::time::Duration;

/// How requests wait and are put together.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Rows of the largest batch, at least 1.
    pub max_batch: usize,
    /// Sizes at which a batch need not wait for more.
    pub preferred: Vec<usize>,
    /// How long the first request of a batch may wait for others to join it.
    pub max_delay: Duration,
    /// Priorities go from 1, the highest, to this; 0 for a model that has none.
    pub levels: u32,
    /// The priority of a request that does not say.
    pub default_level: u32,
    /// How requests wait.
    pub queue: QueuePolicy,
    /// How those of some priorities wait in another way.
    pub queues: BTreeMap<u32, QueuePolicy>,
}

/// How requests of one priority wait.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuePolicy {
    /// How many may wait; 0 for as many as the server takes.
    pub max_size: usize,
    /// How long each may wait.
    pub timeout: Option<Duration>,
    /// Whether a request may ask for a shorter or, without a timeout here, any timeout.
    pub allow_override: bool,
    /// What becomes of one that waited for too long.
    pub action: TimeoutAction,
}

/// What becomes of a request that waited for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutAction {
    /// It is refused.
    Reject,
    /// It is run when nothing else waits.
    Delay,
}
