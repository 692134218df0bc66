//! What the KServe V2 service does without any model: statuses, streams, shared memory.

use bytes::Bytes;
use frameserve::config::Config;
use frameserve::limits::Limits;
use frameserve::proto::codec::MOST_PARTS;
use frameserve::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use frameserve::proto::inference::*;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::{Service, http};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::harness::TestServer;

type Client = GrpcInferenceServiceClient<Channel>;

async fn start(limits: Limits) -> (TestServer, Client) {
    let server = TestServer::start(Config { limits, ..Config::default() }).await;
    let client = GrpcInferenceServiceClient::new(server.channel().await);
    server.loaded().await;
    (server, client)
}

fn of(model: &str, id: &str) -> ModelInferRequest {
    ModelInferRequest { model_name: model.into(), id: id.into(), ..ModelInferRequest::default() }
}

const UNKNOWN: &str = "Request for unknown model: 'no-such' is not found";

#[tokio::test]
async fn a_model_that_is_not_there_is_not_found() {
    let (_server, mut client) = start(Limits::default()).await;
    assert!(client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
    let (name, version) = ("no-such".to_string(), String::new());
    let refused = [
        client.model_infer(of("no-such", "1")).await.unwrap_err(),
        client.model_ready(ModelReadyRequest { name: name.clone(), version }).await.unwrap_err(),
        client.model_config(ModelConfigRequest { name, ..Default::default() }).await.unwrap_err(),
    ];
    for status in refused {
        assert_eq!((status.code(), status.message()), (Code::NotFound, UNKNOWN));
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_as_by_other_servers() {
    let (_server, mut client) = start(Limits { max_message_bytes: 1 << 10, ..Limits::default() }).await;
    let message = ModelInferRequest { raw_input_contents: vec![vec![0; 1 << 11].into()], ..of("m", "") };
    let status = client.model_infer(message).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("--max-message-bytes"), "{status}");
}

#[tokio::test]
async fn a_malformed_message_is_the_senders_fault() {
    let (server, _) = start(Limits::default()).await;
    // A name that is no text: the fields of another message, under the path of this one.
    let mut raw = tonic::client::Grpc::new(server.channel().await);
    raw.ready().await.unwrap();
    let message = SystemSharedMemoryRegisterRequest { name: "x".into(), byte_size: 7, ..Default::default() };
    let path = "/inference.GRPCInferenceService/ModelInfer".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<_, ModelInferResponse>::default();
    let status = raw.unary(Request::new(message), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}

#[tokio::test]
async fn frames_that_are_not_what_they_say_are_refused() {
    let (server, mut client) = start(Limits::default()).await;
    let mut channel = server.channel().await;
    for (frame, encoding, code) in [
        // A message begins with whether it is compressed, and its length in four bytes: here of two GiB.
        ("\0\x7f\x7f\x7f\x7f", "identity", Code::ResourceExhausted),
        ("\0\x7f\x7f\x7f\x7f followed by some of it", "identity", Code::ResourceExhausted),
        ("\x01\x7f\x7f\x7f\x7f", "gzip", Code::ResourceExhausted),
        ("\0\x03\x7f\x7f\x7f half of what would be allowed", "identity", Code::Internal),
        ("\0\0", "identity", Code::Internal),
        ("", "identity", Code::Internal),
        ("\x01\0\0\0\x01x", "identity", Code::Internal),
        ("\x01\0\0\0\x01x", "gzip", Code::Internal),
        ("\x01\0\0\0\x01x", "snappy", Code::Unimplemented),
        ("\x02\0\0\0\x01x", "identity", Code::Internal),
        ("\0\0\0\0\x01\x0a", "identity", Code::InvalidArgument),
    ] {
        let request = http::Request::post("/inference.GRPCInferenceService/ModelInfer")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-encoding", encoding)
            .body(tonic::body::Body::new(frame.to_string()))
            .unwrap();
        std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
        let response = channel.call(request).await.unwrap();
        let status = Status::from_header_map(response.headers()).expect("a status at once");
        assert_eq!(status.code(), code, "{frame:?}: {status}");
        assert!(!status.message().is_empty(), "{frame:?}: {status}");
        assert!(client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
    }
}

#[tokio::test]
async fn a_message_of_more_parts_than_any_has_is_refused_unread() {
    let (_server, mut client) = start(Limits::default()).await;
    let inputs = vec![model_infer_request::InferInputTensor::default(); MOST_PARTS];
    let status = client.model_infer(ModelInferRequest { inputs, ..of("no-such", "") }).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains(&MOST_PARTS.to_string()), "{status}");
}

#[tokio::test]
async fn a_stream_answers_each_request_and_goes_on_after_errors() {
    let (_server, mut client) = start(Limits::default()).await;
    let requests: Vec<_> = (0..100).map(|id| of("no-such", &id.to_string())).collect();
    let replies = client.model_stream_infer(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let replies: Vec<_> = replies.map(Result::unwrap).collect().await;
    assert_eq!(replies.len(), 100);
    for (id, reply) in replies.into_iter().enumerate() {
        assert_eq!(reply.error_message, UNKNOWN);
        assert_eq!(reply.infer_response.unwrap().id, id.to_string());
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_first_error_where_that_is_asked_for() {
    let (_server, mut client) = start(Limits::default()).await;
    let mut request = Request::new(tokio_stream::iter([of("no-such", "1"), of("no-such", "2")]));
    request.metadata_mut().insert("triton_grpc_error", "true".parse().unwrap());
    let mut replies = client.model_stream_infer(request).await.unwrap().into_inner();
    let status = replies.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, UNKNOWN));
}

#[tokio::test]
async fn a_stream_ends_when_the_server_does() {
    let (server, mut client) = start(Limits::default()).await;
    let (requests, messages) = mpsc::channel(4);
    requests.send(of("no-such", "1")).await.unwrap();
    let mut replies = client.model_stream_infer(ReceiverStream::new(messages)).await.unwrap().into_inner();
    assert!(replies.message().await.unwrap().is_some());
    server.drain();
    let status = replies.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("shutting down"), "{status}");
}

#[tokio::test]
async fn shared_memory_is_registered_by_its_name_alone() {
    let (_server, mut client) = start(Limits::default()).await;
    let key = format!("/frameserve-test-{}", std::process::id());
    let path = format!("/dev/shm{key}");
    std::fs::write(&path, [0; 64]).unwrap();
    let register = |name: &str, key: &str, offset, byte_size| SystemSharedMemoryRegisterRequest {
        name: name.into(),
        key: key.into(),
        offset,
        byte_size,
    };
    client.system_shared_memory_register(register("a", &key, 32, 32)).await.unwrap();
    let outside = format!("../shm{key}");
    for (request, code) in [
        (register("a", &key, 0, 64), Code::AlreadyExists),
        (register("b", &key, 32, 33), Code::InvalidArgument),
        (register("b", &key, u64::MAX, 2), Code::InvalidArgument),
        (register("b", &key, 0, 0), Code::InvalidArgument),
        (register("", &key, 0, 64), Code::InvalidArgument),
        (register("b", &outside, 0, 64), Code::InvalidArgument),
        (register("b", "/..", 0, 64), Code::InvalidArgument),
        (register("b", "nul\0", 0, 64), Code::InvalidArgument),
        (register("b", "/no-such-region", 0, 64), Code::Internal),
    ] {
        let refused = client.system_shared_memory_register(request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{request:?}: {refused}");
    }
    std::fs::remove_file(&path).unwrap();
    let all = SystemSharedMemoryStatusRequest::default();
    let regions = client.system_shared_memory_status(all.clone()).await.unwrap().into_inner().regions;
    assert_eq!((regions.len(), regions["a"].offset, regions["a"].byte_size), (1, 32, 32));
    client.system_shared_memory_unregister(SystemSharedMemoryUnregisterRequest::default()).await.unwrap();
    assert!(client.system_shared_memory_status(all).await.unwrap().into_inner().regions.is_empty());
    let cuda = CudaSharedMemoryRegisterRequest { raw_handle: Bytes::from_static(b"x"), ..Default::default() };
    assert_eq!(client.cuda_shared_memory_register(cuda).await.unwrap_err().code(), Code::Unimplemented);
}
