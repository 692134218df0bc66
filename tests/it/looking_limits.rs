//! What is refused where a stream wants a model, and what bounds there are.

use std::sync::Arc;

use frameserve::config::Config;
use frameserve::frame::Size;
use frameserve::model::Control;
use frameserve::proto::MsgRequest;
use tonic::Code;

use crate::batching::queued;
use crate::bounds::taken;
use crate::harness::{TestServer, exchange, gray, open, value};
use crate::lookers::{all_free, changed, fails, free, held, reply, square, stream, windowed};
use crate::puppet::{ALONE, InferClient, Shelf, start, start_with};

/// A repository with one of each that can't be used for everything.
async fn unfit() -> (Shelf, TestServer, InferClient) {
    let (_, puppet) = free();
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    shelf.looker("d", "detection", ALONE);
    shelf.looker("s", "segmentation", ALONE);
    let labeled = std::fs::read_to_string(shelf.0.path().join("d/config.pbtxt")).unwrap();
    let bare = labeled.lines().filter(|line| !line.contains("frameserve.labels"));
    shelf.config("bare", &bare.collect::<Vec<_>>().join("\n").replace("name: \"d\"", "name: \"bare\""));
    shelf.version("bare", 1, "good");
    shelf.add("tensors", ALONE);
    shelf.add("plain", "parameters { key: \"frameserve.scale\" value { string_value: \"1\" } }");
    let pictures = "input { name: \"x\" data_type: TYPE_FP32 dims: [-1, -1] }\n";
    let output = "output { name: \"y\" data_type: TYPE_FP32 dims: [-1, -1] }\n";
    let tasked = "parameters { key: \"frameserve.task\" value { string_value: \"image\" } }\n";
    let head = |name: &str| format!("name: \"{name}\" backend: \"puppet\" max_batch_size: 8 {ALONE}\n");
    shelf.config(
        "plain",
        &(head("plain")
            + pictures
            + output
            + "parameters { key: \"frameserve.scale\" value { string_value: \"1\" } }\n"),
    );
    let also = "input { name: \"z\" data_type: TYPE_FP32 dims: [1] }\n\
                parameters { key: \"frameserve.input\" value { string_value: \"x\" } }\n";
    shelf.config("two", &(head("two") + pictures + also + output + tasked));
    shelf.version("two", 1, "good");
    shelf.looker("unready", "image", ALONE);
    shelf.version("unready", 1, "broken");
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    (shelf, server, client)
}

/// Pipelines that are refused, with their codes and what is said of them.
fn refused() -> Vec<(String, Code, &'static str)> {
    let long = format!("model={}", "x".repeat(256));
    let cases = [
        ("model=nope", Code::NotFound, "unknown model: 'nope' is not found"),
        ("every=9 | detect=nope", Code::NotFound, "unknown model: 'nope' is not found"),
        ("model=unready", Code::NotFound, "'unready' has no available versions"),
        (
            "model=tensors",
            Code::InvalidArgument,
            "model `tensors` can't be used so: its configuration does not say how it takes pictures (`frameserve.` parameters)",
        ),
        ("style=plain", Code::InvalidArgument, "names no task (`frameserve.task`), and `image` is wanted"),
        (
            "detect=m",
            Code::InvalidArgument,
            "model `m` can't be used so: its task is `image`, and `detection` is wanted",
        ),
        ("style=d", Code::InvalidArgument, "its task is `detection`, and `image` is wanted"),
        ("classify=d", Code::InvalidArgument, "its task is `detection`, and `classification` is wanted"),
        ("segment=m", Code::InvalidArgument, "its task is `image`, and `segmentation` is wanted"),
        ("model=s", Code::InvalidArgument, "its task is `segmentation`, and `image` is wanted"),
        ("model=two", Code::InvalidArgument, "it wants more than a picture: `z`"),
        (
            "detect=d,classes='cat,cow'",
            Code::InvalidArgument,
            "detect: `cow` is none of the 3 classes of model `d`: `cat`, `dog`, `bird`",
        ),
        ("detect=d,classes=3", Code::InvalidArgument, "`3` is none of the 3 classes"),
        (
            "detect=bare,classes='1,cat'",
            Code::InvalidArgument,
            "detect: `cat` is no number, and model `bare` has no labels for its classes",
        ),
        (
            "every=2",
            Code::InvalidArgument,
            "every: a stage must follow that runs a model, or that finds things itself (`faces`, `qr`), and there is none",
        ),
        ("model=m | every=2", Code::InvalidArgument, "(`faces`, `qr`), and there is none"),
        ("every=2 | gray | model=m", Code::InvalidArgument, "and `gray` is none of them"),
        ("every=2 | every=2 | model=m", Code::InvalidArgument, "and `every` is none of them"),
        ("every=0 | model=m", Code::InvalidArgument, "1 to 1000"),
        ("every | model=m", Code::InvalidArgument, "`frames` for `every`"),
        ("model", Code::InvalidArgument, "`name` for `model`"),
        ("style=m,strength=1.5", Code::InvalidArgument, "0 to 1"),
        ("classify=m,top=0", Code::InvalidArgument, "1 to 100"),
        ("segment=s,show=all", Code::InvalidArgument, "colors or cutout, found `all`"),
        (&long, Code::InvalidArgument, "255"),
    ];
    cases.into_iter().map(|(text, code, says)| (text.into(), code, says)).collect()
}

