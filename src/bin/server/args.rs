//! The flags, the variables and the file that a server is configured with.

mod config;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use frameserve::config::{Address, Config, SharedMemory};
use frameserve::model::Control;
use serde::{Deserialize, Serialize};

/// Takes video frames over gRPC, runs an OpenCV pipeline on each, and streams them back in order; answers single
/// images and tensors with TorchScript models.
///
/// Frames come on the bidirectional stream ImageTest/Analyse; `frameserve-client stream` sends a video and
/// `frameserve-client pipelines` lists what can be done to it. Models are asked by the KServe V2 inference
/// protocol: `frameserve-client infer` sends a picture, and `frameserve-client models` lists them.
#[derive(Debug, Parser)]
#[command(
    name = "frameserve-server",
    version,
    allow_negative_numbers = true,
    after_help = "A flag wins over its environment variable, that over the file, that over the default.\n\
                  SIGTERM or Ctrl-C drains: frames already taken are answered, then the server ends.\n\n\
                  Examples:\n  \
                  frameserve-server --listen 0.0.0.0:50051\n  \
                  frameserve-server --default-pipeline 'resize=640x360 | canny=50,150'\n  \
                  frameserve-server --listen 0.0.0.0:50051 --tls-cert server.crt --tls-key server.key\n  \
                  frameserve-server --listen 127.0.0.1:50051,unix:/run/frameserve.sock\n  \
                  frameserve-server --model-repository models # NAME/config.pbtxt and NAME/1/model.pt for each\n  \
                  frameserve-server --torchserve --torchserve-model-store store --enable-model-api\n  \
                  frameserve-server --raw-size 1280x720       # for clients that send bare gray pixels\n  \
                  frameserve-server --print-config > frameserve.toml; frameserve-server --config frameserve.toml"
)]
pub struct Args {
    /// A TOML file with these settings, as --print-config prints it
    #[arg(long, value_name = "FILE", env = "FRAMESERVE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print all settings as a TOML file, and end
    #[arg(long)]
    pub print_config: bool,
    #[command(flatten)]
    pub settings: Settings,
}

