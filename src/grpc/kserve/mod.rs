//! `inference.GRPCInferenceService`: models over the KServe V2 protocol, with Triton's further calls.
//!
//! Codes and texts of errors are those that clients of Triton expect. What is about the message is checked here,
//! and what a model takes in the engine.

mod infer;
mod input;
mod log;
mod metadata;
mod output;
mod parameters;
mod raw;
mod refusal;
mod repository;
mod shared_memory;
mod statistics;
mod stream;
mod trace;
mod typed;
mod uncopied;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::layer::CallContext;
use super::peer::Peer;
use crate::config::SharedMemory;
use crate::engine::{Engine, InferRequest, Route, Served};
use crate::error::{Error, Kind};
use crate::model::Signature;
use crate::proto::inference::grpc_inference_service_server::GrpcInferenceService;
use crate::proto::inference::*;
use infer::{Call, Caller};
use input::Source;
use log::Log;
pub use log::{Levels, SetLevel};
use parameters::Window;
use refusal::Refusal;
use shared_memory::Regions;
use trace::Trace;
pub use uncopied::Uncopied;

/// The service, on an engine that it may share with others.
#[derive(Clone)]
pub struct KserveService {
    engine: Arc<Engine>,
    regions: Arc<Regions>,
    log: Arc<Log>,
    trace: Arc<Trace>,
}

impl KserveService {
    /// Serves this engine's models. `levels` is how the server's logging is changed, if it can be.
    pub fn new(engine: Arc<Engine>, levels: Option<Levels>) -> Self {
        KserveService {
            engine,
            regions: Arc::default(),
            log: Arc::new(Log::new(levels)),
            trace: Arc::default(),
        }
    }

    fn caller<T>(&self, request: &Request<T>) -> Caller {
        Caller {
            call: CallContext::of(request.extensions()),
            shares_memory: self.shares_memory(request.extensions()),
        }
    }

    fn shares_memory(&self, extensions: &Extensions) -> bool {
        match self.engine.config().shared_memory {
            SharedMemory::Everywhere => true,
            SharedMemory::Nowhere => false,
            SharedMemory::ThisMachine => extensions.get().is_some_and(Peer::is_on_this_machine),
        }
    }

    /// The server was not told to end.
    fn check_open(&self) -> Result<(), Refusal> {
        if self.engine.drain().is_cancelled() { Err(infer::exiting()) } else { Ok(()) }
    }

    /// What answers a call that asks about this model.
    async fn routed(&self, extensions: &Extensions, name: &str, version: &str) -> Result<Served, Refusal> {
        self.check_open()?;
        let call = CallContext::of(extensions);
        Ok(self.engine.routed(call.route(), name, version).await?)
    }

    fn check_shares_memory<T>(&self, request: &Request<T>) -> Result<(), Refusal> {
        if self.shares_memory(request.extensions()) { Ok(()) } else { Err(infer::disabled()) }
    }
}

/// Reads a request as the service does, with zeros for what lies in shared memory: for tests that send it anything.
pub fn read(mut message: ModelInferRequest, signature: &Signature) -> Result<InferRequest, Status> {
    const MOST_SHARED: usize = 1 << 20;
    let id = message.id.clone();
    let mut read = || {
        let windows = infer::windows(&mut message, MOST_SHARED)?;
        let zeros = |(index, window): (usize, Window)| {
            let bytes = vec![0; usize::try_from(window.bytes).unwrap_or(MOST_SHARED)];
            (index, Source::Bytes(bytes.into()))
        };
        let shared = windows.into_iter().map(zeros).collect();
        Ok(Call::read(std::mem::take(&mut message), signature, shared)?.request)
    };
    read().map_err(|refusal: Refusal| refusal.status(&id))
}

/// Answers a request as `ModelInfer` does, for protocols whose messages are the same. Tensors are those in the messages.
pub(super) async fn answer_tensors(
    engine: &Arc<Engine>,
    message: ModelInferRequest,
    call: CallContext,
) -> Result<ModelInferResponse, Status> {
    let id = message.id.clone();
    let caller = Caller { call, shares_memory: false };
    let reply = infer::infer(engine, &Regions::default(), message, &caller).await;
    reply.map_err(|refusal| refusal.status(&id))
}

/// A reply, unless the call is refused.
fn answer<T>(result: Result<T, Refusal>) -> Result<Response<T>, Status> {
    Ok(Response::new(result?))
}

/// Why CUDA shared memory can't be had.
fn no_cuda() -> Refusal {
    Refusal::unsupported(
        "CUDA shared memory is not supported: tensors come to this server through the host's memory",
    )
}

