//! Streams that show their frames to models: put together, in turn, each answered with its own, and what fails in its
//! place.

use frameserve::Error;
use frameserve::config::Config;
use frameserve::model::Control;
use frameserve::proto::MsgReply;
use tonic::Code;

use crate::batching::queued;
use crate::bounds::taken;
use crate::harness::{Talk, TestServer, config, exchange, gray, open, reply_as, value};
use crate::lookers::{
    all_free, changed, counts, fails, free, held, reply, request, seen, square, stream, surest, windowed,
};
use crate::puppet::{ALONE, Hold, Puppet, Shelf, answer, start, start_with, values};

/// What so many replies consist of.
async fn next_values(talk: &mut Talk, count: usize) -> Vec<u8> {
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(value(&reply(talk).await));
    }
    values
}

#[tokio::test]
async fn frames_of_streams_and_requests_are_run_together_and_each_gets_its_own() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let (mut one, mut two) = (stream(&server, "model=m").await, stream(&server, "invert | style=m").await);
    one.send(gray(1)).await;
    hold.arrived(1).await;
    one.send(gray(2)).await;
    queued(&server, "m", 1).await;
    two.send(gray(252)).await;
    queued(&server, "m", 2).await;
    two.send(square(251, 6)).await;
    queued(&server, "m", 3).await;
    let mut asking = client.clone();
    let asked = tokio::spawn(async move { asking.model_infer(request("m", 5.0)).await });
    queued(&server, "m", 4).await;
    one.send(gray(6)).await;
    queued(&server, "m", 5).await;
    hold.open(usize::MAX);
    assert_eq!(next_values(&mut one, 3).await, [11, 12, 16]);
    assert_eq!(value(&reply(&mut two).await), 13);
    let small = reply(&mut two).await;
    assert_eq!((value(&small), small.width, small.height), (14, 6, 6));
    assert_eq!(answer(asked.await.unwrap().unwrap().get_ref()), [15.0; 64]);
    assert_eq!(hold.seen(), [vec![1.0], vec![2.0, 3.0, 5.0, 6.0], vec![4.0]], "sizes are not mixed");
    assert_eq!(counts(&client, "m").await, (6, 3, 0));
}

#[tokio::test]
async fn who_shows_a_model_little_does_not_wait_behind_who_shows_it_much() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.looker("m", "image", &format!("{ALONE} max_batch_size: 1"));
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let mut flood = windowed(&server, "model=m", 8).await;
    flood.send(gray(1)).await;
    hold.arrived(1).await;
    for number in 2..=8 {
        flood.send(gray(number)).await;
        queued(&server, "m", usize::from(number) - 1).await;
    }
    let mut modest = stream(&server, "model=m").await;
    modest.send(gray(100)).await;
    queued(&server, "m", 8).await;
    let mut asking = client.clone();
    let asked = tokio::spawn(async move { asking.model_infer(request("m", 200.0)).await });
    queued(&server, "m", 9).await;
    modest.send(gray(101)).await;
    queued(&server, "m", 10).await;
    hold.open(usize::MAX);
    assert_eq!(next_values(&mut flood, 8).await, [11, 12, 13, 14, 15, 16, 17, 18]);
    assert_eq!(next_values(&mut modest, 2).await, [110, 111]);
    asked.await.unwrap().unwrap();
    let order: Vec<f32> = hold.seen().concat();
    assert_eq!(order, [1.0, 2.0, 100.0, 200.0, 3.0, 101.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
}

#[tokio::test]
async fn what_is_queued_of_a_stream_that_goes_away_never_reaches_the_model() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    let (server, _client) = start(&shelf, &puppet, Control::None).await;
    let mut stays = stream(&server, "model=m").await;
    stays.send(gray(1)).await;
    hold.arrived(1).await;
    let gone = stream(&server, "every=2 | model=m | model=m").await;
    for number in 50..56 {
        gone.send(gray(number)).await;
    }
    queued(&server, "m", 3).await;
    stays.send(gray(2)).await;
    queued(&server, "m", 4).await;
    drop(gone);
    queued(&server, "m", 1).await;
    hold.open(usize::MAX);
    assert_eq!(next_values(&mut stays, 2).await, [11, 12]);
    assert_eq!(hold.seen(), [[1.0], [2.0]]);
    stays.end().await.1.unwrap();
    all_free(&server, &Config::default()).await;
    assert_eq!(server.engine.open_streams(), 0);
}

