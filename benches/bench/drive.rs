//! The client's side of a measurement: frames go up as they are, replies are counted, nothing is decoded.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use frameserve::client::{Client, FrameReplies, FrameSender};
use frameserve::proto::{MsgReply, StreamConfig};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::args::Task;
use crate::clips::Clip;
use crate::look::Look;
use crate::pairs::quantile;
use crate::process::{self, Server};
use crate::{Result, Setting};

/// What is to be sent where.
#[derive(Debug, Serialize, Deserialize)]
pub struct Load {
    /// Empty until it is known.
    #[serde(default)]
    pub url: String,
    pub clip: Clip,
    pub pipeline: String,
    /// Each on a connection of its own.
    pub streams: usize,
    /// Frames in flight on each stream.
    pub window: u32,
    pub span: Span,
}

/// For how long, in seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Span {
    /// Not counted.
    pub warm_up: f64,
    pub seconds: f64,
}

/// What came back.
#[derive(Debug, Serialize, Deserialize)]
pub struct Driven {
    /// Frames a second, over all streams.
    pub fps: f64,
    /// Frames a second of each stream, from the last reply that does not count to the last one that does: right
    /// even where there are few.
    pub rates: Vec<f64>,
    /// All frames, those of the warm-up included.
    pub frames: u64,
    /// Seconds from when a frame was sent to when its reply was there, in the middle, at 95 % and at 99 %.
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    /// What the replies are.
    pub look: Look,
    /// Bytes of a reply's picture, on average.
    pub reply_bytes: usize,
}

/// Each stream is measured until so many replies have counted, however long that takes.
const LEAST: u64 = 2;

/// When it began, and what counts.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    begin: Instant,
    end: Instant,
}

/// What one stream saw.
struct Seen {
    frames: u64,
    counted: u64,
    bytes: u64,
    times: Vec<f64>,
    look: Option<Look>,
    /// When the last reply came that does not count, and the last one that does.
    before: Instant,
    last: Instant,
}

impl Clock {
    pub fn start(span: Span) -> Self {
        let begin = Instant::now() + Duration::from_secs_f64(span.warm_up);
        Clock { begin, end: begin + Duration::from_secs_f64(span.seconds) }
    }

    pub fn counts(&self, now: Instant) -> bool {
        now >= self.begin && now < self.end
    }

    /// Its seconds; more of them if it had to go on until then.
    fn until(&self, then: Instant) -> f64 {
        (then.max(self.end) - self.begin).as_secs_f64()
    }

    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.end
    }
}

impl Seen {
    fn nothing() -> Self {
        let now = Instant::now();
        let (times, look) = (Vec::new(), None);
        Seen { frames: 0, counted: 0, bytes: 0, times, look, before: now, last: now }
    }

    fn rate(&self) -> f64 {
        match self.counted {
            0 => 0.0,
            counted => counted as f64 / (self.last - self.before).as_secs_f64(),
        }
    }
}

impl Load {
    /// One stream for as long as the setting says.
    pub fn one_stream(setting: &Setting, clip: &Clip, pipeline: &str, window: u32) -> Load {
        let (clip, pipeline) = (clip.clone(), pipeline.into());
        Load { url: String::new(), clip, pipeline, streams: 1, window, span: setting.span }
    }

    /// Has it done by a process of its own; with what it returns comes the server's processor time, in seconds a
    /// frame.
    pub fn run(self, server: &Server, core: Option<usize>) -> Result<(Driven, f64)> {
        let before = server.busy()?;
        let driven: Driven = process::ask(&Task::Drive(Load { url: server.url(), ..self }), core)?;
        let cpu = (server.busy()? - before).as_secs_f64() / driven.frames as f64;
        Ok((driven, cpu))
    }
}

