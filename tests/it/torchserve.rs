//! TorchServe's services over the wire: predictions, streams, tokens, and every refusal in its words.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use frameserve::Error;
use frameserve::config::TorchServe;
use frameserve::proto::google::rpc::ErrorInfo;
use frameserve::proto::torchserve::inference::PredictionsRequest;
use frameserve::proto::torchserve::management::*;
use frameserve::proto::torchserve::openinference as oip;
use frameserve::proto::torchserve::openinference::grpc_inference_service_client::GrpcInferenceServiceClient;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic::{Code, Request};

use crate::puppet::{ALONE, Hold, PATIENCE, Puppet};
use crate::torchserve_store::{Served, mar, multiplier, plain, request, said, says};

const BAD_REQUEST: &str = "org.pytorch.serve.http.BadRequestException";
const INTERNAL: &str = "org.pytorch.serve.http.InternalServerException";
const MODEL: &str = "org.pytorch.serve.archive.model.ModelException";
const NOT_FOUND: &str = "org.pytorch.serve.archive.model.ModelNotFoundException";
const NO_VERSION: &str = "org.pytorch.serve.archive.model.ModelVersionNotFoundException";

/// What is said of a version that answers nothing; the quotes are where TorchServe has them.
fn no_worker(model: &str) -> String {
    format!(
        "Model \"{model}\" has no worker to serve inference request. Please use scale workers API to add workers. If \
         this is a sequence inference, please check if it is closed, or expired; or exceeds maxSequenceJobQueueSize"
    )
}

fn terms() -> TorchServe {
    TorchServe { model_api: true, key_file: None, ..TorchServe::default() }
}

#[tokio::test]
async fn models_of_the_repository_answer_and_are_well() {
    let mut served = Served::with(&multiplier(), terms(), |_, shelf| shelf.add("m", ALONE)).await;
    let health = served.inference.ping(()).await.unwrap().into_inner().health;
    assert_eq!(health, "{\n  \"status\": \"Healthy\"\n}");
    for version in ["", "1", "1.0"] {
        assert_eq!(served.predict("m", version).await.unwrap(), "[1.0]", "`{version}`");
    }
    // What its client sends besides changes nothing.
    let mut with_metadata = Request::new(request("m", ""));
    with_metadata.metadata_mut().insert("protocol", "gRPC".parse().unwrap());
    with_metadata.metadata_mut().insert("session_id", "12345".parse().unwrap());
    let replies = served.inference.stream_predictions(with_metadata).await.unwrap().into_inner();
    let replies: Vec<_> = replies.map(|reply| plain(&reply.unwrap().prediction)).collect().await;
    assert_eq!(replies, ["[1.0]"]);
}

