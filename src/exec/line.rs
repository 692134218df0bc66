//! Where requests wait for the threads of a model, and those who sent them for their answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::batch::{Entry, Full, Policy, Queue, TimeoutAction, Turn, Wanted};
use super::courier::Courier;
use super::rest::Rest;
use crate::error::Error;
use crate::limits::WhenFull;

/// Requests of type `I` to be answered with an `O`. Those with an equal `K` can be answered together.
pub struct Line<I, O, K> {
    state: Mutex<State<I, O, K>>,
    /// A place was left, and one of those who wait for one may have it.
    left: Arc<Notify>,
    /// Threads that wait for work.
    rest: Arc<Rest>,
    courier: Courier,
}

struct State<I, O, K> {
    queue: Queue<Arc<Slot<I, O>>, K>,
    closed: Option<Error>,
}

/// Tells one thread that it is to take no further batch.
#[derive(Debug, Default)]
pub struct Dismissal(AtomicBool);

/// A request that is in the line, or was. Whoever empties it decides what becomes of it.
struct Slot<I, O>(Mutex<Option<Held<I, O>>>);

struct Held<I, O> {
    input: I,
    came: Instant,
    answer: oneshot::Sender<Result<O, Error>>,
}

/// A request as it is sent.
pub struct Request<I, K> {
    /// What is to be worked on.
    pub input: I,
    /// Rows that it adds to a batch, at least 1.
    pub rows: usize,
    /// What it takes of the model, beside what others take.
    pub cost: u64,
    /// What has to be equal for requests to be worked on together.
    pub kind: K,
    /// Its priority; 0 for the model's own.
    pub level: u32,
    /// How long it wants to wait at most.
    pub timeout: Option<Duration>,
    /// When it is not wanted any more, whatever the model's rules are.
    pub deadline: Option<Instant>,
    /// The stream that it is of, if it is of one.
    pub stream: Option<u64>,
}

/// A request that a thread has taken.
pub struct Job<I, O> {
    /// What is to be worked on.
    pub input: I,
    /// How long it waited.
    pub queued: Duration,
    answer: oneshot::Sender<Result<O, Error>>,
    courier: Courier,
}

/// An answer that is to come. Dropping it takes the request out of the line, if no thread has taken it yet.
pub struct Answer<I, O> {
    slot: Arc<Slot<I, O>>,
    answer: oneshot::Receiver<Result<O, Error>>,
    refused_at: Option<Instant>,
    left: Arc<Notify>,
    rest: Arc<Rest>,
}

/// What became of a request that looked for a place.
type Placed<I, O, K> = Result<Answer<I, O>, NoRoom<I, K>>;

/// A request for which there is no place, and how many have one.
struct NoRoom<I, K> {
    request: Request<I, K>,
    count: usize,
    max: usize,
}

impl<I, O> Wanted for Arc<Slot<I, O>> {
    fn is_wanted(&self) -> bool {
        self.held().is_some()
    }
}

impl<I, O> Slot<I, O> {
    fn held(&self) -> MutexGuard<'_, Option<Held<I, O>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I, O, K: PartialEq> Line<I, O, K> {
    /// An empty line, whose answers this courier brings.
    pub fn new(policy: Policy, courier: Courier) -> Self {
        let state = State { queue: Queue::new(policy), closed: None };
        Line { state: Mutex::new(state), left: Arc::default(), rest: Arc::default(), courier }
    }

    /// Lets a request wait.
    pub fn send(&self, request: Request<I, K>) -> Result<Answer<I, O>, Error> {
        self.try_send(request, WhenFull::Refuse)?
            .map_err(|NoRoom { count, max, .. }| Error::QueueFull { count, max })
    }

    /// The same, but where there is no place for it, it waits for one, or does not. How long it may wait for its turn
    /// is counted from when it has one. Who waits for a place has the model's own priority, and is not refused because
    /// the wait for its turn is too long either.
    pub async fn enter(&self, request: Request<I, K>, when_full: WhenFull) -> Result<Answer<I, O>, Error> {
        if when_full == WhenFull::Refuse {
            return self.send(request);
        }
        let mut request = Request { level: 0, ..request };
        loop {
            // Before there is a look at the line, so that a place that is left meanwhile is not missed.
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            request = match self.try_send(request, when_full)? {
                Ok(answer) => return Ok(answer),
                Err(NoRoom { request, .. }) => request,
            };
            left.await;
        }
    }

    fn try_send(&self, request: Request<I, K>, when_full: WhenFull) -> Result<Placed<I, O, K>, Error> {
        let mut state = self.state();
        if let Some(closed) = &state.closed {
            return Err(closed.clone());
        }
        if let Err(Full(count)) = state.queue.make_room(request.level) {
            let policy = state.queue.policy();
            let max = policy.queue(policy.level(request.level)).max_size;
            return Ok(Err(NoRoom { request, count, max }));
        }
        let came = Instant::now();
        let (sender, answer) = oneshot::channel();
        let Request { input, rows, cost, kind, level, timeout, deadline, stream } = request;
        let slot = Arc::new(Slot(Mutex::new(Some(Held { input, came, answer: sender }))));
        let policy = state.queue.policy();
        let level = policy.level(level);
        let rejects = policy.queue(level).action == TimeoutAction::Reject;
        let patient = rejects && when_full == WhenFull::Wait;
        let expires = policy.timeout(level, timeout).filter(|_| !patient).map(|timeout| came + timeout);
        let refused_at = [expires.filter(|_| rejects), deadline].into_iter().flatten().min();
        let entry = Entry { job: Arc::clone(&slot), rows, cost, kind, level, came, expires, stream };
        let max = policy.queue(level).max_size;
        state.queue.push(entry).map_err(|Full(count)| Error::QueueFull { count, max })?;
        drop(state);
        self.rest.wake();
        let (left, rest) = (Arc::clone(&self.left), Arc::clone(&self.rest));
        Ok(Ok(Answer { slot, answer, refused_at, left, rest }))
    }

