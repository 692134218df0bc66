//! Sample models that compute with 16 bits, in the server's program: what they answer is near to what they answer with 32.

use std::fs;

use bytes::Bytes;
use frameserve::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use frameserve::proto::inference::model_infer_request::InferInputTensor;
use frameserve::proto::inference::{ModelInferRequest, RepositoryIndexRequest};
use frameserve::proto::{Detection, MsgReply, MsgRequest};

use crate::program::{Program, there};
use crate::programs_looking::{answers, decoded, iou, psnr};
use crate::programs_torch::start;

/// A pipeline with a model, and the picture that it is shown.
const ASKED: [(&str, &str); 9] = [
    ("detect=faces", "astronaut.png"),
    ("detect=pose", "astronaut.png"),
    ("detect=things", "astronaut.png"),
    ("classify=classifier,top=1", "coffee.png"),
    ("segment=person,show=cutout", "astronaut.png"),
    ("model=background", "astronaut.png"),
    ("style=wave", "coffee.png"),
    ("style=starry", "coffee.png"),
    ("style=composition", "coffee.png"),
];
/// BF16 has eight bits for a color, of which the networks' rounding costs some more.
const LEAST_PSNR: f64 = 30.0;
const LEAST_OVERLAP: f32 = 0.8;
const SCORE_APART: f32 = 0.05;
/// Points, in parts of the box's height. Most have to be as near; those that are out of the picture are guessed.
const POINT_APART: f32 = 0.02;

struct Answers {
    replies: Vec<MsgReply>,
    sum: Bytes,
}

async fn ask(precision: &str) -> Answers {
    let models = there("samples/models");
    let server = start(&["--model-repository", models.to_str().unwrap(), "--precision", precision]).await;
    let mut client = server.client().await;
    let mut replies = Vec::new();
    for (pipeline, picture) in ASKED {
        let img = fs::read(there(&format!(".deps/pictures/{picture}"))).unwrap().into();
        replies
            .extend(answers(&mut client, pipeline, vec![MsgRequest { img, ..MsgRequest::default() }]).await);
    }
    Answers { replies, sum: sum(&server).await }
}

/// What `add` makes of numbers that any of these types can hold. It is the one model that sees no pictures, of all that
/// the repository has.
async fn sum(server: &Program) -> Bytes {
    let mut client = GrpcInferenceServiceClient::connect(format!("http://{}", server.address)).await.unwrap();
    let index = client.repository_index(RepositoryIndexRequest::default()).await.unwrap().into_inner();
    let asked = |name: &str| {
        ["add", "identity"].contains(&name) || ASKED.iter().any(|(pipeline, _)| pipeline.contains(name))
    };
    for model in index.models {
        assert!(model.state == "READY" && asked(&model.name), "{model:?}");
    }
    let input = |name: &str| InferInputTensor {
        name: name.into(),
        datatype: "FP32".into(),
        shape: vec![2, 2],
        ..InferInputTensor::default()
    };
    let values = |values: [f32; 4]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let request = ModelInferRequest {
        model_name: "add".into(),
        inputs: vec![input("x1"), input("x2")],
        raw_input_contents: vec![
            values([1.0, 2.0, 3.0, 4.0]).into(),
            values([0.5, 0.25, -8.0, 100.0]).into(),
        ],
        ..ModelInferRequest::default()
    };
    let mut reply = client.model_infer(request).await.unwrap().into_inner();
    assert_eq!(reply.outputs[0].datatype, "FP32");
    reply.raw_output_contents.remove(0)
}

fn near(pipeline: &str, found: &MsgReply, expected: &MsgReply) {
    let likeness = psnr(&decoded(found), &decoded(expected));
    println!("{pipeline}: {likeness:.1} dB, {:?} {:?}", found.labels, found.detections);
    assert!(likeness > LEAST_PSNR, "{pipeline}: {likeness} dB");
    let asks_where = pipeline.contains("detect=");
    assert_eq!(expected.detections.is_empty(), !asks_where, "{pipeline}");
    assert_eq!(found.detections.len(), expected.detections.len(), "{pipeline}: {:?}", found.detections);
    for (found, expected) in found.detections.iter().zip(&expected.detections) {
        near_box(found, expected);
    }
    assert_eq!(found.labels.len(), expected.labels.len(), "{pipeline}");
    for (found, expected) in found.labels.iter().zip(&expected.labels) {
        assert_eq!(found.name, expected.name, "{pipeline}");
        assert!((found.score - expected.score).abs() < SCORE_APART, "{found:?} and {expected:?}");
    }
}

fn near_box(found: &Detection, expected: &Detection) {
    let edges = |found: &Detection| [found.x, found.y, found.x + found.width, found.y + found.height];
    let overlap = iou(edges(found), edges(expected));
    assert!(overlap > LEAST_OVERLAP, "{overlap}: {found:?} and {expected:?}");
    assert!((found.score - expected.score).abs() < SCORE_APART, "{found:?} and {expected:?}");
    assert_eq!((&found.label, found.points.len()), (&expected.label, expected.points.len()));
    let pairs = found.points.chunks(2).zip(expected.points.chunks(2));
    let apart = pairs.map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1]) / expected.height);
    let far = apart.filter(|apart| *apart > POINT_APART).count();
    assert!(far * 2 * 4 <= found.points.len(), "{far} points are far: {found:?} and {expected:?}");
}

#[tokio::test]
async fn every_sample_model_answers_with_half_the_bits() {
    let expected = ask("fp32").await;
    for precision in ["bf16", "fp16"] {
        let found = ask(precision).await;
        for ((pipeline, _), (found, expected)) in
            ASKED.iter().zip(found.replies.iter().zip(&expected.replies))
        {
            near(&format!("{precision}: {pipeline}"), found, expected);
        }
        assert_eq!(found.sum, expected.sum, "{precision}");
    }
}