/// Does it.
pub async fn drive(load: &Load) -> Result<Driven> {
    let frames = load.clip.frames()?;
    let clock = Clock::start(load.span);
    let streams = (0..load.streams).map(|_| stream(load, &frames, clock));
    let seen = futures_util::future::try_join_all(streams).await?;
    let sum = |part: fn(&Seen) -> u64| seen.iter().map(part).sum::<u64>();
    let (frames, counted, bytes) =
        (sum(|seen| seen.frames), sum(|seen| seen.counted), sum(|seen| seen.bytes));
    let times: Vec<f64> = seen.iter().flat_map(|seen| seen.times.iter().copied()).collect();
    let rates = seen.iter().map(Seen::rate).collect();
    let last = seen.iter().map(|seen| seen.last).max().ok_or("there are no streams")?;
    let look = seen.into_iter().find_map(|seen| seen.look);
    Ok(Driven {
        fps: counted as f64 / clock.until(last),
        rates,
        frames,
        p50: quantile(&times, 0.5),
        p95: quantile(&times, 0.95),
        p99: quantile(&times, 0.99),
        look: look.ok_or("no reply was looked at")?,
        reply_bytes: usize::try_from(bytes / counted)?,
    })
}

async fn stream(load: &Load, frames: &[Bytes], clock: Clock) -> Result<Seen> {
    let client = Client::connect(&load.url).await?;
    let config = StreamConfig {
        pipeline: Some(load.pipeline.clone()),
        window: load.window,
        ..StreamConfig::default()
    };
    let stream = client.open(config).await?;
    let granted = &stream.settings.pipeline;
    if granted.replace(' ', "") != load.pipeline.replace(' ', "") {
        return Err(format!("'{granted}' is not the pipeline that was asked for").into());
    }
    let flight =
        Flight { load, frames, room: Semaphore::new(load.window as usize), sent: RefCell::default() };
    tokio::select! {
        seen = flight.receive(stream.replies, clock) => seen,
        failed = flight.send(stream.sender) => Err(failed),
    }
}

/// The frames of one stream that are under way. They are bounded here as well as in the server, so that servers
/// that don't are not sent more.
struct Flight<'a> {
    load: &'a Load,
    frames: &'a [Bytes],
    room: Semaphore,
    sent: RefCell<VecDeque<Instant>>,
}

impl Flight<'_> {
    /// Sends for as long as it is not dropped.
    async fn send(&self, sender: FrameSender) -> Box<dyn std::error::Error> {
        for frame in self.frames.iter().cycle() {
            match self.room.acquire().await {
                Ok(permit) => permit.forget(),
                Err(closed) => return closed.into(),
            }
            self.sent.borrow_mut().push_back(Instant::now());
            if sender.send(self.load.clip.message(frame)).await.is_err() {
                // The receiving half knows why.
                std::future::pending().await
            }
        }
        "the clip is empty".into()
    }

    async fn receive(&self, mut replies: FrameReplies, clock: Clock) -> Result<Seen> {
        let mut seen = Seen::nothing();
        while let Some(reply) = replies.next().await? {
            let now = Instant::now();
            let sent = self.sent.borrow_mut().pop_front().ok_or("a reply to nothing")?;
            self.check(&reply, seen.frames)?;
            self.room.add_permits(1);
            if seen.look.is_none() {
                seen.look = Some(Look::at(&reply)?);
            }
            seen.frames += 1;
            let late = clock.is_over(now) && seen.counted < LEAST;
            if clock.counts(now) || late {
                seen.counted += 1;
                seen.bytes += reply.img.len() as u64;
                seen.times.push((now - sent).as_secs_f64());
                seen.last = now;
            } else if !clock.is_over(now) {
                seen.before = now;
            }
            if clock.is_over(now) && seen.counted >= LEAST {
                return Ok(seen);
            }
        }
        Err("the stream ended early".into())
    }

    /// Nobody should be quick by answering something else.
    fn check(&self, reply: &MsgReply, expected: u64) -> Result<()> {
        if let Some(error) = &reply.error {
            return Err(format!("frame {expected}: {}", error.message).into());
        }
        if reply.sequence != expected || reply.img.is_empty() {
            let (sequence, bytes) = (reply.sequence, reply.img.len());
            return Err(format!("in place of frame {expected} came {sequence} with {bytes} bytes").into());
        }
        Ok(())
    }
}
