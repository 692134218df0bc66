//! What a server is told to be: validated values, wherever they came from.

mod address;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use address::Address;

use crate::error::Error;
use crate::frame::{PixelFormat, Size};
use crate::limits::Limits;
use crate::model::repository::{self, Repository};
use crate::model::store::expression;
use crate::model::{Backends, Control, DeviceChoice, Precision};
use crate::pipeline::models::NoModels;
use crate::pipeline::names::Names;

/// Everything that a [`Server`](crate::server::Server) needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses to listen on; port 0 takes a free one.
    pub listen: Vec<Address>,
    /// What the TCP addresses speak TLS with, if they do. Unix domain sockets never do: the permissions of their
    /// files guard them.
    pub tls: Option<TlsFiles>,
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
    /// What calls may be routed to, by name. Besides, each model that is ready and each named pipeline is an
    /// application of its own name.
    pub applications: BTreeMap<String, Application>,
    /// What the server calls itself towards clients of the inference protocol.
    pub name: String,
    /// Who may have tensors in shared memory.
    pub shared_memory: SharedMemory,
    /// How HTTP/2 is spoken.
    pub transport: Transport,
    /// How long streams may take to end once the server is told to.
    pub drain_timeout: Duration,
    /// How long it says at least that it drains, on the connections that there are; no more than that.
    pub drain_least: Duration,
}

/// A set of models and pipelines that go by one name. It may have none, and stand for a service of one's own alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Application {
    /// Names of models; those that are not there yet may come.
    pub models: Vec<String>,
    /// Names of pipelines.
    pub pipelines: Vec<String>,
}

/// The files that TLS takes, all in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and after it those that lead to its authority.
    pub certificate: PathBuf,
    /// The certificate's private key, without a passphrase.
    pub key: PathBuf,
    /// Certificates of the authorities of which clients must have one.
    pub client_authority: Option<PathBuf>,
}

/// The models that are served.
#[derive(Debug, Clone)]
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
    /// Models that may be loaded at a time since calls asked for them by the metadata `multiplexed_model_id`: 0 to
    /// 1024.
    pub max_multiplexed: usize,
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

impl Default for Models {
    fn default() -> Self {
        Models {
            repositories: Vec::new(),
            control: Control::default(),
            device: DeviceChoice::default(),
            precision: Precision::default(),
            backends: Backends::default(),
            max_multiplexed: 3,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: vec![Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 50051)))],
            tls: None,
            limits: Limits::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            default_window: 8,
            default_pipeline: String::new(),
            raw_size: None,
            raw_format: None,
            pipelines: Names::default(),
            models: Models::default(),
            torchserve: None,
            applications: BTreeMap::new(),
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
            drain_least: Duration::ZERO,
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
    pub fn listeners(&self) -> Vec<(Address, Services)> {
        let Some(TorchServe { inference, management, .. }) = self.torchserve else {
            return self.listen.iter().map(|address| (address.clone(), Services::Main)).collect();
        };
        // Port 0 is another one each time.
        let is_main =
            |address: SocketAddr| address.port() != 0 && self.listen.contains(&Address::Tcp(address));
        let managed = is_main(management).then_some(Address::Tcp(management));
        let main = self.listen.iter().map(|address| match address {
            address if managed.as_ref() == Some(address) => (address.clone(), Services::MainAndManagement),
            address => (address.clone(), Services::Main),
        });
        let others = [(inference, Services::Inference), (management, Services::Management)];
        let others = others.into_iter().filter(|(address, _)| !is_main(*address));
        main.chain(others.map(|(address, services)| (Address::Tcp(address), services))).collect()
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
        range("--drain-least", self.drain_least.as_secs_f64(), 0.0, self.drain_timeout.as_secs_f64())?;
        if self.listen.is_empty() {
            let range = "at least one address is needed".into();
            return Err(Error::Range { what: "--listen", value: "nothing".into(), range });
        }
        if let Some(torchserve) = &self.torchserve {
            torchserve.check()?;
        }
        if self.tls.is_some() && self.listen.iter().all(|address| address.path().is_some()) {
            return Err(Error::Incomplete("--tls-cert goes with a TCP address, and --listen has none"));
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
        range("--max-multiplexed", self.models.max_multiplexed, 0, 1024)?;
        for (name, application) in &self.applications {
            application.check(name, &self.pipelines)?;
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

impl Application {
    /// Checks what can be known before any model is loaded.
    fn check(&self, name: &str, pipelines: &Names) -> Result<(), Error> {
        let wrong = |what, value: &str, range: &str| Error::Range {
            what,
            value: format!("`{}` of application `{}`", value.escape_debug(), name.escape_debug()),
            range: range.into(),
        };
        // It has to be sent as metadata.
        if name.is_empty()
            || name.len() > 255
            || !name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        {
            return Err(wrong("the name", name, "1 to 255 printable ASCII characters"));
        }
        if let Some(model) = self.models.iter().find(|model| !repository::is_name(model)) {
            return Err(wrong("the model", model, "a folder of the repository could not be called so"));
        }
        match self.pipelines.iter().find(|pipeline| pipelines.find(pipeline).is_none()) {
            Some(pipeline) => {
                Err(wrong("the pipeline", pipeline, "it has to be one of the file's [pipelines]"))
            }
            None => Ok(()),
        }
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
