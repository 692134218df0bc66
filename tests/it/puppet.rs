//! Models that do what a test says, and repositories to load them from.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use frameserve::Error;
use frameserve::config::{Config, Models};
use frameserve::model::backend::{Backend, Inputs, Model, Opened, Outputs};
use frameserve::model::{Backends, Control, Device, Settings};
use frameserve::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use frameserve::proto::inference::model_infer_request::InferInputTensor;
use frameserve::proto::inference::{ModelInferRequest, ModelInferResponse};
use frameserve::tensor::{DataType, Shape, Tensor};
use tempfile::TempDir;
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::harness::TestServer;

pub type InferClient = GrpcInferenceServiceClient<Channel>;

/// What a puppet does with a batch; the number is that of its version's folder.
type Act = dyn Fn(&Settings, u64, &[Inputs]) -> Result<Vec<Outputs>, Error> + Send + Sync;

/// A backend whose models all act in one way.
#[derive(Clone)]
pub struct Puppet {
    act: Arc<Act>,
    /// Instances that were made so far.
    made: Arc<watch::Sender<usize>>,
}

struct Instance {
    act: Arc<Act>,
    settings: Arc<Settings>,
    version: u64,
}

struct Opening {
    puppet: Puppet,
    settings: Arc<Settings>,
    version: u64,
}

impl Puppet {
    pub fn new(act: impl Fn(u64, &[Inputs]) -> Result<Vec<Outputs>, Error> + Send + Sync + 'static) -> Self {
        Self::of_settings(move |_, version, batch| act(version, batch))
    }

    /// One whose models do what their settings ask for.
    pub fn of_settings(
        act: impl Fn(&Settings, u64, &[Inputs]) -> Result<Vec<Outputs>, Error> + Send + Sync + 'static,
    ) -> Self {
        Puppet { act: Arc::new(act), made: Arc::default() }
    }

    pub fn instances_made(&self) -> usize {
        *self.made.borrow()
    }
}

impl Backend for Puppet {
    fn open(&self, settings: &Arc<Settings>, folder: &Path) -> Result<Box<dyn Opened>, Error> {
        let version = folder.file_name().unwrap().to_str().unwrap().parse().unwrap();
        match std::fs::read_to_string(folder.join("model.pt")) {
            Ok(text) if text == "broken" => Err(Error::Load("this file is broken".into())),
            _ => Ok(Box::new(Opening { puppet: self.clone(), settings: Arc::clone(settings), version })),
        }
    }
}

impl Opened for Opening {
    fn instance(&self, _: Device) -> Result<Box<dyn Model>, Error> {
        self.puppet.made.send_modify(|made| *made += 1);
        let (act, settings) = (Arc::clone(&self.puppet.act), Arc::clone(&self.settings));
        Ok(Box::new(Instance { act, settings, version: self.version }))
    }
}

impl Model for Instance {
    fn infer(&mut self, batch: &[Inputs]) -> Result<Vec<Outputs>, Error> {
        (self.act)(&self.settings, self.version, batch)
    }
}

/// Holds batches until the test lets them go, and remembers what they consisted of.
#[derive(Clone, Default)]
pub struct Hold(Arc<Held>);

#[derive(Default)]
struct Held {
    allowed: Mutex<usize>,
    more: Condvar,
    seen: Mutex<VecDeque<Vec<f32>>>,
    arrived: watch::Sender<usize>,
}

impl Hold {
    /// To be called by the puppet.
    pub fn batch(&self, batch: &[Inputs]) {
        let first = |inputs: &Inputs| values(inputs[0].as_ref().unwrap())[0];
        self.0.seen.lock().unwrap().push_back(batch.iter().map(first).collect());
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        let closed = self.0.more.wait_while(self.0.allowed.lock().unwrap(), |allowed| *allowed == 0);
        *closed.unwrap() -= 1;
    }

    pub fn open(&self, batches: usize) {
        let mut allowed = self.0.allowed.lock().unwrap();
        *allowed = allowed.saturating_add(batches);
        self.0.more.notify_all();
    }

    /// Waits until so many batches have come.
    pub async fn arrived(&self, batches: usize) {
        self.0.arrived.subscribe().wait_for(|arrived| *arrived >= batches).await.unwrap();
    }

    /// The first value of each request, batch by batch.
    pub fn seen(&self) -> Vec<Vec<f32>> {
        self.0.seen.lock().unwrap().iter().cloned().collect()
    }
}

/// A model repository of one test.
pub struct Shelf(pub TempDir);

impl Shelf {
    pub fn new() -> Self {
        Shelf(TempDir::new().unwrap())
    }

