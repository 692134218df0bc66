//! Streams over the wire: order, identity, settings, backpressure, freshness, and their ends.

use std::time::Duration;

use bytes::Bytes;
use frameserve::config::Config;
use frameserve::frame::Size;
use frameserve::proto::dropped::Reason;
use frameserve::proto::pressure::Mode;
use frameserve::proto::{
    DescribeRequest, Dropped, Encoding, MsgReply, MsgRequest, PixelFormat, Pressure, StreamConfig,
};
use frameserve::server::Ended;
use tonic::{Code, Request};

use crate::bounds::taken;
use crate::gate::Gate;
use crate::harness::{Talk, TestServer, config, exchange, gray, jpeg, open, reply_as, value};

/// A server on which `gate` names a stage that holds frames.
async fn gated(gate: &Gate, threads: usize) -> TestServer {
    let mut config = Config { threads, ..Config::default() };
    config.pipelines.insert_stages("gate", gate.stages(), "").unwrap();
    TestServer::start(config).await
}

fn with_pressure(pipeline: &str, window: u32, pressure: Pressure) -> MsgRequest {
    let config = StreamConfig { window, pressure: Some(pressure), ..config(pipeline) };
    MsgRequest { config: Some(config), ..MsgRequest::default() }
}

#[tokio::test]
async fn a_bare_stream_gets_one_reply_for_each_frame() {
    let server = TestServer::start(Config::default()).await;
    let picture = jpeg(64, 48);
    let frames = (0..50).map(|_| MsgRequest { img: picture.clone(), ..MsgRequest::default() }).collect();
    let (replies, status) = exchange(&mut server.client().await, frames).await;
    status.unwrap();
    assert_eq!(replies.len(), 50);
    for (number, reply) in replies.iter().enumerate() {
        assert_eq!((reply.reply, reply.sequence), (number as i32 + 1, number as u64));
        assert_eq!((reply.encoding(), reply.width, reply.height), (Encoding::Jpeg, 64, 48));
        assert_eq!((&reply.error, &reply.settings), (&None, &None));
    }
}

#[tokio::test]
async fn a_configured_stream_is_told_what_is_in_force() {
    let server = TestServer::start(Config::default()).await;
    let config = StreamConfig { window: 1_000_000, ..config("  gray|canny = 50 ,high=120") };
    let first = MsgRequest { config: Some(config), ..MsgRequest::default() };
    let numbered = |sequence, timestamp_us| MsgRequest {
        img: jpeg(64, 48),
        sequence: Some(sequence),
        timestamp_us: Some(timestamp_us),
        ..MsgRequest::default()
    };
    let frames = vec![first, numbered(7, -40), numbered(1, 1 << 40)];
    let (replies, status) = exchange(&mut server.client().await, frames).await;
    status.unwrap();
    let [settings, a, b] = replies.as_slice() else { panic!("{replies:?}") };
    let granted = settings.settings.as_ref().unwrap();
    assert_eq!(granted.pipeline, "gray | canny=high=120");
    assert_eq!(granted.window, 64, "what is asked beyond the limit is granted up to it");
    assert_eq!(granted.limits.unwrap().max_window, 64);
    assert_eq!((settings.reply, settings.img.len()), (0, 0));
    assert_eq!((a.sequence, a.timestamp_us, a.reply), (7, Some(-40), 1));
    assert_eq!((b.sequence, b.timestamp_us, b.reply), (1, Some(1 << 40), 2));
    let timing = a.timing.as_ref().unwrap();
    let stages: Vec<_> = timing.stages.iter().map(|step| step.stage.as_str()).collect();
    assert_eq!(stages, ["gray", "canny=high=120"]);
    let worked =
        timing.decode + timing.encode + timing.stages.iter().map(|step| step.nanoseconds).sum::<u64>();
    assert!(timing.decode > 0 && timing.encode > 0);
    assert_eq!(timing.total, worked + timing.queue);
}

