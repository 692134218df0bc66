//! A server: its services on its listeners, from the first connection to the last reply.

mod authority;
mod connections;
mod greeting;
mod listener;
mod mount;
mod notice;
mod socket_file;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::{Config, Services, Transport};
use crate::engine::Engine;
use crate::error::Error;
use crate::grpc::image_test::ImageTestService;
use crate::grpc::kserve::{KserveService, Levels, Uncopied};
use crate::grpc::layer::{Calls, Streams};
use crate::grpc::mindspore::MindSporeService;
use crate::grpc::ray::RayService;
use crate::grpc::torchserve::{self, TorchServe};
use crate::proto;
use crate::proto::image_test_server::ImageTestServer;
use crate::proto::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::proto::mindspore::ms_service_server::MsServiceServer;
use crate::proto::ray::ray_serve_api_service_server::RayServeApiServiceServer;
use connections::connections;
pub use listener::{ListenError, Listener};
pub use socket_file::SocketFile;
pub use tls::Tls;

/// A server that is ready to serve.
pub struct Server {
    engine: Arc<Engine>,
    calls: Calls,
    levels: Option<Levels>,
    call_timeout: Option<Duration>,
    mounted: Vec<mount::Mount>,
    routes: Routes,
    torchserve: Option<TorchServe>,
}