#[tokio::test]
async fn a_stream_that_wants_of_a_model_what_it_does_not_give_is_not_opened() {
    let (_shelf, server, _client) = unfit().await;
    let mut client = server.client().await;
    for (text, code, says) in refused() {
        let (replies, status) = exchange(&mut client, vec![open(&text), gray(1)]).await;
        let status = status.expect_err(&text);
        assert_eq!((replies.len(), status.code()), (0, code), "{text}: {status}");
        assert!(status.message().contains(says), "`{says}` is not in `{}`", status.message());
    }
}

#[tokio::test]
async fn classes_without_labels_are_wanted_by_number() {
    let (_shelf, server, _client) = unfit().await;
    let mut talk = stream(&server, "detect=bare,classes=1").await;
    talk.send(gray(1)).await;
    let found: Vec<_> = reply(&mut talk).await.detections.iter().map(|found| found.class_id).collect();
    assert_eq!(found, [Some(1)]);
}

#[tokio::test]
async fn a_change_to_what_a_model_does_not_give_is_answered_in_its_place() {
    let (_shelf, server, _client) = unfit().await;
    let mut talk = stream(&server, "model=m").await;
    for (text, code, says) in refused() {
        talk.send(gray(1)).await;
        talk.send(changed(&text, gray(2))).await;
        talk.send(open(&text)).await;
        talk.send(gray(3)).await;
        assert_eq!(value(&reply(&mut talk).await), 11);
        for alone in [false, true] {
            let refused = reply(&mut talk).await;
            assert!(refused.answers_config == alone && refused.settings.is_none(), "{refused:?}");
            fails(&refused, code, says);
        }
        assert_eq!(value(&reply(&mut talk).await), 13);
    }
}

#[tokio::test]
async fn a_picture_that_a_model_makes_too_large_is_refused_for_its_frame() {
    use frameserve::tensor::values::values_f32;
    // It doubles both sides, which its configuration does not say; or it says that it makes 16x16.
    let puppet = crate::puppet::Puppet::new(|_, batch| {
        let doubled = |inputs: &frameserve::model::Inputs| {
            let picture = inputs[0].as_ref().unwrap();
            let [_, height, width] = *picture.shape().dims() else { panic!("no picture") };
            let all = vec![values_f32(picture).unwrap()[0]; 4 * height * width];
            vec![crate::lookers::fp32(&[1, 2 * height, 2 * width], &all)]
        };
        Ok(batch.iter().map(doubled).collect())
    });
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    let path = shelf.0.path().join("m/config.pbtxt");
    let text = std::fs::read_to_string(&path).unwrap().replace('\n', " ");
    let (from, to) = (
        "name: \"y\" data_type: TYPE_FP32 dims: [-1, -1]",
        "name: \"y\" data_type: TYPE_FP32 dims: [16, 16]",
    );
    assert!(text.contains(from), "{text}");
    shelf.config("said", &text.replace(from, to).replace("name: \"m\"", "name: \"said\""));
    shelf.version("said", 1, "good");
    let mut config = Config { models: shelf.models(&puppet, Control::None), ..Config::default() };
    config.limits.max_pixels = 200;
    let (server, _client) = start_with(config.clone()).await;
    for pipeline in ["model=m", "style=m,strength=0.3", "every=2 | model=m"] {
        let mut talk = stream(&server, pipeline).await;
        for side in [7, 8, 7] {
            talk.send(square(4, side)).await;
        }
        let mut replies = Vec::new();
        for _ in 0..3 {
            replies.push(reply(&mut talk).await);
        }
        assert_eq!((replies[0].width, replies[0].error.is_none()), (14, true), "{pipeline}");
        if pipeline.starts_with("every") {
            assert_eq!(replies[1].width, 14, "it was not asked");
            assert_eq!(replies[2].width, 14);
            continue;
        }
        fails(&replies[1], Code::ResourceExhausted, "of 16x16 has 256 pixels, and the limit is 200");
        assert_eq!((replies[2].width, value(&replies[2])), (14, 4));
    }
    let mut talk = stream(&server, "model=said").await;
    talk.send(gray(1)).await;
    let refused = reply(&mut talk).await;
    fails(&refused, Code::ResourceExhausted, "model of 16x16 has 256 pixels");
    drop(talk);
    all_free(&server, &config).await;
}

