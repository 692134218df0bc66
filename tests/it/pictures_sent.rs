//! Encoded pictures over the KServe V2 protocol: how many of them a model takes, and what comes back for them.

use bytes::Bytes;
use frameserve::config::Config;
use frameserve::model::Control;
use frameserve::pipeline::names::Names;
use frameserve::proto::inference::infer_parameter::ParameterChoice;
use frameserve::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use frameserve::proto::inference::{
    InferParameter, ModelInferRequest, ModelInferResponse, ModelStatisticsRequest,
};
use tonic::{Code, Status};

use crate::harness::jpeg;
use crate::lookers::fp32;
use crate::puppet::{InferClient, Puppet, Shelf, start, start_with};

/// A model that gives back the pictures that it gets; `dims` are those of both.
fn same(shelf: &Shelf, name: &str, dims: &str) {
    let port = |kind: &str, name: &str| {
        format!("{kind} {{ name: \"{name}\" data_type: TYPE_FP32 dims: [{dims}] }}\n")
    };
    let task = "parameters { key: \"frameserve.task\" value { string_value: \"image\" } }\n";
    shelf
        .config(name, &format!("backend: \"identity\"\n{}{}{task}", port("input", "x"), port("output", "y")));
    shelf.version(name, 1, "good");
}

/// These pictures as the input of this name, in a tensor of this shape.
fn pictures(model: &str, input: &str, shape: &[i64], pictures: &[Bytes]) -> ModelInferRequest {
    let input = InferInputTensor {
        name: input.into(),
        datatype: "BYTES".into(),
        shape: shape.into(),
        ..InferInputTensor::default()
    };
    let element = |picture: &Bytes| [&(picture.len() as u32).to_le_bytes(), &picture[..]].concat();
    let raw: Vec<u8> = pictures.iter().flat_map(element).collect();
    ModelInferRequest {
        model_name: model.into(),
        inputs: vec![input],
        raw_input_contents: vec![raw.into()],
        ..ModelInferRequest::default()
    }
}

fn parameter(choice: ParameterChoice) -> InferParameter {
    InferParameter { parameter_choice: Some(choice) }
}

/// The request for this output alone, with a parameter.
fn asking(
    mut request: ModelInferRequest,
    output: &str,
    key: &str,
    choice: ParameterChoice,
) -> ModelInferRequest {
    let parameters = [(key.to_owned(), parameter(choice))].into();
    request.outputs.push(InferRequestedOutputTensor { name: output.into(), parameters });
    request
}

fn text(text: &str) -> ParameterChoice {
    ParameterChoice::StringParam(text.into())
}

/// The elements of the first output, which is one of BYTES.
fn elements(reply: &ModelInferResponse) -> Vec<Bytes> {
    assert_eq!(reply.outputs[0].datatype, "BYTES");
    let mut rest = reply.raw_output_contents[0].clone();
    let mut elements = Vec::new();
    while let Some((length, _)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        elements.push(rest.slice(4..4 + length));
        rest = rest.slice(4 + length..);
    }
    elements
}

async fn infer(client: &mut InferClient, request: ModelInferRequest) -> Result<ModelInferResponse, Status> {
    client.model_infer(request).await.map(tonic::Response::into_inner)
}

