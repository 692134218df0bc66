//! Where requests wait for the threads of a model, and those who sent them for their answers.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::batch::{Entry, Full, Policy, Queue, TimeoutAction, Turn, Wanted};
use super::courier::Courier;
use crate::error::Error;

/// Requests of type `I` to be answered with an `O`. Those with an equal `K` can be answered together.
pub struct Line<I, O, K> {
    state: Mutex<State<I, O, K>>,
    /// Something has changed that a thread may wait for.
    changed: Condvar,
    courier: Courier,
}

struct State<I, O, K> {
    queue: Queue<Arc<Slot<I, O>>, K>,
    closed: Option<Error>,
}

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
        Line { state: Mutex::new(state), changed: Condvar::new(), courier }
    }

    /// Lets a request wait.
    pub fn send(&self, request: Request<I, K>) -> Result<Answer<I, O>, Error> {
        let came = Instant::now();
        let (sender, answer) = oneshot::channel();
        let Request { input, rows, kind, level, timeout, deadline, stream } = request;
        let slot = Arc::new(Slot(Mutex::new(Some(Held { input, came, answer: sender }))));
        let mut state = self.state();
        if let Some(closed) = &state.closed {
            return Err(closed.clone());
        }
        let policy = state.queue.policy();
        let level = policy.level(level);
        let rejects = policy.queue(level).action == TimeoutAction::Reject;
        let timeout_at = policy.timeout(level, timeout).filter(|_| rejects).map(|timeout| came + timeout);
        let refused_at = [timeout_at, deadline].into_iter().flatten().min();
        let entry = Entry { job: Arc::clone(&slot), rows, kind, level, came, timeout, stream };
        let max = policy.queue(level).max_size;
        state.queue.push(entry).map_err(|Full(count)| Error::QueueFull { count, max })?;
        drop(state);
        self.changed.notify_one();
        Ok(Answer { slot, answer, refused_at })
    }

    /// Waits until there is work, and takes what is to be worked on together. `None` once the line is closed and
    /// everything in it was taken.
    pub fn next(&self) -> Option<Vec<Job<I, O>>> {
        let mut state = self.state();
        loop {
            let closed = state.closed.is_some();
            let next = state.queue.next(Instant::now(), closed);
            for slot in next.expired {
                slot.refuse(Error::QueueTimeout);
            }
            match next.turn {
                Turn::Run(slots) => {
                    let jobs: Vec<_> = slots.iter().filter_map(|slot| slot.take(&self.courier)).collect();
                    if !jobs.is_empty() {
                        // Of what is left another thread may take some. Where nothing is, it would wake in vain.
                        if !state.queue.is_empty() {
                            self.changed.notify_one();
                        }
                        return Some(jobs);
                    }
                }
                Turn::Idle if closed => return None,
                Turn::Idle => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Turn::WaitUntil(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let waited = self.changed.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.state().queue.waiting()
    }

    /// Takes no more requests, and answers them with this error. What waits is still worked on.
    pub fn close(&self, why: Error) {
        self.state().closed.get_or_insert(why);
        self.changed.notify_all();
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
        self.changed.notify_all();
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
                () = tokio::time::sleep_until(refused_at.into()) => self.slot.refuse(Error::QueueTimeout),
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
        self.slot.held().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Line<u32, u32, ()>;

    fn request(input: u32) -> Request<u32, ()> {
        Request { input, rows: 1, kind: (), level: 0, timeout: None, deadline: None, stream: None }
    }

    fn inputs(jobs: &[Job<u32, u32>]) -> Vec<u32> {
        jobs.iter().map(|job| job.input).collect()
    }

    #[tokio::test]
    async fn each_gets_its_own_answer() {
        let line = Numbers::new(Policy::eager(4), Courier::default());
        let answers: Vec<_> = (1..=3).map(|input| line.send(request(input)).unwrap()).collect();
        for job in line.next().unwrap() {
            let double = job.input * 2;
            job.answer(Ok(double));
        }
        for (answer, expected) in answers.into_iter().zip([2, 4, 6]) {
            assert_eq!(answer.wait().await, Ok(expected));
        }
    }

    #[tokio::test]
    async fn who_goes_away_is_never_worked_on() {
        let line = Numbers::new(Policy::eager(4), Courier::default());
        let (gone, stays) = (line.send(request(1)).unwrap(), line.send(request(2)).unwrap());
        drop(gone);
        let jobs = line.next().unwrap();
        assert_eq!(inputs(&jobs), [2]);
        drop(jobs);
        assert!(matches!(stays.wait().await, Err(Error::Internal(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_counts_in_the_line_and_not_behind_it() {
        let line = Numbers::new(Policy::eager(1), Courier::default());
        let soon = || Some(Duration::from_millis(5));
        let waiting = line.send(Request { timeout: soon(), ..request(1) }).unwrap();
        assert_eq!(waiting.wait().await, Err(Error::QueueTimeout));
        let deadline = Some(Instant::now() + Duration::from_millis(5));
        let taken = line.send(Request { deadline, ..request(2) }).unwrap();
        let job = line.next().unwrap().remove(0);
        let answered = async {
            tokio::time::advance(Duration::from_secs(1)).await;
            job.answer(Ok(7));
        };
        assert_eq!(tokio::join!(taken.wait(), answered).0, Ok(7));
    }

    #[tokio::test]
    async fn a_closed_line_is_worked_off_and_a_failed_one_is_not() {
        let line = Numbers::new(Policy::eager(1), Courier::default());
        let waiting = line.send(request(1)).unwrap();
        line.close(Error::Cancelled);
        assert_eq!(line.send(request(2)).err(), Some(Error::Cancelled));
        assert_eq!(inputs(&line.next().unwrap()), [1]);
        assert!(line.next().is_none());
        drop(waiting);
        let line = Numbers::new(Policy::eager(1), Courier::default());
        let waiting = line.send(request(1)).unwrap();
        line.fail(Error::Cancelled);
        assert!(line.next().is_none());
        assert_eq!(waiting.wait().await, Err(Error::Cancelled));
    }
}
