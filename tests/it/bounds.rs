//! Bounds that hold whatever a client does: memory, jobs, a stream's share of the threads, time.

use std::time::Duration;

use bytes::Bytes;
use frameserve::config::Config;
use frameserve::limits::{Budget, Credits, Limits};
use frameserve::proto::pressure::Mode;
use frameserve::proto::{Encoding, MsgRequest, Pressure, StreamConfig};
use frameserve::server::Ended;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::gate::Gate;
use crate::harness::{Talk, TestServer, config, exchange, gray, open, reply_as, value};

async fn gated(gate: &Gate, change: impl FnOnce(&mut Config)) -> TestServer {
    let mut config = Config { threads: 2, ..Config::default() };
    config.pipelines.insert_stages("gate", gate.stages(), "").unwrap();
    change(&mut config);
    TestServer::start(config).await
}

/// Waits until the server has read so many frames since it was started.
pub async fn taken(server: &TestServer, frames: u64) {
    let read = async {
        while server.engine.frames_taken() < frames {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), read).await.expect("the server does not read them");
}

#[tokio::test]
async fn a_budget_is_shared_and_given_back() {
    let budget = Budget::new(10 << 10);
    let mut first = budget.take(8 << 10).await;
    let mut second = std::pin::pin!(budget.take(4 << 10));
    assert!(futures_util::poll!(&mut second).is_pending());
    first.shrink(6 << 10);
    let second = second.await;
    let mut all = std::pin::pin!(budget.take(usize::MAX));
    assert!(futures_util::poll!(&mut all).is_pending(), "who asks for too much gets all, once that is free");
    drop((first, second));
    all.await;
}

#[tokio::test]
async fn credits_count_jobs_and_bytes() {
    let limits = Limits { max_jobs: 2, max_job_bytes: 4 << 20, ..Limits::default() };
    let credits = Credits::new(&limits);
    let one = credits.acquire(3 << 20).await;
    let mut large = std::pin::pin!(credits.acquire(2 << 20));
    assert!(futures_util::poll!(&mut large).is_pending());
    drop(one);
    let (_large, _small) = (large.await, credits.acquire(0).await);
    let mut third = std::pin::pin!(credits.acquire(0));
    assert!(futures_util::poll!(&mut third).is_pending());
}

#[tokio::test]
async fn replies_that_nobody_reads_are_bounded_in_bytes() {
    let server = gated(&Gate::new(), |config| config.limits.max_stream_bytes = 1 << 20).await;
    let mut talk = Talk::new(&mut server.client().await).await;
    let raw = StreamConfig { reply_format: reply_as(Encoding::Raw), window: 64, ..config("resize=640x480") };
    talk.send(MsgRequest { config: Some(raw), ..MsgRequest::default() }).await;
    talk.reply().await;
    for number in 0..64 {
        talk.send(gray(number)).await;
    }
    // 300 KB a reply, 900 KB while it is worked on: the first replies fill HTTP/2's window and the client's
    // own buffers, and of the others there is room for three, though the window has 64.
    let others = server.client().await;
    for _ in 0..3 {
        let (replies, status) = exchange(&mut others.clone(), vec![gray(1); 20]).await;
        status.unwrap();
        assert_eq!(replies.len(), 20);
    }
    let held_back = server.engine.frames_taken() - 60;
    assert!(held_back < 40, "{held_back} frames of the stream that nobody reads were taken");
    for number in 0..64 {
        assert_eq!(value(&talk.reply().await), number);
    }
}

#[tokio::test]
async fn frames_that_wait_for_their_turn_are_bounded_in_bytes() {
    let gate = Gate::new();
    let server = gated(&gate, |config| config.limits.max_stream_bytes = 1 << 20).await;
    let mut talk = Talk::new(&mut server.client().await).await;
    let pressure = Pressure { mode: Mode::DropOldest.into(), queue: 100, max_fps: 0.0 };
    let first = StreamConfig { window: 1, pressure: Some(pressure), ..config("gate") };
    talk.send(MsgRequest { config: Some(first), ..MsgRequest::default() }).await;
    talk.reply().await;
    let large = || MsgRequest {
        img: Bytes::from(vec![7; 400_000]),
        width: 800,
        height: 500,
        ..MsgRequest::default()
    };
    talk.send(large()).await;
    gate.arrived(1).await;
    for _ in 0..10 {
        talk.send(large()).await;
    }
    taken(&server, 11).await;
    gate.open(100);
    let (replies, status) = talk.end().await;
    status.unwrap();
    let dropped: u64 = replies.iter().filter_map(|reply| reply.dropped).map(|dropped| dropped.count).sum();
    let done = replies.iter().filter(|reply| !reply.img.is_empty()).count() as u64;
    assert_eq!(dropped + done, 11);
    assert!(dropped >= 7, "{dropped} were dropped, though a megabyte has room for two of the ten");
}