/// How often a model succeeded and failed.
async fn counts(client: &mut InferClient, name: &str) -> (u64, u64) {
    let asked = ModelStatisticsRequest { name: name.into(), version: String::new() };
    let stats = client.model_statistics(asked).await.unwrap().into_inner().model_stats.remove(0);
    let stats = stats.inference_stats.unwrap();
    (stats.success.unwrap().count, stats.fail.unwrap().count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_batch_takes_as_many_pictures_as_its_dims_say() {
    let shelf = Shelf::new();
    same(&shelf, "any", "-1, 3, 8, 16");
    same(&shelf, "two", "2, 3, 8, 16");
    same(&shelf, "one", "3, 8, 16");
    let puppet = Puppet::new(|_, _| Ok(Vec::new()));
    let (_server, mut client) = start(&shelf, &puppet, Control::Explicit(vec!["*".into()])).await;
    // Of sizes that differ, since they are brought to one.
    let sent = [jpeg(16, 8), jpeg(32, 16), jpeg(48, 48)];
    for count in 1..=3 {
        for shape in [&[count as i64][..], &[count as i64, 1]] {
            let reply = infer(&mut client, pictures("any", "x", shape, &sent[..count])).await.unwrap();
            assert_eq!(reply.outputs[0].shape, [count as i64, 3, 8, 16]);
            assert_eq!(reply.raw_output_contents[0].len(), count * 3 * 8 * 16 * 4);
        }
        // Each is the one that it is by itself.
        let png = |request| asking(request, "y", "codec", text("png"));
        let all =
            infer(&mut client, png(pictures("any", "x", &[count as i64], &sent[..count]))).await.unwrap();
        let mut alone = Vec::new();
        for picture in &sent[..count] {
            let request = pictures("one", "x", &[1], std::slice::from_ref(picture));
            alone.extend(elements(&infer(&mut client, png(request)).await.unwrap()));
        }
        assert_eq!(elements(&all), alone);
    }
    let reply = infer(&mut client, pictures("two", "x", &[2], &sent[..2])).await.unwrap();
    assert_eq!(reply.outputs[0].shape, [2, 3, 8, 16]);
    let before = counts(&mut client, "any").await;
    for (model, count, expected) in
        [("any", 0, "[-1]"), ("two", 1, "[2]"), ("two", 3, "[2]"), ("one", 2, "[1]")]
    {
        let status =
            infer(&mut client, pictures(model, "x", &[count as i64], &sent[..count])).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        let says = format!("unexpected shape for input 'x' for model '{model}'. Expected {expected}");
        assert!(status.message().contains(&says), "{status}");
    }
    assert_eq!(counts(&mut client, "any").await, before, "and none of that is a failure of the model");
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_are_those_of_each_picture_without_a_batch_too() {
    let shelf = Shelf::new();
    shelf.config(
        "scores",
        "backend: \"puppet\"\n\
         input { name: \"x\" data_type: TYPE_FP32 dims: [-1, 1, 8, 8] }\n\
         output { name: \"y\" data_type: TYPE_FP32 dims: [-1, 3] label_filename: \"labels.txt\" }\n\
         parameters { key: \"frameserve.input\" value { string_value: \"x\" } }\n",
    );
    std::fs::write(shelf.0.path().join("scores/labels.txt"), "cat\ndog\nbird\n").unwrap();
    shelf.version("scores", 1, "good");
    // The second picture shows what the first one does not.
    let puppet = Puppet::new(|_, batch| {
        let scores = [0.7, 0.2, 0.1, 0.0, 0.1, 0.9];
        let rows = |inputs: &Vec<_>| -> usize {
            let tensor: &Option<frameserve::tensor::Tensor> = &inputs[0];
            tensor.as_ref().unwrap().shape().dims()[0]
        };
        Ok(batch.iter().map(|inputs| vec![fp32(&[rows(inputs), 3], &scores[..3 * rows(inputs)])]).collect())
    });
    let (_server, mut client) = start(&shelf, &puppet, Control::None).await;
    let sent = pictures("scores", "x", &[2], &[jpeg(8, 8), jpeg(8, 8)]);
    let reply = infer(&mut client, asking(sent, "y", "classification", ParameterChoice::Int64Param(1))).await;
    let reply = reply.unwrap();
    assert_eq!(reply.outputs[0].shape, [2, 1]);
    assert_eq!(elements(&reply), ["0.700000:0:cat", "0.900000:2:bird"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_pictures_are_encoded_may_be_said_of_the_whole_request() {
    let shelf = Shelf::new();
    same(&shelf, "picture", "3, 8, 16");
    shelf.add("numbers", "");
    let puppet =
        Puppet::new(|_, batch| Ok(batch.iter().map(|inputs| vec![inputs[0].clone().unwrap()]).collect()));
    let (_server, mut client) = start(&shelf, &puppet, Control::Explicit(vec!["*".into()])).await;
    let with = |key: &str, choice, mut request: ModelInferRequest| {
        request.parameters.insert(key.into(), parameter(choice));
        request
    };
    let sent = pictures("picture", "x", &[1], &[jpeg(16, 8)]);
    let webp = infer(&mut client, with("codec", text("webp"), sent.clone())).await.unwrap();
    assert_eq!(elements(&webp)[0][8..12], *b"WEBP");
    // An output that says it itself is asked first.
    let png = asking(with("codec", text("webp"), sent.clone()), "y", "codec", text("png"));
    assert_eq!(elements(&infer(&mut client, png).await.unwrap())[0][1..4], *b"PNG");
    let plain = infer(&mut client, sent.clone()).await.unwrap();
    assert_eq!(plain.outputs[0].datatype, "FP32");
    let both =
        asking(with("codec", text("png"), sent), "y", "classification", ParameterChoice::Int64Param(1));
    assert_eq!(infer(&mut client, both.clone()).await.unwrap().outputs[0].shape, [1], "these are classes");
    let mut both = both;
    both.outputs[0].parameters.insert("codec".into(), parameter(text("png")));
    let numbers = with("codec", text("png"), crate::puppet::rows("numbers", &[1.0], 3));
    let lossy = with("quality", ParameterChoice::Int64Param(9), crate::puppet::rows("numbers", &[1.0], 3));
    for (request, says) in [
        (both, "it can't be both classes and a picture encoded as PNG"),
        (numbers, "no output of model 'numbers' is a picture that could be encoded as PNG"),
        (lossy, "the request has a 'quality' and no 'codec'"),
    ] {
        let status = infer(&mut client, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(says), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_take_pictures_in_a_column_as_models_do() {
    let puppet = Puppet::new(|_, _| Ok(Vec::new()));
    let (_server, mut client) = start(&Shelf::new(), &puppet, Control::None).await;
    let sent = [jpeg(16, 8), jpeg(32, 16)];
    let list = infer(&mut client, pictures("invert", "image", &[2], &sent)).await.unwrap();
    let column = infer(&mut client, pictures("invert", "image", &[2, 1], &sent)).await.unwrap();
    assert_eq!((elements(&column), elements(&column).len()), (elements(&list), 2));
    let status = infer(&mut client, pictures("invert", "image", &[1, 2], &sent)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("Expected [-1] or [-1,1] of encoded pictures"), "{status}");
}

/// A pipeline that has a name, and one that is written as text.
const PIPELINES: [&str; 2] = ["edges", "invert | canny"];

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_pipelines_are_counted_as_those_for_models() {
    let mut pipelines = Names::default();
    pipelines.insert("edges", "canny", "").unwrap();
    let (_server, mut client) = start_with(Config { pipelines, ..Config::default() }).await;
    let sent = [jpeg(16, 8), jpeg(32, 16), jpeg(48, 48)];
    for pipeline in PIPELINES {
        let asked = ModelStatisticsRequest { name: pipeline.into(), version: String::new() };
        assert_eq!(counts(&mut client, pipeline).await, (0, 0), "{pipeline}");
        infer(&mut client, pictures(pipeline, "image", &[3], &sent)).await.unwrap();
        // What it does not take, and then what looks like a picture and is none.
        infer(&mut client, pictures(pipeline, "photo", &[3], &sent)).await.unwrap_err();
        infer(&mut client, pictures(pipeline, "image", &[3, 1, 1], &sent)).await.unwrap_err();
        infer(&mut client, pictures(pipeline, "image", &[1], &[Bytes::from_static(b"no picture")]))
            .await
            .unwrap_err();
        let whole = jpeg(320, 240);
        let torn = [whole.slice(..whole.len() * 3 / 4)];
        infer(&mut client, pictures(pipeline, "image", &[1], &torn)).await.unwrap_err();
        let stats = client.model_statistics(asked).await.unwrap().into_inner().model_stats.remove(0);
        assert_eq!((stats.name.as_str(), stats.inference_count, stats.execution_count), (pipeline, 3, 3));
        assert_eq!(counts(&mut client, pipeline).await, (1, 1), "{pipeline}");
        let times = stats.inference_stats.unwrap();
        assert_eq!([times.queue, times.compute_infer].map(|tally| tally.unwrap().count), [1, 1]);
        assert!(times.compute_infer.unwrap().ns > 0);
    }
    let all = ModelStatisticsRequest::default();
    let all = client.model_statistics(all).await.unwrap().into_inner().model_stats;
    assert_eq!(
        all.iter().map(|stats| stats.name.as_str()).collect::<Vec<_>>(),
        ["edges"],
        "texts are no models"
    );
    // However it is written, and none that is not one.
    assert_eq!(counts(&mut client, "invert|canny").await, (1, 1));
    for (name, says) in
        [("no-such", "requested model 'no-such' is not available"), ("canny | no-such", "no-such")]
    {
        let asked = ModelStatisticsRequest { name: name.into(), version: String::new() };
        let status = client.model_statistics(asked).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(says), "{status}");
    }
}