#[tonic::async_trait]
impl GrpcInferenceService for KserveService {
    type ModelStreamInferStream =
        Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        self.check_open()?;
        Ok(Response::new(ServerReadyResponse { ready: self.engine.is_ready() }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.get_ref();
        let served = self.routed(request.extensions(), name, version).await?;
        Ok(Response::new(ModelReadyResponse { ready: self.engine.is_answering(&served).await }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(metadata::server(&self.engine.config().name)))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.get_ref();
        let served = self.routed(request.extensions(), name, version).await;
        answer(served.map(|served| metadata::model(&self.engine, &served)))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        if self.engine.drain().is_cancelled() {
            return Err(infer::going_down().into());
        }
        let caller = self.caller(&request);
        let message = uncopied::received(request);
        let id = message.id.clone();
        let reply = infer::infer(&self.engine, &self.regions, message, &caller).await;
        Ok(uncopied::set_aside(reply.map_err(|refusal| refusal.status(&id))?))
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        let permit = self.engine.admit_stream().map_err(|error| match error {
            Error::Draining(_) => infer::going_down(),
            error => error.into(),
        });
        let permit = permit?;
        let errors_end = request.metadata().get("triton_grpc_error").is_some_and(|value| value == "true");
        let terms = stream::Terms { caller: self.caller(&request), errors_end };
        let (engine, regions) = (Arc::clone(&self.engine), Arc::clone(&self.regions));
        let replies = stream::replies(engine, regions, request.into_inner(), terms, permit);
        Ok(Response::new(Box::pin(replies)))
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Result<Response<ModelConfigResponse>, Status> {
        let ModelConfigRequest { name, version } = request.get_ref();
        let served = self.routed(request.extensions(), name, version).await;
        answer(served.map(|served| ModelConfigResponse { config: Some(served.config()) }))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Result<Response<ModelStatisticsResponse>, Status> {
        self.check_open()?;
        let ModelStatisticsRequest { mut name, version } = request.get_ref().clone();
        let call = CallContext::of(request.extensions());
        // Without a name it asks for all models, unless its metadata name one.
        if call.route() != &Route::default() {
            let served = self.routed(request.extensions(), &name, &version).await?;
            served.name().clone_into(&mut name);
        }
        let counted = self.engine.statistics(&name, &version).map_err(|error| match error.kind() {
            Kind::Unknown => statistics::none(&name, &version),
            _ => error.into(),
        })?;
        let stats =
            counted.into_iter().map(|(name, version, counts)| statistics::message(name, version, counts));
        Ok(Response::new(ModelStatisticsResponse { model_stats: stats.collect() }))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        let RepositoryIndexRequest { repository_name, ready } = request.into_inner();
        repository::only_one(&repository_name)?;
        Ok(Response::new(metadata::index(&self.engine, ready).await))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Result<Response<RepositoryModelLoadResponse>, Status> {
        self.check_open()?;
        answer(repository::load(&self.engine, request.into_inner()).await)
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        self.check_open()?;
        answer(repository::unload(&self.engine, request.into_inner()).await)
    }

    async fn system_shared_memory_status(
        &self,
        request: Request<SystemSharedMemoryStatusRequest>,
    ) -> Result<Response<SystemSharedMemoryStatusResponse>, Status> {
        self.check_shares_memory(&request)?;
        let regions = self.regions.status(&request.into_inner().name)?;
        let regions = regions.into_iter().map(|region| (region.name.clone(), region)).collect();
        Ok(Response::new(SystemSharedMemoryStatusResponse { regions }))
    }

    async fn system_shared_memory_register(
        &self,
        request: Request<SystemSharedMemoryRegisterRequest>,
    ) -> Result<Response<SystemSharedMemoryRegisterResponse>, Status> {
        self.check_shares_memory(&request)?;
        let registered = self.regions.register(request.into_inner());
        answer(registered.map(|()| SystemSharedMemoryRegisterResponse {}))
    }

    async fn system_shared_memory_unregister(
        &self,
        request: Request<SystemSharedMemoryUnregisterRequest>,
    ) -> Result<Response<SystemSharedMemoryUnregisterResponse>, Status> {
        self.check_shares_memory(&request)?;
        self.regions.unregister(&request.into_inner().name);
        Ok(Response::new(SystemSharedMemoryUnregisterResponse {}))
    }

    async fn cuda_shared_memory_status(
        &self,
        _: Request<CudaSharedMemoryStatusRequest>,
    ) -> Result<Response<CudaSharedMemoryStatusResponse>, Status> {
        answer(Err(no_cuda()))
    }

    async fn cuda_shared_memory_register(
        &self,
        _: Request<CudaSharedMemoryRegisterRequest>,
    ) -> Result<Response<CudaSharedMemoryRegisterResponse>, Status> {
        answer(Err(no_cuda()))
    }

    async fn cuda_shared_memory_unregister(
        &self,
        request: Request<CudaSharedMemoryUnregisterRequest>,
    ) -> Result<Response<CudaSharedMemoryUnregisterResponse>, Status> {
        // Many clients begin with unregistering all that there is, and here there is nothing.
        let all = request.into_inner().name.is_empty();
        answer(if all { Ok(CudaSharedMemoryUnregisterResponse {}) } else { Err(no_cuda()) })
    }

    async fn trace_setting(
        &self,
        request: Request<TraceSettingRequest>,
    ) -> Result<Response<TraceSettingResponse>, Status> {
        let call = CallContext::of(request.extensions());
        let TraceSettingRequest { settings, mut model_name } = request.into_inner();
        if !model_name.is_empty() {
            let served = self.engine.routed(call.route(), &model_name, "").await.map_err(Refusal::from)?;
            served.name().clone_into(&mut model_name);
        }
        answer(self.trace.update(&model_name, settings).map(|settings| TraceSettingResponse { settings }))
    }

    async fn log_settings(
        &self,
        request: Request<LogSettingsRequest>,
    ) -> Result<Response<LogSettingsResponse>, Status> {
        answer(
            self.log.update(request.into_inner().settings).map(|settings| LogSettingsResponse { settings }),
        )
    }
}

#[cfg(test)]
mod tests;
