//! The client of the KServe V2 protocol, for every server that speaks it: this one, Triton, MLServer, KServe.
//!
//! ```no_run
//! use frameserve::client::{ClientError, InferenceClient};
//! use frameserve::proto::inference::ModelInferRequest;
//!
//! # async fn example(request: ModelInferRequest) -> Result<(), ClientError> {
//! let client = InferenceClient::connect("http://127.0.0.1:50051").await?;
//! let metadata = client.metadata("classifier", "").await?;
//! println!("{} takes {} inputs", metadata.name, metadata.inputs.len());
//! let reply = client.infer(request).await?;
//! println!("{} outputs came back", reply.outputs.len());
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::encoded::{Encoded, Message, Sending};
use super::target::Target;
use super::{ClientError, Tls, dial, endpoint, refused};
use crate::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::proto::inference::model_repository_parameter::ParameterChoice;
use crate::proto::inference::repository_index_response::ModelIndex;
use crate::proto::inference::{
    ModelConfig, ModelConfigRequest, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    ModelMetadataResponse, ModelRepositoryParameter, ModelStatistics, ModelStatisticsRequest,
    RepositoryIndexRequest, RepositoryModelLoadRequest, RepositoryModelUnloadRequest, ServerMetadataRequest,
    ServerMetadataResponse, SystemSharedMemoryRegisterRequest, SystemSharedMemoryUnregisterRequest,
};

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// A connection to a server of models. Clones share it.
#[derive(Debug, Clone)]
pub struct InferenceClient {
    service: GrpcInferenceServiceClient<Channel>,
    encoded: Grpc<Sending>,
    url: Arc<str>,
    timeout: Option<Duration>,
}

impl InferenceClient {
    /// Connects to `url`, as [`super::Client::connect`] does. It asks an idle connection for no sign of life,
    /// since servers made with gRPC's C library hang up on who does; [`InferenceClient::with_timeout`] bounds
    /// how long an answer is waited for.
    pub async fn connect(url: &str) -> Result<InferenceClient, ClientError> {
        InferenceClient::connect_with(url, &Tls::default()).await
    }

    /// The same with more said about TLS, for `https://` only.
    pub async fn connect_with(url: &str, tls: &Tls) -> Result<InferenceClient, ClientError> {
        let target = Target::parse(url)?;
        let endpoint = endpoint(&target)?;
        let url = target.url();
        let channel = dial(&endpoint, target, tls).await?;
        let service = GrpcInferenceServiceClient::new(channel.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        let encoded = Grpc::new(Sending(channel)).max_decoding_message_size(usize::MAX);
        Ok(InferenceClient { service, encoded, url: url.into(), timeout: None })
    }

    /// Waits so long for each answer, and tells the server so.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> InferenceClient {
        InferenceClient { timeout: Some(timeout), ..self }
    }

    /// The full URL that this client is connected to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Which server this is, and which extensions of the protocol it has.
    pub async fn server_metadata(&self) -> Result<ServerMetadataResponse, ClientError> {
        let request = self.request(ServerMetadataRequest {});
        self.answer(self.service.clone().server_metadata(request)).await
    }

    /// A model's versions, inputs and outputs; the empty version leaves the choice to the server.
    pub async fn metadata(&self, name: &str, version: &str) -> Result<ModelMetadataResponse, ClientError> {
        let request = self.request(ModelMetadataRequest { name: name.into(), version: version.into() });
        self.answer(self.service.clone().model_metadata(request)).await
    }

    /// A model's configuration.
    pub async fn config(&self, name: &str, version: &str) -> Result<ModelConfig, ClientError> {
        let request = self.request(ModelConfigRequest { name: name.into(), version: version.into() });
        let reply = self.answer(self.service.clone().model_config(request)).await?;
        Ok(reply.config.unwrap_or_default())
    }

    /// What a model has done since it was loaded; the empty name stands for every model.
    pub async fn statistics(&self, name: &str, version: &str) -> Result<Vec<ModelStatistics>, ClientError> {
        let request = self.request(ModelStatisticsRequest { name: name.into(), version: version.into() });
        let reply = self.answer(self.service.clone().model_statistics(request)).await?;
        Ok(reply.model_stats)
    }