/// Every setting. What is not set has its default.
#[derive(Debug, Clone, Default, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Addresses to listen on, separated by commas, or given several times: IP:PORT, where port 0 takes a free one, or
    /// unix:PATH for a Unix domain socket, which is guarded by its file's permissions and has no TLS
    /// [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS", env = "FRAMESERVE_LISTEN", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listen: Vec<Address>,
    /// Certificate for TLS on all TCP addresses: a PEM file with the server's own and, after it, those that lead to
    /// its authority. It is read once, at the start, as are the key and the authority
    #[arg(long, value_name = "FILE", env = "FRAMESERVE_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key: a PEM file, without a passphrase
    #[arg(long, value_name = "FILE", env = "FRAMESERVE_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// Mutual TLS: clients must show a certificate of an authority in this PEM file
    #[arg(long, value_name = "FILE", env = "FRAMESERVE_TLS_CLIENT_CA")]
    tls_client_ca: Option<PathBuf>,
    /// Folder with a folder for each model, laid out as for Triton: NAME/config.pbtxt and NAME/VERSION/model.pt;
    /// can be given several times
    #[arg(long, value_name = "FOLDER", env = "FRAMESERVE_MODEL_REPOSITORY", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_repository: Vec<PathBuf>,
    /// How models come and go: all are loaded at the start and stay (none), what changes in the repository is
    /// loaded anew (poll), or clients load and unload them: every client that reaches the server (explicit)
    /// [default: none]
    #[arg(long, value_name = "MODE", env = "FRAMESERVE_MODEL_CONTROL")]
    model_control: Option<ModelControl>,
    /// How often the repository is looked at with --model-control poll [default: 15]
    #[arg(long, value_name = "SECONDS", env = "FRAMESERVE_POLL_INTERVAL")]
    poll_interval: Option<f64>,
    /// Model that is loaded at the start with --model-control explicit, or * for all; can be given several times
    #[arg(long, value_name = "NAME", env = "FRAMESERVE_LOAD_MODEL", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    load_model: Vec<String>,
    /// Models of the repository that may be loaded at a time since calls asked for them by the metadata
    /// multiplexed_model_id; the one that was asked for least recently makes room for the next [default: 3]
    #[arg(long, value_name = "N", env = "FRAMESERVE_MAX_MULTIPLEXED")]
    max_multiplexed: Option<usize>,
    /// Where models run: auto (GPUs where there are some, else the CPU), cpu, cuda (every GPU) or cuda:N
    /// [default: auto]
    #[arg(long, value_name = "DEVICE", env = "FRAMESERVE_DEVICE")]
    device: Option<String>,
    /// What models compute with, in place of the 32-bit floats that they take and give: fp32, tf32 (on GPUs, which may
    /// then round to 10 bits what they multiply), fp16 or bf16. 16 bits are about twice as fast on most GPUs, and no gain
    /// on most processors; a model that does not run so runs in fp32, and its parameter PRECISION has the last word
    /// [default: fp32]
    #[arg(long, value_name = "TYPE", env = "FRAMESERVE_PRECISION")]
    precision: Option<String>,
    /// Serve TorchServe's gRPC services too: predictions on all addresses and on one of their own, and the management
    /// of models on another
    #[arg(long, env = "FRAMESERVE_TORCHSERVE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    torchserve: Option<bool>,
    /// Address for TorchServe's predictions, besides those of --listen [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS", env = "FRAMESERVE_TORCHSERVE_INFERENCE_ADDRESS")]
    torchserve_inference_address: Option<SocketAddr>,
    /// Address for TorchServe's management of models; only there, unless it is one of --listen
    /// [default: 127.0.0.1:7071]
    #[arg(long, value_name = "ADDRESS", env = "FRAMESERVE_TORCHSERVE_MANAGEMENT_ADDRESS")]
    torchserve_management_address: Option<SocketAddr>,
    /// Folder of model archives (.mar) that can be registered by their names
    #[arg(long, value_name = "FOLDER", env = "FRAMESERVE_TORCHSERVE_MODEL_STORE")]
    torchserve_model_store: Option<PathBuf>,
    /// Regular expression of whole URLs (file://, http://, https://) that archives may be fetched from, into the model
    /// store; can be given several times [default: none]
    #[arg(long, value_name = "REGEX", env = "FRAMESERVE_TORCHSERVE_ALLOWED_URLS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    torchserve_allowed_urls: Vec<String>,
    /// Archive of the model store that is registered at the start: FILE or NAME=FILE, or all; can be given several
    /// times
    #[arg(long, value_name = "ARCHIVE", env = "FRAMESERVE_TORCHSERVE_LOAD_MODELS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    torchserve_load_models: Vec<String>,
    /// Let clients of TorchServe's management register models, and unregister them
    #[arg(long, env = "FRAMESERVE_ENABLE_MODEL_API", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    enable_model_api: Option<bool>,
    /// Let clients of TorchServe's services in without a token
    #[arg(long, env = "FRAMESERVE_DISABLE_TOKEN_AUTH", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    disable_token_auth: Option<bool>,
    /// File that the tokens are written to, for its owner alone to read; it is removed at the end
    /// [default: key_file.json]
    #[arg(long, value_name = "FILE", env = "FRAMESERVE_TORCHSERVE_KEY_FILE")]
    torchserve_key_file: Option<PathBuf>,
    /// What the server calls itself towards clients of the inference protocol; some of Triton's insist on triton
    /// [default: frameserve]
    #[arg(long, value_name = "NAME", env = "FRAMESERVE_SERVER_NAME")]
    server_name: Option<String>,
    /// Who may have tensors in shared memory: nobody, clients that come in over this machine's own addresses
    /// (127.0.0.1 and the like) or a Unix domain socket, or everybody [default: this-machine]
    #[arg(long, value_name = "WHO", env = "FRAMESERVE_SHARED_MEMORY")]
    shared_memory: Option<SharedMemoryFor>,
    /// Pipeline of streams that ask for none: a text, or a name from the file's [pipelines] [default: none,
    /// frames are only decoded and encoded]
    #[arg(long, value_name = "PIPELINE", env = "FRAMESERVE_DEFAULT_PIPELINE")]
    default_pipeline: Option<String>,
    /// Size of raw frames whose stream does not say it in its messages or in the metadata frame-width and
    /// frame-height
    #[arg(long, value_name = "WIDTHxHEIGHT", env = "FRAMESERVE_RAW_SIZE")]
    raw_size: Option<String>,
    /// Format of those frames: gray8, bgr24, rgb24, i420 or nv12 [default: gray8 or bgr24, by their length]
    #[arg(long, value_name = "FORMAT", env = "FRAMESERVE_RAW_FORMAT")]
    raw_format: Option<String>,
    /// Threads that process frames [default: one for each core]
    #[arg(long, value_name = "N", env = "FRAMESERVE_THREADS")]
    threads: Option<usize>,
    /// Frames in flight of a stream that does not say [default: 8]
    #[arg(long, value_name = "FRAMES", env = "FRAMESERVE_WINDOW")]
    window: Option<usize>,
    /// The most frames in flight that a stream is granted [default: 64]
    #[arg(long, value_name = "FRAMES", env = "FRAMESERVE_MAX_WINDOW")]
    max_window: Option<usize>,
    /// The most frames that may wait on a stream that drops the oldest [default: 256]
    #[arg(long, value_name = "FRAMES", env = "FRAMESERVE_MAX_QUEUE")]
    max_queue: Option<usize>,
    /// Pixels of the largest picture, as it comes and after every stage [default: 16777216]
    #[arg(long, value_name = "PIXELS", env = "FRAMESERVE_MAX_PIXELS")]
    max_pixels: Option<u64>,
    /// Bytes of the largest message [default: 67108864]
    #[arg(long, value_name = "BYTES", env = "FRAMESERVE_MAX_MESSAGE_BYTES")]
    max_message_bytes: Option<usize>,
    /// Streams at a time, over all clients [default: 256]
    #[arg(long, value_name = "N", env = "FRAMESERVE_MAX_STREAMS")]
    max_streams: Option<usize>,
    /// Stages of the longest pipeline [default: 32]
    #[arg(long, value_name = "N", env = "FRAMESERVE_MAX_STAGES")]
    max_stages: Option<usize>,
    /// Frames being processed at a time, over all streams [default: 1024]
    #[arg(long, value_name = "N", env = "FRAMESERVE_MAX_JOBS")]
    max_jobs: Option<usize>,
    /// Memory of the frames being processed at a time, over all streams; besides, as much for the requests of unary
    /// calls, and as much for replies to them that were not read [default: 2147483648]
    #[arg(long, value_name = "BYTES", env = "FRAMESERVE_MAX_JOB_BYTES")]
    max_job_bytes: Option<usize>,
    /// Bytes that one stream may hold in frames that wait and replies that were not read, and again as many in
    /// what its stateful stages keep [default: 268435456]
    #[arg(long, value_name = "BYTES", env = "FRAMESERVE_MAX_STREAM_BYTES")]
    max_stream_bytes: Option<usize>,
    /// Bytes that a client may send ahead on one stream [default: 2097152]
    #[arg(long, value_name = "BYTES", env = "FRAMESERVE_STREAM_WINDOW_BYTES")]
    stream_window_bytes: Option<u32>,
    /// Streams that one connection may have open [default: 128]
    #[arg(long, value_name = "N", env = "FRAMESERVE_STREAMS_PER_CONNECTION")]
    streams_per_connection: Option<u32>,
    /// Connections at a time; others wait until one of them is closed [default: 1024]
    #[arg(long, value_name = "N", env = "FRAMESERVE_MAX_CONNECTIONS")]
    max_connections: Option<usize>,
    /// After so much silence a connection is asked whether it lives; 0 for never [default: 10]
    #[arg(long, value_name = "SECONDS", env = "FRAMESERVE_KEEPALIVE")]
    keepalive: Option<f64>,
    /// It is closed if it does not answer within this [default: 5]
    #[arg(long, value_name = "SECONDS", env = "FRAMESERVE_KEEPALIVE_TIMEOUT")]
    keepalive_timeout: Option<f64>,
    /// How long streams may take to end after SIGTERM [default: 20]
    #[arg(long, value_name = "SECONDS", env = "FRAMESERVE_DRAIN_TIMEOUT")]
    drain_timeout: Option<f64>,
    /// How long the server says at least that it drains, to clients that are connected, before it closes their
    /// connections [default: 0]
    #[arg(long, value_name = "SECONDS", env = "FRAMESERVE_DRAIN_LEAST")]
    drain_least: Option<f64>,
    /// What is logged to standard error: a level, or levels for parts, as in info,h2=warn [default: info]
    #[arg(long, value_name = "LEVELS", env = "FRAMESERVE_LOG")]
    log: Option<String>,
    /// How it is logged [default: text]
    #[arg(long, value_name = "FORMAT", env = "FRAMESERVE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    /// Named pipelines: in the file only, as `name = "text"` or `name = { pipeline = "text", doc = "…" }`.
    #[arg(skip)]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pipelines: BTreeMap<String, NamedPipeline>,
    /// What calls may be routed to by the metadata `application`: in the file only, as
    /// `name = { models = ["…"], pipelines = ["…"] }`.
    #[arg(skip)]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    applications: BTreeMap<String, Parts>,
}

