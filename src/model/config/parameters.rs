//! Parameters of a configuration: for pictures, for the backend, and those that nobody uses.

use std::collections::BTreeMap;

use super::{PYTORCH, quoted, refused};
use crate::error::Error;
use crate::model::Precision;
use crate::proto::inference::ModelConfig;

/// What those begin with that say what the model makes of pictures.
const OURS: &str = "frameserve.";

/// Further names under which clients of MindSpore Serving call the model's methods.
const METHODS: &str = "frameserve.methods";

/// Rows that are put together where the model runs on the CPU alone.
const CPU_BATCH: &str = "frameserve.cpu_batch";

/// Threads of one operation, in one instance.
const THREADS: &str = "INTRA_OP_THREAD_COUNT";

/// The methods that there are, as far as a model's task allows them.
const METHOD_NAMES: &[&str] =
    &["predict", "predict_cast", "classify_top1", "classify_top5", "detect", "transform"];

/// Whether the graph is run as it was saved.
const UNOPTIMIZED: &str = "DISABLE_OPTIMIZED_EXECUTION";

/// Whether it is run without what only training needs.
const INFERENCE: &str = "INFERENCE_MODE";

/// What its numbers of 32 bits are computed with.
const PRECISION: &str = "PRECISION";

/// Parameters of Triton's backend that change how a graph is run, and not what comes out.
const HINTS: &[&str] = &[
    "DISABLE_CUDNN",
    "ENABLE_CACHE_CLEANING",
    "ENABLE_JIT_EXECUTOR",
    "ENABLE_JIT_PROFILING",
    "ENABLE_NVFUSER",
    "ENABLE_TENSOR_FUSER",
    "ENABLE_WEIGHT_SHARING",
    "INTER_OP_THREAD_COUNT",
];

/// More threads than any machine has cores.
const MAX_THREADS: u32 = 1024;

/// Parameters, sorted by who uses them.
#[derive(Debug, Default)]
pub struct Parameters {
    /// Those for pictures.
    pub pictures: BTreeMap<String, String>,
    /// Those for the backend.
    pub backend: BTreeMap<String, String>,
    /// Methods by the further names that they have.
    pub methods: BTreeMap<String, String>,
    /// Rows of the largest batch on a CPU, where it is not that of all devices.
    pub cpu_batch: Option<usize>,
}

impl Parameters {
    /// Sorts a configuration's, and lists those that are not used. TorchScript's are checked here; another
    /// backend knows its own.
    pub fn sort(config: &ModelConfig, unused: &mut Vec<String>) -> Result<Self, Error> {
        let mut sorted = Parameters::default();
        let parameters: BTreeMap<_, _> = config.parameters.iter().collect();
        for (key, value) in parameters {
            let value = &value.string_value;
            if key == METHODS {
                sorted.methods = methods(value)?;
                continue;
            }
            if key == CPU_BATCH {
                sorted.cpu_batch = Some(cpu_batch(value, config.max_batch_size)?);
                continue;
            }
            let user = match (key.as_str(), config.backend.as_str()) {
                (key, _) if key.starts_with(OURS) => &mut sorted.pictures,
                (key, PYTORCH) if is_torchscripts(key, value)? => &mut sorted.backend,
                (_, backend) if backend != PYTORCH && backend != "identity" => &mut sorted.backend,
                (key, backend) => {
                    let reason = match backend {
                        PYTORCH if HINTS.contains(&key) => "the backend decides that by itself".into(),
                        backend => format!("backend `{backend}` has no such parameter"),
                    };
                    unused.push(format!("parameter {key} `{value}`: {reason}"));
                    continue;
                }
            };
            user.insert(key.clone(), value.clone());
        }
        add_layout(config, &mut sorted.pictures);
        Ok(sorted)
    }
}

fn is_torchscripts(key: &str, value: &str) -> Result<bool, Error> {
    let (fits, range) = match key {
        THREADS => {
            let count = value.parse::<u32>().ok();
            let fits = count.is_some_and(|count| (1..=MAX_THREADS).contains(&count));
            (fits, format!("it must be from 1 to {MAX_THREADS}"))
        }
        PRECISION => {
            let fits = value.parse().is_ok_and(|precision: Precision| precision != Precision::Tf32);
            (fits, "it must be fp32, fp16 or bf16".into())
        }
        UNOPTIMIZED | INFERENCE => (["true", "false"].contains(&value), "it must be true or false".into()),
        _ => return Ok(false),
    };
    if fits { Ok(true) } else { Err(refused(&format!("parameter {key}"), quoted(value), range)) }
}

fn cpu_batch(value: &str, most: i32) -> Result<usize, Error> {
    let count = value.parse().ok().filter(|count| (1..=most.max(1)).contains(count));
    count.and_then(|count| usize::try_from(count).ok()).ok_or_else(|| {
        let range = format!("it must be from 1 to max_batch_size, which is {most}");
        refused(&format!("parameter {CPU_BATCH}"), quoted(value), range)
    })
}

/// `NAME=METHOD` or, for `predict`, only `NAME`, with commas between them.
fn methods(value: &str) -> Result<BTreeMap<String, String>, Error> {
    let mut methods = BTreeMap::new();
    for part in value.split(',') {
        let (name, method) = part.split_once('=').unwrap_or((part, "predict"));
        let (name, method) = (name.trim(), method.trim());
        let named = !name.is_empty() && !METHOD_NAMES.contains(&name);
        if !named || !METHOD_NAMES.contains(&method) || methods.insert(name.into(), method.into()).is_some() {
            let range =
                format!("it must be NAME=METHOD,…: new names, each once, for {}", METHOD_NAMES.join(", "));
            return Err(refused(&format!("parameter {METHODS}"), quoted(value), range));
        }
    }
    Ok(methods)
}

/// The layout of an input of pictures can also stand in its `format`.
fn add_layout(config: &ModelConfig, pictures: &mut BTreeMap<String, String>) {
    use crate::proto::inference::model_input::Format;
    let named = pictures.get("frameserve.input");
    let input = match (named, config.input.as_slice()) {
        (Some(name), inputs) => inputs.iter().find(|input| input.name == *name),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let layout = match input.map(|input| input.format()) {
        Some(Format::Nhwc) => "hwc",
        Some(Format::Nchw) => "chw",
        _ => return,
    };
    // Without any parameter of ours, tensors are all that the model takes.
    if !pictures.is_empty() {
        pictures.entry("frameserve.layout".into()).or_insert_with(|| layout.into());
    }
}
