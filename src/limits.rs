//! What may be asked of the server, and how much of it at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// Bounds that every request is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Frames in flight on one stream.
    pub max_window: usize,
    /// Frames that may wait on one stream that drops the oldest.
    pub max_queue: usize,
    /// Pixels of one picture, as it comes and after every stage.
    pub max_pixels: u64,
    /// Bytes of one message.
    pub max_message_bytes: usize,
    /// Streams at a time, over all clients.
    pub max_streams: usize,
    /// Stages of one pipeline.
    pub max_stages: usize,
    /// Frames being processed at a time, over all streams.
    pub max_jobs: usize,
    /// Bytes of the messages and decoded pictures of those frames; besides, as many for the requests of unary calls,
    /// and as many for replies to them that were not read.
    pub max_job_bytes: usize,
    /// Bytes that one stream may hold: frames that wait, replies that were not read yet, and separately as many
    /// for what its stateful stages keep.
    pub max_stream_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_window: 64,
            max_queue: 256,
            // Two 4K pictures side by side, or one of 16 megapixels.
            max_pixels: 1 << 24,
            max_message_bytes: 64 << 20,
            max_streams: 256,
            max_stages: 32,
            max_jobs: 1024,
            max_job_bytes: 2 << 30,
            max_stream_bytes: 256 << 20,
        }
    }
}

impl Limits {
    /// Whether a picture of this size is allowed; `what` names it in the error.
    pub fn check_pixels(&self, what: &str, width: u32, height: u32) -> Result<(), Error> {
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(Error::TooManyPixels { what: what.into(), width, height, max: self.max_pixels });
        }
        Ok(())
    }
}

/// What becomes of work where there is no room for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is refused.
    #[default]
    Refuse,
    /// It waits until there is.
    Wait,
}

/// Room for work: so many jobs, so many bytes, over all clients.
#[derive(Debug, Clone)]
pub struct Credits {
    jobs: Arc<Semaphore>,
    max_jobs: usize,
    bytes: Budget,
}

/// Room that one job takes, given back on drop. It travels with the job.
#[derive(Debug)]
pub struct Credit {
    _job: OwnedSemaphorePermit,
    _bytes: Share,
}

impl Credits {
    /// All the room that `limits` gives.
    pub fn new(limits: &Limits) -> Self {
        let max_jobs = limits.max_jobs;
        let bytes = Budget::new(limits.max_job_bytes);
        Credits { jobs: Arc::new(Semaphore::new(max_jobs)), max_jobs, bytes }
    }

    /// Waits for room. A job larger than all of it is let in alone.
    pub async fn acquire(&self, bytes: usize) -> Credit {
        let bytes = self.bytes.take(bytes).await;
        let job = Arc::clone(&self.jobs).acquire_owned().await.expect("it is never closed");
        Credit { _job: job, _bytes: bytes }
    }

    /// Room at once, or an error that says what there is too much of.
    pub fn try_acquire(&self, bytes: usize) -> Result<Credit, Error> {
        let max = self.max_jobs;
        let full = Error::Overloaded { what: "jobs", count: max, max, flag: "--max-jobs" };
        let job = Arc::clone(&self.jobs).try_acquire_owned().map_err(|_| full)?;
        let full = || self.bytes.full("bytes of jobs", "--max-job-bytes");
        Ok(Credit { _job: job, _bytes: self.bytes.try_take(bytes).ok_or_else(full)? })
    }
}

/// Bytes that may be held at a time.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Counted in KiB, since a semaphore's permits are asked for as u32.
    kib: Arc<Semaphore>,
    max_kib: u32,
}

/// A part of a [`Budget`], given back on drop.
#[derive(Debug)]
pub struct Share(OwnedSemaphorePermit);

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        let max_kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).clamp(1, u32::MAX >> 4);
        Budget { kib: Arc::new(Semaphore::new(max_kib as usize)), max_kib }
    }

    /// Waits until so much is free. Who asks for more than there is gets all of it.
    pub async fn take(&self, bytes: usize) -> Share {
        let kib = kib(bytes).min(self.max_kib);
        Share(Arc::clone(&self.kib).acquire_many_owned(kib).await.expect("it is never closed"))
    }

    /// So much at once, or nothing.
    pub fn try_take(&self, bytes: usize) -> Option<Share> {
        let kib = kib(bytes).min(self.max_kib);
        Arc::clone(&self.kib).try_acquire_many_owned(kib).ok().map(Share)
    }

    /// All of it.
    pub fn bytes(&self) -> usize {
        self.max_kib as usize * 1024
    }

    /// What is free.
    pub fn free_bytes(&self) -> usize {
        self.kib.available_permits() * 1024
    }

    /// What is said where there is no room: what takes it, how much, and the flag that makes more.
    pub fn full(&self, what: &'static str, flag: &'static str) -> Error {
        let max = self.bytes();
        Error::Overloaded { what, count: max - self.free_bytes(), max, flag }
    }
}

impl Share {
    /// Makes it as large as so many bytes at once, or leaves it as it is and says no. All of the budget is enough.
    pub fn try_grow(&mut self, budget: &Budget, bytes: usize) -> bool {
        let more = (kib(bytes).min(budget.max_kib) as usize).saturating_sub(self.0.num_permits());
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let more = Arc::clone(&budget.kib).try_acquire_many_owned(more);
        more.map(|more| self.0.merge(more)).is_ok()
    }

    /// Gives back all but so many bytes.
    pub fn shrink(&mut self, bytes: usize) {
        let spare = self.0.num_permits().saturating_sub(kib(bytes) as usize);
        drop(self.0.split(spare));
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).max(1)
}
