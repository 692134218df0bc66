//! Models that tell the pictures that they see by the first pixel, and streams and requests that show them some.

use bytes::Bytes;
use frameserve::Error;
use frameserve::config::Config;
use frameserve::model::Settings;
use frameserve::model::backend::{Inputs, Outputs};
use frameserve::proto::inference::model_infer_request::InferInputTensor;
use frameserve::proto::inference::{ModelInferRequest, ModelStatisticsRequest};
use frameserve::proto::{MsgReply, MsgRequest, StreamConfig};
use frameserve::tensor::{DataType, Shape, Tensor};
use tonic::Code;

use crate::harness::{Talk, TestServer, config, open};
use crate::puppet::{Hold, InferClient, PATIENCE, Puppet, map, values};

/// Models that wait until the test lets them go on.
pub fn held() -> (Hold, Puppet) {
    let hold = Hold::default();
    let holding = hold.clone();
    let puppet = Puppet::of_settings(move |settings, version, batch| {
        holding.batch(batch);
        seen(settings, version, batch)
    });
    (hold, puppet)
}

/// Models that go on at once, and what they were given.
pub fn free() -> (Hold, Puppet) {
    let (hold, puppet) = held();
    hold.open(usize::MAX);
    (hold, puppet)
}

/// What a batch of pictures gives.
pub fn seen(settings: &Settings, version: u64, batch: &[Inputs]) -> Result<Vec<Outputs>, Error> {
    Ok(batch.iter().map(|inputs| look(settings, version, inputs[0].as_ref().unwrap())).collect())
}

/// What a model of each task says of a picture.
fn look(settings: &Settings, version: u64, picture: &Tensor) -> Outputs {
    let value = values(picture)[0];
    let task = settings.pictures.as_ref().and_then(|pictures| pictures.task.as_ref());
    match task.map(frameserve::model::pictures::Task::name) {
        Some("detection") => vec![
            fp32(&[1, 3, 4], &[1.0, 1.0, 5.0, 7.0, 0.0, 0.0, 4.0, 4.0, 2.0, 2.0, 8.0, 8.0]),
            fp32(&[1, 3], &[surest(value), 0.3, 0.1]),
            Tensor::raw(DataType::Int64, Shape::new(vec![1, 3]), classes(&[0, 1, 2])).unwrap(),
        ],
        Some("classification") => vec![fp32(&[1, 4], &[0.3, surest(value), 0.0, 0.15])],
        Some("segmentation") => vec![stripes(picture.shape().dims(), value)],
        _ => vec![map(picture, |value| value + 10.0 * version as f32)],
    }
}

/// The score of what a model finds first, by which the picture is known.
pub fn surest(value: f32) -> f32 {
    0.5 + value / 1000.0
}

/// Scores of a mask: the first column is class 0, those up to that of the number `value` class 1, the rest class 2.
fn stripes(dims: &[usize], value: f32) -> Tensor {
    let [1, height, width] = *dims else { panic!("{dims:?}") };
    let class = |x: usize| if x == 0 { 0 } else { 1 + usize::from(x as f32 > value) };
    let one = |of: usize| (0..height * width).map(move |at| f32::from(class(at % width) == of));
    fp32(&[1, 3, height, width], &(0..3).flat_map(one).collect::<Vec<_>>())
}

fn classes(numbers: &[i64]) -> Bytes {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

pub fn fp32(dims: &[usize], values: &[f32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::raw(DataType::Fp32, Shape::new(dims.to_vec()), bytes.into()).unwrap()
}

/// A stream that has begun with this pipeline.
pub async fn stream(server: &TestServer, pipeline: &str) -> Talk {
    windowed(server, pipeline, 0).await
}

/// The same with so many frames in flight.
pub async fn windowed(server: &TestServer, pipeline: &str, window: u32) -> Talk {
    let mut talk = Talk::new(&mut server.client().await).await;
    let config = StreamConfig { window, ..config(pipeline) };
    talk.send(MsgRequest { config: Some(config), ..MsgRequest::default() }).await;
    assert!(reply(&mut talk).await.settings.is_some());
    talk
}

/// The next reply, which must not be long in coming.
pub async fn reply(talk: &mut Talk) -> MsgReply {
    tokio::time::timeout(PATIENCE, talk.reply()).await.expect("no reply comes")
}

/// Asserts that a frame failed with this code, and that this is said of it.
pub fn fails(reply: &MsgReply, code: Code, says: &str) {
    let error = reply.error.as_ref().unwrap_or_else(|| panic!("no `{says}`: {reply:?}"));
    assert_eq!(error.code, code as i32, "{error:?}");
    assert!(error.message.contains(says), "`{says}` is not in `{}`", error.message);
    assert!(reply.img.is_empty());
}

/// A gray picture of so many pixels each way, all of one value.
pub fn square(value: u8, side: u32) -> MsgRequest {
    let img = Bytes::from(vec![value; (side * side) as usize]);
    MsgRequest { img, width: side, height: side, ..MsgRequest::default() }
}

/// A frame from which on another pipeline is asked for.
pub fn changed(pipeline: &str, frame: MsgRequest) -> MsgRequest {
    MsgRequest { config: open(pipeline).config, ..frame }
}

/// A request for a model to look at a picture of 8x8 of one value.
pub fn request(model: &str, value: f32) -> ModelInferRequest {
    let input = InferInputTensor {
        name: "x".into(),
        datatype: "FP32".into(),
        shape: vec![1, 8, 8],
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        model_name: model.into(),
        inputs: vec![input],
        raw_input_contents: vec![value.to_le_bytes().repeat(64).into()],
        ..ModelInferRequest::default()
    }
}

/// How often a model was asked and answered, how often it was run, and how often it failed.
pub async fn counts(client: &InferClient, model: &str) -> (u64, u64, u64) {
    let asked = ModelStatisticsRequest { name: model.into(), version: String::new() };
    let said = client.clone().model_statistics(asked).await.unwrap().into_inner().model_stats.remove(0);
    let failed = said.inference_stats.unwrap().fail.unwrap().count;
    (said.inference_count, said.execution_count, failed)
}

/// Waits until all room for jobs is free again.
pub async fn all_free(server: &TestServer, config: &Config) {
    let free = async {
        while server.engine.credits().try_acquire(config.limits.max_job_bytes).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("some room is never given back");
}
