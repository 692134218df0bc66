//! One `Analyse` stream, from its first message to its last reply.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_stream::stream;
use futures_util::{Stream, StreamExt};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};
use tracing::Instrument;

use super::convert::{self, RawFrames};
use crate::engine::{Begun, Engine, Lane, Processed, Reply, StreamPermit};
use crate::error::Error;
use crate::frame::{Encoded, Identity};
use crate::grpc::layer::CallContext;
use crate::grpc::status;
use crate::limits::{Budget, Credit, Share, WhenFull};
use crate::pipeline::{Memory, Pipeline, spec};
use crate::proto::{self, MsgReply, MsgRequest};
use crate::session::{self, Admission, End, Input, Options, Outcome, Pressure, Processor, Work};

/// How long a stream may take up a place without saying anything.
const FIRST_MESSAGE: Duration = Duration::from_secs(30);

/// What is known of a stream before its first message.
pub struct Opened {
    /// Its call.
    pub call: CallContext,
    /// What its metadata say of raw frames.
    pub raw: RawFrames,
    /// Its place among those that may be open.
    pub permit: StreamPermit,
}

/// What a stream was granted when it began.
#[derive(Clone, Copy)]
struct Terms {
    options: Options,
    /// As it was asked for.
    pressure: proto::Pressure,
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

/// What a message waits for: the pipeline that it asks for, and room for its frame.
struct Ticket {
    pipeline: Option<Result<Arc<Pipeline>, Error>>,
    room: Option<Result<Room, Error>>,
}

/// Room for a frame among those being processed, and for its reply among what the stream may hold.
struct Room {
    credit: Credit,
    share: Share,
}

/// What became of a message.
struct Answer {
    identity: Identity,
    /// Whether it had a frame, and not a configuration alone.
    frame: bool,
    settings: Option<Box<proto::StreamSettings>>,
    result: Option<Result<Processed, Error>>,
    /// Is held until the reply has left.
    _share: Option<Share>,
}

/// What is done with messages.
struct Frames {
    engine: Arc<Engine>,
    call: CallContext,
    /// What the stream may hold in frames and in replies that were not read.
    held: Budget,
    lane: Lane,
    terms: Terms,
}

/// The replies to a stream of messages.
pub fn replies(
    engine: Arc<Engine>,
    mut messages: Streaming<MsgRequest>,
    opened: Opened,
) -> impl Stream<Item = Result<MsgReply, Status>> + Send {
    stream! {
        let Opened { call, raw, permit: _permit } = opened;
        let drain = engine.drain().clone();
        // The stream is opened by its first message, so that a client may wait for our headers before it sends.
        let late = Error::Timeout { what: "the stream's first message", seconds: FIRST_MESSAGE.as_secs() };
        let first = tokio::select! {
            first = tokio::time::timeout(FIRST_MESSAGE, messages.next()) => first.unwrap_or(Some(Err(late.into()))),
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
        let frames = match Frames::open(Arc::clone(&engine), &call, &config.unwrap_or_default()).await {
            Ok(frames) => frames,
            Err(error) => {
                yield Err(error.into());
                return;
            }
        };
        if configured {
            let settings = Some(frames.settings());
            yield Ok(MsgReply { settings, answers_config: true, ..MsgReply::default() });
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
                Ok(Outcome::Done(Answer { result: Some(Err(error)), identity, frame, .. }))
                    if terms.bad_frames == BadFrames::EndStream =>
                {
                    let (code, text) = status::describe(&error);
                    let place = if frame { "frame" } else { "a configuration before frame" };
                    yield Err(Status::new(code, format!("{place} {}: {text}", identity.sequence)));
                    return;
                }
                Ok(Outcome::Done(answer)) => yield Ok(answer.into_reply(&mut processed)),
                Err(End::Source(error)) => yield Err(status::of_stream(error)),
                Err(End::Drained) => {
                    let text = format!("; {processed} frames were processed, and all that were read are answered");
                    yield Err(Error::Draining(text).into());
                }
            }
        }
    }
}

impl Message {
    fn of(mut request: MsgRequest, count: &mut u64, raw: RawFrames, engine: &Engine) -> Self {
        let came = Instant::now();
        let mut change = request.config.take();
        if let Some(text) = change.as_mut().and_then(|change| change.pipeline.as_mut()) {
            // A longer text is refused whatever else stands in it, and need not be kept for that.
            text.truncate(text.floor_char_boundary(4 * spec::MAX_TEXT + 4));
        }
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

    fn bytes(&self) -> usize {
        let picture = self.frame.as_ref().and_then(|frame| frame.as_ref().ok());
        let text = self.change.as_ref().and_then(|change| change.pipeline.as_ref());
        picture.map_or(0, |encoded| encoded.bytes.len()) + text.map_or(0, String::len)
    }

    fn without_frame(self) -> Option<Self> {
        self.change.is_some().then_some(Message { frame: None, ..self })
    }
}

impl Frames {
    /// Opens a stream on what its first message asks for.
    async fn open(
        engine: Arc<Engine>,
        call: &CallContext,
        asked: &proto::StreamConfig,
    ) -> Result<Self, Error> {
        let config = engine.config();
        let text = engine.routed_pipeline(call.route(), asked.pipeline.as_deref())?;
        let pipeline = Arc::clone(&engine).pipeline(text).await?;
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
        let terms = Terms {
            pressure: asked.pressure.unwrap_or_default(),
            options: Options { window, waiting_bytes: engine.limits().max_stream_bytes, pressure, max_fps },
            bad_frames,
        };
        let when_full = match pressure {
            Pressure::Lossless => WhenFull::Wait,
            Pressure::DropOldest(_) => WhenFull::Refuse,
        };
        let lane = Lane::new(Arc::clone(&engine), pipeline, reply).when_full(when_full);
        let held = Budget::new(engine.limits().max_stream_bytes);
        Ok(Frames { engine, call: call.clone(), held, lane, terms })
    }

