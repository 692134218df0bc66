//! Changes while frames are shown to models: of the pipeline, and of the models.

use std::sync::Arc;

use frameserve::config::Config;
use frameserve::model::Control;
use frameserve::proto::MsgRequest;
use frameserve::proto::inference::{
    ModelReadyRequest, RepositoryIndexRequest, RepositoryModelLoadRequest, RepositoryModelUnloadRequest,
};
use tonic::Code;

use crate::batching::queued;
use crate::harness::{Talk, TestServer, exchange, gray, open, value};
use crate::lookers::{all_free, changed, fails, free, held, reply, square, stream, windowed};
use crate::puppet::{ALONE, InferClient, PATIENCE, Shelf, start, start_with};

const NONE: &str = "'b' has no available versions";

/// Names of the repository's list, with state and reason.
async fn indexed(client: &InferClient, ready: bool) -> Vec<(String, String, String)> {
    let request = RepositoryIndexRequest { ready, ..Default::default() };
    let models = client.clone().repository_index(request).await.unwrap().into_inner().models;
    models.into_iter().map(|model| (model.name, model.state, model.reason)).collect()
}

fn all() -> Control {
    Control::Explicit(vec!["*".into()])
}

async fn load(client: &InferClient, name: &str) {
    let request = RepositoryModelLoadRequest { model_name: name.into(), ..Default::default() };
    client.clone().repository_model_load(request).await.unwrap();
}

async fn unload(client: &InferClient, name: &str) {
    let request = RepositoryModelUnloadRequest { model_name: name.into(), ..Default::default() };
    client.clone().repository_model_unload(request).await.unwrap();
}

/// Two models of pictures, of which `a` adds 10 and `b`, of version 2, 20.
fn two() -> Shelf {
    let shelf = Shelf::new();
    for name in ["a", "b"] {
        shelf.looker(name, "image", ALONE);
    }
    shelf.version("b", 2, "good");
    shelf
}

#[tokio::test]
async fn another_model_and_another_strength_are_there_exactly_from_their_frame_on() {
    let (hold, puppet) = held();
    let shelf = two();
    let (server, _client) = start(&shelf, &puppet, Control::None).await;
    let mut talk = windowed(&server, "model=a", 4).await;
    let changes = [(5, "model=b"), (8, "style=b,0.5"), (9, "style=b,0.2"), (12, "")];
    for number in 0..15 {
        let change = changes.iter().find(|(at, _)| *at == number);
        talk.send(change.map_or_else(|| gray(number), |(_, text)| changed(text, gray(number)))).await;
        hold.arrived(1).await;
    }
    // The window is full of frames that wait for the model.
    queued(&server, "a", 3).await;
    hold.open(usize::MAX);
    let added = [10, 10, 10, 10, 10, 20, 20, 20, 10, 4, 4, 4, 0, 0, 0];
    for (number, added) in (0..15).zip(added) {
        let reply = reply(&mut talk).await;
        assert_eq!((value(&reply), reply.sequence), (number + added, number.into()));
        let says = reply.settings.map(|settings| settings.pipeline);
        let change = changes.iter().find(|(at, _)| *at == number);
        assert_eq!(says.as_deref(), change.map(|(_, text)| *text));
    }
}

#[tokio::test]
async fn what_a_stage_goes_by_stays_where_the_stage_stays() {
    let (hold, puppet) = free();
    let shelf = two();
    let server = TestServer::start(Config {
        models: shelf.models(&puppet, Control::None),
        threads: 4,
        ..Config::default()
    });
    let server = server.await;
    server.loaded().await;
    let mut frames: Vec<MsgRequest> = vec![open("every=3 | model=a")];
    frames.extend((0..4).map(gray));
    // It last saw 3.
    frames.push(changed("resize=4x4 | every=3 | model=a", gray(4)));
    frames.push(changed("every=3 | model=nope", gray(5)));
    frames.push(changed("every=3 | model=a | invert", gray(6)));
    frames.push(gray(7));
    // Another number or another model begins anew.
    frames.push(changed("every=4 | model=a", gray(8)));
    frames.push(changed("every=4 | model=b", gray(9)));
    frames.push(gray(10));
    frames.push(changed("every=4 | model=a", gray(11)));
    let (replies, status) = exchange(&mut server.client().await, frames).await;
    status.unwrap();
    let values: Vec<_> =
        replies[1..].iter().map(|reply| reply.error.is_none().then(|| value(reply))).collect();
    // The frame of the refused change did not come to the model: 4 and 6 go by what was said of 3, and 7 is the next.
    let before = [10, 10, 10, 13, 13].map(Some);
    let after = [255 - 13, 255 - 17, 18, 29, 29, 21].map(Some);
    assert_eq!(values, [&before[..], &[None], &after].concat(), "{replies:?}");
    // They come to the model side by side.
    let mut seen = hold.seen().concat();
    seen.sort_by(f32::total_cmp);
    assert_eq!(seen, [0.0, 3.0, 7.0, 8.0, 9.0, 11.0]);
}