#[tokio::test]
async fn a_picture_is_taken_to_become_as_large_as_it_is_prepared_for_the_model() {
    let (hold, puppet) = free();
    let shelf = Shelf::new();
    let resize = "parameters { key: \"frameserve.resize\" value { string_value: \"16x16\" } }";
    shelf.looker("m", "image", &format!("{ALONE} {resize}"));
    let mut config = Config { models: shelf.models(&puppet, Control::None), ..Config::default() };
    let (server, _client) = start_with(config.clone()).await;
    let pipeline = Arc::clone(&server.engine).pipeline("model=m".into()).await.unwrap();
    assert_eq!(pipeline.memory(Size::new(8, 8)).unwrap().picture, 3 * 16 * 16);
    let mut talk = stream(&server, "model=m").await;
    talk.send(gray(1)).await;
    let reply_of_8 = reply(&mut talk).await;
    assert_eq!((reply_of_8.width, value(&reply_of_8)), (16, 11));
    config.limits.max_pixels = 200;
    let (server, _client) = start_with(config).await;
    let mut talk = stream(&server, "model=m").await;
    talk.send(gray(2)).await;
    fails(&reply(&mut talk).await, Code::ResourceExhausted, "model of 16x16 has 256 pixels");
    assert_eq!(hold.seen(), [[1.0]], "it is refused before the model has it");
}

#[tokio::test]
async fn tensors_count_as_memory_and_a_stream_waits_for_room() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    let mut config = Config { models: shelf.models(&puppet, Control::None), ..Config::default() };
    config.limits.max_job_bytes = 1200 << 10;
    let (server, mut client) = start_with(config.clone()).await;
    let pipeline = Arc::clone(&server.engine).pipeline("model=m".into()).await.unwrap();
    let pixels = 256 * 256;
    let memory = pipeline.memory(Size::new(256, 256)).unwrap();
    assert_eq!(memory.picture, 3 * pixels);
    assert!(memory.tensors >= 2 * 4 * pixels, "{memory:?}: an input and an output of floats");
    let mut talk = windowed(&server, "model=m", 8).await;
    for number in 1..=4 {
        talk.send(square(number, 256)).await;
    }
    hold.arrived(1).await;
    taken(&server, 2).await;
    // What would come meanwhile has time to.
    for _ in 0..20 {
        client.server_live(frameserve::proto::inference::ServerLiveRequest {}).await.unwrap();
    }
    assert_eq!(server.engine.frames_taken(), 2, "there is room for one at a time");
    queued(&server, "m", 0).await;
    hold.open(usize::MAX);
    for number in 1..=4 {
        assert_eq!(value(&reply(&mut talk).await), number + 10);
    }
    assert_eq!(hold.seen(), [[1.0], [2.0], [3.0], [4.0]]);
    all_free(&server, &config).await;
}

#[tokio::test]
async fn a_window_of_one_and_a_stream_of_nothing_are_fine() {
    let (hold, puppet) = free();
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    let (server, _client) = start(&shelf, &puppet, Control::None).await;
    let mut talk = windowed(&server, "model=m | every=2 | style=m | invert", 1).await;
    for number in 0..10 {
        talk.send(gray(number)).await;
    }
    for number in 0..10 {
        assert_eq!(value(&reply(&mut talk).await), 255 - (number - number % 2 + 20));
    }
    let (rest, status) = talk.end().await;
    status.unwrap();
    assert!(rest.is_empty());
    // The second model sees only those that are asked of it.
    assert_eq!(hold.seen().concat().len(), 15);
    let (replies, status) = exchange(&mut server.client().await, vec![open("every=3 | model=m")]).await;
    status.unwrap();
    assert_eq!(replies.len(), 1);
    let (replies, status) =
        exchange(&mut server.client().await, vec![open("model=m"), MsgRequest::default()]).await;
    status.unwrap();
    fails(&replies[1], Code::InvalidArgument, "empty");
}
