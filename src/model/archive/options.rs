//! The options of an archive: its configFile, in YAML.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::model::config::shown;

/// Bytes of the longest file of options.
pub const LONGEST: u64 = 1 << 20;

/// Workers of one model.
const MOST_WORKERS: u64 = 1024;
/// Rows of one batch, and requests in line.
const MOST_ROWS: u64 = 1 << 16;
/// A day, which is longer than anybody waits.
const MOST_SECONDS: u64 = 24 * 60 * 60;
/// Numbers of devices.
const MOST_DEVICES: u64 = 255;

/// Keys that TorchServe knows, with why nothing is done with them here.
const UNUSED: &[(&str, &str)] = &[
    ("asyncCommunication", ITS_OWN_PROCESSES),
    ("clientTimeoutInMills", "clients say with each call how long they wait"),
    ("continuousBatching", "a handler in Python makes use of it"),
    ("handler", "the handlers here have no settings"),
    ("maxNumSequence", SEQUENCES),
    ("maxRetryTimeoutInSec", ITS_OWN_PROCESSES),
    ("maxSequenceJobQueueSize", SEQUENCES),
    ("parallelLevel", ONE_DEVICE),
    ("parallelType", ONE_DEVICE),
    ("pt2", "programs in TorchScript are optimised as they are loaded"),
    ("sequenceBatching", SEQUENCES),
    ("sequenceMaxIdleMSec", SEQUENCES),
    ("sequenceTimeoutMSec", SEQUENCES),
    ("torchrun", ONE_DEVICE),
    ("useJobTicket", "requests wait in a line for each model"),
    ("useVenv", ITS_OWN_PROCESSES),
];
const ITS_OWN_PROCESSES: &str = "it is about processes of Python, of which there are none";
const SEQUENCES: &str = "no handler here keeps anything from request to request";
const ONE_DEVICE: &str = "an instance of a model runs on one device";

/// What the options say; `None` where they don't.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// Workers that there are at least.
    pub min_workers: Option<u32>,
    /// Workers that there are at most.
    pub max_workers: Option<u32>,
    /// Requests that are run together.
    pub batch_size: Option<u32>,
    /// How long a request waits for others to join it.
    pub max_batch_delay: Option<Duration>,
    /// How long a model may take for an answer.
    pub response_timeout: Option<Duration>,
    /// How long a model may take to be loaded.
    pub startup_timeout: Option<Duration>,
    /// Requests that may wait.
    pub job_queue_size: Option<u32>,
    /// Where the model runs.
    pub device: Option<DeviceType>,
    /// On which GPUs.
    pub device_ids: Vec<u32>,
    /// A whole configuration of ours, which the handler for tensors needs.
    pub frameserve: Option<Map<String, Value>>,
}

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names say what they are")]
pub enum DeviceType {
    Cpu,
    Gpu,
}

/// The keys that were not read yet.
struct Keys(Map<String, Value>);

impl DeviceType {
    /// As options write it.
    pub fn name(self) -> &'static str {
        match self {
            DeviceType::Cpu => "cpu",
            DeviceType::Gpu => "gpu",
        }
    }
}

impl Options {
    /// Reads them. What is set and not used is logged for the model of this name.
    pub fn parse(text: &str, model: &str) -> Result<Self, Error> {
        let mut keys = Keys(mapping(text)?);
        let options = Options {
            min_workers: keys.number("minWorkers", 0, MOST_WORKERS)?,
            max_workers: keys.number("maxWorkers", 0, MOST_WORKERS)?,
            batch_size: keys.number("batchSize", 1, MOST_ROWS)?,
            max_batch_delay: keys.number("maxBatchDelay", 0, MOST_SECONDS * 1000)?.map(milliseconds),
            response_timeout: keys.number("responseTimeout", 1, MOST_SECONDS)?.map(seconds),
            startup_timeout: keys.number("startupTimeout", 1, MOST_SECONDS)?.map(seconds),
            job_queue_size: keys.number("jobQueueSize", 1, MOST_ROWS)?,
            device: keys.device()?,
            device_ids: keys.devices()?,
            frameserve: keys.configuration()?,
        };
        if let (Some(min), Some(max)) = (options.min_workers, options.max_workers)
            && min > max
        {
            return Err(Error::Load(format!(
                "`minWorkers` is {min}, which is more than `maxWorkers`, {max}"
            )));
        }
        if options.device != Some(DeviceType::Gpu) && !options.device_ids.is_empty() {
            return Err(Error::Load("`deviceIds` goes with `deviceType: gpu`".into()));
        }
        for (key, value) in keys.0 {
            let known = UNUSED.iter().find(|(known, _)| *known == key);
            let reason = known.map_or("no handler here reads it", |(_, reason)| reason);
            tracing::warn!(model, "not used: {} {}: {reason}", key.escape_debug(), shown(&value));
        }
        Ok(options)
    }
}