#[tokio::test]
async fn bare_gray_bytes_take_their_size_from_metadata_or_from_the_server() {
    let frames = || vec![MsgRequest { img: Bytes::from(vec![9; 60]), ..MsgRequest::default() }; 3];
    let server = TestServer::start(Config::default()).await;
    let mut client = server.client().await;
    let (replies, status) = exchange(&mut client, frames()).await;
    let error = replies[0].error.clone().unwrap();
    assert_eq!(error.code, Code::InvalidArgument as i32);
    for way in ["frame-width", "--raw-size", "`width`"] {
        assert!(error.message.contains(way), "{}", error.message);
    }
    status.unwrap();

    let mut like = Request::new(());
    like.metadata_mut().insert("frame-width", "10".parse().unwrap());
    like.metadata_mut().insert("frame-height", "6".parse().unwrap());
    let talk = Talk::with(&mut client, like).await.unwrap();
    for frame in frames() {
        talk.send(frame).await;
    }
    let (replies, status) = talk.end().await;
    status.unwrap();
    check_gray(&replies);

    let server = TestServer::start(Config { raw_size: Some(Size::new(10, 6)), ..Config::default() }).await;
    let (replies, status) = exchange(&mut server.client().await, frames()).await;
    status.unwrap();
    check_gray(&replies);
}

fn check_gray(replies: &[MsgReply]) {
    assert_eq!(replies.iter().map(|reply| reply.reply).collect::<Vec<_>>(), [1, 2, 3]);
    for reply in replies {
        assert_eq!((reply.encoding(), reply.pixel_format()), (Encoding::Raw, PixelFormat::Gray8));
        assert_eq!((reply.width, reply.height, value(reply)), (10, 6, 9));
    }
}

#[tokio::test]
async fn metadata_that_makes_no_sense_is_refused() {
    let server = TestServer::start(Config::default()).await;
    let mut client = server.client().await;
    for (key, text, says) in [
        ("frame-width", "640", "go together"),
        ("frame-width", "-1", "1 to 4294967295"),
        ("pixel-format", "yuyv", "gray8, bgr24"),
    ] {
        let mut like = Request::new(());
        like.metadata_mut().insert(key, text.parse().unwrap());
        let status = Talk::with(&mut client, like).await.err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(says), "{status}");
    }
}

#[tokio::test]
async fn a_reply_need_not_hold_a_picture() {
    let server = TestServer::start(Config::default()).await;
    let config = StreamConfig { reply_format: reply_as(Encoding::NoPicture), ..config("resize=16x9") };
    let frames = vec![
        MsgRequest { config: Some(config), img: jpeg(64, 48), ..MsgRequest::default() },
        MsgRequest { img: jpeg(64, 48), ..MsgRequest::default() },
    ];
    let (replies, status) = exchange(&mut server.client().await, frames).await;
    status.unwrap();
    assert_eq!(replies.len(), 3, "the settings come by themselves even if the first message has a picture");
    for reply in &replies[1..] {
        assert_eq!((reply.encoding(), reply.img.len()), (Encoding::NoPicture, 0));
        assert_eq!((reply.width, reply.height), (16, 9));
    }
}

#[tokio::test]
async fn a_full_window_holds_the_sender_and_nobody_else() {
    let gate = Gate::new();
    let server = gated(&gate, 4).await;
    let mut held = Talk::new(&mut server.client().await).await;
    held.send(with_pressure("gate", 3, Pressure::default())).await;
    assert_eq!(held.reply().await.settings.unwrap().window, 3);
    for number in 0..20 {
        held.send(gray(number)).await;
    }
    gate.arrived(3).await;
    let (replies, status) = exchange(&mut server.client().await, vec![gray(1); 30]).await;
    status.unwrap();
    assert_eq!(replies.len(), 30);
    assert_eq!(gate.count(), 3, "no more than the window was begun");
    gate.open(20);
    for number in 0..20 {
        assert_eq!(value(&held.reply().await), number);
    }
}

#[tokio::test]
async fn the_newest_frame_wins_and_losses_are_reported_in_their_place() {
    let gate = Gate::new();
    let server = gated(&gate, 2).await;
    for (mode, queue, lost) in [(Mode::Latest, 0, 5), (Mode::DropOldest, 2, 4)] {
        let (seen, before) = (gate.count(), server.engine.frames_taken());
        let mut talk = Talk::new(&mut server.client().await).await;
        let pressure = Pressure { mode: mode.into(), queue, max_fps: 0.0 };
        talk.send(with_pressure("gate", 1, pressure)).await;
        assert!(talk.reply().await.settings.is_some());
        talk.send(gray(0)).await;
        gate.arrived(seen + 1).await;
        for number in 1..=6 {
            talk.send(gray(number)).await;
        }
        taken(&server, before + 7).await;
        gate.open(100);
        let (came, status) = talk.end().await;
        status.unwrap();
        assert_eq!(value(&came[0]), 0);
        let dropped = Dropped { first: 1, count: lost, reason: Reason::Replaced.into() };
        assert_eq!(came[1].dropped, Some(dropped), "{came:?}");
        let rest: Vec<_> = came[2..].iter().map(|reply| (reply.sequence, value(reply))).collect();
        let expected: Vec<_> = (lost + 1..=6).map(|number| (number, number as u8)).collect();
        assert_eq!(rest, expected);
        assert_eq!(came.last().unwrap().reply as u64, 7 - lost, "what was dropped does not count");
        gate.close();
    }
}