/// A socket that listens, and what is served there.
#[derive(Debug)]
pub struct Listening {
    /// The socket.
    pub socket: Listener,
    /// What is served there.
    pub services: Services,
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
type MindSpore = MsServiceServer<MindSporeService>;

type Ray = RayServeApiServiceServer<RayService>;

/// Whose health is that of the models too: all of the server, and the services that serve them. Those that are mounted
/// come to them.
const WITH_MODELS: [&str; 4] = ["", Kserve::NAME, MindSpore::NAME, Ray::NAME];

/// Theirs is that of the models too, where they are served.
const OF_TORCHSERVE: [&str; 3] =
    [torchserve::Inference::NAME, torchserve::OpenInference::NAME, torchserve::Management::NAME];

/// Whose health can be asked for besides: streams of frames need no model.
const WITHOUT_MODELS: [&str; 1] = [ImageTest::NAME];

/// Our services.
const SERVICES: [&str; 7] = [
    ImageTest::NAME,
    Kserve::NAME,
    MindSpore::NAME,
    Ray::NAME,
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// The largest message that asks for health or reflection: names, and no more.
const NAME_BYTES: usize = 16 << 10;

/// How long connections may take to close once all streams of frames have ended.
const FAREWELL: Duration = Duration::from_secs(1);

impl Server {
    /// Starts the threads of a server. Nothing listens yet.
    pub fn new(config: Config) -> Result<Self, Error> {
        let engine = Arc::new(Engine::new(config.validate()?)?);
        let mut streams = Streams::default();
        for services in [
            proto::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            streams.add(services)?;
        }
        let calls = Calls::new(engine.limits(), streams);
        let torchserve = engine.config().torchserve.clone();
        let torchserve = torchserve.map(|terms| TorchServe::new(Arc::clone(&engine), terms)).transpose()?;
        Ok(Server {
            engine,
            calls,
            levels: None,
            call_timeout: None,
            mounted: Vec::new(),
            routes: Routes::default(),
            torchserve,
        })
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
    /// [`Listener::bind`] takes what [`Tls::read`] has made of the configuration. Goes on until `shutdown` is ready;
    /// then no new connections and streams are taken, the frames that were read are answered, and this returns when all
    /// streams and requests have ended, at the latest after the configured time. Until then clients that are connected
    /// are told so if they ask how the server is. What is open at the end ends with the runtime.
    pub async fn serve<L: Into<Listening>>(
        self,
        listeners: Vec<L>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Ended, ServeError> {
        let config = self.engine.config();
        let _key_file = self.torchserve.as_ref().and_then(TorchServe::key_file);
        let mounted = self.mounted.iter().map(|mount| mount.name);
        let torchserve = self.torchserve.iter().flat_map(|_| OF_TORCHSERVE);
        let with_models: Vec<&str> = WITH_MODELS.into_iter().chain(torchserve).chain(mounted).collect();
        let (health, health_service) = tonic_health::server::health_reporter();
        set_health(&health, &with_models, ServingStatus::NotServing).await;
        set_health(&health, &WITHOUT_MODELS, ServingStatus::Serving).await;
        let health_service = health_service.max_decoding_message_size(NAME_BYTES);
        let reflection = self.reflection().build_v1()?.max_decoding_message_size(NAME_BYTES);
        let reflection_alpha = self.reflection().build_v1alpha()?.max_decoding_message_size(NAME_BYTES);
        let drain = self.engine.drain().clone();
        let farewell = CancellationToken::new();
        let permits = Arc::new(Semaphore::new(config.transport.max_connections));
        let serving = listeners.into_iter().map(|listening| {
            let Listening { socket, services } = listening.into();
            // Tokens are renewed over plain HTTP.
            let mut builder =
                transport(&config.transport).accept_http1(services.manages()).layer(self.calls.clone());
            let routes = (self.routes(services))
                .add_service(health_service.clone())
                .add_service(reflection.clone())
                .add_service(reflection_alpha.clone());
            let router = builder.add_routes(routes);
            // While it drains no connections are taken, and those that there are stay.
            let accepted = connections(socket, Arc::clone(&permits));
            let accepted = accepted.take_until(drain.clone().cancelled_owned()).chain(stream::pending());
            router.serve_with_incoming_shutdown(accepted, farewell.clone().cancelled_owned())
        });
        let mut serving = std::pin::pin!(futures_util::future::try_join_all(serving));
        // Healthy is who can answer for the models too that are to be there from the start.
        let mut models = std::pin::pin!(async {
            let registered = async {
                if let Some(torchserve) = &self.torchserve {
                    torchserve.load().await;
                }
            };
            Arc::clone(self.engine.models()).open_with(registered).await;
            set_health(&health, &with_models, ServingStatus::Serving).await;
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
        for services in [&with_models[..], &WITHOUT_MODELS] {
            set_health(&health, services, ServingStatus::NotServing).await;
        }
        drain.cancel();
        let began = Instant::now();
        let deadline = began + config.drain_timeout;
        let drained = async {
            tokio::time::sleep_until(began + config.drain_least).await;
            self.engine.work_ended().await;
        };
        // tonic waits for its connections for as long as it takes; a deadline is ours to keep.
        tokio::select! {
            ended = &mut serving => return Ok(ended.map(|_| Ended::Drained)?),
            () = drained => {}
            _ = timeout_at(deadline, std::future::pending::<()>()) => {
                let (streams, requests) = (self.engine.open_streams(), self.engine.open_requests());
                return Ok(Ended::CutOff { streams, requests });
            }
        }
        // Who watches our health would go on for ever, and has seen what there was to see.
        for service in with_models.iter().chain(&WITHOUT_MODELS) {
            health.clone().clear_service_status(service).await;
        }
        farewell.cancel();
        match timeout_at(deadline.min(Instant::now() + FAREWELL), serving).await {
            Ok(ended) => Ok(ended.map(|_| Ended::Drained)?),
            Err(_) => Ok(Ended::Drained),
        }
    }

    /// What is served on one address, besides health and reflection.
    fn routes(&self, services: Services) -> Routes {
        let routes = match services {
            Services::Main | Services::MainAndManagement => (self.routes.clone())
                .add_service(self.image_test())
                .add_service(Uncopied::new(self.kserve(), self.engine.limits().max_message_bytes))
                .add_service(self.mindspore())
                .add_service(self.ray()),
            Services::Inference | Services::Management => Routes::default(),
        };
        let Some(torchserve) = &self.torchserve else { return routes };
        let routes = match services {
            Services::Management => routes,
            _ => routes.add_service(torchserve.inference()).add_service(torchserve.open_inference()),
        };
        match (services.manages(), torchserve.renewal()) {
            (true, Some(renewal)) => {
                let routes = routes.add_service(torchserve.management());
                Routes::from(routes.into_axum_router().route_service(torchserve::RENEWAL_PATH, renewal))
            }
            (true, None) => routes.add_service(torchserve.management()),
            (false, _) => routes,
        }
    }

    fn image_test(&self) -> ImageTest {
        let mounted = self.mounted.iter().map(|mount| mount.name);
        // The management is perhaps elsewhere.
        let torchserve = self.torchserve.iter().flat_map(|_| OF_TORCHSERVE.into_iter().take(2));
        let services = SERVICES.into_iter().chain(torchserve).chain(mounted).map(String::from);
        let service = ImageTestService::new(Arc::clone(&self.engine), services);
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

    fn mindspore(&self) -> MindSpore {
        MsServiceServer::new(MindSporeService::new(Arc::clone(&self.engine)))
            .max_decoding_message_size(self.engine.limits().max_message_bytes)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Deflate)
    }

    fn ray(&self) -> Ray {
        RayServeApiServiceServer::new(RayService::new(Arc::clone(&self.engine)))
            .max_decoding_message_size(NAME_BYTES)
    }

    fn reflection(&self) -> tonic_reflection::server::Builder<'_> {
        let ours = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let theirs = self.mounted.iter().map(|mount| mount.descriptors);
        theirs.fold(ours, tonic_reflection::server::Builder::register_encoded_file_descriptor_set)
    }
}

impl From<Listener> for Listening {
    fn from(socket: Listener) -> Self {
        Listening { socket, services: Services::Main }
    }
}

impl From<TcpListener> for Listening {
    fn from(socket: TcpListener) -> Self {
        Listener::from(socket).into()
    }
}

impl From<UnixListener> for Listening {
    fn from(socket: UnixListener) -> Self {
        Listener::from(socket).into()
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

async fn set_health(health: &HealthReporter, services: &[&str], status: ServingStatus) {
    for service in services {
        health.set_service_status(*service, status).await;
    }
}
