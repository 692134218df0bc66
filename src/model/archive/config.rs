//! From a handler of TorchServe to a configuration of ours, by which the same is done.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::handler::Handler;
use super::options::{DeviceType, Options};
use super::{LABELS, Together};
use crate::error::Error;
use crate::model::backend::Backends;
use crate::model::config::PYTORCH;

/// The input of models that see pictures.
const IMAGE: &str = "image";

/// The least score of a detection that TorchServe's handler gives.
const THRESHOLD: &str = "0.5";

/// The most detections: more than any model gives.
const MOST: &str = "100000";

/// What a configuration is made of.
pub struct Parts<'a> {
    pub handler: Handler,
    pub options: &'a Options,
    pub together: Together,
    /// The unpacked program.
    pub program: &'a Path,
    /// Whether classes have names.
    pub labelled: bool,
    /// A configuration that came with the archive.
    pub brought: Option<Map<String, Value>>,
}

impl Parts<'_> {
    /// The configuration, as JSON.
    pub fn config(self) -> Result<String, Error> {
        let mut config = match self.handler {
            Handler::ImageClassifier => self.classifier(),
            Handler::ObjectDetector => self.detector()?,
            Handler::ImageSegmenter => self.segmenter(),
            Handler::Base => self.tensors()?,
        };
        config.insert("backend".into(), PYTORCH.into());
        // What came with the archive goes before.
        if let Some(group) = self.instances() {
            config.entry("instance_group").or_insert(json!([group]));
        }
        if let Some(batching) = self.batching(config.get("max_batch_size")) {
            config.entry("dynamic_batching").or_insert(batching);
        }
        Ok(Value::Object(config).to_string())
    }

    fn classifier(&self) -> Map<String, Value> {
        let mut config = self.cropped();
        config.insert("output".into(), json!([output("scores", "TYPE_FP32", &[-1])]));
        self.parameters(&mut config, "classification", &[("activation", "softmax")]);
        config
    }

    fn segmenter(&self) -> Map<String, Value> {
        let mut config = self.cropped();
        config.insert("output".into(), json!([output("out", "TYPE_FP32", &[-1, -1, -1])]));
        self.parameters(
            &mut config,
            "segmentation",
            &[("mask", "out"), ("form", "scores"), ("activation", "softmax"), ("output_layout", "chw")],
        );
        config
    }

    /// What a picture becomes that is shown to a model of the usual size.
    fn cropped(&self) -> Map<String, Value> {
        let mut config = Map::new();
        config.insert("max_batch_size".into(), self.together.rows.into());
        config.insert("input".into(), json!([input(&[3, 224, 224])]));
        let recipe = [
            ("resize", "short=256"),
            ("crop", "224x224"),
            ("interpolation", "bilinear-antialias"),
            ("mean", "imagenet"),
            ("std", "imagenet"),
        ];
        let recipe = recipe.map(|(key, value)| parameter(key, value));
        config.insert("parameters".into(), Value::Object(recipe.into_iter().collect()));
        config
    }

    /// Pictures of any size come one by one: those of a batch would have to have the same.
    fn detector(&self) -> Result<Map<String, Value>, Error> {
        let mut config = Map::new();
        let dims: &[i64] = if self.takes_list()? { &[3, -1, -1] } else { &[1, 3, -1, -1] };
        config.insert("max_batch_size".into(), 0.into());
        config.insert("input".into(), json!([input(dims)]));
        let outputs = [
            output("boxes", "TYPE_FP32", &[-1, 4]),
            output("labels", "TYPE_INT64", &[-1]),
            output("scores", "TYPE_FP32", &[-1]),
        ];
        config.insert("output".into(), json!(outputs));
        self.parameters(&mut config, "detection", &[("threshold", THRESHOLD), ("max", MOST)]);
        Ok(config)
    }

    /// What the model takes and gives has to stand somewhere.
    fn tensors(&self) -> Result<Map<String, Value>, Error> {
        let brought = self.options.frameserve.as_ref().or(self.brought.as_ref());
        let mut config = brought.cloned().ok_or_else(|| {
            Error::Load(format!(
                "`{}` gives the model tensors, and a program in TorchScript does not say of which types and shapes: \
                 put a configuration (docs/models.md) into the file of options under the key `frameserve`, or as JSON \
                 into the program (the extra file frameserve.json of torch.jit.save)",
                Handler::Base
            ))
        })?;
        // The archive's name is the one that counts.
        config.remove("name");
        let batches = config.get("max_batch_size").and_then(Value::as_u64).is_some_and(|rows| rows > 0);
        if batches && self.together.rows > 1 {
            config.insert("max_batch_size".into(), self.together.rows.into());
        }
        Ok(config)
    }

    fn parameters(&self, config: &mut Map<String, Value>, task: &str, keys: &[(&str, &str)]) {
        let labels = self.labelled.then_some(("labels", LABELS));
        let all = [("task", task)].into_iter().chain(keys.iter().copied()).chain(labels);
        let parameters = config.entry("parameters").or_insert_with(|| json!({}));
        if let Some(parameters) = parameters.as_object_mut() {
            parameters.extend(all.map(|(key, value)| parameter(key, value)));
        }
    }

    /// Whether the program takes a list of pictures, as torchvision's detectors do when they are scripted, and
    /// not a batch.
    fn takes_list(&self) -> Result<bool, Error> {
        let backends = Backends::default();
        // Without libtorch the model can't be loaded anyhow, which is said in its place.
        let Some(backend) = backends.find(PYTORCH) else { return Ok(false) };
        Ok(backend.names(self.program)?.takes_list)
    }

    fn instances(&self) -> Option<Value> {
        let Options { min_workers, device, device_ids, .. } = self.options;
        let count = min_workers.filter(|count| *count > 0);
        let (kind, gpus) = match device {
            Some(DeviceType::Cpu) => ("KIND_CPU", &[][..]),
            // Without numbers it is a wish, as it is for TorchServe: the CPU does where there is no GPU.
            Some(DeviceType::Gpu) if !device_ids.is_empty() => ("KIND_GPU", &device_ids[..]),
            _ if count.is_some() => ("KIND_AUTO", &[][..]),
            _ => return None,
        };
        Some(json!({ "kind": kind, "gpus": gpus, "count": count.unwrap_or(1) }))
    }

    fn batching(&self, max_batch_size: Option<&Value>) -> Option<Value> {
        let waits = max_batch_size.and_then(Value::as_u64).is_some_and(|rows| rows > 1);
        let mut batching = Map::new();
        if waits {
            let delay = u64::try_from(self.together.delay.as_micros()).unwrap_or(u64::MAX);
            batching.insert("max_queue_delay_microseconds".into(), delay.into());
        }
        if let Some(most) = self.options.job_queue_size {
            batching.insert(
                "default_queue_policy".into(),
                json!({ "max_queue_size": most, "allow_timeout_override": true }),
            );
        }
        (!batching.is_empty()).then_some(Value::Object(batching))
    }
}

fn input(dims: &[i64]) -> Value {
    json!({ "name": IMAGE, "data_type": "TYPE_FP32", "dims": dims })
}

fn output(name: &str, data_type: &str, dims: &[i64]) -> Value {
    json!({ "name": name, "data_type": data_type, "dims": dims })
}

fn parameter(key: &str, value: &str) -> (String, Value) {
    (format!("frameserve.{key}"), json!({ "string_value": value }))
}
