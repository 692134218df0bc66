//! Named threads that take jobs in the order in which they came.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::Builder;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;
use tracing::Span;

use super::courier::Courier;
use crate::error::Error;

/// A fixed number of threads, each with a `T` of its own that every job on it may use. They end when the pool is
/// dropped and the queue is empty; nobody waits for that, since a job can take as long as it likes.
pub struct Pool<T: 'static> {
    jobs: Sender<Job<T>>,
    capacity: usize,
    threads: usize,
    courier: Courier,
}

/// Says whether the `T` is as good as before: a job that panicked may have left it half changed.
type Job<T> = Box<dyn FnOnce(&mut T) -> bool + Send>;
type Make<T> = Arc<dyn Fn() -> Result<T, Error> + Send + Sync>;

/// Tells a job whether anybody still waits for what it does. A long one asks now and then.
pub type Wanted<'a> = &'a dyn Fn() -> bool;

/// What a job will have returned. Dropping it drops the job, if that has not begun.
pub struct Submitted<R> {
    result: oneshot::Receiver<Result<R, Error>>,
    refused: Option<Error>,
}

impl<T> Pool<T> {
    /// Starts the threads. `make` is called on each of them before its first job, and again after a job that
    /// panicked. `capacity` jobs may wait, and more are refused; who submits bounds them by other means.
    pub fn new(
        name: &str,
        threads: usize,
        capacity: usize,
        make: impl Fn() -> Result<T, Error> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (jobs, queue) = bounded(capacity);
        let make: Make<T> = Arc::new(make);
        let start = |index| {
            let (queue, make) = (queue.clone(), Arc::clone(&make));
            Builder::new().name(format!("{name}-{index}")).spawn(move || work(&queue, &make))
        };
        let threads = threads.max(1);
        (0..threads).try_for_each(|index| start(index).map(drop))?;
        Ok(Pool { jobs, capacity, threads, courier: Courier::default() })
    }

    /// Has this courier bring what jobs return.
    pub fn with_courier(self, courier: Courier) -> Self {
        Pool { courier, ..self }
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Puts a job into the queue, at once; the result only has to be waited for. What the job logs stands in the span of
    /// who submits it.
    pub fn submit<R, F>(&self, job: F) -> Submitted<R>
    where
        R: Send + 'static,
        F: FnOnce(&mut T, Wanted<'_>) -> R + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        let courier = self.courier.clone();
        let span = Span::current();
        let job: Job<T> = Box::new(move |own| {
            if done.is_closed() {
                return true;
            }
            let _inside = span.entered();
            let outcome = catch_unwind(AssertUnwindSafe(|| job(own, &|| !done.is_closed())));
            let outcome = outcome.map_err(|panic| Error::Internal(format!("panic: {}", panic_text(&*panic))));
            let good = outcome.is_ok();
            courier.send(done, outcome);
            good
        });
        let full = self.jobs.try_send(job).is_err();
        let (what, count, max) = ("jobs that wait for a thread", self.capacity, self.capacity);
        let refused = full.then_some(Error::Overloaded { what, count, max, flag: "--max-jobs" });
        Submitted { result, refused }
    }
}

impl<R> Future for Submitted<R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.refused.take() {
            return Poll::Ready(Err(error));
        }
        // The job was dropped by a thread that could not be set up, which has been logged.
        let lost = || Err(Error::Internal("a job was not done".into()));
        Pin::new(&mut self.result).poll(cx).map(|result| result.unwrap_or_else(|_| lost()))
    }
}

fn work<T>(queue: &Receiver<Job<T>>, make: &Make<T>) {
    let mut own = None;
    while let Ok(job) = queue.recv() {
        let mine = match own.take().map_or_else(|| make(), Ok) {
            Ok(mine) => own.insert(mine),
            Err(error) => {
                tracing::error!(%error, "a thread can't be set up");
                continue;
            }
        };
        if !job(mine) {
            own = None;
        }
    }
}

/// What a panic says.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_thread_lives() {
        let pool = Pool::new("test", 1, 8, || Ok(0)).unwrap();
        pool.submit(|count, _| *count += 1).await.unwrap();
        let panicked: Result<(), _> = pool.submit(|_, _| panic!("on purpose")).await;
        assert!(matches!(panicked, Err(Error::Internal(text)) if text.contains("on purpose")));
        assert_eq!(
            pool.submit(|count, _| *count).await,
            Ok(0),
            "what the job may have left half done is made anew"
        );
    }

    #[tokio::test]
    async fn a_job_that_nobody_waits_for_is_not_begun() {
        let pool = Pool::new("test", 1, 8, || Ok(Vec::new())).unwrap();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let held = pool.submit(move |_, _| gate.recv().is_ok());
        drop(pool.submit(|seen, _| seen.push("dropped")));
        let last = pool.submit(|seen, _| seen.clone());
        open.send(()).unwrap();
        assert_eq!(held.await, Ok(true));
        assert_eq!(last.await, Ok(Vec::new()));
    }
}
