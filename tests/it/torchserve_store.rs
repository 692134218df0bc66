//! A model store of one test, with archives of puppets, and a server with TorchServe's services.

use std::fs::File;
use std::io::Write;

use frameserve::config::{Config, TorchServe};
use frameserve::model::Control;
use frameserve::proto::torchserve::inference::PredictionsRequest;
use frameserve::proto::torchserve::inference::inference_ap_is_service_client::InferenceApIsServiceClient;
use frameserve::proto::torchserve::management::management_ap_is_service_client::ManagementApIsServiceClient;
use frameserve::proto::torchserve::management::*;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Status};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::harness::TestServer;
use crate::puppet::{InferClient, Puppet, Shelf, map};

pub type Inference = InferenceApIsServiceClient<Channel>;
pub type Management = ManagementApIsServiceClient<Channel>;

/// What an archive of the backend `puppet` takes and gives: FP32 `x` to `y`, of any length.
const TENSORS: &str = "frameserve:\n  max_batch_size: 8\n  input: [{name: x, data_type: TYPE_FP32, dims: [-1]}]\n  \
                       output: [{name: 'y', data_type: TYPE_FP32, dims: [-1]}]\n";

/// A server, clients of it, and the folders that it serves.
pub struct Served {
    pub server: TestServer,
    pub inference: Inference,
    pub management: Management,
    pub kserve: InferClient,
    pub store: TempDir,
    _shelf: Shelf,
}

/// A parameter that models of TorchScript may have, and puppets use for something else.
pub const TIMES: &str = "INTRA_OP_THREAD_COUNT";

/// Of this one nothing is made.
pub const BAD: &str = "999";

/// A puppet that gives back its inputs as often as its model's parameter says, or as they are.
pub fn multiplier() -> Puppet {
    Puppet::of_settings(|settings, _, batch| {
        let times = settings.parameters.get(TIMES).map_or(1.0, |times| {
            assert_ne!(times, BAD);
            times.parse().unwrap()
        });
        Ok(batch.iter().map(|inputs| vec![map(inputs[0].as_ref().unwrap(), |value| value * times)]).collect())
    })
}

impl Served {
    /// Clients may do everything, and need no token.
    pub async fn start(puppet: &Puppet) -> Self {
        Self::with(puppet, TorchServe { model_api: true, key_file: None, ..TorchServe::default() }, |_, _| {})
            .await
    }

    /// On these terms, but for the model store, and with what is put into the store and the repository first.
    pub async fn with(puppet: &Puppet, terms: TorchServe, fill: impl Fn(&TempDir, &Shelf)) -> Self {
        let (store, shelf) = (TempDir::new().unwrap(), Shelf::new());
        fill(&store, &shelf);
        let mut models = shelf.models(puppet, Control::None);
        // Archives are of TorchScript.
        models.backends = models.backends.with("pytorch", puppet.clone());
        let terms = TorchServe { model_store: Some(store.path().into()), ..terms };
        let server = TestServer::start(Config { models, torchserve: Some(terms), ..Config::default() }).await;
        server.loaded().await;
        let channel = server.channel().await;
        Served {
            inference: Inference::new(channel.clone()),
            management: Management::new(channel.clone()),
            kserve: InferClient::new(channel),
            server,
            store,
            _shelf: shelf,
        }
    }

    /// Puts an archive into the store, and registers it.
    pub async fn register(&mut self, name: &str, version: &str, workers: i32) -> Result<String, Status> {
        let file = format!("{name}-{version}.mar");
        mar(&self.store, &file, name, version, &parameter(&times(version).to_string()));
        let request = RegisterModelRequest {
            url: file,
            initial_workers: workers,
            synchronous: true,
            ..RegisterModelRequest::default()
        };
        self.register_as(request).await
    }

    pub async fn register_as(&mut self, request: RegisterModelRequest) -> Result<String, Status> {
        Ok(self.management.register_model(request).await?.into_inner().msg)
    }