    /// Waits until there is work, and takes what is to be worked on together. `None` once the line is closed and
    /// everything in it was taken; or if the thread was dismissed, since others are there to go on.
    pub fn next(&self, dismissal: &Dismissal) -> Option<Vec<Job<I, O>>> {
        let mut state = self.state();
        loop {
            let closed = state.closed.is_some();
            if !closed && dismissal.0.load(Ordering::Relaxed) {
                // What woke this thread may have been meant for any of them.
                let others = !state.queue.is_empty();
                drop(state);
                return self.leave(others, None);
            }
            self.rest.enter();
            let next = state.queue.next(Instant::now(), closed);
            (0..state.queue.take_freed()).for_each(|_| self.left.notify_one());
            for slot in next.expired {
                slot.refuse(Error::QueueTimeout);
            }
            let until = match next.turn {
                Turn::Run(slots) => {
                    let jobs: Vec<_> = slots.iter().filter_map(|slot| slot.take(&self.courier)).collect();
                    if !jobs.is_empty() {
                        // Of what is left another thread may take some. Where nothing is, it would wake in vain.
                        let others = !state.queue.is_empty();
                        drop(state);
                        return self.leave(others, Some(jobs));
                    }
                    self.rest.leave();
                    continue;
                }
                Turn::Idle if closed => return self.leave(false, None),
                Turn::Idle => None,
                Turn::WaitUntil(until) => Some(until),
            };
            drop(state);
            match until {
                None => thread::park(),
                Some(until) => thread::park_timeout(until.saturating_duration_since(Instant::now())),
            }
            state = self.state();
            // Who was not woken, but has come back by itself, is still among those that rest.
            self.rest.leave();
        }
    }

    /// Goes to work, or away; another one may have something to do too.
    fn leave<T>(&self, others: bool, with: Option<T>) -> Option<T> {
        self.rest.leave();
        if others {
            self.rest.wake();
        }
        with
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.state().queue.waiting()
    }

    /// Sends a thread away once it has done what it works on.
    pub fn dismiss(&self, dismissal: &Dismissal) {
        let state = self.state();
        dismissal.0.store(true, Ordering::Relaxed);
        drop(state);
        // It may be any of them; the others wait again.
        self.rest.wake_all();
    }

    /// Takes requests, also after it was closed, for so many threads to work on.
    pub fn open(&self, threads: usize) {
        let mut state = self.state();
        state.queue.set_threads(threads);
        state.closed = None;
    }

    /// Takes no more requests, and answers them with this error. What waits is still worked on.
    pub fn close(&self, why: Error) {
        self.state().closed.get_or_insert(why);
        self.rest.wake_all();
        self.left.notify_waiters();
    }

    /// Takes no more requests, and answers those that wait with this error, too.
    pub fn fail(&self, why: Error) {
        let mut state = self.state();
        let waiting = state.queue.drain();
        state.closed.get_or_insert(why.clone());
        drop(state);
        for slot in waiting {
            slot.refuse(why.clone());
        }
        self.rest.wake_all();
        self.left.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State<I, O, K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I, O> Slot<I, O> {
    fn take(&self, courier: &Courier) -> Option<Job<I, O>> {
        let Held { input, came, answer } = self.held().take()?;
        Some(Job { input, queued: came.elapsed(), answer, courier: courier.clone() })
    }

    fn refuse(&self, why: Error) {
        if let Some(held) = self.held().take() {
            let _nobody_waits = held.answer.send(Err(why));
        }
    }
}

impl<I, O: Send + 'static> Job<I, O> {
    /// Whether anybody still waits for it.
    pub fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    /// Answers it.
    pub fn answer(self, answer: Result<O, Error>) {
        self.courier.send(self.answer, answer);
    }
}

impl<I, O> Answer<I, O> {
    /// The answer, or an error if the request waited for too long. Once a thread has taken it, that is waited for
    /// however long it takes.
    pub async fn wait(mut self) -> Result<O, Error> {
        if let Some(refused_at) = self.refused_at {
            tokio::select! {
                biased;
                answer = &mut self.answer => return Self::answered(answer),
                () = tokio::time::sleep_until(refused_at.into()) => {
                    self.slot.refuse(Error::QueueTimeout);
                    self.left.notify_one();
                }
            }
        }
        Self::answered((&mut self.answer).await)
    }

    fn answered(answer: Result<Result<O, Error>, oneshot::error::RecvError>) -> Result<O, Error> {
        // A thread that ends with a request in its hands has panicked outside of the model.
        answer.unwrap_or_else(|_| Err(Error::Internal("a request was not answered".into())))
    }
}

impl<I, O> Drop for Answer<I, O> {
    fn drop(&mut self) {
        if self.slot.held().take().is_some() {
            self.left.notify_one();
            // A thread may wait for others to join this one, and what waits now need not wait with it.
            self.rest.wake();
        }
    }
}

#[cfg(test)]
mod tests;