#[tokio::test]
async fn a_model_that_is_loaded_anew_goes_on_with_the_next_frame() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    let (server, client) = start(&shelf, &puppet, all()).await;
    let mut talk = stream(&server, "model=m").await;
    talk.send(gray(1)).await;
    hold.arrived(1).await;
    talk.send(gray(2)).await;
    queued(&server, "m", 1).await;
    shelf.version("m", 2, "good");
    load(&client, "m").await;
    talk.send(gray(3)).await;
    hold.arrived(2).await;
    hold.open(usize::MAX);
    for expected in [11, 12, 23] {
        assert_eq!(value(&reply(&mut talk).await), expected);
    }
    // Its pictures may have another size in the next version, or be none: then that is what is said.
    shelf.looker("m", "detection", ALONE);
    load(&client, "m").await;
    talk.send(gray(4)).await;
    fails(&reply(&mut talk).await, Code::InvalidArgument, "its task is `detection`, and `image` is wanted");
    talk.send(changed("detect=m", gray(5))).await;
    assert_eq!(reply(&mut talk).await.detections.len(), 2);
}

#[tokio::test]
async fn no_frame_is_lost_while_a_model_is_loaded_anew_again_and_again() {
    let (_hold, puppet) = free();
    let shelf = Shelf::new();
    shelf.looker("m", "image", "instance_group { count: 2 kind: KIND_CPU }");
    let (server, client) = start(&shelf, &puppet, all()).await;
    let mut streams = Vec::new();
    for pipeline in ["model=m", "every=2 | model=m"] {
        let mut talk = windowed(&server, pipeline, 8).await;
        streams.push(tokio::spawn(async move {
            let mut newest = 0;
            for _ in 0..40 {
                for _ in 0..8 {
                    talk.send(gray(0)).await;
                }
                for _ in 0..8 {
                    let version = value(&reply(&mut talk).await) / 10;
                    assert!(version > 0 && version >= newest, "{version} after {newest}");
                    newest = version;
                }
            }
        }));
    }
    for number in 2..10 {
        shelf.version("m", number, "good");
        load(&client, "m").await;
    }
    for stream in streams {
        stream.await.unwrap();
    }
}

#[tokio::test]
async fn an_unloaded_model_fails_each_frame_in_its_place_until_it_is_there_again() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    let (server, client) = start(&shelf, &puppet, all()).await;
    let (mut talk, mut carried) =
        (stream(&server, "model=m").await, stream(&server, "every=2 | model=m").await);
    talk.send(gray(1)).await;
    hold.arrived(1).await;
    carried.send(gray(1)).await;
    queued(&server, "m", 1).await;
    talk.send(gray(2)).await;
    queued(&server, "m", 2).await;
    unload(&client, "m").await;
    for talk in [&talk, &carried] {
        talk.send(gray(3)).await;
    }
    hold.open(usize::MAX);
    assert_eq!(value(&reply(&mut talk).await), 11, "what it was asked before, it answers");
    assert_eq!(value(&reply(&mut talk).await), 12);
    assert_eq!(value(&reply(&mut carried).await), 11);
    let none = "'m' has no available versions";
    fails(&reply(&mut talk).await, Code::NotFound, none);
    fails(&reply(&mut carried).await, Code::NotFound, none);
    load(&client, "m").await;
    for (talk, expected) in [(&mut talk, [14, 15]), (&mut carried, [11, 15])] {
        for (number, expected) in [4, 5].into_iter().zip(expected) {
            talk.send(gray(number)).await;
            assert_eq!(value(&reply(talk).await), expected);
        }
    }
    unload(&client, "m").await;
    talk.send(changed("invert", gray(5))).await;
    assert_eq!(value(&reply(&mut talk).await), 250);
}

#[tokio::test]
async fn a_carried_picture_stays_as_large_as_the_model_made_it_and_a_mask_fits_its_frame_only() {
    let (_hold, puppet) = free();
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    shelf.looker("s", "segmentation", ALONE);
    let (server, _client) = start(&shelf, &puppet, Control::None).await;
    let mut talk = stream(&server, "every=2 | model=m").await;
    for frame in [square(1, 8), square(2, 6), square(3, 6)] {
        talk.send(frame).await;
    }
    for expected in [(11, 8), (11, 8), (13, 6)] {
        let reply = reply(&mut talk).await;
        assert_eq!((value(&reply), reply.width), expected);
    }
    let mut talk = stream(&server, "every=2 | segment=s").await;
    for frame in [square(1, 8), square(2, 6), square(3, 6)] {
        talk.send(frame).await;
    }
    for expected in [2, 0, 2] {
        assert_eq!(reply(&mut talk).await.labels.len(), expected);
    }
}