#[tokio::test]
async fn state_that_a_stream_may_not_keep_is_refused() {
    let server = gated(&Gate::new(), |config| config.limits.max_stream_bytes = 8 << 20).await;
    let frames = vec![open("resize=640x480 | background"), gray(1)];
    let (replies, status) = exchange(&mut server.client().await, frames).await;
    status.unwrap();
    let error = replies[1].error.as_ref().unwrap();
    assert_eq!(error.code, Code::ResourceExhausted as i32);
    assert!(
        error.message.contains("8388608") && error.message.contains("--max-stream-bytes"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_stream_takes_no_more_than_its_turn_at_the_threads() {
    let gate = Gate::new();
    let server = gated(&gate, |_| {}).await;
    let mut client = server.client().await;
    let mut greedy = Talk::new(&mut client).await;
    let first = StreamConfig { window: 64, ..config("gate") };
    greedy.send(MsgRequest { config: Some(first), ..MsgRequest::default() }).await;
    greedy.reply().await;
    for number in 0..64 {
        greedy.send(gray(number)).await;
    }
    taken(&server, 64).await;
    gate.arrived(2).await;
    let mut modest = Talk::new(&mut client).await;
    // Opening a stream waits for no frame of another one.
    modest.send(open("resize=4x4")).await;
    modest.reply().await;
    modest.send(gray(9)).await;
    taken(&server, 65).await;
    // Two threads hold a frame each, and one more of that stream may be in the queue before ours.
    gate.open(3);
    assert_eq!(value(&modest.reply().await), 9);
    assert!(gate.count() <= 5, "{} frames of the other stream came first", gate.count());
}

#[tokio::test]
async fn few_jobs_suffice_for_many_streams() {
    let server = gated(&Gate::new(), |config| (config.limits.max_jobs, config.threads) = (1, 1)).await;
    let client = server.client().await;
    let streams = (0..12).map(|number| {
        let mut client = client.clone();
        let frames = [open(&format!("brightness={number} | trails")), gray(1), gray(1), gray(1)];
        async move { exchange(&mut client, frames.into()).await }
    });
    for (replies, status) in futures_util::future::join_all(streams).await {
        status.unwrap();
        assert!(replies.len() == 4 && replies.iter().all(|reply| reply.error.is_none()), "{replies:?}");
    }
}

#[tokio::test]
async fn what_a_client_said_is_quoted_no_longer_than_its_library_takes() {
    let server = gated(&Gate::new(), |_| {}).await;
    let mut client = server.client().await;
    for text in [
        format!("resize={}", "9".repeat(16_000)),
        format!("text='{}'", "{é".repeat(8_000)),
        "x".repeat(1 << 20),
    ] {
        let (_, status) = exchange(&mut client, vec![open(&text)]).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().len() < 8000 && status.message().contains("character"), "{status}");
    }
}

#[tokio::test]
async fn a_drain_does_not_wait_for_who_only_watches() {
    let server = gated(&Gate::new(), |config| config.drain_timeout = Duration::from_secs(600)).await;
    let mut health = HealthClient::new(server.channel().await);
    let mut watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watched.message().await.unwrap();
    let _silent = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), server.ended()).await;
    assert_eq!(ended.expect("it waits for the watcher"), Ended::Drained);
}

#[tokio::test]
async fn a_frame_that_came_before_the_drain_is_answered_even_if_its_stream_was_just_opened() {
    let gate = Gate::new();
    let server = gated(&gate, |_| {}).await;
    let mut talk = Talk::new(&mut server.client().await).await;
    talk.send(MsgRequest { config: Some(config("gate")), ..gray(5) }).await;
    talk.reply().await;
    server.drain();
    gate.open(1);
    assert_eq!(value(&talk.reply().await), 5);
    let status = talk.replies.message().await.unwrap_err();
    assert!(status.message().contains("1 frames were processed"), "{status}");
}
