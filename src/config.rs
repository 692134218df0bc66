//! What a server is told to be: validated values, wherever they came from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::frame::{PixelFormat, Size};
use crate::limits::Limits;
use crate::model::repository::Repository;
use crate::model::store::expression;
use crate::model::{Backends, Control, DeviceChoice, Precision};
use crate::pipeline::models::NoModels;
use crate::pipeline::names::Names;

/// Everything that a [`Server`](crate::server::Server) needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses to listen on; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// What streams may ask for.
    pub limits: Limits,
    /// Threads that process frames.
    pub threads: usize,
    /// Frames in flight of a stream that does not say.
    pub default_window: usize,
    /// The pipeline of a stream that does not say: a text, or the name of one.
    pub default_pipeline: String,
    /// Size of raw frames whose stream does not say.
    pub raw_size: Option<Size>,
    /// Format of those frames, if not told from their length.
    pub raw_format: Option<PixelFormat>,
    /// Pipelines that can be asked for by name.
    pub pipelines: Names,
    /// The models that are served.
    pub models: Models,
    /// TorchServe's services, if they are served.
    pub torchserve: Option<TorchServe>,
    /// What the server calls itself towards clients of the inference protocol.
    pub name: String,
    /// Who may have tensors in shared memory.
    pub shared_memory: SharedMemory,
    /// How HTTP/2 is spoken.
    pub transport: Transport,
    /// How long streams may take to end once the server is told to.
    pub drain_timeout: Duration,
}

/// The models that are served.
#[derive(Debug, Clone, Default)]
pub struct Models {
    /// Folders with a folder for each model.
    pub repositories: Vec<PathBuf>,
    /// How models come and go.
    pub control: Control,
    /// Where they run.
    pub device: DeviceChoice,
    /// What TorchScript's models compute with that do not say.
    pub precision: Precision,
    /// What can run them.
    pub backends: Backends,
}

/// TorchServe's services, and the archives that their clients register.
#[derive(Debug, Clone)]
pub struct TorchServe {
    /// Where predictions are answered besides the server's own addresses.
    pub inference: SocketAddr,
    /// Where models are managed.
    pub management: SocketAddr,
    /// The folder of archives.
    pub model_store: Option<PathBuf>,
    /// Expressions of URLs that archives may be fetched from.
    pub allowed_urls: Vec<String>,
    /// Archives that are registered from the start: a file, a name and a file as in `name=file`, or `all`.
    pub load_models: Vec<String>,
    /// Whether clients may register models, and unregister them.
    pub model_api: bool,
    /// The file of tokens that clients have to send; `None` if they need not.
    pub key_file: Option<PathBuf>,
}

/// What is served on one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Services {
    /// Everything but the management of models in TorchServe's way.
    #[default]
    Main,
    /// That too.
    MainAndManagement,
    /// TorchServe's predictions.
    Inference,
    /// TorchServe's management of models.
    Management,
}

impl Services {
    /// Whether models are managed there in TorchServe's way.
    pub fn manages(self) -> bool {
        matches!(self, Services::MainAndManagement | Services::Management)
    }
}

/// Who may have tensors in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SharedMemory {
    /// Nobody.
    Nowhere,
    /// Clients whose connection stays on this machine.
    #[default]
    ThisMachine,
    /// Everybody.
    Everywhere,
}

/// How HTTP/2 is spoken.
#[derive(Debug, Clone)]
pub struct Transport {
    /// Bytes that a client may send ahead on one stream, 65,535 to 2^31 - 1. A connection's window is that of all
    /// its streams together, so that one which is not read does not hold up the others.
    pub stream_window: u32,
    /// Streams that one connection may have open: as many windows as HTTP/2's 2^31 - 1 bytes have room for.
    pub streams_per_connection: u32,
    /// Connections at a time; others wait until one of them is closed.
    pub max_connections: usize,
    /// A connection that was silent for this long is asked whether it lives: 0.1 seconds to a day, or zero for
    /// never.
    pub keepalive: Duration,
    /// It is closed if it does not answer within this: 0.1 seconds to a day.
    pub keepalive_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 50051))],
            limits: Limits::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            default_window: 8,
            default_pipeline: String::new(),
            raw_size: None,
            raw_format: None,
            pipelines: Names::default(),
            models: Models::default(),
            torchserve: None,
            name: "frameserve".into(),
            shared_memory: SharedMemory::default(),
            transport: Transport {
                stream_window: 2 << 20,
                streams_per_connection: 128,
                max_connections: 1024,
                keepalive: Duration::from_secs(10),
                keepalive_timeout: Duration::from_secs(5),
            },
            drain_timeout: Duration::from_secs(20),
        }
    }
}

