//! A service of one's own in a server: it has what the others have, and harms none of them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use frameserve::config::Config;
use frameserve::engine::Engine;
use frameserve::grpc::layer::CallContext;
use frameserve::server::{Ended, Server};
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::harness::TestServer;
use protos::user_defined_service_client::UserDefinedServiceClient;
use protos::user_defined_service_server::{UserDefinedService, UserDefinedServiceServer};
use protos::{UserDefinedMessage, UserDefinedMessage2, UserDefinedResponse, UserDefinedResponse2};

mod protos {
    #![allow(missing_docs, dead_code, clippy::all, clippy::restriction, reason = "it is generated code")]
    tonic::include_proto!("userdefinedprotos");
}

const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("user_defined_protos");
const NAME: &str = "userdefinedprotos.UserDefinedService";

/// Does what the name in a message says.
#[derive(Clone)]
struct Actor {
    engine: Arc<Engine>,
    /// How many have arrived at "wait", and whether they may go on.
    arrived: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Actor {
    async fn wait(&self) {
        self.arrived.send_modify(|arrived| *arrived += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

#[tonic::async_trait]
impl UserDefinedService for Actor {
    type StreamingStream = Pin<Box<dyn Stream<Item = Result<UserDefinedResponse, Status>> + Send>>;

    async fn call(
        &self,
        request: Request<UserDefinedMessage>,
    ) -> Result<Response<UserDefinedResponse>, Status> {
        let call = CallContext::of(request.extensions());
        call.set_trailing("seen", call.request_id())?;
        let message = request.into_inner();
        match message.name.as_str() {
            "wait" => self.wait().await,
            "panic" => panic!("on purpose"),
            "refuse" => {
                let mut status = Status::aborted("as I like it");
                status.metadata_mut().insert("own", "too".parse().unwrap());
                return Err(status);
            }
            "route" => {
                self.engine.routed(call.route(), "", "").await?;
            }
            _ => {}
        }
        Ok(Response::new(UserDefinedResponse { greeting: message.name, num: message.num }))
    }

    async fn multiplexing(
        &self,
        request: Request<UserDefinedMessage2>,
    ) -> Result<Response<UserDefinedResponse2>, Status> {
        let call = CallContext::of(request.extensions());
        let greeting = format!("{:?} {:?}", call.application(), call.multiplexed_model_id());
        Ok(Response::new(UserDefinedResponse2 { greeting }))
    }

    async fn streaming(
        &self,
        request: Request<UserDefinedMessage>,
    ) -> Result<Response<Self::StreamingStream>, Status> {
        let call = CallContext::of(request.extensions());
        let actor = self.clone();
        let message = request.into_inner();
        Ok(Response::new(Box::pin(async_stream::stream! {
            yield Ok(UserDefinedResponse { greeting: message.name.clone(), num: 1 });
            match message.name.as_str() {
                "panic" => panic!("in a stream"),
                "wait" => actor.wait().await,
                _ => {}
            }
            call.set_trailing("count", "2").unwrap();
            yield Ok(UserDefinedResponse { greeting: message.name, num: 2 });
        })))
    }
}

type Client = UserDefinedServiceClient<tonic::transport::Channel>;

fn actor(engine: &Arc<Engine>) -> Actor {
    Actor { engine: Arc::clone(engine), arrived: watch::Sender::default(), open: watch::Sender::default() }
}

async fn start(timeout: Option<Duration>) -> (TestServer, Client, Actor) {
    let server = Server::new(Config::default()).unwrap();
    let server = match timeout {
        Some(timeout) => server.with_call_timeout(timeout),
        None => server,
    };
    let actor = actor(server.engine());
    let service = UserDefinedServiceServer::new(actor.clone());
    let server = TestServer::of(server.mount(DESCRIPTORS, |_| service).unwrap()).await;
    let client = Client::new(server.channel().await);
    server.loaded().await;
    (server, client, actor)
}

fn named(name: &str) -> UserDefinedMessage {
    UserDefinedMessage { name: name.into(), ..UserDefinedMessage::default() }
}

fn with_id<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("request_id", "mine".parse().unwrap());
    request
}

fn metadata<'a>(of: &'a tonic::metadata::MetadataMap, key: &str) -> Option<&'a str> {
    of.get(key).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn calls_have_their_context_on_the_way_in_and_out() {
    let (_server, mut client, _) = start(None).await;
    let reply = client.call(with_id(named("hello"))).await.unwrap();
    assert_eq!(reply.get_ref().greeting, "hello");
    assert_eq!(metadata(reply.metadata(), "request_id"), Some("mine"));
    assert_eq!(metadata(reply.metadata(), "seen"), Some("mine"));
    let status = client.call(with_id(named("refuse"))).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Aborted, "as I like it"));
    for (key, value) in [("request_id", "mine"), ("seen", "mine"), ("own", "too")] {
        assert_eq!(metadata(status.metadata(), key), Some(value));
    }
    let mut request = with_id(UserDefinedMessage2 {});
    request.metadata_mut().insert("application", "app1".parse().unwrap());
    request.metadata_mut().insert("multiplexed_model_id", "m".parse().unwrap());
    let greeting = client.multiplexing(request).await.unwrap().into_inner().greeting;
    assert_eq!(greeting, r#"Some("app1") Some("m")"#);
    let mut replies = client.streaming(with_id(named("stream"))).await.unwrap().into_inner();
    let mut numbers = Vec::new();
    while let Some(reply) = replies.message().await.unwrap() {
        numbers.push(reply.num);
    }
    let trailers = replies.trailers().await.unwrap().unwrap();
    assert_eq!(numbers, [1, 2]);
    assert_eq!((metadata(&trailers, "request_id"), metadata(&trailers, "count")), (Some("mine"), Some("2")));
    let status = client.call(named("route")).await.unwrap_err();
    assert!(status.message().starts_with("Application metadata not set. Ping"), "{status}");
}

#[tokio::test]
async fn a_panic_is_the_end_of_its_call_alone() {
    let (_server, mut client, _) = start(None).await;
    let status = client.call(with_id(named("panic"))).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "on purpose"));
    assert_eq!(metadata(status.metadata(), "request_id"), Some("mine"));
    let mut replies = client.streaming(with_id(named("panic"))).await.unwrap().into_inner();
    // What was ready just before may be lost with it.
    let status = loop {
        match replies.message().await {
            Ok(reply) => assert_eq!(reply.unwrap().num, 1),
            Err(status) => break status,
        }
    };
    assert_eq!((status.code(), status.message()), (Code::Internal, "in a stream"));
    assert_eq!(metadata(status.metadata(), "request_id"), Some("mine"));
    client.call(named("goes on")).await.unwrap();
}

