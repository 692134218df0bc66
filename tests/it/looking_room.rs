//! Streams that show frames to a model which lets only a few wait.

use frameserve::model::Control;
use frameserve::proto::pressure::Mode;
use frameserve::proto::{MsgRequest, Pressure, StreamConfig};
use tonic::Code;

use crate::batching::queued;
use crate::bounds::taken;
use crate::harness::{Talk, TestServer, config, gray, value};
use crate::lookers::{all_free, counts, fails, held, reply, request, windowed};
use crate::puppet::{ALONE, InferClient, Shelf, start};

/// One at a time, and two may wait.
fn narrow() -> Shelf {
    let shelf = Shelf::new();
    let rules = "max_batch_size: 1 dynamic_batching { default_queue_policy { max_queue_size: 2 } }";
    shelf.looker("m", "image", &format!("{ALONE} {rules}"));
    shelf
}

/// A request, which must be refused since the queue is full.
async fn refused(client: &InferClient) {
    let full = client.clone().model_infer(request("m", 99.0)).await.unwrap_err();
    assert_eq!(full.code(), Code::Unavailable, "{full}");
    assert!(full.message().contains("Exceeds maximum queue size"), "{full}");
}

#[tokio::test]
async fn frames_of_a_lossless_stream_wait_for_a_place_and_their_sender_for_them() {
    for pipeline in ["model=m", "blur=3 | model=m | trails=0", "every=2 | model=m"] {
        let (hold, puppet) = held();
        let shelf = narrow();
        let (server, client) = start(&shelf, &puppet, Control::None).await;
        let mut talk = windowed(&server, pipeline, 8).await;
        for number in 0..20 {
            talk.send(gray(number)).await;
        }
        hold.arrived(1).await;
        queued(&server, "m", 2).await;
        taken(&server, 8).await;
        refused(&client).await;
        assert_eq!(server.engine.frames_taken(), 8, "no more than the window is read");
        hold.open(usize::MAX);
        for number in 0..20 {
            let carried = if pipeline.starts_with("every") { number % 2 } else { 0 };
            assert_eq!(value(&reply(&mut talk).await), number + 10 - carried, "{pipeline}");
        }
        let seen = if pipeline.starts_with("every") { 10 } else { 20 };
        let of_request = 1;
        assert_eq!(counts(&client, "m").await, (seen, seen, of_request), "{pipeline}");
    }
}

#[tokio::test]
async fn streams_that_wait_for_a_place_all_come_to_their_turn_or_go_away_without_a_trace() {
    let (hold, puppet) = held();
    let shelf = narrow();
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let mut streams = Vec::new();
    for number in 0..6 {
        let talk = windowed(&server, "model=m", 4).await;
        for frame in 0..6 {
            talk.send(gray(10 * number + frame)).await;
        }
        streams.push((number, talk));
    }
    hold.arrived(1).await;
    taken(&server, 24).await;
    queued(&server, "m", 2).await;
    let rest = streams.split_off(3);
    drop(rest);
    hold.open(usize::MAX);
    for (number, talk) in &mut streams {
        for frame in 0..6 {
            assert_eq!(value(&reply(talk).await), 10 * *number + frame + 10);
        }
    }
    drop(streams);
    all_free(&server, &frameserve::config::Config::default()).await;
    client.clone().model_infer(request("m", 7.0)).await.unwrap();
}

/// A stream of which only the newest frames count.
async fn latest(server: &TestServer) -> Talk {
    let mut talk = Talk::new(&mut server.client().await).await;
    let pressure = Pressure { mode: Mode::Latest.into(), ..Pressure::default() };
    let config = StreamConfig { window: 8, pressure: Some(pressure), ..config("model=m") };
    talk.send(MsgRequest { config: Some(config), ..MsgRequest::default() }).await;
    assert!(reply(&mut talk).await.settings.is_some());
    talk
}

#[tokio::test]
async fn a_stream_that_wants_the_newest_is_told_that_there_is_no_place() {
    let (hold, puppet) = held();
    let shelf = narrow();
    let (server, client) = start(&shelf, &puppet, Control::None).await;
    let mut talk = latest(&server).await;
    talk.send(gray(1)).await;
    hold.arrived(1).await;
    for number in 2..=3 {
        talk.send(gray(number)).await;
        queued(&server, "m", usize::from(number) - 1).await;
    }
    refused(&client).await;
    talk.send(gray(4)).await;
    // Until that one has failed, which nothing but the model's statistics shows.
    while counts(&client, "m").await.2 < 2 {
        tokio::task::yield_now().await;
    }
    hold.open(usize::MAX);
    for expected in [11, 12, 13] {
        assert_eq!(value(&reply(&mut talk).await), expected);
    }
    fails(&reply(&mut talk).await, Code::Unavailable, "Exceeds maximum queue size");
    talk.send(gray(5)).await;
    assert_eq!(value(&reply(&mut talk).await), 15);
}
