//! Servers of models: ours with a repository of its own, and those of others; and the program that drives them all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use frameserve::client::InferenceClient;
use serde::Deserialize;

use crate::drive::Span;
use crate::pairs::Sample;
use crate::process::Server;
use crate::{Result, process, runtime};

/// A server of somebody else's, with the same two models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Triton,
    Kserve,
    Mlserver,
}

/// How the peers, and the plain loop, run the classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// As `torch.jit.load` gives it.
    Plain,
    /// After `torch.jit.optimize_for_inference`.
    Optimized,
}

/// What the client program sends over and over, and for how long.
#[derive(Debug, Clone)]
pub struct Requests {
    pub model: &'static str,
    /// What the program is told besides: what to send, and how.
    pub told: Vec<String>,
    pub callers: u32,
    pub span: Span,
}

/// What came of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Answered {
    /// Only those that were answered with OK.
    pub requests_per_second: f64,
    /// Those before and after what is counted, too.
    pub all_requests: u64,
    pub latency_ms: Latency,
    pub unanswered: u64,
    pub first_error: Option<String>,
    #[serde(rename = "errors")]
    pub failed: BTreeMap<String, u64>,
    /// Of the server, in seconds a request.
    #[serde(skip)]
    pub cpu: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

#[derive(Deserialize)]
struct Output {
    levels: Vec<Answered>,
}

pub const IDENTITY: &str = "identity";
pub const CLASSIFIER: &str = "classifier";
/// Python with torch, which also makes the classifier.
pub const PYTHON: &str = ".deps/models/bin/python";
/// So long models may take to be loaded.
const PATIENCE: Duration = Duration::from_secs(120);
const ASK_AGAIN: Duration = Duration::from_millis(50);

const IDENTITY_CONFIG: &str = r#"
backend: "identity"
input { name: "input" data_type: TYPE_FP32 dims: [ -1, -1, -1, -1 ] }
output { name: "output" data_type: TYPE_FP32 dims: [ -1, -1, -1, -1 ] }
"#;
const CLASSIFIER_CONFIG: &str = r#"
platform: "pytorch_libtorch"
max_batch_size: 8
input { name: "image" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }
output { name: "scores" data_type: TYPE_FP32 dims: [ 1000 ] }
dynamic_batching { }
parameters { key: "frameserve.task" value { string_value: "classification" } }
parameters { key: "frameserve.resize" value { string_value: "short=256" } }
parameters { key: "frameserve.crop" value { string_value: "224x224" } }
parameters { key: "frameserve.mean" value { string_value: "imagenet" } }
parameters { key: "frameserve.std" value { string_value: "imagenet" } }
"#;

/// The classifier's file, made anew; `None` where there is nothing to make it with.
pub fn classifier() -> Result<Option<PathBuf>> {
    if !Path::new(PYTHON).exists() {
        return Ok(None);
    }
    let file = place("bench-resnet18.pt");
    let made = Command::new(PYTHON).args(["-s", "benches/peers/resnet18.py"]).arg(&file).status()?;
    if made.success() { Ok(Some(file)) } else { Err(format!("benches/peers/resnet18.py: {made}").into()) }
}

/// A model repository with the identity, and the classifier if there is one.
pub fn repository(classifier: Option<&Path>) -> Result<PathBuf> {
    let folder = place("bench-models");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let write = |name: &str, config: &str| {
        fs::create_dir_all(folder.join(name).join("1"))?;
        fs::write(folder.join(name).join("config.pbtxt"), config)
    };
    write(IDENTITY, IDENTITY_CONFIG)?;
    if let Some(file) = classifier {
        write(CLASSIFIER, CLASSIFIER_CONFIG)?;
        fs::copy(file, version(&folder).join("model.pt"))?;
    }
    Ok(folder)
}

/// The folder of the classifier's only version.
pub fn version(repository: &Path) -> PathBuf {
    repository.join(CLASSIFIER).join("1")
}

/// In the build tree, where what benchmarks write is in nobody's way.
pub fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Our server with the models of this repository, once they are ready.
pub fn frameserve(repository: &Path, core: Option<usize>) -> Result<Server> {
    // The others run theirs on processors too.
    frameserve_on("cpu", repository, core)
}