#[tokio::test]
async fn predictions_are_refused_in_torchserves_words() {
    let puppet = Puppet::new(|_, batch| match crate::puppet::values(batch[0][0].as_ref().unwrap())[0] {
        value if value < 0.0 => panic!("on purpose"),
        _ => Err(Error::Model("on purpose too".into())),
    });
    let mut served = Served::with(&puppet, terms(), |_, shelf| {
        shelf.add("m", ALONE);
        shelf.add("broken", ALONE);
        shelf.version("broken", 1, "broken");
    })
    .await;
    served.register("idle", "2.0", 0).await.unwrap();
    let internal = |text: &str, class: &str| says(Code::Internal, text, class);
    let cases = [
        ("", "", internal("Parameter model_name is required.", "BadRequestException.()")),
        ("no", "", internal("Model not found: no", NOT_FOUND)),
        ("m", "2.0", internal("Model version: 2.0 does not exist for model: m", NO_VERSION)),
        ("m", "x", internal("Model version: x does not exist for model: m", NO_VERSION)),
        ("idle", "", internal(&no_worker("idle"), "InternalServerException.()")),
        ("idle", "2.0", internal(&no_worker("idle\" Version 2.0"), "InternalServerException.()")),
        ("broken", "", internal(&no_worker("broken"), "InternalServerException.()")),
        ("m", "", says(Code::Unavailable, "Prediction failed", INTERNAL)),
    ];
    for (name, version, expected) in cases {
        assert_eq!(said(served.predict(name, version).await), expected, "`{name}` `{version}`");
    }
    let of = |input: &str, text: &'static str| {
        let input = HashMap::from([(input.to_string(), Bytes::from_static(text.as_bytes()))]);
        PredictionsRequest { input, ..request("m", "1") }
    };
    let wrong = served.inference.predictions(of("data", "{")).await;
    assert_eq!(said(wrong), says(Code::Unavailable, "Prediction failed", INTERNAL));
    let cause = served.inference.predictions(of("colour", "1")).await.unwrap_err();
    assert!(cause.message().lines().nth(2).unwrap().contains("'colour'"), "{cause}");
    for _ in 0..2 {
        let died = served.inference.predictions(of("data", "[[-1.0]]")).await;
        assert_eq!(said(died), internal("Worker died.", INTERNAL));
    }
    // It was forgiven once, and has no instance soon.
    let ended = async { while said(served.predict("m", "").await).1 != no_worker("m") {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
    let health = served.inference.ping(()).await.unwrap().into_inner().health;
    assert_eq!(health, "{\n  \"status\": \"Unhealthy\"\n}");
    served.server.drain();
}

#[tokio::test]
async fn an_answer_that_takes_longer_than_it_may_is_given_up() {
    let hold = Hold::default();
    let holding = hold.clone();
    let puppet = Puppet::new(move |_, batch| {
        holding.batch(batch);
        Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
    });
    let mut served = Served::start(&puppet).await;
    mar(&served.store, "slow.mar", "slow", "1.0", "responseTimeout: 1");
    let request = RegisterModelRequest {
        url: "slow.mar".into(),
        initial_workers: 1,
        synchronous: true,
        ..RegisterModelRequest::default()
    };
    served.register_as(request).await.unwrap();
    assert_eq!(said(served.predict("slow", "").await), says(Code::Internal, "Worker died.", INTERNAL));
    hold.open(usize::MAX);
}

#[tokio::test]
async fn a_stream_answers_in_order_and_goes_on_after_errors() {
    let mut served = Served::with(&multiplier(), terms(), |_, shelf| shelf.add("m", ALONE)).await;
    let sequence = |id: &str, name: &str, value: &str| PredictionsRequest {
        sequence_id: Some(id.into()),
        input: [
            ("data".to_string(), format!("[[{value}]]").into()),
            ("ts_request_sequence_start".to_string(), "true".into()),
        ]
        .into(),
        ..request(name, "")
    };
    let requests = [
        sequence("a", "m", "1"),
        sequence("b", "no", "1"),
        sequence("", "m", "1"),
        PredictionsRequest { sequence_id: None, ..sequence("a", "m", "1") },
        sequence("a", "", "1"),
        sequence("b", "m", "2"),
        sequence("a", "m", "x"),
        sequence("a", "m", "3"),
    ];
    let replies = served.inference.stream_predictions2(tokio_stream::iter(requests)).await.unwrap();
    let replies: Vec<_> = replies.into_inner().map(|reply| reply.unwrap()).collect().await;
    let line = |reply: &frameserve::proto::torchserve::inference::PredictionResponse| {
        let id = reply.sequence_id.clone().unwrap_or_default();
        match &reply.status {
            None => format!("{id} {}", plain(&reply.prediction)),
            Some(status) => {
                assert!(reply.prediction.is_empty());
                let info = ErrorInfo::decode(&status.details[0].value[..]).unwrap();
                format!("{id} {} {} ({})", status.code, status.message, info.reason)
            }
        }
    };
    let missing = " 13 Parameter sequenceId is required. (BadRequestException.())".to_string();
    let expected = [
        "a [1.0]".to_string(),
        format!("b 13 Model not found: no ({NOT_FOUND})"),
        missing.clone(),
        missing,
        "a 13 Parameter model_name is required. (BadRequestException.())".into(),
        "b [2.0]".into(),
        format!("a 14 Prediction failed ({INTERNAL})"),
        "a [3.0]".into(),
    ];
    assert_eq!(replies.iter().map(line).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_not_read_by_the_server() {
    let hold = Hold::default();
    let holding = hold.clone();
    let puppet = Puppet::new(move |_, batch| {
        holding.batch(batch);
        Ok(batch.iter().map(|inputs| inputs.iter().flatten().cloned().collect()).collect())
    });
    let mut served = Served::with(&puppet, terms(), |_, shelf| shelf.add("m", "max_batch_size: 1 ")).await;
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let sequence = || PredictionsRequest { sequence_id: Some("s".into()), ..request("m", "") };
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        while sent < 5000 && sender.send(sequence()).await.is_ok() {
            sent += 1;
        }
        sent
    });
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let replies = served.inference.stream_predictions2(requests).await.unwrap().into_inner();
    hold.arrived(1).await;
    let waiting = async {
        let version = served.server.engine.models().find("m", None).unwrap();
        let window = served.server.engine.limits().max_window;
        while version.waiting() + version.instances().len() < window {
            tokio::task::yield_now().await;
        }
        assert!(version.waiting() + version.instances().len() <= window, "no more than the window is taken");
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the window fills");
    hold.open(usize::MAX);
    let replies: Vec<_> = tokio::time::timeout(PATIENCE, replies.collect()).await.unwrap();
    assert_eq!((replies.len(), sending.await.unwrap()), (5000, 5000));
}

#[tokio::test]
async fn the_open_inference_protocol_is_served_under_torchserves_package() {
    let mut served = Served::with(&multiplier(), terms(), |_, shelf| shelf.add("m", ALONE)).await;
    served.register("r", "2.5", 1).await.unwrap();
    let mut client = GrpcInferenceServiceClient::new(served.server.channel().await);
    assert!(client.server_live(oip::ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(client.server_ready(oip::ServerReadyRequest {}).await.unwrap().into_inner().ready);
    let of = |name: &str| oip::ModelReadyRequest { name: name.into(), version: String::new() };
    assert!(client.model_ready(of("r")).await.unwrap().into_inner().ready);
    let missing = client.model_ready(of("")).await;
    assert_eq!(said(missing), says(Code::Internal, "Parameter name is required.", "BadRequestException.()"));
    assert_eq!(
        said(client.model_ready(of("no")).await),
        says(Code::NotFound, "Model not found: no", NOT_FOUND)
    );
    let of = |name: &str| oip::ModelMetadataRequest { name: name.into(), version: String::new() };
    let metadata = client.model_metadata(of("r")).await.unwrap().into_inner();
    assert_eq!((metadata.versions, metadata.inputs[0].name.as_str()), (vec!["2.5".to_string()], "x"));
    assert_eq!(said(client.model_metadata(of("no")).await).0, Code::NotFound);

    let mut request = oip::ModelInferRequest {
        model_name: "r".into(),
        id: "7".into(),
        inputs: vec![oip::model_infer_request::InferInputTensor {
            name: "x".into(),
            datatype: "FP32".into(),
            shape: vec![1, 2],
            contents: Some(oip::InferTensorContents { fp32_contents: vec![1.0, 2.0], ..Default::default() }),
            ..Default::default()
        }],
        ..Default::default()
    };
    let reply = client.model_infer(request.clone()).await.unwrap().into_inner();
    assert_eq!((reply.id.as_str(), reply.model_version.as_str()), ("7", "2.5"));
    assert_eq!(reply.outputs[0].contents.as_ref().unwrap().fp32_contents, [25.0, 50.0]);
    request.inputs[0].contents = None;
    request.raw_input_contents = vec![[1.0f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect()];
    let reply = client.model_infer(request.clone()).await.unwrap().into_inner();
    assert_eq!(reply.raw_output_contents[0].len(), 8, "raw is answered with raw");
    request.model_version = "3.0".into();
    let refused = client.model_infer(request).await;
    assert_eq!(
        said(refused),
        says(Code::Internal, "Model version: 3.0 does not exist for model: r", NO_VERSION)
    );
    let unnamed = client.model_infer(oip::ModelInferRequest::default()).await;
    assert_eq!(said(unnamed).1, "Parameter model_name is required.");
}

#[tokio::test]
async fn registering_is_refused_in_torchserves_words() {
    let mut served = Served::start(&multiplier()).await;
    let of = |url: &str| RegisterModelRequest { url: url.into(), ..RegisterModelRequest::default() };
    let absent = |url: &str| says(Code::NotFound, &format!("Model not found at: {url}"), NOT_FOUND);
    mar(&served.store, "m.mar", "m", "1.0", "");
    let cases = [
        (of(""), says(Code::InvalidArgument, "Parameter url is required.", BAD_REQUEST)),
        (
            RegisterModelRequest { runtime: "python4".into(), ..of("m.mar") },
            says(Code::InvalidArgument, "Invalid RuntimeType value: python4", BAD_REQUEST),
        ),
        (of("no.mar"), absent("no.mar")),
        (of("../m.mar"), says(Code::NotFound, "Relative path is not allowed in url: ../m.mar", NOT_FOUND)),
        (
            of("http://127.0.0.1/m.mar"),
            says(
                Code::NotFound,
                "Given URL http://127.0.0.1/m.mar does not match any allowed URL(s)",
                NOT_FOUND,
            ),
        ),
        (
            RegisterModelRequest { initial_workers: 1 << 20, ..of("m.mar") },
            says(Code::InvalidArgument, "initial_workers 1048576 is out of range: 0 to 256", BAD_REQUEST),
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(said(served.register_as(request).await), expected);
    }
    let python = RegisterModelRequest { handler: "my_handler".into(), ..of("m.mar") };
    let (code, text, class) = said(served.register_as(python).await);
    assert_eq!(
        (code, class.as_str()),
        (Code::InvalidArgument, "org.pytorch.serve.archive.model.InvalidModelException")
    );
    assert!(text.contains("my_handler") && text.contains("torch.jit"), "{text}");
    served.register_as(of("m.mar")).await.unwrap();
    let again = served.register_as(of("m.mar")).await;
    let taken = "Model version 1.0 is already registered for model m";
    assert_eq!(said(again), says(Code::Unknown, taken, "org.pytorch.serve.http.ConflictStatusException"));
}

#[tokio::test]
async fn archives_are_fetched_from_allowed_urls_and_removed_with_their_model() {
    let other = tempfile::tempdir().unwrap();
    mar(&other, "m.mar", "m", "1.0", "");
    let allowed_urls = vec!["file://.*|http://127\\.0\\.0\\.1:1/.*".into()];
    let mut served = Served::with(&multiplier(), TorchServe { allowed_urls, ..terms() }, |_, _| {}).await;
    let url = format!("file://{}/m.mar", other.path().display());
    let of = |url: &str| RegisterModelRequest {
        url: url.into(),
        initial_workers: 1,
        synchronous: true,
        ..RegisterModelRequest::default()
    };
    served.register_as(of(&url)).await.unwrap();
    assert!(served.store.path().join("m.mar").exists());
    let again = served.register_as(of(&url)).await;
    assert_eq!(said(again), says(Code::Internal, "Model file already exists m.mar", INTERNAL));
    let listed = served.management.list_models(ListModelsRequest::default()).await.unwrap().into_inner().msg;
    assert!(listed.contains(&format!("\"modelUrl\": \"{url}\"")), "{listed}");
    served.unregister("m", "").await.unwrap();
    assert!(!served.store.path().join("m.mar").exists(), "what was fetched goes with its model");
    // Nothing listens there.
    let nowhere = served.register_as(of("http://127.0.0.1:1/m.mar")).await;
    let text = "Failed to download archive from: http://127.0.0.1:1/m.mar";
    let class = "org.pytorch.serve.archive.DownloadArchiveException";
    assert_eq!(said(nowhere), says(Code::InvalidArgument, text, class));
}

#[tokio::test]
async fn management_is_refused_in_torchserves_words() {
    let mut served = Served::with(&multiplier(), terms(), |_, shelf| shelf.add("repository", ALONE)).await;
    served.register("m", "1.0", 1).await.unwrap();
    served.register("m", "2.0", 0).await.unwrap();
    let no_model = says(Code::NotFound, "Model not found: no", NOT_FOUND);
    let no_version = says(Code::NotFound, "Model version: 0.0 does not exist for model: m", NO_VERSION);
    assert_eq!(said(served.describe("no", "").await), no_model);
    assert_eq!(said(served.describe("no", "all").await), no_model);
    assert_eq!(said(served.describe("m", "0.0").await), no_version);
    assert_eq!(said(served.scale("no", 1, 1).await), no_model);
    let of_version = ScaleWorkerRequest {
        model_name: "m".into(),
        model_version: "0.0".into(),
        ..ScaleWorkerRequest::default()
    };
    assert_eq!(said(served.management.scale_worker(of_version).await), no_version);
    let fewer = "max_worker cannot be less than min_worker.";
    assert_eq!(said(served.scale("m", 2, 1).await), says(Code::InvalidArgument, fewer, BAD_REQUEST));
    assert_eq!(said(served.set_default("no", "1.0").await), no_model);
    let no_default = "Model version 0.0 does not exist for model m";
    assert_eq!(said(served.set_default("m", "0.0").await), says(Code::NotFound, no_default, NO_VERSION));
    assert_eq!(said(served.unregister("no", "").await), no_model);
    assert_eq!(said(served.unregister("m", "0.0").await), no_version);
    let unnamed = says(Code::InvalidArgument, "Parameter url is required.", BAD_REQUEST);
    assert_eq!(said(served.unregister("", "").await), unnamed);
    let default = "Cannot remove default version for model m";
    let class = "org.pytorch.serve.http.InvalidModelVersionException";
    for version in ["", "1.0"] {
        assert_eq!(said(served.unregister("m", version).await), says(Code::Unknown, default, class));
    }
    let customized =
        DescribeModelRequest { model_name: "m".into(), model_version: "2.0".into(), customized: true };
    let refused = said(served.management.describe_model(customized).await);
    let text =
        "Model \"m\" has no worker to serve describe request. Please use scale workers API to add workers.";
    assert_eq!(refused, says(Code::Internal, text, "InternalServerException.()"));
}

#[tokio::test]
async fn models_come_and_go_only_where_that_is_allowed() {
    let closed = TorchServe { model_api: false, ..terms() };
    let mut served = Served::with(&multiplier(), closed, |store, _| {
        mar(store, "m.mar", "m", "1.0", "");
    })
    .await;
    let disabled = says(Code::PermissionDenied, "Model API disabled", MODEL);
    let register = RegisterModelRequest { url: "m.mar".into(), ..RegisterModelRequest::default() };
    assert_eq!(said(served.register_as(register).await), disabled);
    assert_eq!(said(served.unregister("m", "").await), disabled);
}

#[tokio::test]
async fn tokens_open_what_they_are_for_and_are_renewed_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key_file.json");
    let locked = TorchServe { key_file: Some(file.clone()), ..terms() };
    let served = Served::with(&multiplier(), locked, |_, shelf| shelf.add("m", ALONE)).await;
    let keys =
        || -> serde_json::Value { serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap() };
    let key = |name: &str| keys()[name]["key"].as_str().unwrap().to_owned();
    let with = |token: &str| {
        let mut request = Request::new(());
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    };
    let denied = |result: Result<_, tonic::Status>| {
        let status: tonic::Status = result.unwrap_err();
        let text = "Token Authorization failed. Token either incorrect, expired, or not provided correctly";
        assert_eq!((status.code(), status.message()), (Code::PermissionDenied, text));
    };
    let (mut inference, mut management) = (served.inference.clone(), served.management.clone());
    denied(inference.ping(()).await.map(drop));
    denied(inference.ping(with(&key("management"))).await.map(drop));
    denied(inference.ping(with("wrong")).await.map(drop));
    inference.ping(with(&key("inference"))).await.unwrap();
    let list = |token: &str| with(token).map(|()| ListModelsRequest::default());
    denied(management.list_models(list(&key("inference"))).await.map(drop));
    denied(management.list_models(ListModelsRequest::default()).await.map(drop));
    management.list_models(list(&key("management"))).await.unwrap();
    let mut oip = GrpcInferenceServiceClient::new(served.server.channel().await);
    denied(oip.server_live(oip::ServerLiveRequest {}).await.map(drop));
    // Tokens are TorchServe's: the other protocols ask for none.
    let live = frameserve::proto::inference::ServerLiveRequest {};
    assert!(served.kserve.clone().server_live(live).await.is_ok());

    let renew = async |token: String| {
        let mut stream = TcpStream::connect(served.server.address).await.unwrap();
        let asked = format!(
            "GET /token?type=management HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut said = String::new();
        let read = stream.read_to_string(&mut said);
        tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
        said
    };
    let before = key("management");
    assert!(renew(before.clone()).await.starts_with("HTTP/1.1 400 "));
    assert_eq!(key("management"), before);
    let renewed = renew(key("API")).await;
    assert!(renewed.starts_with("HTTP/1.1 200 "), "{renewed}");
    assert_ne!(key("management"), before);
    denied(management.list_models(list(&before)).await.map(drop));
    management.list_models(list(&key("management"))).await.unwrap();
    served.server.ended().await;
}