#[tokio::test]
async fn a_client_that_goes_away_frees_everything() {
    let gate = Gate::new();
    let server = gated(&gate, 1).await;
    let mut talk = Talk::new(&mut server.client().await).await;
    talk.send(open("gate")).await;
    talk.reply().await;
    for number in 0..8 {
        talk.send(gray(number)).await;
    }
    gate.arrived(1).await;
    assert_eq!(server.engine.open_streams(), 1);
    drop(talk);
    let gone = async {
        while server.engine.open_streams() > 0 {
            tokio::task::yield_now().await;
        }
    };
    // It takes milliseconds; the machine that runs the tests may be busy.
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("it is still open");
    gate.open(1);
    let (replies, status) = exchange(&mut server.client().await, vec![gray(1); 3]).await;
    status.unwrap();
    assert_eq!(replies.len(), 3);
    assert_eq!(gate.count(), 1, "frames that were still queued are not processed for nobody");
}

#[tokio::test]
async fn a_drained_server_answers_what_it_took_and_says_so() {
    let gate = Gate::new();
    let server = gated(&gate, 2).await;
    let mut client = server.client().await;
    let mut talk = Talk::new(&mut client).await;
    talk.send(open("gate")).await;
    talk.reply().await;
    talk.send(gray(1)).await;
    talk.send(gray(2)).await;
    gate.arrived(2).await;
    let idle = Talk::new(&mut client).await;
    server.drain();
    server.engine.drain().cancelled().await;
    let refused = server.engine.admit_stream().unwrap_err();
    assert!(refused.to_string().contains("shutting down"), "{refused}");
    let (_, status) = idle.end().await;
    assert_eq!(status.unwrap_err().code(), Code::Unavailable);
    gate.open(2);
    assert_eq!(value(&talk.reply().await), 1);
    assert_eq!(value(&talk.reply().await), 2);
    let status = talk.replies.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("2 frames were processed"), "{status}");
    assert_eq!(server.ended().await, Ended::Drained);
}

#[tokio::test]
async fn streams_that_do_not_end_are_cut_off_at_the_deadline() {
    let gate = Gate::new();
    let mut config = Config { drain_timeout: Duration::ZERO, ..Config::default() };
    config.pipelines.insert_stages("gate", gate.stages(), "").unwrap();
    let server = TestServer::start(config).await;
    let mut talk = Talk::new(&mut server.client().await).await;
    talk.send(open("gate")).await;
    talk.reply().await;
    talk.send(gray(1)).await;
    gate.arrived(1).await;
    assert_eq!(server.ended().await, Ended::CutOff { streams: 1, requests: 0 });
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let mut config = Config::default();
    config.limits.max_streams = 2;
    let server = TestServer::start(config).await;
    let mut client = server.client().await;
    let (one, two) = (Talk::new(&mut client).await, Talk::new(&mut client).await);
    let status = Talk::with(&mut client, Request::new(())).await.err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("--max-streams"), "{status}");
    one.end().await.1.unwrap();
    assert!(Talk::with(&mut client, Request::new(())).await.is_ok());
    two.end().await.1.unwrap();
}

#[tokio::test]
async fn what_can_be_done_is_described() {
    let mut config = Config { default_pipeline: "edges".into(), ..Config::default() };
    config.pipelines.insert("edges", "gray | canny", "Edges.").unwrap();
    let server = TestServer::start(config).await;
    let about = server.client().await.describe(DescribeRequest {}).await.unwrap().into_inner();
    assert_eq!(about.version, env!("CARGO_PKG_VERSION"));
    assert!(about.opencv_version.starts_with('4'), "{}", about.opencv_version);
    assert_eq!(about.default_pipeline, "edges");
    assert_eq!(about.named_pipelines[0].pipeline, "gray | canny");
    assert_eq!(about.codecs.len(), 8);
    let canny = about.stages.iter().find(|stage| stage.name == "canny").unwrap();
    assert_eq!(canny.parameters[0].name, "low");
    assert_eq!((canny.parameters[0].minimum, canny.parameters[0].default_value.as_str()), (Some(0.0), "50"));
    let service = "grpc.health.v1.Health".to_owned();
    assert!(about.services.contains(&service) && about.services.contains(&"ImageTest".to_owned()));
}
