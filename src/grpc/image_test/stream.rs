//! One `Analyse` stream, from its first message to its last reply.

use std::sync::Arc;
use std::time::Instant;

use async_stream::stream;
use futures_util::{Stream, StreamExt};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

use super::convert::{self, RawFrames};
use crate::engine::{Begun, Engine, Lane, Processed, Reply, StreamPermit};
use crate::error::Error;
use crate::frame::{Encoded, Identity};
use crate::grpc::proto::{self, MsgReply, MsgRequest};
use crate::grpc::status;
use crate::limits::Credit;
use crate::session::{self, Admission, End, Input, Options, Outcome, Processor, Work};

/// What a stream was granted when it began.
#[derive(Clone, Copy)]
struct Terms {
    options: Options,
    bad_frames: BadFrames,
}

#[derive(Clone, Copy, PartialEq)]
enum BadFrames {
    Report,
    EndStream,
}

/// A message whose picture's header was read.
struct Message {
    identity: Identity,
    came: Instant,
    frame: Option<Result<Encoded, Error>>,
    change: Option<proto::StreamConfig>,
}

/// What became of a message.
struct Answer {
    identity: Identity,
    settings: Option<Box<proto::StreamSettings>>,
    result: Option<Result<Processed, Error>>,
}

/// What is done with messages.
struct Frames {
    engine: Arc<Engine>,
    lane: Lane,
    terms: Terms,
}

/// The replies to a stream of messages.
pub fn replies(
    engine: Arc<Engine>,
    raw: RawFrames,
    mut messages: Streaming<MsgRequest>,
    permit: StreamPermit,
) -> impl Stream<Item = Result<MsgReply, Status>> + Send {
    stream! {
        let _permit = permit;
        let drain = engine.drain().clone();
        // The stream is opened by its first message, so that a client may wait for our headers before it sends.
        let first = tokio::select! {
            first = messages.next() => first,
            () = drain.cancelled() => Some(Err(Error::Draining(String::new()).into())),
        };
        let mut first = match first {
            None => return,
            Some(Err(error)) => {
                yield Err(status::of_stream(error));
                return;
            }
            Some(Ok(first)) => first,
        };
        let config = first.config.take();
        let configured = config.is_some();
        let frames = match Frames::open(Arc::clone(&engine), &config.unwrap_or_default()) {
            Ok(frames) => frames,
            Err(error) => {
                yield Err(error.into());
                return;
            }
        };
        if configured {
            yield Ok(MsgReply { settings: Some(frames.settings()), ..MsgReply::default() });
        }
        let terms = frames.terms;
        let first = (!configured || !first.img.is_empty()).then_some(Ok(first));
        let mut count = 0;
        let inputs = futures_util::stream::iter(first)
            .chain(messages)
            .map(move |message| Ok(Message::of(message?, &mut count, raw, &engine)));
        let outcomes = session::run(inputs, frames, terms.options, drain);
        let mut processed = 0;
        for await outcome in outcomes {
            match outcome {
                Ok(Outcome::Dropped(run)) => {
                    let dropped = Some(convert::dropped(run));
                    yield Ok(MsgReply { reply: processed, sequence: run.first, dropped, ..MsgReply::default() });
                }
                Ok(Outcome::Done(Answer { result: Some(Err(error)), identity, .. }))
                    if terms.bad_frames == BadFrames::EndStream =>
                {
                    let (code, text) = status::describe(&error);
                    yield Err(Status::new(code, format!("frame {}: {text}", identity.sequence)));
                    return;
                }
                Ok(Outcome::Done(answer)) => yield Ok(answer.into_reply(&mut processed)),
                Err(End::Source(error)) => yield Err(status::of_stream(error)),
                Err(End::Drained) => {
                    let text = format!("; {processed} frames were processed, and all that came were answered");
                    yield Err(Error::Draining(text).into());
                }
                Err(End::Refused(error)) => yield Err(error.into()),
            }
        }
    }
}

impl Message {
    fn of(mut request: MsgRequest, count: &mut u64, raw: RawFrames, engine: &Engine) -> Self {
        let came = Instant::now();
        let change = request.config.take();
        let has_frame = change.is_none() || !request.img.is_empty();
        let index = *count;
        if has_frame {
            *count += 1;
            engine.count_frame();
        }
        let sequence = request.sequence.unwrap_or(index);
        let identity = Identity { sequence, timestamp_us: request.timestamp_us, index };
        let frame = has_frame.then(|| convert::encoded(&request, raw, engine.limits()));
        Message { identity, came, frame, change }
    }
}

impl Input for Message {
    fn sequence(&self) -> Option<u64> {
        self.frame.is_some().then_some(self.identity.sequence)
    }

    fn without_frame(self) -> Option<Self> {
        self.change.is_some().then_some(Message { frame: None, ..self })
    }
}

