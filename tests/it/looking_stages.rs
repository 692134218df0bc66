//! What the stages that run a model make of what it says, and pipelines of them as models.

use bytes::Bytes;
use frameserve::config::Config;
use frameserve::frame::codec::Codec;
use frameserve::model::Control;
use frameserve::proto::inference::model_infer_request::InferInputTensor;
use frameserve::proto::inference::{ModelInferRequest, ModelInferResponse};
use frameserve::proto::{Encoding, MsgReply, MsgRequest, PixelFormat, StreamConfig};
use frameserve::tensor::values::values_f32;
use serde_json::Value;

use crate::harness::{TestServer, config, exchange, gray, jpeg, open, reply_as, value};
use crate::lookers::{counts, fp32, free, reply, seen, square, stream, surest};
use crate::puppet::{ALONE, InferClient, Puppet, Shelf, start, start_with};

/// A server with a model of each task, called by its first letter.
async fn all_tasks() -> (Shelf, TestServer, InferClient) {
    let (_, puppet) = free();
    let shelf = Shelf::new();
    for task in ["image", "detection", "classification", "segmentation"] {
        shelf.looker(&task[..1], task, ALONE);
    }
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    (shelf, server, client)
}

/// What becomes of one frame.
async fn one(server: &TestServer, pipeline: &str, frame: MsgRequest) -> MsgReply {
    let mut talk = stream(server, pipeline).await;
    talk.send(frame).await;
    let reply = reply(&mut talk).await;
    assert_eq!(reply.error, None, "{pipeline}");
    reply
}

#[tokio::test]
async fn the_strength_of_a_style_goes_from_the_picture_to_the_models() {
    let (_shelf, server, _client) = all_tasks().await;
    for (strength, expected) in [("0", 50), ("1", 60), ("0.5", 55), ("0.8", 58)] {
        let pipeline = format!("style=i,strength={strength}");
        assert_eq!(value(&one(&server, &pipeline, gray(50)).await), expected, "{strength}");
    }
    assert_eq!(value(&one(&server, "style=i", gray(250)).await), 255, "there is no more than white");
}

#[tokio::test]
async fn a_style_in_colors_and_of_another_size_is_blended_with_its_picture() {
    // Twice as wide, in color: red in full, green as it came, blue none.
    let puppet = Puppet::new(|_, batch| {
        let styled = |inputs: &frameserve::model::Inputs| {
            let picture = inputs[0].as_ref().unwrap();
            let [_, 3, height, width] = *picture.shape().dims() else { panic!("no picture") };
            let green = values_f32(picture).unwrap()[height * width];
            let plane = |value: f32| std::iter::repeat_n(value, 2 * height * width);
            let planes: Vec<f32> = plane(1.0).chain(plane(green)).chain(plane(0.0)).collect();
            vec![fp32(&[1, 3, height, 2 * width], &planes)]
        };
        Ok(batch.iter().map(styled).collect())
    });
    let shelf = Shelf::new();
    shelf.config(
        "m",
        &format!(
            "name: \"m\" backend: \"puppet\" max_batch_size: 8 {ALONE}\n\
             input {{ name: \"x\" data_type: TYPE_FP32 dims: [3, -1, -1] }}\n\
             output {{ name: \"y\" data_type: TYPE_FP32 dims: [3, -1, -1] }}\n\
             parameters {{ key: \"frameserve.task\" value {{ string_value: \"image\" }} }}\n"
        ),
    );
    shelf.version("m", 1, "good");
    let (server, _client) = start(&shelf, &puppet, Control::None).await;
    let frame = |blue: u8, green: u8, red: u8| MsgRequest {
        img: Bytes::from([blue, green, red].repeat(64)),
        width: 8,
        height: 8,
        pixel_format: PixelFormat::Bgr24.into(),
        ..MsgRequest::default()
    };
    for (pipeline, expected) in [
        ("model=m", [0, 80, 255]),
        ("style=m", [0, 80, 255]),
        ("style=m,strength=0", [40, 80, 120]),
        ("style=m,strength=0.5", [20, 80, 188]),
    ] {
        let reply = one(&server, pipeline, frame(40, 80, 120)).await;
        assert_eq!((reply.width, reply.height, reply.pixel_format()), (16, 8, PixelFormat::Bgr24));
        for pixel in reply.img.chunks(3) {
            // Half of an odd number may be rounded either way.
            assert!(pixel.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1), "{pipeline}: {pixel:?}");
        }
    }
    // A gray frame becomes what the model makes of it.
    let reply = one(&server, "style=m,strength=0.5", gray(100)).await;
    assert_eq!(
        (reply.width, reply.pixel_format(), &reply.img[..3]),
        (16, PixelFormat::Bgr24, &[50, 100, 178][..])
    );
}