impl Keys {
    fn number(&mut self, key: &str, least: u64, most: u64) -> Result<Option<u32>, Error> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.as_u64().filter(|number| (least..=most).contains(number));
        let number = number.and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| wrong(key, &value, &format!("a whole number from {least} to {most}")))
    }

    fn device(&mut self) -> Result<Option<DeviceType>, Error> {
        let Some(value) = self.take("deviceType") else { return Ok(None) };
        match value.as_str() {
            Some("cpu") => Ok(Some(DeviceType::Cpu)),
            Some("gpu") => Ok(Some(DeviceType::Gpu)),
            _ => Err(wrong("deviceType", &value, "cpu, gpu")),
        }
    }

    fn devices(&mut self) -> Result<Vec<u32>, Error> {
        let Some(value) = self.take("deviceIds") else { return Ok(Vec::new()) };
        let id = |id: &Value| id.as_u64().filter(|id| *id <= MOST_DEVICES).and_then(|id| id.try_into().ok());
        let ids = value.as_array().and_then(|ids| ids.iter().map(id).collect());
        ids.ok_or_else(|| wrong("deviceIds", &value, &format!("a list of numbers from 0 to {MOST_DEVICES}")))
    }

    fn configuration(&mut self) -> Result<Option<Map<String, Value>>, Error> {
        match self.take("frameserve") {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(fields)),
            Some(value) => Err(wrong("frameserve", &value, "the fields of a model's configuration")),
        }
    }

    /// One that may be left out, or have no value.
    fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key).filter(|value| !value.is_null())
    }
}

fn mapping(text: &str) -> Result<Map<String, Value>, Error> {
    let failed = |error: serde_saphyr::Error| Error::Load(format!("it is no readable YAML: {error}"));
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Map::new());
    }
    // `y` and `no` are names here as often as anything else.
    let yaml = serde_saphyr::options! { strict_booleans: true };
    match serde_saphyr::from_str_with_options::<Value>(text, yaml).map_err(failed)? {
        Value::Null => Ok(Map::new()),
        Value::Object(keys) => Ok(keys),
        other => Err(Error::Load(format!("it should have keys and values, and is {}", shown(&other)))),
    }
}

fn wrong(key: &str, value: &Value, allowed: &str) -> Error {
    Error::Load(format!("`{key}` is {}, which is none of what is allowed: {allowed}", shown(value)))
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

fn milliseconds(number: u32) -> Duration {
    Duration::from_millis(number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_the_rest_is_logged() {
        let text = "# of a model\nminWorkers: 1\nmaxWorkers: 4\nbatchSize: 8\nmaxBatchDelay: 50\n\
                    responseTimeout: 30\nstartupTimeout: 600\njobQueueSize: 7\ndeviceType: \"gpu\"\n\
                    deviceIds: [0,1]\nparallelType: pp\ntorchrun:\n  nproc-per-node: 4\npt2: {compile: {enable: True}}\n\
                    handler:\n  profile: true\n  nested: [a, {b: c}]\nmine: 3\nuseVenv:\n";
        let options = Options::parse(text, "m").unwrap();
        let expected = Options {
            min_workers: Some(1),
            max_workers: Some(4),
            batch_size: Some(8),
            max_batch_delay: Some(Duration::from_millis(50)),
            response_timeout: Some(Duration::from_secs(30)),
            startup_timeout: Some(Duration::from_secs(600)),
            job_queue_size: Some(7),
            device: Some(DeviceType::Gpu),
            device_ids: vec![0, 1],
            frameserve: None,
        };
        assert_eq!(options, expected);
        for nothing in ["", "\n\n", "# nothing\n", "---\n", "minWorkers:\n", "{}"] {
            assert_eq!(Options::parse(nothing, "m").unwrap(), Options::default(), "{nothing:?}");
        }
    }

    #[test]
    fn what_they_can_not_be_is_refused() {
        for (text, says) in [
            ("minWorkers: 3\nmaxWorkers: 2", "`minWorkers` is 3, which is more than `maxWorkers`, 2"),
            (
                "batchSize: 0",
                "`batchSize` is `0`, which is none of what is allowed: a whole number from 1 to 65536",
            ),
            ("batchSize: -1", "`-1`"),
            ("batchSize: many", "`\"many\"`"),
            ("batchSize: 1.5", "`1.5`"),
            ("maxBatchDelay: 99999999999", "from 0 to 86400000"),
            ("deviceType: tpu", "`deviceType` is `\"tpu\"`, which is none of what is allowed: cpu, gpu"),
            ("deviceIds: 0\ndeviceType: gpu", "a list of numbers from 0 to 255"),
            ("deviceIds: [0]", "`deviceIds` goes with `deviceType: gpu`"),
            ("frameserve: 1", "the fields of a model's configuration"),
            ("- a\n- b", "it should have keys and values"),
            ("a: [", "no readable YAML"),
            ("a: 1\na: 2", "no readable YAML"),
        ] {
            let error = Options::parse(text, "m").unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn what_is_made_to_grow_is_refused() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            laughs += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", "));
        }
        let error = Options::parse(&laughs, "m").unwrap_err().to_string();
        assert!(error.contains("no readable YAML"), "{error}");
        let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Options::parse(&deep, "m").is_err());
    }
}
