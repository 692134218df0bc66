//! What TorchServe's clients are told of models, as JSON with TorchServe's keys.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::TorchServe;
use super::refusal::{self, Refusal};
use crate::engine::Engine;
use crate::model::registry::Held;
use crate::model::staff::Member;
use crate::model::{Device, Port, Signature, Version};
use crate::proto::torchserve::management::DescribeModelRequest;

/// Models of the longest page.
const PAGE: usize = 100;

/// In place of a version: every one.
const ALL: &str = "all";

/// TorchServe counts its workers from here.
const FIRST_WORKER: usize = 9000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
    models: Vec<Item>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    model_name: String,
    model_url: String,
}

/// One version. What has no meaning here has the value that TorchServe has for it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    model_name: String,
    model_version: String,
    model_url: String,
    runtime: String,
    min_workers: usize,
    max_workers: usize,
    batch_size: usize,
    max_batch_delay: u128,
    response_timeout: u64,
    startup_timeout: u64,
    max_retry_timeout_in_sec: u64,
    client_timeout_in_mills: u64,
    parallel_type: &'static str,
    parallel_level: u64,
    device_type: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    device_ids: Vec<usize>,
    continuous_batching: bool,
    use_job_ticket: bool,
    use_venv: bool,
    stateful: bool,
    #[serde(rename = "sequenceMaxIdleMSec")]
    sequence_max_idle: u64,
    #[serde(rename = "sequenceTimeoutMSec")]
    sequence_timeout: u64,
    max_num_sequence: u64,
    max_sequence_job_queue_size: u64,
    loaded_at_startup: bool,
    workers: Vec<Worker>,
    job_queue_status: JobQueueStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    customized_metadata: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Worker {
    id: String,
    start_time: String,
    status: &'static str,
    memory_usage: u64,
    pid: u32,
    gpu: bool,
    gpu_usage: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JobQueueStatus {
    remaining_capacity: usize,
    pending_requests: usize,
}

impl TorchServe {
    /// The versions that are asked for.
    pub(super) fn describe(&self, request: &DescribeModelRequest) -> Result<String, Refusal> {
        let DescribeModelRequest { model_name: name, model_version: version, customized } = request;
        let described = if version == ALL {
            self.engine().models().held(name)
        } else {
            vec![self.held_or_refused(name, version)?]
        };
        if described.is_empty() {
            return Err(refusal::no_model(name));
        }
        let of_its_own = *customized && version != ALL;
        if of_its_own && described.iter().any(|held| held.version.instances().is_empty()) {
            return Err(refusal::no_worker_to_describe(name));
        }
        let mut described: Vec<_> = described.iter().map(|held| description(self.engine(), held)).collect();
        if let ([one], true) = (&mut described[..], of_its_own) {
            let held = self.held_or_refused(name, version)?;
            one.customized_metadata = Some(signature(held.version.listed()));
        }
        Ok(pretty(&described))
    }
}

/// A page of the models that there are, by name: the default version of each, and pipelines.
pub fn list(engine: &Engine, limit: i32, token: i32) -> String {
    let limit = usize::try_from(limit).ok().filter(|limit| (1..=PAGE).contains(limit)).unwrap_or(PAGE);
    let from = usize::try_from(token).unwrap_or(0);
    let held = engine.models().all_held().into_iter().filter(|held| held.is_default);
    let models = held.map(|held| (held.version.settings().name.clone(), url(&held.version)));
    let pipelines = engine.piped().map(|piped| (piped.name().to_owned(), piped.name().to_owned()));
    let all: BTreeMap<String, String> = models.chain(pipelines).collect();
    let next = from.saturating_add(limit);
    let page = all.iter().skip(from).take(limit);
    let models = page.map(|(name, url)| Item { model_name: name.clone(), model_url: url.clone() });
    let next_page_token = (next < all.len()).then(|| next.to_string());
    pretty(&List { next_page_token, models: models.collect() })
}

fn description(engine: &Engine, held: &Held) -> Description {
    let version = &held.version;
    let (settings, registered, wanted) = (version.settings(), version.registered(), version.wanted());
    let devices = version.instances();
    let gpus: Vec<usize> = devices.iter().filter_map(|device| gpu(*device)).collect();
    let waiting = version.waiting();
    let most = match settings.batching.queue.max_size {
        0 => engine.limits().max_jobs,
        most => most,
    };
    let seconds = |of: Option<Duration>| of.map_or(0, |time| time.as_secs());
    Description {
        model_name: settings.name.clone(),
        model_version: held.text(),
        model_url: url(version),
        runtime: registered
            .map_or_else(|| settings.backend.clone(), |registered| registered.archive.runtime.clone()),
        min_workers: wanted.min,
        max_workers: wanted.max,
        batch_size: registered
            .map_or(settings.signature.max_batch.max(1), |registered| registered.archive.batch_size as usize),
        max_batch_delay: registered
            .map_or(settings.batching.max_delay, |registered| registered.archive.max_batch_delay)
            .as_millis(),
        response_timeout: seconds(registered.map(|registered| registered.response_timeout)),
        startup_timeout: seconds(registered.map(|registered| registered.startup_timeout)),
        max_retry_timeout_in_sec: 0,
        client_timeout_in_mills: 0,
        parallel_type: "",
        parallel_level: 0,
        device_type: if gpus.is_empty() { "cpu" } else { "gpu" },
        device_ids: gpus,
        continuous_batching: false,
        use_job_ticket: false,
        use_venv: false,
        stateful: false,
        sequence_max_idle: 0,
        sequence_timeout: 0,
        max_num_sequence: 0,
        max_sequence_job_queue_size: 0,
        loaded_at_startup: registered.is_none_or(|registered| registered.at_start),
        workers: version.members().iter().map(worker).collect(),
        job_queue_status: JobQueueStatus {
            remaining_capacity: most.saturating_sub(waiting),
            pending_requests: waiting,
        },
        customized_metadata: None,
    }
}

fn worker(member: &Member) -> Worker {
    Worker {
        id: (FIRST_WORKER + member.number - 1).to_string(),
        start_time: moment(member.since),
        status: if member.leaving { "UNLOADING" } else { "READY" },
        // Instances are threads of one process, whose memory can't be told apart.
        memory_usage: 0,
        pid: std::process::id(),
        gpu: gpu(member.device).is_some(),
        gpu_usage: "N/A",
    }
}

/// What a model says of itself: what it takes and gives.
fn signature(signature: &Signature) -> Value {
    let ports = |ports: &[Port]| {
        let port = |port: &Port| {
            let shape = signature.client_dims(port).to_i64();
            json!({ "name": port.name, "datatype": port.datatype.name(), "shape": shape })
        };
        ports.iter().map(port).collect::<Vec<_>>()
    };
    json!({ "inputs": ports(&signature.inputs), "outputs": ports(&signature.outputs) })
}

/// Where a version came from; the repository's are there by their names.
fn url(version: &Version) -> String {
    version.registered().map_or_else(|| version.settings().name.clone(), |registered| registered.url.clone())
}

fn gpu(device: Device) -> Option<usize> {
    match device {
        Device::Cpu => None,
        Device::Cuda(number) => Some(number),
    }
}

/// A time to the millisecond, as in 2026-11-21T22:15:48.123Z.
pub fn moment(time: SystemTime) -> String {
    let mut moment = Timestamp::from(time);
    moment.nanos -= moment.nanos % 1_000_000;
    moment.to_string()
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_to_the_millisecond() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_708_117_944_801_167_123);
        assert_eq!(moment(time), "2024-02-16T21:12:24.801Z");
    }
}