#[tokio::test]
async fn a_pipeline_of_models_is_ready_and_answers_while_they_are_there() {
    let (_hold, puppet) = free();
    let shelf = two();
    let mut config = Config { models: shelf.models(&puppet, all()), ..Config::default() };
    config.pipelines.insert("both", "model=a | model=b", "").unwrap();
    let (server, client) = start_with(config).await;
    let ready = async |name: &str| {
        let request = ModelReadyRequest { name: name.into(), ..Default::default() };
        client.clone().model_ready(request).await.unwrap().into_inner().ready
    };
    let mut talk = stream(&server, "both").await;
    for there in [true, false, true] {
        for name in ["both", "invert | model=b"] {
            assert_eq!(ready(name).await, there, "{name}");
        }
        assert!(ready("a").await && ready("invert | model=a").await);
        let listed = indexed(&client, false).await;
        let (_, state, reason) = listed.iter().find(|(name, ..)| name == "both").unwrap();
        assert_eq!(state, if there { "READY" } else { "UNAVAILABLE" });
        assert!(there == reason.is_empty() && (there || reason.contains(NONE)), "{reason}");
        assert_eq!(indexed(&client, true).await.iter().any(|(name, ..)| name == "both"), there);
        talk.send(gray(1)).await;
        let reply = reply(&mut talk).await;
        if there {
            assert_eq!(value(&reply), 31);
            unload(&client, "b").await;
        } else {
            fails(&reply, Code::NotFound, NONE);
            load(&client, "b").await;
        }
    }
}

/// Numbers that look random, and are the same in every run.
struct Dice(u64);

impl Dice {
    fn of(&mut self, sides: u64) -> u64 {
        // Knuth's MMIX constants.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Pipelines, and what they add to a frame's value where they don't carry that of another.
const ADDS: [(&str, Option<u8>); 6] = [
    ("model=a", Some(10)),
    ("model=b", Some(20)),
    ("every=3 | model=a", None),
    ("every=2 | model=b | model=a", None),
    ("style=a,0.5 | model=b | trails=0.5", None),
    ("", Some(0)),
];

/// One stream that changes its mind, and may go away in the midst of it.
async fn restless(server: &TestServer, seed: u64) {
    let mut dice = Dice(seed);
    let mut pipelines = Vec::new();
    let mut current = dice.of(6) as usize;
    let mut talk = match tokio::time::timeout(PATIENCE, Talk::new(&mut server.client().await)).await {
        Ok(talk) => talk,
        Err(_) => panic!("it is not opened"),
    };
    talk.send(open("")).await;
    reply(&mut talk).await;
    talk.send(open(ADDS[current].0)).await;
    let opened = reply(&mut talk).await;
    if opened.error.is_some() {
        current = 5;
    }
    let (frames, read) = (1 + dice.of(40), dice.of(60));
    for number in 0..frames {
        // Whether a change is taken depends on whether the model is there; a refused one is told by its error.
        let change = (dice.of(5) == 0).then(|| dice.of(6) as usize);
        let frame = square(number as u8, 4 + 4 * dice.of(2) as u32);
        talk.send(match change {
            Some(to) => changed(ADDS[to].0, frame),
            None => frame,
        })
        .await;
        pipelines.push(change);
    }
    for (number, change) in pipelines.into_iter().enumerate().take(read as usize) {
        let reply = reply(&mut talk).await;
        assert_eq!(reply.sequence, number as u64);
        if let (Some(change), Some(_)) = (change, &reply.settings) {
            current = change;
        }
        match (&reply.error, ADDS[current].1) {
            (Some(error), _) => assert_eq!(error.code, Code::NotFound as i32, "{error:?}"),
            (None, Some(added)) => assert_eq!(value(&reply), number as u8 + added, "{}", ADDS[current].0),
            (None, None) => {}
        }
    }
    if read > frames {
        let (rest, status) = talk.end().await;
        status.unwrap();
        assert!(rest.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_that_come_change_and_go_leave_nothing_behind_while_models_come_and_go() {
    let (_hold, puppet) = free();
    let shelf = two();
    let config = Config { models: shelf.models(&puppet, all()), threads: 4, ..Config::default() };
    let (server, client) = start_with(config.clone()).await;
    let server = Arc::new(server);
    let streams: Vec<_> = (0..6)
        .map(|number| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                for round in 0..15 {
                    restless(&server, 1000 * number + round).await;
                }
            })
        })
        .collect();
    for _ in 0..10 {
        unload(&client, "b").await;
        load(&client, "b").await;
    }
    for stream in streams {
        stream.await.unwrap();
    }
    all_free(&server, &config).await;
    let closed = async {
        while server.engine.open_streams() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("a stream is open that nobody has");
    queued(&server, "a", 0).await;
    queued(&server, "b", 0).await;
}