impl Default for TorchServe {
    fn default() -> Self {
        TorchServe {
            inference: SocketAddr::from(([127, 0, 0, 1], 7070)),
            management: SocketAddr::from(([127, 0, 0, 1], 7071)),
            model_store: None,
            allowed_urls: Vec::new(),
            load_models: Vec::new(),
            model_api: false,
            key_file: Some("key_file.json".into()),
        }
    }
}

impl Config {
    /// All addresses to listen on, and what is served there.
    pub fn listeners(&self) -> Vec<(SocketAddr, Services)> {
        let Some(TorchServe { inference, management, .. }) = self.torchserve else {
            return self.listen.iter().map(|address| (*address, Services::Main)).collect();
        };
        // Port 0 is another one each time.
        let is_main = |address: SocketAddr| address.port() != 0 && self.listen.contains(&address);
        let main = self.listen.iter().map(|address| match *address {
            address if address == management && is_main(address) => (address, Services::MainAndManagement),
            address => (address, Services::Main),
        });
        let others = [(inference, Services::Inference), (management, Services::Management)];
        main.chain(others.into_iter().filter(|(address, _)| !is_main(*address))).collect()
    }

    /// Checks every value against its range, and those that depend on each other.
    pub fn validate(self) -> Result<Self, Error> {
        let limits = &self.limits;
        range("--max-window", limits.max_window, 1, 4096)?;
        range("--max-queue", limits.max_queue, 1, 65_536)?;
        range("--max-pixels", limits.max_pixels, 1, 1 << 26)?;
        range("--max-message-bytes", limits.max_message_bytes, 1 << 10, (1 << 31) - 1)?;
        range("--max-streams", limits.max_streams, 1, 1 << 20)?;
        range("--max-stages", limits.max_stages, 1, 1024)?;
        range("--max-jobs", limits.max_jobs, 1, 1 << 20)?;
        range("--max-job-bytes", limits.max_job_bytes, 1 << 20, 1 << 40)?;
        range("--max-stream-bytes", limits.max_stream_bytes, 1 << 20, 1 << 40)?;
        range("--threads", self.threads, 1, 1024)?;
        range("--window", self.default_window, 1, limits.max_window)?;
        // 2^31-1 is HTTP/2's own bound.
        range("--stream-window-bytes", self.transport.stream_window, 65_535, (1 << 31) - 1)?;
        let most = (i32::MAX as u32) / self.transport.stream_window;
        range("--streams-per-connection", self.transport.streams_per_connection, 1, most)?;
        let Transport { keepalive, keepalive_timeout, max_connections, .. } = self.transport;
        range("--max-connections", max_connections, 1, 1 << 20)?;
        if !keepalive.is_zero() {
            range("--keepalive", keepalive.as_secs_f64(), 0.1, 86_400.0)?;
        }
        range("--keepalive-timeout", keepalive_timeout.as_secs_f64(), 0.1, 86_400.0)?;
        range("--drain-timeout", self.drain_timeout.as_secs_f64(), 0.0, 86_400.0)?;
        if self.listen.is_empty() {
            let range = "at least one address is needed".into();
            return Err(Error::Range { what: "--listen", value: "nothing".into(), range });
        }
        if let Some(torchserve) = &self.torchserve {
            torchserve.check()?;
        }
        if let Some(Size { width, height }) = self.raw_size {
            limits.check_pixels("--raw-size", width, height)?;
            if let Some(format) = self.raw_format {
                format.byte_len(Size { width, height })?;
            }
        }
        if let Control::Poll(every) = self.models.control {
            range("--poll-interval", every.as_secs_f64(), 0.1, 86_400.0)?;
        }
        Repository::new(self.models.repositories.clone())?;
        self.models.device.devices()?;
        self.models.backends.clone().with_precision(self.models.precision)?;
        crate::pipeline::Pipeline::parse(&self.default_pipeline, &self.pipelines, limits)?;
        for (_, named) in self.pipelines.iter() {
            crate::pipeline::Pipeline::new(named.stages.clone(), limits, &NoModels)?;
        }
        Ok(self)
    }
}

impl TorchServe {
    fn check(&self) -> Result<(), Error> {
        for text in &self.allowed_urls {
            expression(text)?;
        }
        if self.model_store.is_none() && !self.load_models.is_empty() {
            return Err(Error::Incomplete(
                "--torchserve-load-models goes with --torchserve-model-store only",
            ));
        }
        if self.inference == self.management && self.inference.port() != 0 {
            let value = self.management.to_string();
            let range = "predictions are served there: it has to be another address".into();
            return Err(Error::Range { what: "--torchserve-management-address", value, range });
        }
        Ok(())
    }
}

fn range<N: PartialOrd + std::fmt::Display>(
    what: &'static str,
    value: N,
    min: N,
    max: N,
) -> Result<(), Error> {
    if value < min || value > max {
        return Err(Error::Range { what, value: value.to_string(), range: format!("{min} to {max}") });
    }
    Ok(())
}
