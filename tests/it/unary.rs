//! What unary calls can make the server hold: requests that do not end, and replies that nobody reads.

use bytes::Bytes;
use frameserve::config::Config;
use frameserve::limits::Budget;
use frameserve::proto::inference::model_infer_request::InferInputTensor;
use frameserve::proto::inference::{ModelInferRequest, ModelInferResponse, ServerLiveRequest};
use tokio_stream::StreamExt;
use tokio_util::task::AbortOnDropHandle;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;

use crate::harness::TestServer;
use crate::puppet::{InferClient, PATIENCE};

const ROOM: usize = 4 << 20;

async fn start() -> (TestServer, InferClient) {
    let mut config = Config::default();
    config.limits.max_job_bytes = ROOM;
    let server = TestServer::start(config).await;
    let client = InferClient::new(server.channel().await);
    (server, client)
}

/// Waits until so much of it is in use.
async fn in_use(budget: &Budget, wanted: impl Fn(usize) -> bool) {
    let waiting = async {
        while !wanted(budget.bytes() - budget.free_bytes()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it never came to that");
}

fn codec() -> ProstCodec<ModelInferRequest, ModelInferResponse> {
    ProstCodec::default()
}

async fn raw(channel: Channel) -> (Grpc<Channel>, PathAndQuery) {
    let mut raw = Grpc::new(channel);
    raw.ready().await.unwrap();
    (raw, "/inference.GRPCInferenceService/ModelInfer".parse().unwrap())
}

/// A request for no model that is there.
fn large(bytes: usize) -> ModelInferRequest {
    let raw_input_contents = vec![vec![0; bytes].into()];
    ModelInferRequest { model_name: "none".into(), raw_input_contents, ..ModelInferRequest::default() }
}

/// Sends a request and does not say that this was all.
async fn without_end(server: &TestServer) -> AbortOnDropHandle<()> {
    let (mut raw, path) = raw(server.channel().await).await;
    AbortOnDropHandle::new(tokio::spawn(async move {
        let endless = tokio_stream::once(large(1 << 20)).chain(tokio_stream::pending());
        let _none_comes = raw.client_streaming(Request::new(endless), path, codec()).await;
    }))
}

fn assert_no_room(status: &Status, what: &str) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    for said in [what, "in use", "4194304", "--max-job-bytes"] {
        assert!(status.message().contains(said), "{status}");
    }
}

/// Whatever is in use, this is answered.
async fn small_calls_are_answered(server: &TestServer, client: &mut InferClient) {
    assert!(client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert_eq!(client.model_infer(large(100)).await.unwrap_err().code(), Code::NotFound);
    let mut health = HealthClient::new(server.channel().await);
    health.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn requests_that_do_not_end_leave_no_room_until_they_are_gone() {
    let (server, mut client) = start().await;
    let requests = &server.calls.requests;
    let mut endless = Vec::new();
    for number in 1..=3 {
        endless.push(without_end(&server).await);
        in_use(requests, |bytes| bytes >= number << 20).await;
    }
    assert_no_room(&client.model_infer(large(2 << 20)).await.unwrap_err(), "bytes of requests");
    small_calls_are_answered(&server, &mut client).await;
    assert!(requests.bytes() - requests.free_bytes() >= 3 << 20, "who holds room keeps it");
    endless.clear();
    in_use(requests, |bytes| bytes == 0).await;
    assert_eq!(client.model_infer(large(2 << 20)).await.unwrap_err().code(), Code::NotFound);
    in_use(requests, |bytes| bytes == 0).await;
}

/// A small request that is answered with a picture of 640x480.
fn enlarge() -> ModelInferRequest {
    let input = InferInputTensor {
        name: "image".into(),
        datatype: "UINT8".into(),
        shape: vec![8, 8, 3],
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        model_name: "resize=640x480".into(),
        inputs: vec![input],
        raw_input_contents: vec![Bytes::from(vec![7; 8 * 8 * 3])],
        ..ModelInferRequest::default()
    }
}

/// The reply once it has begun to come, on a connection that lets little of it be sent.
async fn begun(server: &TestServer) -> Result<Streaming<ModelInferResponse>, Status> {
    let endpoint = Channel::from_shared(format!("http://{}", server.address)).unwrap();
    let channel = endpoint.initial_stream_window_size(65_535).connect().await.unwrap();
    let (mut raw, path) = raw(channel).await;
    Ok(raw.server_streaming(Request::new(enlarge()), path, codec()).await?.into_inner())
}

#[tokio::test]
async fn a_reply_that_is_not_read_takes_room_until_it_is() {
    let (server, mut client) = start().await;
    let replies = &server.calls.replies;
    let mut unread = Vec::new();
    for number in 1..=4 {
        unread.push(begun(&server).await.unwrap());
        assert!(replies.bytes() - replies.free_bytes() >= number * 640 * 480 * 3);
    }
    assert_no_room(&client.model_infer(enlarge()).await.unwrap_err(), "bytes of replies");
    small_calls_are_answered(&server, &mut client).await;
    let mut read = unread.pop().unwrap();
    let reply = read.message().await.unwrap().unwrap();
    assert_eq!(reply.raw_output_contents[0].len(), 640 * 480 * 3);
    assert!(read.message().await.unwrap().is_none());
    in_use(replies, |bytes| bytes < ROOM - (1 << 20)).await;
    client.model_infer(enlarge()).await.unwrap();
    unread.clear();
    in_use(replies, |bytes| bytes == 0).await;
}
