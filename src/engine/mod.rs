//! What every service calls: the threads, the limits, and the pipelines.

pub mod infer;
mod lane;
mod looking;
mod outputs;
pub mod piped;
mod reply;
mod route;
mod tallies;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

pub use infer::{Asked, InferReply, InferRequest, Served};
pub use lane::{Begun, FrameWork, Lane, Processed, Timing};
pub use reply::{Reply, ReplyCodec};
pub use route::Route;

use crate::config::Config;
use crate::error::Error;
use crate::exec::courier::Courier;
pub use crate::exec::pool::panic_text;
use crate::exec::pool::{Pool, Wanted};
use crate::frame::Workbench;
use crate::limits::{Credits, Limits};
use crate::model::repository::Repository;
use crate::model::version::Means;
use crate::model::{self, DeviceChoice, Registry};
use crate::pipeline::{Pipeline, spec};
use looking::Lookers;
use piped::PipedModel;
use tallies::Tallies;

/// One for each server; services hold it in an [`Arc`].
pub struct Engine {
    config: Config,
    pool: Pool<Workbench>,
    /// Makes pipelines, which can take a while, and must not wait behind frames.
    preparing: Pool<()>,
    models: Arc<Registry>,
    piped: BTreeMap<String, Arc<PipedModel>>,
    tallies: Tallies,
    credits: Credits,
    streams: Arc<Semaphore>,
    /// By canonical text, so that streams that do the same share what their pipeline keeps.
    pipelines: Mutex<HashMap<String, Weak<Pipeline>>>,
    /// Requests for models, and calls of services that others mounted, that are not answered yet.
    requests: TaskTracker,
    drain: CancellationToken,
    frames_taken: AtomicU64,
    lanes: AtomicU64,
}

/// A call that the server waits for before it ends; it is over when this is dropped.
#[derive(Debug)]
pub struct OpenCall {
    _token: TaskTrackerToken,
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
        // Looking for CUDA can take seconds, which nobody should have to wait for later.
        let torch = model::torch();
        if config.models.device == DeviceChoice::Auto && torch.cuda_devices.is_empty() {
            tracing::info!(reason = torch.cuda_reason, "models run on the CPU: there is no CUDA device");
        }
        let courier =
            Courier::start().map_err(|error| Error::Internal(format!("no pipe can be opened: {error}")))?;
        let pool = Pool::new("frames", config.threads, config.limits.max_jobs, Workbench::new)
            .map_err(|error| Error::Internal(format!("threads can't be started: {error}")))?
            .with_courier(courier.clone());
        let preparing = Pool::new("pipelines", 1, config.limits.max_streams, || Ok(()))
            .map_err(|error| Error::Internal(format!("threads can't be started: {error}")))?;
        let piped = PipedModel::all(&config.pipelines);
        let means = Means {
            backends: config.models.backends.clone().with_precision(config.models.precision)?,
            devices: config.models.device.devices()?,
            cpu_only: config.models.device == DeviceChoice::Cpu,
            cpu_instances: config.threads,
            taken: piped.keys().cloned().collect(),
            courier,
        };
        let repository = Repository::new(config.models.repositories.clone())?;
        let models = Arc::new(Registry::new(repository, config.models.control.clone(), means)?);
        Ok(Engine {
            models,
            piped,
            tallies: Tallies::default(),
            pool,
            preparing,
            credits: Credits::new(&config.limits),
            streams: Arc::new(Semaphore::new(config.limits.max_streams)),
            pipelines: Mutex::default(),
            requests: TaskTracker::new(),
            drain: CancellationToken::new(),
            frames_taken: AtomicU64::new(0),
            lanes: AtomicU64::new(0),
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

    /// The models of the repository.
    pub fn models(&self) -> &Arc<Registry> {
        &self.models
    }

    /// The named pipelines, as models.
    pub fn piped(&self) -> impl Iterator<Item = &Arc<PipedModel>> {
        self.piped.values()
    }

    /// Whether requests for models can be answered: those that are to be there from the start were loaded, or
    /// failed to, and the server was not told to end.
    pub fn is_ready(&self) -> bool {
        self.models.is_open() && !self.drain.is_cancelled()
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

    /// A number for one more lane, which none had before.
    fn number_lane(&self) -> u64 {
        self.lanes.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a frame that was taken from a stream.
    pub fn count_frame(&self) {
        self.frames_taken.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until no stream is open, and every request for a model is answered. Meanwhile no stream can be opened.
    pub async fn work_ended(&self) {
        let all = u32::try_from(self.limits().max_streams).unwrap_or(u32::MAX);
        let _all = self.streams.acquire_many(all).await;
        self.requests.close();
        self.requests.wait().await;
    }

    /// Requests for models, and calls of mounted services, that are not answered yet.
    pub fn open_requests(&self) -> usize {
        self.requests.len()
    }

    /// Has the server wait for a call before it ends, for as long as a request for a model.
    pub fn begin_call(&self) -> OpenCall {
        OpenCall { _token: self.requests.token() }
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

    /// The pipeline of this text, which may be the name of one. Its workers are made on a thread that computes,
    /// since some read large files for it.
    pub async fn pipeline(self: Arc<Self>, text: String) -> Result<Arc<Pipeline>, Error> {
        let specs = spec::parse(&text, &self.config.pipelines)?;
        let text = spec::print(&specs);
        if let Some(known) = self.known(&text) {
            known.check_models()?;
            return Ok(known);
        }
        let limits = self.limits().clone();
        let models = Arc::clone(&self.models);
        let make = move |(): &mut (), _: Wanted<'_>| Pipeline::new(specs, &limits, &Lookers(models));
        let pipeline = Arc::new(self.preparing.submit(make).await??);
        let mut known = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, pipeline| pipeline.strong_count() > 0);
        known.insert(text, Arc::downgrade(&pipeline));
        Ok(pipeline)
    }

    fn known(&self, text: &str) -> Option<Arc<Pipeline>> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).get(text).and_then(Weak::upgrade)
    }
}