#[tokio::test]
async fn a_stream_that_goes_away_while_the_model_works_for_it_gives_its_room_back() {
    let (hold, puppet) = held();
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    let (server, _client) = start(&shelf, &puppet, Control::None).await;
    let gone = stream(&server, "model=m").await;
    gone.send(gray(1)).await;
    hold.arrived(1).await;
    drop(gone);
    while server.engine.open_streams() > 0 {
        tokio::task::yield_now().await;
    }
    let all = Config::default().limits.max_job_bytes;
    assert!(server.engine.credits().try_acquire(all).is_err(), "the model still holds what it works on");
    hold.open(1);
    all_free(&server, &Config::default()).await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_holds_up_nobody_who_wants_the_same_model() {
    let (hold, puppet) = free();
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    let mut config = Config { models: shelf.models(&puppet, Control::None), ..Config::default() };
    config.limits.max_stream_bytes = 1 << 20;
    let (server, client) = start_with(config.clone()).await;
    let mut unread = windowed(&server, "model=m | resize=640x480", 64).await;
    for number in 0..64 {
        unread.send(gray(number)).await;
    }
    taken(&server, 4).await;
    for _ in 0..3 {
        let frames = std::iter::once(open("model=m")).chain((0..20).map(|_| gray(200)));
        let (replies, status) = exchange(&mut server.client().await, frames.collect()).await;
        status.unwrap();
        assert!(replies[1..].iter().all(|reply| value(reply) == 210));
    }
    client.clone().model_infer(request("m", 7.0)).await.unwrap();
    all_free(&server, &config).await;
    let of_unread = hold.seen().concat().into_iter().filter(|value| *value < 64.0 && *value != 7.0).count();
    assert!(of_unread < 40, "the model saw {of_unread} frames of the stream that nobody reads");
    assert_eq!(next_values(&mut unread, 64).await, (10..74).collect::<Vec<_>>());
}

/// Fails with 13 and panics with 66.
fn delicate() -> (Hold, Puppet) {
    let hold = Hold::default();
    let holding = hold.clone();
    let puppet = Puppet::of_settings(move |settings, version, batch| {
        holding.batch(batch);
        let has = |number| batch.iter().any(|inputs| values(inputs[0].as_ref().unwrap())[0] == number);
        assert!(!has(66.0), "on purpose");
        if has(13.0) { Err(Error::Model("13 is unlucky".into())) } else { seen(settings, version, batch) }
    });
    (hold, puppet)
}

#[tokio::test]
async fn a_frame_that_fails_is_reported_in_its_place_and_its_neighbours_do_not_suffer() {
    let (hold, puppet) = delicate();
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let (mut one, mut two) = (stream(&server, "model=m").await, stream(&server, "model=m").await);
    one.send(gray(0)).await;
    hold.arrived(1).await;
    for (count, (talk, number)) in [(&one, 1), (&two, 13), (&two, 2), (&one, 3)].into_iter().enumerate() {
        talk.send(gray(number)).await;
        queued(&server, "m", count + 1).await;
    }
    hold.open(usize::MAX);
    assert_eq!(next_values(&mut one, 3).await, [10, 11, 13]);
    let failed = reply(&mut two).await;
    fails(&failed, Code::Internal, "13 is unlucky");
    assert_eq!((failed.sequence, failed.reply), (0, 0));
    assert_eq!(next_values(&mut two, 1).await, [12]);
    assert_eq!(hold.seen()[1].len(), 4, "they were a batch: {:?}", hold.seen());
    assert_eq!(counts(&client, "m").await, (4, 4, 1));
}

#[tokio::test]
async fn what_was_said_of_an_earlier_frame_counts_on_after_one_that_fails() {
    let (hold, puppet) = delicate();
    hold.open(usize::MAX);
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    let (server, _client) = start(&shelf, &puppet, Control::None).await;
    let mut talk = stream(&server, "every=2 | model=m").await;
    for number in [5, 6, 13, 7, 8, 9] {
        talk.send(gray(number)).await;
    }
    assert_eq!(next_values(&mut talk, 2).await, [15, 15]);
    fails(&reply(&mut talk).await, Code::Internal, "13 is unlucky");
    assert_eq!(next_values(&mut talk, 3).await, [15, 18, 18]);
    // Those that a bad one was in a batch with are run again.
    let mut seen = hold.seen().concat();
    seen.sort_by(f32::total_cmp);
    seen.dedup();
    assert_eq!(seen, [5.0, 8.0, 13.0]);
}

#[tokio::test]
async fn a_model_that_panics_fails_its_frame_and_one_that_does_it_again_fails_all() {
    let (hold, puppet) = delicate();
    hold.open(usize::MAX);
    let shelf = Shelf::new();
    shelf.looker("m", "image", ALONE);
    let (server, _client) = start(&shelf, &puppet, Control::None).await;
    let made = puppet.instances_made();
    let mut talk = windowed(&server, "model=m", 1).await;
    for number in [1, 66, 2, 66, 3] {
        talk.send(gray(number)).await;
    }
    assert_eq!(next_values(&mut talk, 1).await, [11]);
    fails(&reply(&mut talk).await, Code::Internal, "on purpose");
    assert_eq!(next_values(&mut talk, 1).await, [12]);
    fails(&reply(&mut talk).await, Code::Internal, "on purpose");
    assert!(reply(&mut talk).await.error.is_some());
    assert_eq!(puppet.instances_made(), made + 1);
    talk.send(changed("invert", gray(5))).await;
    assert_eq!(next_values(&mut talk, 1).await, [250], "the stream lives");
}

/// What a model sees of seven frames, and what the replies are.
async fn seven(task: &str, pipeline: &str) -> (Vec<f32>, Vec<MsgReply>) {
    let (hold, puppet) = free();
    let shelf = Shelf::new();
    shelf.looker("m", task, ALONE);
    let server = TestServer::start(Config {
        models: shelf.models(&puppet, Control::None),
        threads: 4,
        ..Config::default()
    });
    let server = server.await;
    server.loaded().await;
    let mut first = config(pipeline);
    first.reply_format = reply_as(frameserve::proto::Encoding::Raw);
    let mut frames = vec![frameserve::proto::MsgRequest { config: Some(first), ..Default::default() }];
    frames.extend((1..=7).map(gray));
    let (mut replies, status) = exchange(&mut server.client().await, frames).await;
    status.unwrap();
    replies.remove(0);
    assert!(replies.len() == 7 && replies.iter().all(|reply| reply.error.is_none()), "{replies:?}");
    let mut seen = hold.seen().concat();
    seen.sort_by(f32::total_cmp);
    (seen, replies)
}

#[tokio::test]
async fn a_model_sees_one_of_so_many_frames_and_its_answer_counts_for_those_between() {
    for (every, asked) in [(1, &[1, 2, 3, 4, 5, 6, 7][..]), (3, &[1, 4, 7]), (1000, &[1])] {
        let expected: Vec<f32> = asked.iter().map(|number: &u8| f32::from(*number)).collect();
        let looked = |number: u8| *asked.iter().rfind(|asked| **asked <= number).unwrap();
        let text = |stage: &str| if every == 1 { stage.into() } else { format!("every={every} | {stage}") };

        let (seen, replies) = seven("image", &text("model=m")).await;
        assert_eq!(seen, expected);
        let pictures: Vec<u8> = replies.iter().map(value).collect();
        assert_eq!(pictures, (1..=7).map(|number| looked(number) + 10).collect::<Vec<_>>());

        let (seen, replies) = seven("detection", &text("detect=m")).await;
        assert_eq!(seen, expected);
        for (number, reply) in (1..=7).zip(&replies) {
            let found = &reply.detections;
            assert_eq!(
                (found.len(), found[0].label.as_str(), found[0].source.as_str()),
                (2, "cat", "detect")
            );
            assert_eq!((found[0].x, found[0].y, found[0].width, found[0].height), (1.0, 1.0, 4.0, 6.0));
            assert!((found[0].score - surest(looked(number).into())).abs() < 1e-6, "{found:?}");
            assert_eq!(value(reply), number, "the picture is the frame's own");
        }

        let (seen, replies) = seven("classification", &text("classify=m")).await;
        assert_eq!(seen, expected);
        for (number, reply) in (1..=7).zip(&replies) {
            let best = &reply.labels[0];
            assert_eq!(
                (reply.labels.len(), best.name.as_str(), best.source.as_str()),
                (4, "dog", "classify")
            );
            assert!((best.score - surest(looked(number).into())).abs() < 1e-6, "{best:?}");
        }

        let (seen, replies) = seven("segmentation", &text("segment=m,opacity=1")).await;
        assert_eq!(seen, expected);
        for (number, reply) in (1..=7).zip(&replies) {
            let parts: Vec<_> = reply.labels.iter().map(|label| (label.name.as_str(), label.score)).collect();
            let sky = f32::from(looked(number)) / 8.0;
            let all = [("sky", sky), ("sea", 7.0 / 8.0 - sky)];
            let there: Vec<_> = all.into_iter().filter(|(_, part)| *part > 0.0).collect();
            assert_eq!(parts, there, "frame {number}");
            assert_eq!(reply.img[..3], [number; 3], "what is background stays as it is");
        }
    }
}