/// The same on a device of this name.
pub fn frameserve_on(device: &str, repository: &Path, core: Option<usize>) -> Result<Server> {
    let told = ["--device".into(), device.into(), "--model-repository".into(), repository.into()];
    let server = Server::frameserve_with(&told, core)?;
    for model in fs::read_dir(repository)? {
        let name = model?.file_name();
        runtime()?.block_on(until_ready(&server, &name.to_string_lossy()))?;
    }
    Ok(server)
}

async fn until_ready(server: &Server, model: &str) -> Result<()> {
    let client = InferenceClient::connect(&server.url()).await?;
    let begin = Instant::now();
    let mut pace = tokio::time::interval(ASK_AGAIN);
    loop {
        pace.tick().await;
        match client.metadata(model, "").await {
            Ok(_) => return Ok(()),
            Err(error) if begin.elapsed() > PATIENCE => return Err(format!("{model}: {error}").into()),
            Err(_) => {}
        }
    }
}

impl Peer {
    pub const ALL: [Peer; 3] = [Peer::Triton, Peer::Kserve, Peer::Mlserver];

    /// As the report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Triton => "Triton, Python backend",
            Peer::Kserve => "KServe's SDK",
            Peer::Mlserver => "MLServer",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Peer::Triton => "triton",
            Peer::Kserve => "kserve",
            Peer::Mlserver => "mlserver",
        }
    }

    /// Starts it, with an instance for each core; `None` where it is not installed.
    pub fn start(self, classifier: Option<&Path>, module: Module) -> Result<Option<Server>> {
        let installed = Path::new(".deps").join(format!("peers-{}", self.program())).join("installed.txt");
        let (Some(classifier), true) = (classifier, installed.exists()) else { return Ok(None) };
        let mut command = Command::new(Path::new("benches/peers").join(self.program()));
        command.arg("--model").arg(classifier).args(["--instances", &cores()?.to_string()]);
        if module == Module::Optimized {
            command.arg("--optimized");
        }
        Server::start_polite(command).map(Some)
    }
}

/// As many as the servers may use, and instances as each of them has.
pub fn cores() -> Result<usize> {
    Ok(std::thread::available_parallelism()?.get())
}

impl Requests {
    /// Has the client program send them. That some fail is no error here.
    pub fn send(&self, server: &Server, core: Option<usize>) -> Result<Answered> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_frameserve-client"));
        command.args(["bench", self.model, "--target", &server.kserve(), "--json"]).args(&self.told);
        command.args(["--concurrency", &self.callers.to_string()]);
        command.args(["--warmup", &self.span.warm_up.to_string()]);
        command.args(["--seconds", &self.span.seconds.to_string()]);
        process::confine(&mut command, core);
        let before = server.busy()?;
        let output = command.stderr(Stdio::piped()).output()?;
        let busy = server.busy()?.saturating_sub(before);
        let wrong = || format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        let read: Output = serde_json::from_slice(&output.stdout).map_err(|_| wrong())?;
        let mut answered = read.levels.into_iter().next().ok_or_else(wrong)?;
        answered.cpu = busy.as_secs_f64() / answered.all_requests.max(1) as f64;
        Ok(answered)
    }

    /// The same, where all have to be answered: nobody is quick by failing.
    pub fn all(&self, server: &Server, core: Option<usize>) -> Result<Answered> {
        let answered = self.send(server, core)?;
        match answered.failures() {
            0 => Ok(answered),
            failures => {
                let why = answered.first_error.unwrap_or_else(|| "they were not answered".into());
                Err(format!("{failures} requests for {} failed: {why}", self.model).into())
            }
        }
    }
}

impl Answered {
    pub fn failures(&self) -> u64 {
        self.refused() + self.unanswered
    }

    /// Answered with another status than OK. Where many wait for a slow model some may have no answer yet at the end.
    pub fn refused(&self) -> u64 {
        self.failed.values().sum()
    }

    pub fn rate(&self) -> Sample {
        Sample { value: self.requests_per_second, cpu: self.cpu }
    }
}
