//! What every service calls: the threads, the limits, and the pipelines.

mod lane;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

pub use lane::{Begun, FrameWork, Lane, Processed, Reply, ReplyCodec, Timing};

use crate::config::Config;
use crate::error::Error;
use crate::exec::pool::Pool;
use crate::frame::Workbench;
use crate::limits::{Credits, Limits};
use crate::pipeline::Pipeline;

/// One for each server; services hold it in an [`Arc`].
pub struct Engine {
    config: Config,
    pool: Pool<Workbench>,
    credits: Credits,
    streams: Arc<Semaphore>,
    /// By canonical text, so that streams that do the same share what their pipeline keeps.
    pipelines: Mutex<HashMap<String, Weak<Pipeline>>>,
    drain: CancellationToken,
    frames_taken: AtomicU64,
}

/// A stream's place among those that may be open; given back on drop.
#[derive(Debug)]
pub struct StreamPermit {
    _permit: OwnedSemaphorePermit,
}

impl Engine {
    /// Starts the threads.
    pub fn new(config: Config) -> Result<Self, Error> {
        // Our threads are the parallelism: OpenCV's own would fight them for the cores.
        opencv::core::set_num_threads(1)?;
        let pool = Pool::new("frames", config.threads, config.limits.max_jobs, Workbench::new)
            .map_err(|error| Error::Internal(format!("threads can't be started: {error}")))?;
        Ok(Engine {
            pool,
            credits: Credits::new(&config.limits),
            streams: Arc::new(Semaphore::new(config.limits.max_streams)),
            pipelines: Mutex::default(),
            drain: CancellationToken::new(),
            frames_taken: AtomicU64::new(0),
            config,
        })
    }

    /// What the server was told.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What streams may ask for.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Room for work, over all streams.
    pub fn credits(&self) -> &Credits {
        &self.credits
    }

    /// Threads that process frames.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Is cancelled when the server is told to end.
    pub fn drain(&self) -> &CancellationToken {
        &self.drain
    }

    /// Streams that are open.
    pub fn open_streams(&self) -> usize {
        self.limits().max_streams - self.streams.available_permits()
    }

    /// Frames taken from streams since the start.
    pub fn frames_taken(&self) -> u64 {
        self.frames_taken.load(Ordering::Relaxed)
    }

    /// Counts a frame that was taken from a stream.
    pub fn count_frame(&self) {
        self.frames_taken.fetch_add(1, Ordering::Relaxed);
    }

    /// A place for one more stream.
    pub fn admit_stream(&self) -> Result<StreamPermit, Error> {
        if self.drain.is_cancelled() {
            return Err(Error::Draining(": it takes no new streams".into()));
        }
        let max = self.limits().max_streams;
        let full = Error::Overloaded { what: "streams", count: max, max, flag: "--max-streams" };
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| full)?;
        Ok(StreamPermit { _permit: permit })
    }

    /// The pipeline of this text, which may be the name of one.
    pub fn pipeline(&self, text: &str) -> Result<Arc<Pipeline>, Error> {
        let pipeline = Pipeline::parse(text, &self.config.pipelines, self.limits())?;
        let mut known = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.get(pipeline.text()).and_then(Weak::upgrade) {
            return Ok(same);
        }
        known.retain(|_, pipeline| pipeline.strong_count() > 0);
        let pipeline = Arc::new(pipeline);
        known.insert(pipeline.text().to_owned(), Arc::downgrade(&pipeline));
        Ok(pipeline)
    }
}
