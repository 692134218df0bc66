//! The services beside the frames: health and reflection.

use frameserve::config::Config;
use frameserve::model::Control;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::TestServer;
use crate::puppet::{Hold, Puppet, Shelf, map};

#[tokio::test]
async fn health_is_told_and_turns_when_the_server_drains() {
    let server = TestServer::start(Config::default()).await;
    let mut health = HealthClient::new(server.channel().await);
    for service in ["", "ImageTest"] {
        // As soon as it has looked for models, of which there are none.
        server.well(service).await;
        let request = HealthCheckRequest { service: service.into() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "`{service}`");
    }
    let unknown = HealthCheckRequest { service: "Nothing".into() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);

    let watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let mut watched = watched.map(|seen| seen.unwrap().status());
    assert_eq!(watched.next().await, Some(ServingStatus::Serving));
    server.drain();
    assert_eq!(watched.next().await, Some(ServingStatus::NotServing));
}

#[tokio::test]
async fn streams_are_served_before_the_models_are_there() {
    let hold = Hold::default();
    let held = hold.clone();
    let puppet = Puppet::new(move |_, batch| {
        held.batch(batch);
        Ok(batch.iter().map(|inputs| vec![map(inputs[0].as_ref().unwrap(), |value| value)]).collect())
    });
    let shelf = Shelf::new();
    let warm = "model_warmup { name: \"w\" batch_size: 1 inputs { key: \"x\" value { data_type: TYPE_FP32 dims: [3] \
                zero_data: true } } }";
    shelf.add("slow", warm);
    let models = shelf.models(&puppet, Control::Explicit(vec!["*".into()]));
    let server = TestServer::start(Config { models, ..Config::default() }).await;
    let mut health = HealthClient::new(server.channel().await);
    hold.arrived(1).await;
    for (service, expected) in [
        ("ImageTest", ServingStatus::Serving),
        ("inference.GRPCInferenceService", ServingStatus::NotServing),
        ("", ServingStatus::NotServing),
    ] {
        let request = HealthCheckRequest { service: service.into() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, expected, "`{service}`");
    }
    let watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let mut watched = watched.map(|seen| seen.unwrap().status());
    assert_eq!(watched.next().await, Some(ServingStatus::NotServing));
    hold.open(usize::MAX);
    assert_eq!(watched.next().await, Some(ServingStatus::Serving));
}

#[tokio::test]
async fn every_call_with_a_stream_is_known_as_one() {
    let server = TestServer::start(Config::default()).await;
    let mut methods = 0;
    for set in [
        frameserve::proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        let pool = prost_reflect::DescriptorPool::decode(set).unwrap();
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            let streams = method.is_client_streaming() || method.is_server_streaming();
            assert_eq!(server.calls.streams().contains(&path), streams, "{path}");
            methods += 1;
        }
    }
    assert!(methods > 30, "only {methods} were found");
}

/// Both versions have the same messages, in packages of their own.
macro_rules! reflects {
    ($name:ident, $version:ident) => {
        #[tokio::test]
        async fn $name() {
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

            let server = TestServer::start(Config::default()).await;
            let mut client = ServerReflectionClient::new(server.channel().await);
            let asked = [
                MessageRequest::ListServices(String::new()),
                MessageRequest::FileContainingSymbol("ImageTest".into()),
            ]
            .map(|request| ServerReflectionRequest { host: String::new(), message_request: Some(request) });
            let replies = client.server_reflection_info(tokio_stream::iter(asked)).await.unwrap();
            let replies: Vec<_> =
                replies.into_inner().map(|reply| reply.unwrap().message_response).collect().await;
            let Some(MessageResponse::ListServicesResponse(list)) = &replies[0] else {
                panic!("{replies:?}")
            };
            let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
            assert!(names.contains(&"ImageTest") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
            assert!(matches!(&replies[1], Some(MessageResponse::FileDescriptorResponse(_))), "{replies:?}");
        }
    };
}

reflects!(reflection_tells_of_the_services, v1);
reflects!(reflection_tells_older_clients_too, v1alpha);
