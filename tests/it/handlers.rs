//! What TorchServe's handlers make of requests and of outputs, of models whose outputs are known.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use frameserve::Error;
use frameserve::config::Config;
use frameserve::engine::{Engine, Served};
use frameserve::error::Kind;
use frameserve::grpc::torchserve::handler;
use frameserve::model::backend::{Inputs, Outputs};
use frameserve::model::{Control, Settings};
use frameserve::tensor::{DataType, Shape, Tensor};
use serde_json::{Value, json};

use crate::harness::TestServer;
use crate::puppet::{Puppet, Shelf, map};

/// A picture of 8x6 pixels.
fn picture() -> Bytes {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 8, 6);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&[100; 48]).unwrap();
    bytes.into()
}

fn fp32(shape: &[usize], values: &[f32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::raw(DataType::Fp32, Shape::new(shape.to_vec()), bytes.into()).unwrap()
}

fn int64(values: &[i64]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::raw(DataType::Int64, Shape::new(vec![values.len()]), bytes.into()).unwrap()
}

/// What each of the models gives, whatever it sees.
fn act(settings: &Settings, batch: &[Inputs]) -> Result<Vec<Outputs>, Error> {
    let one = |inputs: &Inputs| match settings.name.as_str() {
        "classes" => vec![fp32(&[1, 4], &[1.0, 3.0, 2.0, 0.0])],
        "boxes" | "fitted" => vec![
            fp32(&[3, 4], &[0.5, 1.0, 3.25, 4.0, -1.5, 0.0, 9.0, 7.0, 0.0, 0.0, 1.0, 1.0]),
            fp32(&[3], &[0.75, 0.875, 0.25]),
            int64(&[1, 7, 0]),
        ],
        "pixels" => vec![fp32(&[1, 2, 1, 2], &[0.0, 2.0, 0.0, 1.0])],
        "picture" => vec![map(inputs[0].as_ref().unwrap(), |value| value)],
        "two" => vec![map(inputs[0].as_ref().unwrap(), |value| value * 2.0), int64(&[1, 2])],
        _ => vec![map(inputs[0].as_ref().unwrap(), |value| value + 1.0)],
    };
    Ok(batch.iter().map(one).collect())
}

/// The configuration of a model with inputs, outputs and parameters of ours.
fn config(
    max_batch: usize,
    inputs: &[(&str, &str)],
    outputs: &[(&str, &str, &str)],
    keys: &[(&str, &str)],
) -> String {
    let mut text = format!("backend: \"puppet\" max_batch_size: {max_batch}\n");
    for (name, dims) in inputs {
        writeln!(text, "input {{ name: \"{name}\" data_type: TYPE_FP32 dims: [{dims}] }}").unwrap();
    }
    for (name, of, dims) in outputs {
        writeln!(text, "output {{ name: \"{name}\" data_type: TYPE_{of} dims: [{dims}] }}").unwrap();
    }
    for (key, value) in keys {
        writeln!(text, "parameters {{ key: \"frameserve.{key}\" value {{ string_value: \"{value}\" }} }}")
            .unwrap();
    }
    text
}

fn shelf() -> Shelf {
    let shelf = Shelf::new();
    let boxes = [("boxes", "FP32", "-1, 4"), ("scores", "FP32", "-1"), ("labels", "INT64", "-1")];
    let any = [("x", "1, -1, -1")];
    let detection = [("task", "detection"), ("threshold", "0.5"), ("labels", "labels.txt")];
    let fitted = [&detection[..], &[("resize", "fit=16x16")]].concat();
    let classes = [("task", "classification"), ("activation", "softmax"), ("labels", "labels.txt")];
    let pixels = [("task", "segmentation"), ("activation", "softmax"), ("output_layout", "chw")];
    let image = [("task", "image"), ("scale", "1"), ("output_scale", "1")];
    for (name, text) in [
        ("classes", config(4, &[("x", "1, 6, 8")], &[("y", "FP32", "4")], &classes)),
        ("boxes", config(0, &any, &boxes, &detection)),
        ("fitted", config(0, &[("x", "1, 16, 16")], &boxes, &fitted)),
        ("pixels", config(4, &any, &[("out", "FP32", "-1, -1, -1")], &pixels)),
        ("picture", config(4, &any, &[("y", "FP32", "1, -1, -1")], &image)),
        ("plain", config(4, &[("x", "2")], &[("y", "FP32", "2")], &[])),
        ("two", config(0, &[("x", "2"), ("z", "-1")], &[("y", "FP32", "2"), ("n", "INT64", "-1")], &[])),
    ] {
        shelf.config(name, &text);
        std::fs::write(shelf.0.path().join(name).join("labels.txt"), "cat\nd\u{f6}g\ncat\nant\n").unwrap();
        shelf.version(name, 1, "good");
    }
    shelf
}

async fn start() -> TestServer {
    let puppet = Puppet::of_settings(|settings, _, batch| act(settings, batch));
    let shelf = shelf();
    let models = shelf.models(&puppet, Control::None);
    let mut pipelines = frameserve::pipeline::names::Names::default();
    pipelines.insert("mirror", "flip", "").unwrap();
    let server = TestServer::start(Config { models, pipelines, ..Config::default() }).await;
    server.loaded().await;
    server
}

async fn ask(engine: &Arc<Engine>, model: &str, inputs: &[(&str, Bytes)]) -> Result<Bytes, Error> {
    let served: Served = engine.served(model, "")?;
    let inputs: HashMap<String, Bytes> =
        inputs.iter().map(|(key, bytes)| ((*key).to_owned(), bytes.clone())).collect();
    let request = handler::request(&served, inputs)?;
    let reply = engine.infer(&served, request).await?;
    handler::prediction(&served, reply)
}

async fn text(engine: &Arc<Engine>, model: &str, inputs: &[(&str, Bytes)]) -> String {
    String::from_utf8(ask(engine, model, inputs).await.unwrap().to_vec()).unwrap()
}

async fn value(engine: &Arc<Engine>, model: &str, inputs: &[(&str, Bytes)]) -> Value {
    serde_json::from_str(&text(engine, model, inputs).await).unwrap()
}

#[tokio::test]
async fn answers_are_those_of_the_handlers() {
    let server = start().await;
    let engine = &server.engine;
    let sent = [("data", picture())];
    // Class 2 has the name of class 0, whose place and not whose score it has in a dict.
    let exp = |x: f64| (x - 3.0).exp();
    let sum: f64 = [1.0, 3.0, 2.0, 0.0].map(exp).iter().sum();
    let score = |x: f64| f64::from((exp(x) / sum) as f32);
    let classes = text(engine, "classes", &sent).await;
    let expected = format!(
        "{{\n  \"d\\u00f6g\": {:?},\n  \"cat\": {:?},\n  \"ant\": {:?}\n}}",
        score(3.0),
        score(1.0),
        score(0.0)
    );
    assert_eq!(classes, expected);
    let boxes = text(engine, "boxes", &sent).await;
    let expected = "[\n  {\n    \"d\\u00f6g\": [\n      0.5,\n      1.0,\n      3.25,\n      4.0\n    ],\n    \
                    \"score\": 0.75\n  },\n  {\n    \"7\": [\n      -1.5,\n      0.0,\n      9.0,\n      7.0\n    ],\n    \
                    \"score\": 0.875\n  }\n]";
    assert_eq!(boxes, expected, "in the model's own order and coordinates");
    // Pictures of 8x6 lie in the middle of 16x16, doubled.
    let fitted = value(engine, "fitted", &sent).await;
    assert_eq!(
        fitted,
        json!([
            { "7": [0.0, 0.0, 4.5, 2.5], "score": 0.875 },
            { "d\u{f6}g": [0.25, 0.0, 1.625, 1.0], "score": 0.75 },
        ])
    );
    let pixels = value(engine, "pixels", &sent).await;
    let share = |x: f64| f64::from((1.0 / (1.0 + (-x).exp())) as f32);
    assert_eq!(pixels, json!([[[0.0, 0.5], [0.0, share(1.0)]]]));
    let _ended = server.ended().await;
}

#[tokio::test]
async fn pictures_come_back_as_pictures() {
    let server = start().await;
    for model in ["picture", "mirror"] {
        let answer = ask(&server.engine, model, &[("body", picture())]).await.unwrap();
        assert!(answer.starts_with(b"\x89PNG"), "{model}");
        let decoder = png::Decoder::new(std::io::Cursor::new(&answer[..]));
        let header = decoder.read_info().unwrap();
        assert_eq!((header.info().width, header.info().height), (8, 6));
    }
    let _ended = server.ended().await;
}

#[tokio::test]
async fn tensors_are_nested_lists() {
    let server = start().await;
    let engine = &server.engine;
    for sent in ["[1, 2.5]", " [[1, 2.5]]", "{\"x\": [1, 2.5]}"] {
        let bytes = Bytes::from(sent);
        assert_eq!(text(engine, "plain", &[("data", bytes.clone())]).await, "[\n  2.0,\n  3.5\n]");
        assert_eq!(value(engine, "plain", &[("body", bytes)]).await, json!([2.0, 3.5]));
    }
    assert_eq!(
        value(engine, "plain", &[("data", "[[1, 2], [3, 4]]".into())]).await,
        json!([[2.0, 3.0], [4.0, 5.0]])
    );
    let raw: Vec<u8> = [1.0_f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(value(engine, "plain", &[("data", raw.into())]).await, json!([2.0, 3.0]));
    let two = json!({ "y": [2.0, 4.0], "n": [1, 2] });
    assert_eq!(value(engine, "two", &[("data", "{\"x\": [1, 2], \"z\": [0]}".into())]).await, two);
    assert_eq!(value(engine, "two", &[("x", "[1, 2]".into()), ("z", "[0]".into())]).await, two);
    let _ended = server.ended().await;
}

#[tokio::test]
async fn pictures_may_be_base64_or_values() {
    let server = start().await;
    let engine = &server.engine;
    let expected = text(engine, "classes", &[("data", picture())]).await;
    let base64 = base64::engine::general_purpose::STANDARD.encode(picture());
    let values = Value::from(vec![vec![vec![0.25; 8]; 6]]);
    for sent in [base64.clone(), format!("\"{base64}\""), values.to_string()] {
        // What is empty is not there, and `data` goes before `body`.
        let inputs = [("data", Bytes::new()), ("body", Bytes::from(sent))];
        assert_eq!(text(engine, "classes", &inputs).await, expected);
    }
    let _ended = server.ended().await;
}

#[tokio::test]
async fn what_can_not_be_is_refused() {
    let server = start().await;
    for (model, key, sent, says) in [
        ("classes", "data", "no picture", "these 10 bytes are no JPEG, PNG or WebP"),
        ("classes", "data", "[[1, 2]", "what is sent is no readable JSON"),
        ("classes", "data", "[[[1, 2], [3, 4]]]", "unexpected shape"),
        ("classes", "data", "", "has to stand under the key `data` or `body`"),
        ("classes", "picture", "x", "unexpected inference input 'picture'"),
        ("plain", "data", "xyz", "which 3 bytes are not, nor nested lists in JSON"),
        ("plain", "data", "{\"z\": [1]}", "unexpected inference input 'z'"),
        ("plain", "data", "[\"a\", 1]", "its elements must be of FP32"),
        ("two", "data", "[1, 2]", "the model has 2 inputs, and `data` holds one of them"),
        ("two", "x", "[1, 2]", "missing required input(s) ['z']"),
        ("mirror", "data", "no picture", "no JPEG, PNG or WebP"),
    ] {
        let error = ask(&server.engine, model, &[(key, Bytes::from(sent))]).await.unwrap_err();
        assert!(error.to_string().contains(says), "{model} {sent}: {error}");
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
    }
    let _ended = server.ended().await;
}