    /// Changes what may be changed in mid-stream: all of it, or nothing.
    fn change(
        &mut self,
        asked: &proto::StreamConfig,
        pipeline: Option<Result<Arc<Pipeline>, Error>>,
    ) -> Result<(), Error> {
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
        let pipeline = pipeline.transpose()?;
        if let Some(reply) = reply {
            self.lane.set_reply(reply);
        }
        if let Some(pipeline) = pipeline {
            self.lane.switch(pipeline);
        }
        Ok(())
    }

    fn settings(&self) -> proto::StreamSettings {
        let Terms { options, pressure, bad_frames } = self.terms;
        let bad_frames = match bad_frames {
            BadFrames::Report => proto::BadFrames::Report,
            BadFrames::EndStream => proto::BadFrames::EndStream,
        };
        proto::StreamSettings {
            pipeline: self.lane.pipeline().text().to_owned(),
            reply_format: Some(convert::reply_format(self.lane.reply())),
            window: u32::try_from(options.window).unwrap_or(u32::MAX),
            pressure: Some(convert::stated(pressure)),
            bad_frames: bad_frames.into(),
            limits: Some(convert::limits(self.engine.limits())),
        }
    }
}

impl Processor for Frames {
    type Input = Message;
    type Output = Answer;

    type Ticket = Ticket;

    fn admit(&self, message: &Message) -> Admission<Ticket> {
        let (engine, held, current) =
            (Arc::clone(&self.engine), self.held.clone(), Arc::clone(self.lane.pipeline()));
        let frame = message.frame.as_ref().and_then(|frame| frame.as_ref().ok());
        let frame = frame.map(|encoded| (encoded.bytes.len(), encoded.size));
        let asked = message.change.as_ref().and_then(|change| change.pipeline.as_deref());
        let text = asked.map(|asked| engine.routed_pipeline(self.call.route(), Some(asked)));
        Box::pin(async move {
            let pipeline = match text {
                Some(Ok(text)) => Some(Arc::clone(&engine).pipeline(text).await),
                Some(Err(error)) => Some(Err(error)),
                None => None,
            };
            let next = pipeline.as_ref().and_then(|pipeline| pipeline.as_ref().ok()).unwrap_or(&current);
            let room = match frame.map(|(bytes, size)| (bytes, next.memory(size))) {
                Some((bytes, Ok(Memory { picture, tensors, original }))) => {
                    let kept = bytes.saturating_add(original);
                    let share = held.take(kept.saturating_add(picture)).await;
                    let work = kept.saturating_add(picture.saturating_mul(2)).saturating_add(tensors);
                    Some(Ok(Room { credit: engine.credits().acquire(work).await, share }))
                }
                Some((_, Err(error))) => Some(Err(error)),
                None => None,
            };
            Ticket { pipeline, room }
        })
    }

    fn process(&mut self, message: Message, ticket: Ticket) -> Work<Answer> {
        let Message { identity, came, frame, change } = message;
        let changed = change.map(|change| self.change(&change, ticket.pipeline));
        let frame_came = frame.is_some();
        let (settings, refused) = match changed {
            Some(Ok(())) => (Some(Box::new(self.settings())), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        let answer = |result| {
            Work::Done(Answer {
                identity,
                frame: frame_came,
                settings: settings.clone(),
                result,
                _share: None,
            })
        };
        let (encoded, Room { credit, mut share }) = match (refused, frame, ticket.room) {
            (Some(error), ..) | (_, Some(Err(error)), _) | (_, _, Some(Err(error))) => {
                return answer(Some(Err(error)));
            }
            (None, Some(Ok(encoded)), Some(Ok(room))) => (encoded, room),
            (None, ..) => return answer(None),
        };
        match self.lane.begin(identity, encoded, credit, came) {
            Begun::Done(done) => {
                share.shrink(done.picture_bytes());
                Work::Done(Answer {
                    identity,
                    frame: true,
                    settings,
                    result: Some(Ok(done)),
                    _share: Some(share),
                })
            }
            Begun::Work(work) => {
                let work = async move {
                    let result = work.run().await;
                    share.shrink(result.as_ref().map_or(0, Processed::picture_bytes));
                    Answer { identity, frame: true, settings, result: Some(result), _share: Some(share) }
                };
                Work::Running(AbortOnDropHandle::new(tokio::spawn(work.in_current_span())))
            }
        }
    }
}

impl Answer {
    fn into_reply(self, processed: &mut i32) -> MsgReply {
        let Answer { identity, frame, settings, result, .. } = self;
        let (sequence, timestamp_us) =
            if frame { (identity.sequence, identity.timestamp_us) } else { Default::default() };
        let settings = settings.map(|settings| *settings);
        let mut reply =
            MsgReply { sequence, timestamp_us, settings, answers_config: !frame, ..MsgReply::default() };
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