    /// A model of the backend `puppet` with one FP32 input `x` and one output `y` of any length, with these lines
    /// more in its configuration.
    pub fn add(&self, name: &str, more: &str) {
        let max = if more.contains("max_batch_size") { "" } else { "max_batch_size: 8" };
        let text = format!(
            "name: \"{name}\" backend: \"puppet\" {max}\n\
             input {{ name: \"x\" data_type: TYPE_FP32 dims: [-1] }}\n\
             output {{ name: \"y\" data_type: TYPE_FP32 dims: [-1] }}\n{more}\n"
        );
        self.config(name, &text);
        self.version(name, 1, "good");
    }

    /// A model of the backend `puppet` that takes gray pictures of any size and pixels as they are, with one of these
    /// tasks, and with these lines more in its configuration.
    pub fn looker(&self, name: &str, task: &str, more: &str) {
        let port = |name: &str, of: &str, dims: &str| {
            format!("output {{ name: \"{name}\" data_type: TYPE_{of} dims: [{dims}] }}\n")
        };
        let parameter = |key: &str, value: &str| {
            format!("parameters {{ key: \"frameserve.{key}\" value {{ string_value: \"{value}\" }} }}\n")
        };
        let (outputs, labels) = match task {
            "image" => (port("y", "FP32", "-1, -1") + &parameter("output_scale", "1"), ""),
            "detection" => {
                let ports = [
                    port("boxes", "FP32", "-1, 4"),
                    port("scores", "FP32", "-1"),
                    port("classes", "INT64", "-1"),
                ];
                (ports.concat(), "cat\ndog\nbird\n")
            }
            "classification" => (port("scores", "FP32", "4"), "cat\ndog\nbird\nant\n"),
            "segmentation" => (port("mask", "FP32", "3, -1, -1"), "nothing\nsky\nsea\n"),
            other => panic!("{other}"),
        };
        let labeled = if labels.is_empty() { String::new() } else { parameter("labels", "labels.txt") };
        let max = if more.contains("max_batch_size") { "" } else { "max_batch_size: 8" };
        let text = format!(
            "name: \"{name}\" backend: \"puppet\" {max}\n\
             input {{ name: \"x\" data_type: TYPE_FP32 dims: [-1, -1] }}\n\
             {outputs}{labeled}{}{}{more}\n",
            parameter("scale", "1"),
            parameter("task", task)
        );
        self.config(name, &text);
        std::fs::write(self.0.path().join(name).join("labels.txt"), labels).unwrap();
        self.version(name, 1, "good");
    }

    pub fn config(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.0.path().join(name)).unwrap();
        std::fs::write(self.0.path().join(name).join("config.pbtxt"), text).unwrap();
    }

    /// The file of a version; a puppet can't open one that says "broken".
    pub fn version(&self, name: &str, number: u64, contents: &str) {
        let folder = self.0.path().join(name).join(number.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("model.pt"), contents).unwrap();
    }

    pub fn models(&self, puppet: &Puppet, control: Control) -> Models {
        Models {
            repositories: vec![self.0.path().to_owned()],
            control,
            backends: Backends::default().with("puppet", puppet.clone()),
            ..Models::default()
        }
    }
}

/// A server whose models have been loaded, and a client of it.
pub async fn start(shelf: &Shelf, puppet: &Puppet, control: Control) -> (TestServer, InferClient) {
    start_with(Config { models: shelf.models(puppet, control), ..Config::default() }).await
}

pub async fn start_with(config: Config) -> (TestServer, InferClient) {
    let server = TestServer::start(config).await;
    let client = InferClient::new(server.channel().await);
    server.loaded().await;
    (server, client)
}

/// One instance, so that it is known what runs at the same time.
pub const ALONE: &str = "instance_group { count: 1 kind: KIND_CPU }";

/// A request with these rows of the input `x`, each of one value for each of `width` columns.
pub fn rows(model: &str, rows: &[f32], width: usize) -> ModelInferRequest {
    let raw: Vec<u8> =
        rows.iter().flat_map(|value| std::iter::repeat_n(value.to_le_bytes(), width)).flatten().collect();
    let input = InferInputTensor {
        name: "x".into(),
        datatype: "FP32".into(),
        shape: vec![rows.len() as i64, width as i64],
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        model_name: model.into(),
        inputs: vec![input],
        raw_input_contents: vec![Bytes::from(raw)],
        ..ModelInferRequest::default()
    }
}

pub fn answer(response: &ModelInferResponse) -> Vec<f32> {
    response.raw_output_contents[0].as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

pub fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.bytes().unwrap().as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// The same tensor with other values.
pub fn map(tensor: &Tensor, change: impl Fn(f32) -> f32) -> Tensor {
    let bytes: Vec<u8> = values(tensor).into_iter().flat_map(|value| change(value).to_le_bytes()).collect();
    let shape = Shape::new(tensor.shape().dims().to_vec());
    Tensor::raw(DataType::Fp32, shape, Bytes::from(bytes)).unwrap()
}

pub const PATIENCE: Duration = Duration::from_secs(20);
