//! A server: its services on its listeners, from the first connection to the last reply.

mod authority;
mod connections;
mod greeting;
mod listener;
mod notice;
mod socket_file;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::{Config, Transport};
use crate::engine::Engine;
use crate::error::Error;
use crate::grpc::image_test::ImageTestService;
use crate::grpc::kserve::{KserveService, Levels, Uncopied};
use crate::grpc::layer::Calls;
use crate::proto;
use crate::proto::image_test_server::ImageTestServer;
use crate::proto::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use connections::connections;
pub use listener::{ListenError, Listener};
pub use socket_file::SocketFile;
pub use tls::Tls;

/// A server that is ready to serve.
pub struct Server {
    engine: Arc<Engine>,
    calls: Calls,
    levels: Option<Levels>,
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every stream had ended.
    Drained,
    /// Some streams or requests were cut off, since the time that they had to end was over.
    CutOff {
        /// How many streams.
        streams: usize,
        /// How many requests for models.
        requests: usize,
    },
}

/// Why a server could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The reflection service could not be made.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("transport: {0}")]
    Transport(#[from] tonic::transport::Error),
}

type ImageTest = ImageTestServer<ImageTestService>;
type Kserve = GrpcInferenceServiceServer<KserveService>;

/// Whose health is that of the models too: all of the server, and the service that serves them.
const WITH_MODELS: [&str; 2] = ["", Kserve::NAME];

/// Whose health can be asked for besides: streams of frames need no model.
const WITHOUT_MODELS: [&str; 1] = [ImageTest::NAME];

/// The largest message that asks for health or reflection: names, and no more.
const NAME_BYTES: usize = 16 << 10;

/// How long connections may take to close once all streams of frames have ended.
const FAREWELL: Duration = Duration::from_secs(1);

impl Server {
    /// Starts the threads of a server. Nothing listens yet.
    pub fn new(config: Config) -> Result<Self, Error> {
        let engine = Arc::new(Engine::new(config.validate()?)?);
        let calls = Calls::new(engine.limits());
        Ok(Server { engine, calls, levels: None })
    }

    /// Lets clients change what is logged.
    pub fn with_levels(self, levels: Levels) -> Self {
        Server { levels: Some(levels), ..self }
    }

    /// What the services of this server call.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What the unary calls of this server hold.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Serves on these listeners, each with TLS or without as it was made: a bare `TcpListener` is without, and
    /// [`Listener::bind`] takes what [`Tls::read`] has made of the configuration. Goes on until `shutdown` is ready; then no new streams are taken, the frames that
    /// were read are answered, and this returns when all streams have ended, at the latest after the configured
    /// time. What is open then ends with the runtime.
    pub async fn serve<L: Into<Listener>>(
        self,
        listeners: Vec<L>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Ended, ServeError> {
        let config = self.engine.config();
        let (health, health_service) = tonic_health::server::health_reporter();
        set_health(&health, &WITH_MODELS, ServingStatus::NotServing).await;
        set_health(&health, &WITHOUT_MODELS, ServingStatus::Serving).await;
        let routes = Routes::new(self.image_test())
            .add_service(Uncopied(self.kserve()))
            .add_service(health_service.max_decoding_message_size(NAME_BYTES))
            .add_service(reflection().build_v1()?.max_decoding_message_size(NAME_BYTES))
            .add_service(reflection().build_v1alpha()?.max_decoding_message_size(NAME_BYTES));
        let drain = self.engine.drain().clone();
        let permits = Arc::new(Semaphore::new(config.transport.max_connections));
        let serving = listeners.into_iter().map(|listener| {
            let mut builder = transport(&config.transport).layer(self.calls.clone());
            let router = builder.add_routes(routes.clone());
            router.serve_with_incoming_shutdown(
                connections(listener.into(), Arc::clone(&permits)),
                drain.clone().cancelled_owned(),
            )
        });
        let mut serving = std::pin::pin!(futures_util::future::try_join_all(serving));
        // Healthy is who can answer for the models too that are to be there from the start.
        let mut models = std::pin::pin!(async {
            Arc::clone(self.engine.models()).open().await;
            set_health(&health, &WITH_MODELS, ServingStatus::Serving).await;
            Arc::clone(self.engine.models()).watch().await
        });
        let mut shutdown = std::pin::pin!(shutdown);
        tokio::select! {
            ended = &mut serving => return Ok(ended.map(|_| Ended::Drained)?),
            () = &mut shutdown => {}
            never = &mut models => match never {},
        }
        let streams = self.engine.open_streams();
        tracing::info!(streams, deadline = ?config.drain_timeout, "draining");
        for services in [&WITH_MODELS[..], &WITHOUT_MODELS] {
            set_health(&health, services, ServingStatus::NotServing).await;
        }
        drain.cancel();
        let deadline = Instant::now() + config.drain_timeout;
        // tonic waits for its connections for as long as it takes; a deadline is ours to keep.
        tokio::select! {
            ended = &mut serving => return Ok(ended.map(|_| Ended::Drained)?),
            () = self.engine.work_ended() => {}
            _ = timeout_at(deadline, std::future::pending::<()>()) => {
                let (streams, requests) = (self.engine.open_streams(), self.engine.open_requests());
                return Ok(Ended::CutOff { streams, requests });
            }
        }
        // Who watches our health would go on for ever, and has seen what there was to see.
        for service in WITH_MODELS.into_iter().chain(WITHOUT_MODELS) {
            health.clone().clear_service_status(service).await;
        }
        let farewell = deadline.min(Instant::now() + FAREWELL);
        match timeout_at(farewell, serving).await {
            Ok(ended) => Ok(ended.map(|_| Ended::Drained)?),
            Err(_) => Ok(Ended::Drained),
        }
    }

    fn image_test(&self) -> ImageTest {
        let services = [
            ImageTest::NAME,
            Kserve::NAME,
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ];
        let service = ImageTestService::new(Arc::clone(&self.engine), services.map(String::from));
        ImageTestServer::new(service)
            .max_decoding_message_size(self.engine.limits().max_message_bytes)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Deflate)
    }

    fn kserve(&self) -> Kserve {
        let service = KserveService::new(Arc::clone(&self.engine), self.levels.clone());
        GrpcInferenceServiceServer::new(service)
            .max_decoding_message_size(self.engine.limits().max_message_bytes)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Deflate)
    }
}

fn transport(config: &Transport) -> tonic::transport::Server {
    // A stream that its client does not read must not use up what the connection's other streams need.
    let connection = config.stream_window * config.streams_per_connection;
    let keepalive = (!config.keepalive.is_zero()).then_some(config.keepalive);
    tonic::transport::Server::builder()
        .initial_stream_window_size(config.stream_window)
        .initial_connection_window_size(connection)
        .max_concurrent_streams(config.streams_per_connection)
        .max_frame_size(1 << 20)
        .http2_keepalive_interval(keepalive)
        .http2_keepalive_timeout(Some(config.keepalive_timeout))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

async fn set_health(health: &HealthReporter, services: &[&str], status: ServingStatus) {
    for service in services {
        health.set_service_status(*service, status).await;
    }
}
