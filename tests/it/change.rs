//! Changes in mid-stream: exactly at their frame, with nothing lost, and with the state that stays valid.

use frameserve::Error;
use frameserve::config::Config;
use frameserve::frame::codec::Codec;
use frameserve::pipeline::param::{Args, Param, Range};
use frameserve::pipeline::spec::StageSpec;
use frameserve::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_frame};
use frameserve::proto::{Encoding, MsgRequest, StreamConfig};
use opencv::prelude::*;

use crate::harness::{TestServer, config, exchange, gray, jpeg, open, reply_as, value};

/// A stateful stage: writes into each frame how many it has seen.
static KIND: StageKind = StageKind {
    name: "tally",
    group: Group::Time,
    doc: "Counts.",
    params: &[Param::new("from", Range::Integer(0, 255), "The first number.").or("0")],
    example: "tally",
    build,
};

#[derive(Debug)]
struct Count(u8);

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Count(args.integer("from") as u8)))
}

impl Stage for Count {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let mut next = self.0;
        on_frame(move |frame, _| {
            // Frames differ in how long they take, so that order has to be kept, not only found.
            if frame.identity.index % 3 == 0 {
                std::thread::yield_now();
            }
            frame.image.mat_mut().data_bytes_mut()?.fill(next);
            next = next.wrapping_add(1);
            Ok(())
        })
    }

    fn is_stateful(&self) -> bool {
        true
    }
}

async fn counting() -> TestServer {
    let mut config = Config { threads: 4, ..Config::default() };
    for (name, from) in [("tally", "0"), ("tally100", "100")] {
        let stages = vec![StageSpec::of(&KIND, &[("from", from)]).unwrap()];
        config.pipelines.insert_stages(name, stages, "").unwrap();
    }
    TestServer::start(config).await
}

fn changed(pipeline: &str) -> MsgRequest {
    MsgRequest { config: Some(config(pipeline)), ..gray(0) }
}

#[tokio::test]
async fn a_change_takes_effect_exactly_at_its_frame() {
    let server = TestServer::start(Config::default()).await;
    let mut frames = vec![open("")];
    for number in 0..60 {
        let pipeline = if number % 10 < 5 { "resize=4x4" } else { "resize=16x2" };
        let config = (number % 5 == 0).then(|| config(pipeline));
        frames.push(MsgRequest { config, ..gray(number) });
    }
    let (replies, status) = exchange(&mut server.client().await, frames).await;
    status.unwrap();
    assert_eq!(replies.len(), 61);
    for (number, reply) in replies[1..].iter().enumerate() {
        let (width, pipeline) = if number % 10 < 5 { (4, "resize=4x4") } else { (16, "resize=16x2") };
        assert_eq!((reply.width, reply.sequence, value(reply) as usize), (width, number as u64, number));
        let says = reply.settings.as_ref().map(|settings| settings.pipeline.as_str());
        assert_eq!(says, (number % 5 == 0).then_some(pipeline));
    }
}

#[tokio::test]
async fn a_change_without_a_frame_is_answered_by_itself() {
    let server = TestServer::start(Config::default()).await;
    let frames = vec![open(""), gray(1), open("invert-nothing"), open("resize=2x2"), gray(2)];
    let (replies, status) = exchange(&mut server.client().await, frames).await;
    status.unwrap();
    let [_, one, refused, accepted, two] = replies.as_slice() else { panic!("{replies:?}") };
    assert_eq!((value(one), one.width), (1, 8));
    assert!(refused.error.as_ref().unwrap().message.contains("character 1"));
    assert_eq!(accepted.settings.as_ref().unwrap().pipeline, "resize=2x2");
    assert_eq!((value(two), two.width, two.sequence, two.reply), (2, 2, 1, 2));
}

#[tokio::test]
async fn the_reply_format_can_change_too() {
    let server = TestServer::start(Config::default()).await;
    let format = StreamConfig { reply_format: reply_as(Encoding::Png), ..StreamConfig::default() };
    let frame = MsgRequest { img: jpeg(32, 32), ..MsgRequest::default() };
    let frames = vec![frame.clone(), MsgRequest { config: Some(format), ..frame.clone() }, frame];
    let (replies, status) = exchange(&mut server.client().await, frames).await;
    status.unwrap();
    let codecs: Vec<_> = replies.iter().map(|reply| Codec::sniff(&reply.img)).collect();
    assert_eq!(codecs, [Some(Codec::Jpeg), Some(Codec::Png), Some(Codec::Png)]);
}

#[tokio::test]
async fn a_stateful_stage_sees_every_frame_in_order() {
    let server = counting().await;
    let mut frames = vec![open("resize=40x30 | tally | resize=4x4")];
    frames.extend((0..200).map(|_| gray(0)));
    let (replies, status) = exchange(&mut server.client().await, frames).await;
    status.unwrap();
    let values: Vec<_> = replies[1..].iter().map(value).collect();
    assert_eq!(values, (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn state_survives_a_change_that_does_not_concern_it_and_a_frame_that_fails() {
    let server = counting().await;
    let broken = MsgRequest { width: 9, ..gray(0) };
    let torn = MsgRequest { img: jpeg(64, 48).slice(..300), ..MsgRequest::default() };
    let frames = vec![
        open("tally"),
        gray(0),
        gray(0),
        broken,
        torn,
        changed("resize=4x4 | tally"),
        changed("tally | resize=2x2"),
        changed("tally100"),
        gray(0),
        changed("tally"),
    ];
    let (replies, status) = exchange(&mut server.client().await, frames).await;
    status.unwrap();
    let values: Vec<_> =
        replies[1..].iter().map(|reply| reply.error.is_none().then(|| value(reply))).collect();
    let expected = [Some(0), Some(1), None, None, Some(2), Some(3), Some(100), Some(101), Some(0)];
    assert_eq!(values, expected, "{replies:?}");
}

#[tokio::test]
async fn two_streams_do_not_share_state() {
    let server = counting().await;
    for _ in 0..2 {
        let frames = vec![open("tally"), gray(0), gray(0)];
        let (replies, status) = exchange(&mut server.client().await, frames).await;
        status.unwrap();
        assert_eq!(replies[1..].iter().map(value).collect::<Vec<_>>(), [0, 1]);
    }
}
