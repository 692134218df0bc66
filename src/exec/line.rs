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
        self.try_send(request)?.map_err(|NoRoom { count, max, .. }| Error::QueueFull { count, max })
    }

    /// The same, but where there is no place for it, it waits for one, or does not. How long it may wait for its turn
    /// is counted from when it has one. Who waits for a place has the model's own priority.
    pub async fn enter(&self, request: Request<I, K>, when_full: WhenFull) -> Result<Answer<I, O>, Error> {
        if when_full == WhenFull::Refuse {
            return self.send(request);
        }
        let mut request = Request { level: 0, ..request };
        loop {
            // Before there is a look at the line, so that a place that is left meanwhile is not missed.
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            request = match self.try_send(request)? {
                Ok(answer) => return Ok(answer),
                Err(NoRoom { request, .. }) => request,
            };
            left.await;
        }
    }

    fn try_send(&self, request: Request<I, K>) -> Result<Placed<I, O, K>, Error> {
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
        let Request { input, rows, kind, level, timeout, deadline, stream } = request;
        let slot = Arc::new(Slot(Mutex::new(Some(Held { input, came, answer: sender }))));
        let policy = state.queue.policy();
        let level = policy.level(level);
        let rejects = policy.queue(level).action == TimeoutAction::Reject;
        let timeout_at = policy.timeout(level, timeout).filter(|_| rejects).map(|timeout| came + timeout);
        let refused_at = [timeout_at, deadline].into_iter().flatten().min();
        let entry = Entry { job: Arc::clone(&slot), rows, kind, level, came, timeout, stream };
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
        for job in line.next(&Dismissal::default()).unwrap() {
            let double = job.input * 2;
            job.answer(Ok(double));
        }
        for (answer, expected) in answers.into_iter().zip([2, 4, 6]) {
            assert_eq!(answer.wait().await, Ok(expected));
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_the_company_of_who_has_gone_away() {
        let policy = Policy { max_delay: Duration::from_secs(3600), ..Policy::eager(4) };
        let line = Arc::new(Numbers::new(policy, Courier::default()));
        let alone = line.send(request(1)).unwrap();
        let worker = Arc::clone(&line);
        let thread = thread::spawn(move || inputs(&worker.next(&Dismissal::default()).unwrap()));
        let rests = || {
            while line.rest.count() == 0 {
                thread::yield_now();
            }
        };
        rests();
        // A whole batch, which the one that waits does not fit into. It is looked at while that one is still wanted.
        let whole = line.send(Request { rows: 4, ..request(2) }).unwrap();
        rests();
        drop(alone);
        assert_eq!(thread.join().unwrap(), [2]);
        drop(whole);
    }

    #[tokio::test]
    async fn the_thread_that_worked_last_is_woken_first() {
        let line = Arc::new(Numbers::new(Policy::eager(1), Courier::default()));
        let threads: Vec<_> = (1..=3)
            .map(|number| {
                let worker = Arc::clone(&line);
                let thread = thread::spawn(move || {
                    while let Some(jobs) = worker.next(&Dismissal::default()) {
                        jobs.into_iter().for_each(|job| job.answer(Ok(number)));
                    }
                });
                while line.rest.count() < number as usize {
                    thread::yield_now();
                }
                thread
            })
            .collect();
        for _ in 0..5 {
            assert_eq!(line.send(request(0)).unwrap().wait().await, Ok(3));
            while line.rest.count() < threads.len() {
                thread::yield_now();
            }
        }
        line.close(Error::Cancelled);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[tokio::test]
    async fn who_goes_away_is_never_worked_on() {
        let line = Numbers::new(Policy::eager(4), Courier::default());
        let (gone, stays) = (line.send(request(1)).unwrap(), line.send(request(2)).unwrap());
        drop(gone);
        let jobs = line.next(&Dismissal::default()).unwrap();
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
        let job = line.next(&Dismissal::default()).unwrap().remove(0);
        let answered = async {
            tokio::time::advance(Duration::from_secs(1)).await;
            job.answer(Ok(7));
        };
        assert_eq!(tokio::join!(taken.wait(), answered).0, Ok(7));
    }

    /// A line in which no more than so many wait.
    fn bounded(max_size: usize) -> Numbers {
        let mut policy = Policy::eager(1);
        policy.queue.max_size = max_size;
        Line::new(policy, Courier::default())
    }

    #[tokio::test]
    async fn who_waits_for_a_place_has_one_that_is_left() {
        let line = bounded(1);
        let first = line.send(request(1)).unwrap();
        assert!(matches!(line.send(request(2)).err(), Some(Error::QueueFull { count: 1, max: 1 })));
        let mut second = std::pin::pin!(line.enter(request(2), WhenFull::Wait));
        let mut third = std::pin::pin!(line.enter(request(3), WhenFull::Wait));
        assert!(
            futures_util::poll!(&mut second).is_pending() && futures_util::poll!(&mut third).is_pending()
        );
        assert_eq!(inputs(&line.next(&Dismissal::default()).unwrap()), [1]);
        let second = second.await.unwrap();
        assert!(futures_util::poll!(&mut third).is_pending());
        // One that is given up leaves its place, too.
        drop(second);
        let third = third.await.unwrap();
        assert_eq!(inputs(&line.next(&Dismissal::default()).unwrap()), [3]);
        drop((first, third));
    }

    #[tokio::test]
    async fn a_place_that_its_finder_does_not_want_any_more_is_for_the_next() {
        let line = bounded(1);
        let _first = line.send(request(1)).unwrap();
        let mut last = std::pin::pin!(line.enter(request(3), WhenFull::Wait));
        {
            let mut gone = std::pin::pin!(line.enter(request(2), WhenFull::Wait));
            assert!(
                futures_util::poll!(&mut gone).is_pending() && futures_util::poll!(&mut last).is_pending()
            );
            line.next(&Dismissal::default()).unwrap();
        }
        let _last = last.await.unwrap();
        assert_eq!(inputs(&line.next(&Dismissal::default()).unwrap()), [3]);
    }

    #[tokio::test]
    async fn who_waits_for_a_place_in_a_line_that_ends_is_told() {
        for end in [Numbers::close, Numbers::fail] {
            let line = bounded(1);
            let _first = line.send(request(1)).unwrap();
            let mut second = std::pin::pin!(line.enter(request(2), WhenFull::Wait));
            assert!(futures_util::poll!(&mut second).is_pending());
            end(&line, Error::Cancelled);
            assert_eq!(second.await.err(), Some(Error::Cancelled));
        }
    }

    #[tokio::test]
    async fn a_thread_that_is_dismissed_leaves_the_work_to_others_if_there_are_any() {
        let line = Numbers::new(Policy::eager(1), Courier::default());
        let (dismissal, _waiting) = (Dismissal::default(), line.send(request(1)).unwrap());
        line.dismiss(&dismissal);
        assert!(line.next(&dismissal).is_none());
        line.close(Error::Cancelled);
        assert_eq!(inputs(&line.next(&dismissal).unwrap()), [1]);
        assert!(line.next(&dismissal).is_none());
        line.open(1);
        let _waiting = line.send(request(2)).unwrap();
        assert!(line.next(&dismissal).is_none());
        assert_eq!(inputs(&line.next(&Dismissal::default()).unwrap()), [2]);
    }

    #[tokio::test]
    async fn a_closed_line_is_worked_off_and_a_failed_one_is_not() {
        let line = Numbers::new(Policy::eager(1), Courier::default());
        let waiting = line.send(request(1)).unwrap();
        line.close(Error::Cancelled);
        assert_eq!(line.send(request(2)).err(), Some(Error::Cancelled));
        assert_eq!(inputs(&line.next(&Dismissal::default()).unwrap()), [1]);
        assert!(line.next(&Dismissal::default()).is_none());
        drop(waiting);
        let line = Numbers::new(Policy::eager(1), Courier::default());
        let waiting = line.send(request(1)).unwrap();
        line.fail(Error::Cancelled);
        assert!(line.next(&Dismissal::default()).is_none());
        assert_eq!(waiting.wait().await, Err(Error::Cancelled));
    }
}