/// How often the repository is looked at, unless told otherwise.
const POLL_SECONDS: f64 = 15.0;

/// How models come and go.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum ModelControl {
    /// All are loaded at the start, and stay.
    None,
    /// What changes in the repository is loaded anew.
    Poll,
    /// Clients load and unload them.
    Explicit,
}

/// Who may have tensors in shared memory.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum SharedMemoryFor {
    /// Nobody.
    Nowhere,
    /// Clients that come in over this machine's own addresses.
    ThisMachine,
    /// Everybody.
    Everywhere,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What an application consists of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parts {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pipelines: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum NamedPipeline {
    Text(String),
    Documented {
        pipeline: String,
        #[serde(default)]
        doc: String,
    },
}

impl Settings {
    /// Flags and variables over the file.
    pub fn merge(args: Args) -> Result<Self, String> {
        let Some(path) = args.config else { return Ok(args.settings) };
        let shown = path.display();
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{shown}: {error}"))?;
        // Read as settings first, for an error that names the line and the key.
        toml::from_str::<Settings>(&text).map_err(|error| format!("{shown}: {error}"))?;
        let mut table: toml::Table = toml::from_str(&text).map_err(|error| format!("{shown}: {error}"))?;
        table.extend(toml::Table::try_from(&args.settings).map_err(|error| error.to_string())?);
        table.try_into().map_err(|error| format!("{shown}: {error}"))
    }

    /// The settings as a file, with what `config`, which was made of them, has in place of those that are not set.
    pub fn to_toml(&self, config: &Config) -> String {
        let Config { limits, transport, .. } = config;
        let filled = Settings {
            listen: config.listen.clone(),
            model_control: Some(match config.models.control {
                Control::None => ModelControl::None,
                Control::Poll(_) => ModelControl::Poll,
                Control::Explicit(_) => ModelControl::Explicit,
            }),
            poll_interval: Some(self.poll_interval.unwrap_or(POLL_SECONDS)),
            max_multiplexed: Some(config.models.max_multiplexed),
            device: Some(config.models.device.to_string()),
            precision: Some(config.models.precision.to_string()),
            server_name: Some(config.name.clone()),
            shared_memory: Some(match config.shared_memory {
                SharedMemory::Nowhere => SharedMemoryFor::Nowhere,
                SharedMemory::ThisMachine => SharedMemoryFor::ThisMachine,
                SharedMemory::Everywhere => SharedMemoryFor::Everywhere,
            }),
            default_pipeline: Some(config.default_pipeline.clone()),
            threads: Some(config.threads),
            window: Some(config.default_window),
            max_window: Some(limits.max_window),
            max_queue: Some(limits.max_queue),
            max_pixels: Some(limits.max_pixels),
            max_message_bytes: Some(limits.max_message_bytes),
            max_streams: Some(limits.max_streams),
            max_stages: Some(limits.max_stages),
            max_jobs: Some(limits.max_jobs),
            max_job_bytes: Some(limits.max_job_bytes),
            max_stream_bytes: Some(limits.max_stream_bytes),
            stream_window_bytes: Some(transport.stream_window),
            streams_per_connection: Some(transport.streams_per_connection),
            max_connections: Some(transport.max_connections),
            keepalive: Some(transport.keepalive.as_secs_f64()),
            keepalive_timeout: Some(transport.keepalive_timeout.as_secs_f64()),
            drain_timeout: Some(config.drain_timeout.as_secs_f64()),
            drain_least: Some(config.drain_least.as_secs_f64()),
            log: Some(self.log().to_owned()),
            log_format: Some(self.log_format()),
            ..self.clone()
        };
        toml::to_string(&filled).unwrap_or_default()
    }

    /// What is logged.
    pub fn log(&self) -> &str {
        self.log.as_deref().unwrap_or("info")
    }

    /// How it is logged.
    pub fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or(LogFormat::Text)
    }
}