    /// Every model that the server has or could load.
    pub async fn index(&self) -> Result<Vec<ModelIndex>, ClientError> {
        let request = self.request(RepositoryIndexRequest::default());
        Ok(self.answer(self.service.clone().repository_index(request)).await?.models)
    }

    /// Loads a model, or loads it anew; `config` is a configuration as JSON that replaces the one on disk.
    pub async fn load(&self, name: &str, config: Option<&str>) -> Result<(), ClientError> {
        let text = |config: &str| ModelRepositoryParameter {
            parameter_choice: Some(ParameterChoice::StringParam(config.into())),
        };
        let parameters = config.map(|config| ("config".to_string(), text(config)));
        let request = self.request(RepositoryModelLoadRequest {
            repository_name: String::new(),
            model_name: name.into(),
            parameters: parameters.into_iter().collect::<HashMap<_, _>>(),
        });
        self.answer(self.service.clone().repository_model_load(request)).await.map(drop)
    }

    /// Unloads a model.
    pub async fn unload(&self, name: &str) -> Result<(), ClientError> {
        let request = self.request(RepositoryModelUnloadRequest {
            model_name: name.into(),
            ..RepositoryModelUnloadRequest::default()
        });
        self.answer(self.service.clone().repository_model_unload(request)).await.map(drop)
    }

    /// Runs a model.
    pub async fn infer(&self, request: ModelInferRequest) -> Result<ModelInferResponse, ClientError> {
        let request = self.request(request);
        self.answer(self.service.clone().model_infer(request)).await
    }

    /// Runs a model with a request that [`InferenceClient::encode`] has encoded already, and leaves the reply as
    /// it came, for [`InferenceClient::decode`]. For who sends one message many times.
    pub async fn infer_encoded(&self, request: Bytes) -> Result<Bytes, ClientError> {
        let mut carrier = self.request(());
        carrier.extensions_mut().insert(Message(request));
        let mut service = self.encoded.clone();
        self.answer(async move {
            let broken = |error| Status::from_error(Box::new(error));
            service.ready().await.map_err(broken)?;
            service.unary(carrier, PathAndQuery::from_static(INFER), Encoded).await
        })
        .await
    }

    /// The bytes of a request.
    #[must_use]
    pub fn encode(request: &ModelInferRequest) -> Bytes {
        request.encode_to_vec().into()
    }

    /// The reply in these bytes, whose raw contents are parts of them and not copied; or why it is none.
    pub fn decode(reply: Bytes) -> Result<ModelInferResponse, String> {
        ModelInferResponse::decode(reply).map_err(|error| error.to_string())
    }

    /// Makes a region of this machine's memory known to the server: `key` is its name for `shm_open`.
    pub async fn register_memory(&self, name: &str, key: &str, bytes: u64) -> Result<(), ClientError> {
        let request = self.request(SystemSharedMemoryRegisterRequest {
            name: name.into(),
            key: key.into(),
            offset: 0,
            byte_size: bytes,
        });
        self.answer(self.service.clone().system_shared_memory_register(request)).await.map(drop)
    }

    /// Makes the server forget a region.
    pub async fn unregister_memory(&self, name: &str) -> Result<(), ClientError> {
        let request = self.request(SystemSharedMemoryUnregisterRequest { name: name.into() });
        self.answer(self.service.clone().system_shared_memory_unregister(request)).await.map(drop)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        request
    }

    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ClientError> {
        let answered = match self.timeout {
            None => Some(call.await),
            Some(limit) => tokio::time::timeout(limit, call).await.ok(),
        };
        match (answered, self.timeout) {
            (Some(Ok(response)), _) => Ok(response.into_inner()),
            // tonic watches the same time as this does, and may see its end first.
            (Some(Err(status)), Some(limit))
                if status.code() == Code::Cancelled && status.message() == "Timeout expired" =>
            {
                Err(self.timed_out(limit))
            }
            (Some(Err(status)), _) => Err(refused(&self.url, status)),
            (None, limit) => Err(self.timed_out(limit.unwrap_or_default())),
        }
    }

    fn timed_out(&self, limit: Duration) -> ClientError {
        ClientError::TimedOut { url: self.url.to_string(), limit }
    }
}