#[tokio::test]
async fn detections_are_those_of_the_threshold_the_classes_and_the_number_that_are_wanted() {
    let (_shelf, server, client) = all_tasks().await;
    for (pipeline, expected) in [
        ("detect=d", &["cat", "dog"][..]),
        ("detect=d,threshold=0.05", &["cat", "dog", "bird"]),
        ("detect=d,threshold=0.4", &["cat"]),
        ("detect=d,threshold=0.9", &[]),
        ("detect=d,classes=dog", &["dog"]),
        ("detect=d,classes='1'", &["dog"]),
        ("detect=d,threshold=0.01,classes=' bird , 0 '", &["cat", "bird"]),
        ("detect=d,max=1", &["cat"]),
        ("detect=d,classes=dog,max=1", &["dog"]),
        ("detect=d | detect=d,max=1", &["cat", "dog", "cat"]),
    ] {
        let reply = one(&server, pipeline, gray(9)).await;
        let labels: Vec<_> = reply.detections.iter().map(|found| found.label.as_str()).collect();
        assert_eq!(labels, expected, "{pipeline}");
        assert_eq!(value(&reply), 9, "they are not drawn by this");
    }
    let found = one(&server, "detect=d,threshold=0.01", gray(9)).await.detections;
    let boxes: Vec<_> = found.iter().map(|found| [found.x, found.y, found.width, found.height]).collect();
    assert_eq!(boxes, [[1.0, 1.0, 4.0, 6.0], [0.0, 0.0, 4.0, 4.0], [2.0, 2.0, 6.0, 6.0]]);
    assert_eq!(found.iter().map(|found| found.class_id).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    assert_eq!(counts(&client, "d").await.2, 0);
}

#[tokio::test]
async fn labels_are_the_best_so_many_of_at_least_the_threshold() {
    let (_shelf, server, _client) = all_tasks().await;
    for (pipeline, expected) in [
        ("classify=c", &["dog", "cat", "ant", "bird"][..]),
        ("classify=c,top=2", &["dog", "cat"]),
        ("classify=c,threshold=0.1", &["dog", "cat", "ant"]),
        ("classify=c,top=1,threshold=0.9", &[]),
    ] {
        let reply = one(&server, pipeline, gray(20)).await;
        let labels: Vec<_> = reply.labels.iter().map(|label| label.name.as_str()).collect();
        assert_eq!(labels, expected, "{pipeline}");
        assert_eq!(value(&reply), 20);
    }
    let best = &one(&server, "classify=c", gray(20)).await.labels[0];
    assert_eq!((best.class_id, best.source.as_str()), (Some(1), "classify"));
    assert!((best.score - surest(20.0)).abs() < 1e-6);
}

/// The colors of the first row of a raw reply.
fn row(reply: &MsgReply) -> Vec<[u8; 3]> {
    assert_eq!((reply.encoding(), reply.pixel_format()), (Encoding::Raw, PixelFormat::Bgr24));
    reply.img[..3 * reply.width as usize].as_chunks().0.to_vec()
}

#[tokio::test]
async fn classes_are_colored_and_the_background_is_not_or_is_all_that_goes() {
    let (_shelf, server, _client) = all_tasks().await;
    // The first column is background, then up to the fourth class 1, the rest class 2.
    let plain = row(&one(&server, "segment=s,opacity=1", gray(4)).await);
    let (sky, sea) = (plain[1], plain[5]);
    assert!(sky != sea && sky != [4; 3] && sea != [4; 3], "{plain:?}");
    assert_eq!(plain, [&[[4; 3]][..], &[sky; 4], &[sea; 3]].concat());
    let half = row(&one(&server, "segment=s", gray(4)).await);
    for (pixel, full) in half.iter().zip(&plain) {
        let near = |(a, b): (&u8, &u8)| (f32::from(*a) - (f32::from(*b) + 4.0) / 2.0).abs() <= 1.0;
        assert!(pixel.iter().zip(full).all(near), "{half:?}");
    }
    assert_eq!(row(&one(&server, "segment=s,opacity=0", gray(4)).await), [[4; 3]; 8]);
    let cut = row(&one(&server, "segment=s,show=cutout,color=#102030", gray(4)).await);
    assert_eq!(cut, [&[[0x30, 0x20, 0x10]][..], &[[4; 3]; 7]].concat());
    let labels = one(&server, "segment=s,show=cutout", gray(4)).await.labels;
    let parts: Vec<_> =
        labels.iter().map(|label| (label.name.as_str(), label.score, label.class_id)).collect();
    assert_eq!(parts, [("sky", 0.5, Some(1)), ("sea", 0.375, Some(2))]);
}

#[tokio::test]
async fn the_only_class_covers_by_how_much_of_it_there_is() {
    let puppet = Puppet::new(|_, batch| {
        let mask = |inputs: &frameserve::model::Inputs| {
            let [_, height, width] = *inputs[0].as_ref().unwrap().shape().dims() else {
                panic!("no picture")
            };
            let values: Vec<f32> =
                (0..height * width).map(|at| [1.0, 0.6, 0.2, 0.0][at % width / 2]).collect();
            vec![fp32(&[1, height, width], &values)]
        };
        Ok(batch.iter().map(mask).collect())
    });
    let shelf = Shelf::new();
    let parameter = |key: &str, value: &str| {
        format!("parameters {{ key: \"frameserve.{key}\" value {{ string_value: \"{value}\" }} }}\n")
    };
    shelf.config(
        "p",
        &format!(
            "name: \"p\" backend: \"puppet\" max_batch_size: 8 {ALONE}\n\
             input {{ name: \"x\" data_type: TYPE_FP32 dims: [-1, -1] }}\n\
             output {{ name: \"y\" data_type: TYPE_FP32 dims: [-1, -1] }}\n{}",
            parameter("task", "segmentation")
        ),
    );
    shelf.version("p", 1, "good");
    let (server, _client) = start(&shelf, &puppet, Control::None).await;
    let shown = one(&server, "segment=p,opacity=1,color=#ff0000", gray(100)).await;
    let expected = [[0, 0, 255], [40, 40, 193], [80, 80, 131], [100, 100, 100]];
    near(&row(&shown), &expected);
    let labels: Vec<_> = shown.labels.iter().map(|label| (label.name.as_str(), label.score)).collect();
    assert_eq!(labels, [("0", 0.5)], "it has no name, and half of the pixels");
    let cut = one(&server, "segment=p,show=cutout,color=white", gray(100)).await;
    near(&row(&cut), &[[100; 3], [162; 3], [224; 3], [255; 3]]);
}

fn near(row: &[[u8; 3]], expected: &[[u8; 3]; 4]) {
    for (pixel, expected) in row.chunks(2).zip(expected) {
        let all = pixel.iter().flat_map(|pixel| pixel.iter().zip(expected));
        assert!(all.clone().all(|(a, b)| a.abs_diff(*b) <= 1), "{row:?}, not {expected:?}");
    }
}

/// Pictures for a pipeline.
fn pictures(pipeline: &str, pictures: &[Bytes]) -> ModelInferRequest {
    let raw: Vec<u8> =
        pictures.iter().flat_map(|bytes| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()).collect();
    let input = InferInputTensor {
        name: "image".into(),
        datatype: "BYTES".into(),
        shape: vec![pictures.len() as i64],
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        model_name: pipeline.into(),
        inputs: vec![input],
        raw_input_contents: vec![raw.into()],
        ..ModelInferRequest::default()
    }
}

/// The elements of an output.
fn elements(response: &ModelInferResponse, output: &str) -> Vec<Bytes> {
    let index = response.outputs.iter().position(|port| port.name == output).unwrap();
    let mut left = response.raw_output_contents[index].clone();
    let mut all = Vec::new();
    while !left.is_empty() {
        let length = u32::from_le_bytes(left.split_to(4)[..].try_into().unwrap());
        all.push(left.split_to(length as usize));
    }
    all
}

#[tokio::test]
async fn pipelines_of_models_answer_requests_with_pictures_and_findings() {
    let (hold, puppet) = free();
    let shelf = Shelf::new();
    shelf.looker("i", "image", ALONE);
    shelf.looker("d", "detection", ALONE);
    let mut config = Config { models: shelf.models(&puppet, Control::None), ..Config::default() };
    config.pipelines.insert("looks", "every=3 | model=i | resize=20x10", "Looks.").unwrap();
    config.pipelines.insert("finds", "looks | detect=d", "").unwrap();
    let (server, mut client) = start_with(config).await;
    let sent = [jpeg(40, 20), jpeg(40, 20)];
    let text = "detect=d,max=1 | rotate=90";
    for (pipeline, size, found) in [("looks", [20, 10], 0), ("finds", [20, 10], 2), (text, [20, 40], 1)] {
        let response = client.model_infer(pictures(pipeline, &sent)).await.unwrap().into_inner();
        let (images, findings) = (elements(&response, "image"), elements(&response, "findings"));
        assert_eq!((images.len(), findings.len()), (2, 2));
        for (image, findings) in images.iter().zip(findings) {
            assert_eq!(Codec::sniff(image), Some(Codec::Jpeg));
            let header = turbojpeg::read_header(image).unwrap();
            assert_eq!([header.width, header.height], size, "{pipeline}");
            let findings: Value = serde_json::from_slice(&findings).unwrap();
            let all = findings["detections"].as_array().unwrap();
            assert_eq!(all.len(), found, "{findings}");
            assert!(all.iter().all(|found| found["box"].is_array() && found["label"].is_string()));
        }
    }
    // Pictures of a request are no frames of a stream: the model looks at each.
    assert_eq!(counts(&client, "i").await.0, 4);
    assert_eq!(counts(&client, "d").await.0, 4);
    assert_eq!(counts(&client, "finds").await.0, 2);
    assert_eq!(hold.seen().concat().len(), 8);
    let refused = client.model_infer(pictures("detect=i", &sent)).await.unwrap_err();
    assert!(refused.message().contains("`detection` is wanted"), "{refused}");
    let refused = client.model_infer(pictures("every=2", &sent)).await.unwrap_err();
    assert!(refused.message().contains(", and there is none"), "{refused}");
    // The same by its name on a stream.
    let reply = one(&server, "finds", square(3, 30)).await;
    assert_eq!((reply.width, reply.detections.len()), (20, 2));
}

#[tokio::test]
async fn models_in_a_row_each_have_their_part_of_the_time() {
    let (_shelf, server, client) = all_tasks().await;
    let pipeline = "model=i | detect=d | classify=c,top=1 | invert";
    let first = StreamConfig { reply_format: reply_as(Encoding::Raw), ..config(pipeline) };
    let mut frames = vec![MsgRequest { config: Some(first), ..MsgRequest::default() }];
    frames.extend((0..20).map(gray));
    let (replies, status) = exchange(&mut server.client().await, frames).await;
    status.unwrap();
    for (number, reply) in (0..20).zip(&replies[1..]) {
        assert_eq!(value(reply), 255 - (number + 10));
        assert_eq!((reply.detections.len(), reply.labels.len()), (2, 1));
        // The second model sees what the first has made.
        assert!((reply.labels[0].score - surest(f32::from(number) + 10.0)).abs() < 1e-6);
        let timing = reply.timing.as_ref().unwrap();
        let stages: Vec<_> = timing.stages.iter().map(|step| step.stage.as_str()).collect();
        assert_eq!(stages, ["model=i", "detect=d", "classify=c,1", "invert"]);
        assert!(timing.stages.iter().all(|step| step.nanoseconds > 0));
        let worked =
            timing.decode + timing.encode + timing.stages.iter().map(|step| step.nanoseconds).sum::<u64>();
        assert_eq!(timing.total, worked + timing.queue);
    }
    for model in ["i", "d", "c"] {
        assert_eq!(counts(&client, model).await.0, 20);
    }
}

#[tokio::test]
async fn frames_may_be_of_any_codec_and_of_any_sizes() {
    let (_shelf, server, _client) = all_tasks().await;
    let jpegs = [(64, 48), (33, 17), (64, 48), (1, 1)];
    let mut frames = vec![open("model=i | segment=s | detect=d")];
    frames.extend(
        jpegs.map(|(width, height)| MsgRequest { img: jpeg(width, height), ..MsgRequest::default() }),
    );
    let (replies, status) = exchange(&mut server.client().await, frames).await;
    status.unwrap();
    for ((width, height), reply) in jpegs.into_iter().zip(&replies[1..]) {
        assert_eq!(reply.error, None);
        assert_eq!((reply.width as usize, reply.height as usize), (width, height));
        assert_eq!(Codec::sniff(&reply.img), Some(Codec::Jpeg));
    }
}

#[tokio::test]
async fn what_a_model_gives_of_the_wrong_shape_fails_the_frame() {
    let puppet = Puppet::of_settings(|settings, version, batch| {
        let mut outputs = seen(settings, version, batch)?;
        if crate::puppet::values(batch[0][0].as_ref().unwrap())[0] == 13.0 {
            outputs[0] = outputs[0].iter().map(|_| fp32(&[1, 1, 1, 1, 2], &[0.0, 0.0])).collect();
        }
        Ok(outputs)
    });
    let shelf = Shelf::new();
    for task in ["image", "detection", "segmentation"] {
        shelf.looker(&task[..1], task, &format!("{ALONE} max_batch_size: 1"));
    }
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    for (pipeline, model) in [("model=i", "i"), ("detect=d", "d"), ("segment=s", "s")] {
        let frames = vec![open(pipeline), gray(1), gray(13), gray(2)];
        let (replies, status) = exchange(&mut server.client().await, frames).await;
        status.unwrap();
        let failed: Vec<_> = replies[1..].iter().map(|reply| reply.error.is_some()).collect();
        assert_eq!(failed, [false, true, false], "{pipeline}: {replies:?}");
        let error = replies[2].error.as_ref().unwrap();
        assert!(error.message.contains("[1,1,1,1,2]"), "{error:?}");
        assert_eq!(
            counts(&client, model).await,
            (2, 3, 1),
            "it ran three times, and one of these was in vain"
        );
    }
}