impl Frames {
    /// Opens a stream on what its first message asks for.
    fn open(engine: Arc<Engine>, asked: &proto::StreamConfig) -> Result<Self, Error> {
        let config = engine.config();
        let text = asked.pipeline.as_ref().unwrap_or(&config.default_pipeline);
        let pipeline = engine.pipeline(text)?;
        let reply = asked.reply_format.as_ref().map_or_else(|| Ok(Reply::default()), convert::reply)?;
        let (pressure, max_fps) = convert::pressure(&asked.pressure.unwrap_or_default(), engine.limits())?;
        let window = match asked.window {
            0 => config.default_window,
            window => (window as usize).min(engine.limits().max_window),
        };
        let allowed = "0 or 1 REPORT, 2 END_STREAM";
        let bad_frames = match proto::BadFrames::try_from(asked.bad_frames) {
            Ok(proto::BadFrames::Unspecified | proto::BadFrames::Report) => BadFrames::Report,
            Ok(proto::BadFrames::EndStream) => BadFrames::EndStream,
            Err(_) => {
                return Err(Error::UnknownValue { what: "bad_frames", value: asked.bad_frames, allowed });
            }
        };
        let terms = Terms { options: Options { window, pressure, max_fps }, bad_frames };
        let lane = Lane::new(Arc::clone(&engine), pipeline, reply);
        Ok(Frames { engine, lane, terms })
    }

    /// Changes what may be changed in mid-stream: all of it, or nothing.
    fn change(&mut self, asked: &proto::StreamConfig) -> Result<(), Error> {
        let fixed = [
            (asked.window != 0, "window"),
            (asked.pressure.is_some(), "pressure"),
            (asked.bad_frames != 0, "bad_frames"),
        ];
        if let Some((_, field)) = fixed.iter().find(|(set, _)| *set) {
            let text = format!(
                "`{field}` belongs to the first message; later ones may change `pipeline` and `reply_format`"
            );
            return Err(Error::State(text));
        }
        let reply = asked.reply_format.as_ref().map(convert::reply).transpose()?;
        let pipeline = asked.pipeline.as_ref().map(|text| self.engine.pipeline(text)).transpose()?;
        if let Some(reply) = reply {
            self.lane.set_reply(reply);
        }
        if let Some(pipeline) = pipeline {
            self.lane.switch(pipeline);
        }
        Ok(())
    }

    fn settings(&self) -> proto::StreamSettings {
        use proto::pressure::Mode;
        let Terms { options, bad_frames } = self.terms;
        let (mode, queue) = match options.pressure {
            session::Pressure::Lossless => (Mode::Lossless, 0),
            session::Pressure::DropOldest(1) => (Mode::Latest, 1),
            session::Pressure::DropOldest(queue) => {
                (Mode::DropOldest, u32::try_from(queue).unwrap_or(u32::MAX))
            }
        };
        let max_fps = options.max_fps.unwrap_or_default();
        let bad_frames = match bad_frames {
            BadFrames::Report => proto::BadFrames::Report,
            BadFrames::EndStream => proto::BadFrames::EndStream,
        };
        proto::StreamSettings {
            pipeline: self.lane.pipeline().text().to_owned(),
            reply_format: Some(convert::reply_format(self.lane.reply())),
            window: u32::try_from(options.window).unwrap_or(u32::MAX),
            pressure: Some(proto::Pressure { mode: mode.into(), queue, max_fps }),
            bad_frames: bad_frames.into(),
            limits: Some(convert::limits(self.engine.limits())),
        }
    }
}

impl Processor for Frames {
    type Input = Message;
    type Output = Answer;

    fn admit(&self, message: &Message) -> Admission {
        let Some(Ok(encoded)) = &message.frame else { return Box::pin(std::future::ready(Ok(None))) };
        let (credits, cost) = (self.engine.credits().clone(), encoded.cost());
        Box::pin(async move { credits.acquire(cost).await.map(Some) })
    }

    fn process(&mut self, message: Message, credit: Option<Credit>) -> Work<Answer> {
        let Message { identity, came, frame, change } = message;
        let changed = change.map(|change| self.change(&change).map(|()| Box::new(self.settings())));
        let (settings, frame) = match changed {
            Some(Err(error)) => {
                return Work::Done(Answer { identity, settings: None, result: Some(Err(error)) });
            }
            Some(Ok(settings)) => (Some(settings), frame),
            None => (None, frame),
        };
        let begun = match (frame, credit) {
            (Some(Ok(encoded)), Some(credit)) => self.lane.begin(identity, encoded, credit, came),
            (Some(Err(error)), _) => {
                return Work::Done(Answer { identity, settings, result: Some(Err(error)) });
            }
            (_, _) => return Work::Done(Answer { identity, settings, result: None }),
        };
        match begun {
            Begun::Done(processed) => Work::Done(Answer { identity, settings, result: Some(Ok(processed)) }),
            Begun::Work(work) => Work::Running(AbortOnDropHandle::new(tokio::spawn(async move {
                Answer { identity, settings, result: Some(work.run().await) }
            }))),
        }
    }
}

impl Answer {
    fn into_reply(self, processed: &mut i32) -> MsgReply {
        let Answer { identity: Identity { sequence, timestamp_us, .. }, settings, result } = self;
        let settings = settings.map(|settings| *settings);
        let mut reply = MsgReply { sequence, timestamp_us, settings, ..MsgReply::default() };
        match result {
            Some(Ok(done)) => {
                *processed = processed.saturating_add(1);
                convert::fill_in(&mut reply, done);
            }
            Some(Err(error)) => {
                let (code, message) = status::describe(&error);
                reply.error = Some(proto::FrameError { code: code.into(), message });
            }
            None => {}
        }
        reply.reply = *processed;
        reply
    }
}
