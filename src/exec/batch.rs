//! Which requests wait, and which of them are run together: the rules alone, without threads or a clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::turns::{Turn as Place, Turns};

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
    /// Threads that take batches, at least 1. Unless the rules ask for certain batches, what waits is shared out
    /// among them: one that took all of it would leave the others nothing to do.
    pub threads: usize,
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

/// A request as it comes to the queue. Those with equal `kind` can be run together.
#[derive(Debug)]
pub struct Entry<J, K> {
    /// What is to be done.
    pub job: J,
    /// Rows that it adds to a batch, at least 1.
    pub rows: usize,
    /// What it takes of the model, beside what others take.
    pub cost: u64,
    /// What has to be equal.
    pub kind: K,
    /// Its priority; 0 for the model's own.
    pub level: u32,
    /// When it came.
    pub came: Instant,
    /// When it has waited for too long.
    pub expires: Option<Instant>,
    /// The stream that it is of; one of none is on its own.
    pub stream: Option<u64>,
}

/// Something that may not be wanted any more while it waits.
pub trait Wanted {
    /// Whether anybody still waits for it.
    fn is_wanted(&self) -> bool;
}

/// Requests that wait for one model.
#[derive(Debug)]
pub struct Queue<J, K> {
    policy: Policy,
    /// By priority, each in the order of their turns.
    levels: BTreeMap<u32, VecDeque<Waiting<J, K>>>,
    turns: Turns,
    /// Places that were left since somebody asked.
    freed: usize,
}

/// What there is to be done now.
#[derive(Debug, PartialEq)]
pub struct Next<J> {
    /// Requests that waited for too long.
    pub expired: Vec<J>,
    /// What to run.
    pub turn: Turn<J>,
}

/// Whose turn it is.
#[derive(Debug, PartialEq)]
pub enum Turn<J> {
    /// That of these, together.
    Run(Vec<J>),
    /// Nobody's before this, unless a request comes.
    WaitUntil(Instant),
    /// Nothing waits.
    Idle,
}

/// The queue has no room: how many wait in it.
#[derive(Debug, PartialEq)]
pub struct Full(pub usize);

#[derive(Debug)]
struct Waiting<J, K> {
    job: J,
    rows: usize,
    kind: K,
    came: Instant,
    expires: Option<Instant>,
    place: Place,
}

/// Fewer are not worth a look at what of them is still wanted.
const MANY: usize = 64;

/// Behind all priorities.
const DELAYED: u32 = u32::MAX;

impl Policy {
    /// Runs up to `max_batch` rows together of what waits, and waits for nothing.
    pub fn eager(max_batch: usize) -> Self {
        let queue =
            QueuePolicy { max_size: 0, timeout: None, allow_override: true, action: TimeoutAction::Reject };
        Policy {
            max_batch: max_batch.max(1),
            preferred: Vec::new(),
            max_delay: Duration::ZERO,
            levels: 0,
            default_level: 0,
            queue,
            queues: BTreeMap::new(),
            threads: 1,
        }
    }

    /// Whether batches may be of any size, and wait for nothing.
    fn is_free(&self) -> bool {
        self.preferred.is_empty() && self.max_delay.is_zero()
    }

    /// The priority that a request has which asks for this one.
    pub fn level(&self, asked: u32) -> u32 {
        if asked == 0 || asked > self.levels { self.default_level } else { asked }
    }

    /// How requests of a priority wait.
    pub fn queue(&self, level: u32) -> &QueuePolicy {
        self.queues.get(&level).unwrap_or(&self.queue)
    }

    /// How long a request may wait that asks for `asked`.
    pub fn timeout(&self, level: u32, asked: Option<Duration>) -> Option<Duration> {
        let QueuePolicy { timeout, allow_override, .. } = *self.queue(level);
        match (timeout, asked.filter(|_| allow_override)) {
            (Some(most), Some(asked)) => Some(asked.min(most)),
            (most, asked) => most.or(asked),
        }
    }
}

impl<J: Wanted, K: PartialEq> Queue<J, K> {
    /// An empty one.
    pub fn new(policy: Policy) -> Self {
        Queue { policy, levels: BTreeMap::new(), turns: Turns::default(), freed: 0 }
    }

    /// Its rules.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// From now on so many threads take batches.
    pub fn set_threads(&mut self, threads: usize) {
        self.policy.threads = threads;
    }

    /// Whether one more request that asks for this priority can wait.
    pub fn make_room(&mut self, level: u32) -> Result<(), Full> {
        let level = self.policy.level(level);
        let max = self.policy.queue(level).max_size;
        let waiting = self.levels.entry(level).or_default();
        let turns = &mut self.turns;
        let full = max > 0 && waiting.len() >= max;
        // While a model is busy, nothing else looks for those that were given up, which hold no credit.
        if full || waiting.len() >= MANY && waiting.len().is_power_of_two() {
            waiting.retain(|waiting| waiting.job.is_wanted() || turns.gone(&waiting.place));
        }
        if max > 0 && waiting.len() >= max { Err(Full(waiting.len())) } else { Ok(()) }
    }