#[tokio::test]
async fn calls_that_take_too_long_are_ended() {
    let (_server, mut client, _) = start(Some(Duration::from_millis(250))).await;
    let late = (Code::DeadlineExceeded, "Request timed out after 0.25s.");
    let status = client.call(with_id(named("wait"))).await.unwrap_err();
    assert_eq!((status.code(), status.message()), late);
    assert_eq!(metadata(status.metadata(), "request_id"), Some("mine"));
    let mut replies = client.streaming(named("wait")).await.unwrap().into_inner();
    assert_eq!(replies.message().await.unwrap().unwrap().num, 1);
    let status = replies.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), late);
    client.call(named("in time")).await.unwrap();
}

#[tokio::test]
async fn a_draining_server_waits_for_its_calls_and_takes_more_of_them() {
    let (server, mut client, actor) = start(None).await;
    let mut waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.call(named("wait")).await });
    let mut replies = client.streaming(named("wait")).await.unwrap().into_inner();
    assert_eq!(replies.message().await.unwrap().unwrap().num, 1);
    actor.arrived.subscribe().wait_for(|arrived| *arrived == 2).await.unwrap();
    assert_eq!(server.engine.open_requests(), 2);
    server.drain();
    server.engine.drain().cancelled().await;
    assert_eq!(client.call(named("new")).await.unwrap().into_inner().greeting, "new");
    actor.open.send_replace(true);
    assert_eq!(waiting.await.unwrap().unwrap().into_inner().greeting, "wait");
    assert_eq!(replies.message().await.unwrap().unwrap().num, 2);
    assert!(replies.message().await.unwrap().is_none());
    assert_eq!(server.ended().await, Ended::Drained);
}

#[tokio::test]
async fn who_goes_away_is_not_waited_for() {
    let (server, mut client, actor) = start(None).await;
    let replies = client.streaming(named("wait")).await.unwrap();
    actor.arrived.subscribe().wait_for(|arrived| *arrived == 1).await.unwrap();
    assert_eq!(server.engine.open_requests(), 1);
    drop(replies);
    assert_eq!(server.ended().await, Ended::Drained);
}

#[tokio::test]
async fn health_reflection_and_descriptions_know_it() {
    let (server, _, _) = start(None).await;
    server.well(NAME).await;
    let mut reflection = ServerReflectionClient::new(server.channel().await);
    let message_request = Some(MessageRequest::FileContainingSymbol(NAME.into()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let mut replies =
        reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let reply = replies.message().await.unwrap().unwrap().message_response;
    assert!(matches!(reply, Some(MessageResponse::FileDescriptorResponse(_))), "{reply:?}");
    let about = server.client().await.describe(frameserve::proto::DescribeRequest {}).await.unwrap();
    assert!(about.get_ref().services.iter().any(|service| service == NAME));
    assert!(server.calls.streams().contains(&format!("/{NAME}/Streaming")));
    assert!(!server.calls.streams().contains(&format!("/{NAME}/__call__")));
}

#[tokio::test]
async fn its_unary_requests_take_the_room_of_all() {
    let mut config = Config::default();
    config.limits.max_job_bytes = 1 << 20;
    let server = Server::new(config).unwrap();
    let actor = actor(server.engine());
    let service = UserDefinedServiceServer::new(actor.clone());
    let server = TestServer::of(server.mount(DESCRIPTORS, |_| service).unwrap()).await;
    let mut client = Client::new(server.channel().await);
    let large = UserDefinedMessage { origin: "x".repeat(700 << 10), ..named("wait") };
    let mut first = client.clone();
    let asked = large.clone();
    let first = tokio::spawn(async move { first.call(asked).await });
    actor.arrived.subscribe().wait_for(|arrived| *arrived == 1).await.unwrap();
    let status = client.call(large).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("--max-job-bytes"), "{status}");
    actor.open.send_replace(true);
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_does_not_fit_is_not_mounted() {
    let server = || Server::new(Config::default()).unwrap();
    let make = |engine: &Arc<Engine>| UserDefinedServiceServer::new(actor(engine));
    let error = server().mount(DESCRIPTORS, make).unwrap().mount(DESCRIPTORS, make).err().unwrap();
    assert!(error.to_string().contains("there already") && error.to_string().contains(NAME), "{error}");
    let error = server().mount(frameserve::proto::DESCRIPTORS, make).err().unwrap();
    assert!(error.to_string().contains("ImageTest") && error.to_string().contains(NAME), "{error}");
    let error = server().mount(b"nonsense", make).err().unwrap();
    assert!(error.to_string().contains("descriptors"), "{error}");
}
