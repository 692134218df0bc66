//! Named threads that take jobs in the order in which they came.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;

use crate::error::Error;

/// A fixed number of threads, each with a `T` of its own that every job on it may use.
pub struct Pool<T: 'static> {
    jobs: Option<Sender<Job<T>>>,
    capacity: usize,
    threads: Vec<JoinHandle<()>>,
}

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;
type Make<T> = Arc<dyn Fn() -> Result<T, Error> + Send + Sync>;

/// What a job will have returned. Dropping it drops the job, if that has not begun.
pub struct Submitted<R>(oneshot::Receiver<Result<R, Error>>);

impl<T> Pool<T> {
    /// Starts the threads. `make` is called on each of them, and again after a job that panicked. `capacity`
    /// jobs may wait; who submits bounds them by other means, so that no more ever do.
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
        let threads = (0..threads.max(1)).map(start).collect::<io::Result<_>>()?;
        Ok(Pool { jobs: Some(jobs), capacity, threads })
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Puts a job into the queue, at once; the result only has to be waited for.
    pub fn submit<R: Send + 'static>(&self, job: impl FnOnce(&mut T) -> R + Send + 'static) -> Submitted<R> {
        let (done, result) = oneshot::channel();
        let job: Job<T> = Box::new(move |own| {
            if !done.is_closed() {
                // A panic drops `done`'s result on the way out; `work` below sees to the rest.
                let outcome = catch_unwind(AssertUnwindSafe(|| job(own)));
                let panicked = outcome.is_err();
                let outcome = outcome.map_err(|panic| Error::Internal(format!("panic: {}", text(&*panic))));
                let _nobody_waits = done.send(outcome);
                if panicked {
                    std::panic::resume_unwind(Box::new("passed on"));
                }
            }
        });
        if let Some(jobs) = &self.jobs
            && let Err(TrySendError::Full(job)) = jobs.try_send(job)
        {
            tracing::error!(capacity = self.capacity, "more jobs than were to be admitted");
            drop(job);
        }
        Submitted(result)
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        self.jobs = None;
        let this = std::thread::current().id();
        for thread in self.threads.drain(..).filter(|thread| thread.thread().id() != this) {
            // A thread ends with its queue; that it panicked was logged there.
            let _panicked = thread.join();
        }
    }
}

impl<R> Future for Submitted<R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|result| result.unwrap_or(Err(Error::Cancelled)))
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
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(mine))) {
            tracing::error!(panic = text(&*panic), "a job panicked");
            own = None;
        }
    }
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_thread_lives() {
        let pool = Pool::new("test", 1, 8, || Ok(0)).unwrap();
        pool.submit(|count| *count += 1).await.unwrap();
        let panicked: Result<(), _> = pool.submit(|_| panic!("on purpose")).await;
        assert!(matches!(panicked, Err(Error::Internal(text)) if text.contains("on purpose")));
        assert_eq!(
            pool.submit(|count| *count).await,
            Ok(0),
            "what the job may have left half done is made anew"
        );
    }

    #[tokio::test]
    async fn a_job_that_nobody_waits_for_is_not_begun() {
        let pool = Pool::new("test", 1, 8, || Ok(Vec::new())).unwrap();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let held = pool.submit(move |_| gate.recv().is_ok());
        drop(pool.submit(|seen| seen.push("dropped")));
        let last = pool.submit(|seen| seen.clone());
        open.send(()).unwrap();
        assert_eq!(held.await, Ok(true));
        assert_eq!(last.await, Ok(Vec::new()));
    }
}
