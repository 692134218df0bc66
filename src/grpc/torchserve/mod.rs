//! TorchServe's services: predictions, the management of models, and its form of the open inference protocol.
//!
//! They translate. What is served is the same as for every other protocol: a model that is registered here is there for
//! all of them, and those of the repository can be asked here.

mod describe;
pub mod handler;
mod inference;
mod management;
mod open_inference;
mod refusal;
mod register;
mod stream;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::codegen::InterceptedService;

use crate::config;
use crate::engine::{Engine, Route, Served};
use crate::error::Error;
use crate::grpc::layer::CallContext;
use crate::model::registry::Held;
use crate::model::store::ModelStore;
use crate::proto::torchserve::inference::PredictionsRequest;
use crate::proto::torchserve::inference::inference_ap_is_service_server::InferenceApIsServiceServer;
use crate::proto::torchserve::management::management_ap_is_service_server::ManagementApIsServiceServer;
use crate::proto::torchserve::openinference::grpc_inference_service_server::GrpcInferenceServiceServer;
use refusal::Refusal;
pub use tokens::{Check, KeyFile, RENEWAL_PATH, Renewal};
use tokens::{Keys, Purpose};

/// The largest message that says what is to become of a model.
const ORDER_BYTES: usize = 64 << 10;

/// What the services share.
#[derive(Debug, Clone)]
pub struct TorchServe(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: EngineHandle,
    terms: config::TorchServe,
    store: ModelStore,
    /// `None` where no token is asked for.
    keys: Option<Arc<Keys>>,
}

/// The engine, which tells nothing of itself in logs.
struct EngineHandle(Arc<Engine>);

/// Predictions.
pub type Inference = InterceptedService<InferenceApIsServiceServer<TorchServe>, Check>;
/// The management of models.
pub type Management = InterceptedService<ManagementApIsServiceServer<TorchServe>, Check>;
/// The open inference protocol under TorchServe's package.
pub type OpenInference = InterceptedService<GrpcInferenceServiceServer<TorchServe>, Check>;

impl TorchServe {
    /// Serves this engine's models on these terms. Where tokens are asked for, this writes their file.
    pub fn new(engine: Arc<Engine>, terms: config::TorchServe) -> Result<Self, Error> {
        let store = ModelStore::new(terms.model_store.clone(), &terms.allowed_urls)?;
        let keys = terms.key_file.clone().map(Keys::create).transpose()?.map(Arc::new);
        Ok(TorchServe(Arc::new(Shared { engine: EngineHandle(engine), terms, store, keys })))
    }

    /// Predictions, for who has the key to them.
    pub fn inference(&self) -> Inference {
        let service = InferenceApIsServiceServer::new(self.clone())
            .max_decoding_message_size(self.engine().limits().max_message_bytes)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Deflate);
        InterceptedService::new(service, self.check(Purpose::Inference))
    }

    /// The management of models, for who has the key to it.
    pub fn management(&self) -> Management {
        let service = ManagementApIsServiceServer::new(self.clone()).max_decoding_message_size(ORDER_BYTES);
        InterceptedService::new(service, self.check(Purpose::Management))
    }

    /// The open inference protocol, for who has the key to predictions.
    pub fn open_inference(&self) -> OpenInference {
        let service = GrpcInferenceServiceServer::new(self.clone())
            .max_decoding_message_size(self.engine().limits().max_message_bytes)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Deflate);
        InterceptedService::new(service, self.check(Purpose::Inference))
    }

    /// What renews tokens, where they are asked for.
    pub fn renewal(&self) -> Option<Renewal> {
        self.0.keys.as_ref().map(Renewal::of)
    }

    /// The file of tokens, for as long as the server serves.
    pub fn key_file(&self) -> Option<KeyFile> {
        self.0.keys.as_ref().map(KeyFile::of)
    }

    fn check(&self, purpose: Purpose) -> Check {
        Check::new(self.0.keys.clone(), purpose)
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.0.engine.0
    }

    /// The version of a model that is called so; the default one if `version` is empty. `None`: it is no model, though
    /// it may be a pipeline.
    fn held(&self, name: &str, version: &str) -> Result<Option<Held>, Refusal> {
        let held = self.engine().models().held(name);
        if held.is_empty() {
            return Ok(None);
        }
        let found = match version {
            "" => held.into_iter().find(|held| held.is_default),
            version => held.into_iter().find(|held| held.is_called(version)),
        };
        found.map(Some).ok_or_else(|| refusal::no_version(name, version))
    }

    /// What answers to this name and version, as clients of these protocols write them.
    async fn served(&self, call: &CallContext, name: &str, version: &str) -> Result<Served, Refusal> {
        let answering = call.multiplexed_model_id().unwrap_or(name);
        let held = self.held(answering, version).map_err(|refusal| refusal.with_code(Code::Internal))?;
        let number = match held {
            Some(held) => held.version.number().to_string(),
            None => version.strip_suffix(".0").unwrap_or(version).to_owned(),
        };
        let served = self.engine().routed(call.route(), name, &number).await;
        served.map_err(|error| Refusal::of_prediction(error, name, version))
    }

    /// Answers one request for a prediction.
    async fn predict(&self, request: PredictionsRequest, call: &CallContext) -> Result<Bytes, Refusal> {
        let PredictionsRequest { model_name: name, model_version: version, input, .. } = request;
        let refused = |error| Refusal::of_prediction(error, &name, &version);
        if name.is_empty() && call.route() == &Route::default() {
            return Err(refusal::required("model_name"));
        }
        if self.engine().drain().is_cancelled() {
            return Err(refused(Error::Draining(": it takes no new requests".into())));
        }
        let served = self.served(call, &name, &version).await?;
        let mut request = handler::request(&served, input).map_err(refused)?;
        request.treatment.deadline = call.deadline();
        let answering = self.engine().infer(&served, request);
        let reply = match response_timeout(&served) {
            Some(limit) => {
                let late = |_| refusal::too_late(limit);
                tokio::time::timeout(limit, answering).await.map_err(late)?
            }
            None => answering.await,
        };
        handler::prediction(&served, reply.map_err(refused)?).map_err(refused)
    }

    /// Registers the models that are to be there from the start. One that can't be had is logged.
    pub async fn load(&self) {
        let names = match &self.0.terms.load_models[..] {
            [all] if all == "all" => self.0.store.names().unwrap_or_else(|error| {
                tracing::error!(%error, "the model store can't be looked at");
                Vec::new()
            }),
            names => names.to_vec(),
        };
        let loads = names.iter().map(|named| async move {
            let (name, file) =
                named.split_once('=').map_or((None, named.as_str()), |(name, file)| (Some(name), file));
            if let Err(refusal) = self.load_at_start(name, file).await {
                tracing::error!(model = file, error = refusal.text(), "a model could not be loaded");
            }
        });
        futures_util::future::join_all(loads).await;
    }
}

/// How long an answer may take, where the model's archive or who registered it says.
fn response_timeout(served: &Served) -> Option<Duration> {
    match served {
        Served::Model(version) => version.registered().map(|registered| registered.response_timeout),
        Served::Pipeline(_) => None,
    }
}

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}
