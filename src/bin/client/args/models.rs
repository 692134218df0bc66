//! The command lines of `infer`, `models` and `bench`, which speak the KServe V2 protocol.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::server::TlsArgs;
use super::values::Measured;
use super::{ServerArgs, values};
use crate::inputs::{GivenInput, GivenShape};

pub const INFER_EXAMPLES: &str = "\
Pictures are given as to `stream`: files, directories, 'GLOB*.jpg', `-` (JPEG, PNG, WebP or y4m), test:640x480;
of a video every frame is one. Each is one request; the server makes of it what the model takes.

What is printed and written depends on the model, as its configuration on the server says:
  classification      the --top best classes
  detection           what was found and where; -o FILE.png is the picture with boxes and labels
  image to image, or a pipeline of the server
                      -o FILE.png is the picture that comes back; what a pipeline found is printed
  embedding, others   each output's name, type, shape and first values; -o FILE.npy is the output
-o DIRECTORY/ takes several. --raw DIRECTORY writes every output of any model as it is: .npy, and .bin for bytes.

Any server of the protocol will do, as Triton, MLServer or KServe. What only a frameserve can do is to take
encoded pictures for models of tensors, and to tell what a model's outputs mean. --top works on all of them.

Examples:
  frameserve-client infer classifier kitten.jpg
  frameserve-client infer detector 'street/*.jpg' -o found/ --threshold 0.5
  frameserve-client infer canny photo.jpg -o edges.png
  frameserve-client infer embedder a.jpg b.jpg -o vectors/
  frameserve-client infer identity --input INPUT0=random --shape INPUT0=1,16
  frameserve-client infer resnet --input image=kitten.npy --top 3 --server triton:8001
  frameserve-client infer classifier photos/ --json --concurrency 8

A picture that fails is reported, and the rest goes on; the exit code is then 4 (see frameserve-client --help).";

pub const MODELS_EXAMPLES: &str = "\
Examples:
  frameserve-client models
  frameserve-client models show classifier
  frameserve-client models stats
  frameserve-client models config classifier --json
  frameserve-client models load classifier
  frameserve-client models load classifier --config changed.json
  frameserve-client models unload classifier";

pub const BENCH_EXAMPLES: &str = "\
For each level of --concurrency so many requests are under way at a time: when a reply comes the next request
leaves. Every request is the same message, made once. Counted are the replies that come within --seconds after
the warm-up; each reply's shapes are held against the first one's.

Without --input and --picture the inputs are random values of the model's shapes, in a batch of one.

Examples:
  frameserve-client bench --target kserve://127.0.0.1:50051 classifier --picture kitten.jpg
  frameserve-client bench --target kserve://triton:8001 resnet --shape image=8,3,224,224 --json
  frameserve-client bench identity --shape INPUT0=1,1000000 --concurrency 1,8 --connections 4
  frameserve-client bench identity --shape INPUT0=1,16 --shared-memory --check-identity
  frameserve-client bench --target kserves://localhost:50051 --tls-ca ca.crt identity --shape INPUT0=1,16";

/// Which model is run with what.
#[derive(Debug, Clone, Args)]
pub struct FillArgs {
    /// Values of an input: NAME=FILE.npy, NAME=ones, NAME=zeros or NAME=random; any other file is the one element
    /// of an input of BYTES. Can be given several times.
    #[arg(long, value_name = "NAME=VALUES")]
    pub input: Vec<GivenInput>,
    /// Shape of an input whose dimensions vary, as NAME=1,3,224,224; where the server doesn't tell the type,
    /// NAME=FP32:1,3,224,224. Can be given several times.
    #[arg(long, value_name = "NAME=DIMS")]
    pub shape: Vec<GivenShape>,
    /// Version of the model. Otherwise the server chooses, usually the newest.
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    pub model_version: String,
}

#[derive(Debug, Args)]
#[command(after_long_help = INFER_EXAMPLES, after_help = "More, with models and examples: --help")]
pub struct InferArgs {
    /// A model, or a named pipeline, as `frameserve-client models` lists them.
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Pictures, directories, globs, videos, or `-`.
    #[arg(value_name = "PICTURE")]
    pub pictures: Vec<String>,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub fill: FillArgs,
    /// File or directory for what comes back: pictures, or tensors as .npy.
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<String>,
    /// Write every output, unchanged, into this directory.
    #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["output", "top"])]
    pub raw: Option<PathBuf>,
    /// Show this many classes; makes a model's scores classes also where its configuration doesn't say so.
    /// Otherwise 5.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: Option<u32>,
    /// Leave out what has a lower score.
    #[arg(long, value_name = "SCORE")]
    pub threshold: Option<f64>,
    /// Requests under way at a time; results keep the pictures' order.
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// Give up on an answer after so long.
    #[arg(long, value_name = "SECONDS", value_parser = values::seconds)]
    pub timeout: Option<f64>,
    /// Print the results as one JSON object on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
    /// Say what the model is and how long each answer took.
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Args)]
#[command(after_help = MODELS_EXAMPLES, disable_help_subcommand = true)]
pub struct ModelsArgs {
    #[command(subcommand)]
    pub action: Option<ModelsAction>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ModelsAction {
    /// Every model with its version and state; done also without a word.
    List,
    /// What a model takes and gives.
    Show(OneModel),
    /// Load a model, or load it anew from what lies on disk.
    Load {
        /// As `models list` names it.
        name: String,
        /// A configuration as JSON, in place of the one on disk.
        #[arg(long, value_name = "FILE.json")]
        config: Option<PathBuf>,
    },
    /// Unload a model.
    Unload {
        /// As `models list` names it.
        name: String,
    },
    /// What models have done: counts, mean times, sizes of batches.
    Stats {
        /// Only this one.
        name: Option<String>,
    },
    /// A model's configuration, as config.pbtxt has it.
    Config(OneModel),
}

#[derive(Debug, Clone, Args)]
pub struct OneModel {
    /// As `models list` names it.
    pub name: String,
    /// Version of the model.
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    pub model_version: String,
}

#[derive(Debug, Args)]
#[command(after_long_help = BENCH_EXAMPLES, after_help = "More, with examples: --help")]
pub struct BenchArgs {
    /// The model.
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// The server: kserve://HOST:PORT; kserves://HOST:PORT for TLS; kserve+unix:PATH for a Unix domain socket.
    #[arg(long, value_name = "URL", default_value = "kserve://127.0.0.1:50051")]
    pub target: Measured,
    #[command(flatten)]
    pub fill: FillArgs,
    /// Send this picture, encoded as it is, to the input that takes pictures.
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,
    /// Requests under way at a time, one level after the other.
    #[arg(
        long, value_name = "N,N", value_delimiter = ',', default_value = "1,8,64,256",
        value_parser = clap::value_parser!(u32).range(1..=65536)
    )]
    pub concurrency: Vec<u32>,
    /// Measure each level for so long.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = values::seconds)]
    pub seconds: f64,
    /// Let each level run for so long before it counts.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = values::seconds_or_none)]
    pub warmup: f64,
    /// Connections that share the requests.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub connections: u16,
    /// Pass tensors through memory that this program and the server share; both must be on one machine.
    #[arg(long)]
    pub shared_memory: bool,
    /// Fail unless the first reply holds what the request held.
    #[arg(long)]
    pub check_identity: bool,
    /// Print the results as one JSON object on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub tls: TlsArgs,
}