    /// Lets a request wait, if there is room.
    pub fn push(&mut self, entry: Entry<J, K>) -> Result<(), Full> {
        self.make_room(entry.level)?;
        let level = self.policy.level(entry.level);
        let waiting = self.levels.entry(level).or_default();
        let Entry { job, rows, cost, kind, came, expires, stream, .. } = entry;
        let place = self.turns.give(stream, cost);
        let index = waiting.partition_point(|before| before.place.at <= place.at);
        waiting.insert(index, Waiting { job, rows, kind, came, expires, place });
        Ok(())
    }

    /// What is to be done now. `hurry` runs what waits, however little.
    pub fn next(&mut self, now: Instant, hurry: bool) -> Next<J> {
        let expired = self.sort_out(now);
        let Some((&level, first)) = self.levels.iter().find_map(|(level, line)| Some((level, line.front()?)))
        else {
            return Next { expired, turn: Turn::Idle };
        };
        let due = first.came + self.policy.max_delay;
        let members = self.members(level);
        let rows: usize = members.iter().map(|member| member.rows).sum();
        let best = self.preferred(&members);
        let count = match best {
            Some(count) => count,
            None if self.policy.is_free() => self.share(level).min(members.len()),
            None if hurry || rows >= self.policy.max_batch || now >= due => members.len(),
            None => return Next { expired, turn: Turn::WaitUntil(due) },
        };
        // From behind, so that the places of the others stay right.
        let mut batch: Vec<J> = members[..count]
            .iter()
            .rev()
            .filter_map(|member| self.remove(member.level, member.index))
            .collect();
        batch.reverse();
        Next { expired, turn: Turn::Run(batch) }
    }

    /// How many places were left since this was asked the last time.
    pub fn take_freed(&mut self) -> usize {
        std::mem::take(&mut self.freed)
    }

    /// How many wait that anybody still waits for.
    pub fn waiting(&self) -> usize {
        self.levels.values().flatten().filter(|waiting| waiting.job.is_wanted()).count()
    }

    /// Whether there is nothing in it, not even what nobody waits for any more.
    pub fn is_empty(&self) -> bool {
        self.levels.values().all(VecDeque::is_empty)
    }

    /// Everything that waits, in no order.
    pub fn drain(&mut self) -> Vec<J> {
        self.turns = Turns::default();
        std::mem::take(&mut self.levels).into_values().flatten().map(|waiting| waiting.job).collect()
    }

    /// Takes out what nobody waits for any more, and what waited for too long.
    fn sort_out(&mut self, now: Instant) -> Vec<J> {
        let (mut expired, mut delayed) = (Vec::new(), Vec::new());
        for (level, line) in &mut self.levels {
            let over = |waiting: &Waiting<J, K>| {
                !waiting.job.is_wanted()
                    || (*level != DELAYED && waiting.expires.is_some_and(|expires| now >= expires))
            };
            if !line.iter().any(over) {
                continue;
            }
            let action = self.policy.queue(*level).action;
            let before = line.len();
            for waiting in std::mem::take(line) {
                match action {
                    _ if !over(&waiting) => line.push_back(waiting),
                    _ if !waiting.job.is_wanted() => {
                        self.turns.gone(&waiting.place);
                    }
                    TimeoutAction::Reject => {
                        self.turns.gone(&waiting.place);
                        expired.push(waiting.job);
                    }
                    TimeoutAction::Delay => delayed.push(waiting),
                }
            }
            self.freed += before - line.len();
        }
        if !delayed.is_empty() {
            self.levels.entry(DELAYED).or_default().extend(delayed);
        }
        expired
    }

    /// Those that can be run with the first one, up to the largest batch, by priority and then by age.
    fn members(&self, level: u32) -> Vec<Member> {
        let mut members: Vec<Member> = Vec::new();
        let mut rows = 0;
        let first = self.levels.get(&level).and_then(VecDeque::front);
        for (&level, line) in self.levels.range(level..) {
            for (index, waiting) in line.iter().enumerate() {
                if first.is_none_or(|first| first.kind != waiting.kind) {
                    continue;
                }
                // A request that is larger than a batch is run alone.
                if !members.is_empty() && rows + waiting.rows > self.policy.max_batch {
                    return members;
                }
                rows += waiting.rows;
                members.push(Member { level, index, rows: waiting.rows });
            }
        }
        members
    }

    /// How many of the requests that could be run with the first one are a thread's share.
    fn share(&self, level: u32) -> usize {
        let first = self.levels.get(&level).and_then(VecDeque::front);
        let lines = self.levels.range(level..).flat_map(|(_, line)| line);
        let alike = lines.filter(|waiting| first.is_some_and(|first| first.kind == waiting.kind)).count();
        alike.div_ceil(self.policy.threads.max(1)).max(1)
    }

    /// How many of the members make the largest batch of a preferred size.
    fn preferred(&self, members: &[Member]) -> Option<usize> {
        let mut rows = 0;
        let sizes = members.iter().enumerate().filter_map(|(index, member)| {
            rows += member.rows;
            self.policy.preferred.contains(&rows).then_some(index + 1)
        });
        sizes.last()
    }

    fn remove(&mut self, level: u32, index: usize) -> Option<J> {
        let waiting = self.levels.get_mut(&level)?.remove(index)?;
        self.turns.taken(&waiting.place);
        self.freed += 1;
        Some(waiting.job)
    }
}

/// Where a request waits that is to be run.
struct Member {
    level: u32,
    index: usize,
    rows: usize,
}

#[cfg(test)]
mod tests;