    pub async fn scale(
        &mut self,
        model_name: &str,
        min_worker: i32,
        max_worker: i32,
    ) -> Result<String, Status> {
        let request = ScaleWorkerRequest {
            model_name: model_name.into(),
            min_worker,
            max_worker,
            synchronous: true,
            ..ScaleWorkerRequest::default()
        };
        Ok(self.management.scale_worker(request).await?.into_inner().msg)
    }

    pub async fn describe(&mut self, name: &str, version: &str) -> Result<serde_json::Value, Status> {
        let (model_name, model_version) = (name.into(), version.into());
        let request = DescribeModelRequest { model_name, model_version, customized: false };
        let message = self.management.describe_model(request).await?.into_inner().msg;
        Ok(serde_json::from_str(&message).unwrap())
    }

    pub async fn set_default(&mut self, name: &str, version: &str) -> Result<String, Status> {
        let request = SetDefaultRequest { model_name: name.into(), model_version: version.into() };
        Ok(self.management.set_default(request).await?.into_inner().msg)
    }

    pub async fn unregister(&mut self, name: &str, version: &str) -> Result<String, Status> {
        let request = UnregisterModelRequest { model_name: name.into(), model_version: version.into() };
        Ok(self.management.unregister_model(request).await?.into_inner().msg)
    }

    /// What a version makes of 1.
    pub async fn predict(&mut self, name: &str, version: &str) -> Result<String, Status> {
        let reply = self.inference.predictions(request(name, version)).await?;
        Ok(plain(&reply.into_inner().prediction))
    }
}

/// A request with one row of one value, which is 1.
pub fn request(name: &str, version: &str) -> PredictionsRequest {
    PredictionsRequest {
        model_name: name.into(),
        model_version: version.into(),
        input: [("data".to_string(), "[[1.0]]".into())].into(),
        sequence_id: None,
    }
}

/// The line of options that says so.
pub fn parameter(times: &str) -> String {
    format!("  parameters: {{{TIMES}: {{string_value: '{times}'}}}}")
}

/// A prediction without the blanks in it.
pub fn plain(prediction: &[u8]) -> String {
    std::str::from_utf8(prediction).unwrap().split_whitespace().collect()
}

/// What a version of such a text multiplies by: its digits, as a number.
pub fn times(version: &str) -> f32 {
    version.replace('.', "").parse().unwrap()
}

/// An archive of a puppet, with these lines more in its options.
pub fn mar(store: &TempDir, file: &str, name: &str, version: &str, more: &str) {
    let manifest = serde_json::json!({
        "createdOn": "21/11/2026 23:00:00",
        "runtime": "python",
        "model": {
            "modelName": name,
            "serializedFile": "model.pt",
            "handler": "base_handler",
            "modelVersion": version,
            "configFile": "options.yaml",
        },
        "archiverVersion": "0.12.0",
    });
    // As much of a program in TorchScript as is looked at.
    let program = zipped(&[("model/constants.pkl", b"")]);
    let (manifest, options) = (manifest.to_string(), format!("{TENSORS}{more}\n"));
    let files: [(&str, &[u8]); 3] = [
        ("MAR-INF/MANIFEST.json", manifest.as_bytes()),
        ("model.pt", &program),
        ("options.yaml", options.as_bytes()),
    ];
    File::create(store.path().join(file)).unwrap().write_all(&zipped(&files)).unwrap();
}

fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The code of a refusal, and the two lines that TorchServe says.
pub fn said<T: std::fmt::Debug>(refused: Result<T, Status>) -> (Code, String, String) {
    let status = refused.unwrap_err();
    let mut lines = status.message().lines().map(String::from);
    (status.code(), lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
}

/// As [`said`] gives it.
pub fn says(code: Code, text: &str, class: &str) -> (Code, String, String) {
    (code, text.into(), class.into())
}
