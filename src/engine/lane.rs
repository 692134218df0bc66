//! The frames of one stream on their way through its pipeline.
//!
//! Frames go through the stateless parts of a pipeline side by side. A stateful stage's worker is handed from
//! each frame to the next one, like a baton: whoever waits for it has its turn, and that is all there is to
//! order. A change of pipeline leaves the batons of those stages that stay the same where they are.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::error::Error;
use crate::exec::pool::{Submitted, Wanted};
use crate::frame::codec::Chroma;
use crate::frame::{
    Codec, Encoded, Encoding, Findings, Frame, Identity, Image, PixelFormat, Size, Workbench,
};
use crate::limits::Credit;
use crate::pipeline::{Passage, Pipeline, StepTime, Workers};

/// How replies are to be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The codec, or none.
    pub codec: ReplyCodec,
    /// JPEG and WebP: 1 to 100.
    pub quality: u8,
    /// JPEG only.
    pub chroma: Chroma,
}

/// What a reply's picture is encoded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyCodec {
    /// The frame's own.
    AsItCame,
    /// There is no picture.
    NoPicture,
    /// Raw pixels, in the frame's own format where the result can have it.
    Raw,
    /// This one.
    Codec(Codec),
}

/// A frame that was processed.
#[derive(Debug, Clone)]
pub struct Processed {
    /// The encoded picture; `None` if none was asked for.
    pub picture: Option<(Bytes, Codec)>,
    /// Size of the result, in pixels.
    pub size: Size,
    /// What was found in it.
    pub findings: Findings,
    /// Where the time went.
    pub timing: Timing,
}

impl Processed {
    /// Bytes of the encoded picture.
    pub fn picture_bytes(&self) -> usize {
        self.picture.as_ref().map_or(0, |(bytes, _)| bytes.len())
    }
}

/// Where the time of one frame went.
#[derive(Debug, Clone, Default)]
pub struct Timing {
    /// Until it could be worked on, at the beginning and in between.
    pub queue: Duration,
    /// Decoding.
    pub decode: Duration,
    /// Each stage.
    pub stages: Vec<StepTime>,
    /// Encoding.
    pub encode: Duration,
    /// From when the frame came to when its reply was ready.
    pub total: Duration,
}

/// A frame whose processing was begun.
pub enum Begun {
    /// There was nothing to do.
    Done(Processed),
    /// It has its place in the order, and wants to be run.
    Work(Box<FrameWork>),
}

/// A stream's pipeline, with what its stateful stages saw of the stream.
pub struct Lane {
    engine: Arc<Engine>,
    pipeline: Arc<Pipeline>,
    reply: Reply,
    /// One for each segment of the pipeline; `None` where it is stateless or saw no frame yet.
    batons: Vec<Option<Baton>>,
    /// Jobs that this stream may have in the pool's queue, so that it fills it with its own no further than it
    /// takes to keep all threads busy.
    jobs: Arc<Semaphore>,
}

/// Workers of a stateful segment, once the frame before is through.
type Baton = oneshot::Receiver<Workers>;

/// A frame's turn at a stateful segment.
struct Turn {
    segment: usize,
    before: Option<Baton>,
    after: oneshot::Sender<Workers>,
}

impl Lane {
    /// A lane through this pipeline.
    pub fn new(engine: Arc<Engine>, pipeline: Arc<Pipeline>, reply: Reply) -> Self {
        let batons = (0..pipeline.segments()).map(|_| None).collect();
        let jobs = Arc::new(Semaphore::new(engine.threads() + 1));
        Lane { engine, pipeline, reply, batons, jobs }
    }

    /// The pipeline that the next frame goes through.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// How the next frame's reply is encoded.
    pub fn reply(&self) -> Reply {
        self.reply
    }

    /// Encodes replies in another way from the next frame on.
    pub fn set_reply(&mut self, reply: Reply) {
        self.reply = reply;
    }

    /// Takes another pipeline from the next frame on. A stateful stage that is in both, with the same
    /// parameters, goes on with what it saw.
    pub fn switch(&mut self, pipeline: Arc<Pipeline>) {
        let old = std::mem::replace(&mut self.pipeline, pipeline);
        let mut kept: Vec<_> = self
            .batons
            .drain(..)
            .enumerate()
            .map(|(segment, baton)| (old.stateful(segment), baton))
            .collect();
        let mut take = |segment| {
            let stage = self.pipeline.stateful(segment)?;
            kept.iter_mut().find(|(old, baton)| *old == Some(stage) && baton.is_some())?.1.take()
        };
        self.batons = (0..self.pipeline.segments()).map(&mut take).collect();
    }

    /// Gives a frame its place in the order. `came` is when it was taken from the stream.
    pub fn begin(&mut self, identity: Identity, encoded: Encoded, credit: Credit, came: Instant) -> Begun {
        if let (true, Codec::Raw(format)) = (self.pipeline.is_empty(), encoded.codec)
            && self.reply.raw_as_it_is(format)
        {
            let picture = Some((encoded.bytes, encoded.codec));
            let total = came.elapsed();
            let timing = Timing { total, queue: total, ..Timing::default() };
            return Begun::Done(Processed {
                picture,
                size: encoded.size,
                findings: Findings::default(),
                timing,
            });
        }
        let mut turns = VecDeque::new();
        for (segment, baton) in self.batons.iter_mut().enumerate() {
            if self.pipeline.stateful(segment).is_some() {
                let (after, next) = oneshot::channel();
                turns.push_back(Turn { segment, before: baton.replace(next), after });
            }
        }
        Begun::Work(Box::new(FrameWork {
            engine: Arc::clone(&self.engine),
            pipeline: Arc::clone(&self.pipeline),
            reply: self.reply,
            jobs: Arc::clone(&self.jobs),
            turns,
            came,
            deadline: None,
            progress: Progress {
                identity,
                size: encoded.size,
                encoded,
                frame: None,
                picture: None,
                findings: Findings::default(),
                timing: Timing::default(),
                _credit: credit,
            },
        }))
    }
}

/// A frame with everything that it needs on its way.
pub struct FrameWork {
    engine: Arc<Engine>,
    pipeline: Arc<Pipeline>,
    reply: Reply,
    jobs: Arc<Semaphore>,
    turns: VecDeque<Turn>,
    came: Instant,
    /// When it is not wanted any more, if no thread has taken it by then.
    deadline: Option<Instant>,
    progress: Progress,
}

/// What goes from thread to thread.
struct Progress {
    identity: Identity,
    encoded: Encoded,
    frame: Option<Frame>,
    picture: Option<(Bytes, Codec)>,
    size: Size,
    findings: Findings,
    timing: Timing,
    /// It is given back when the frame has arrived or is given up.
    _credit: Credit,
}

/// What one job on a thread does: some segments, the first of which may be stateful, and at the end the encoding.
struct Leg {
    segments: Range<usize>,
    held: Option<(Workers, oneshot::Sender<Workers>)>,
    reply: Option<Reply>,
}

impl FrameWork {
    /// Gives it up if no thread has taken it by then.
    pub fn until(self, deadline: Option<Instant>) -> Self {
        FrameWork { deadline, ..self }
    }

    /// Does it, leg by leg, each on whichever thread is free.
    pub async fn run(mut self) -> Result<Processed, Error> {
        let mut turns = std::mem::take(&mut self.turns);
        let came = self.came;
        let traveled = self.travel(&mut turns).await;
        // A frame that failed lets the next one have what the stateful stages saw before.
        for Turn { before, after, .. } in turns {
            if let Some(before) = before
                && let Ok(workers) = before.await
            {
                let _stream_has_ended = after.send(workers);
            }
        }
        let Progress { picture, size, findings, mut timing, .. } = traveled?;
        timing.total = came.elapsed();
        let worked =
            timing.decode + timing.encode + timing.stages.iter().map(|step| step.took).sum::<Duration>();
        timing.queue = timing.total.saturating_sub(worked);
        Ok(Processed { picture, size, findings, timing })
    }

    async fn travel(self, turns: &mut VecDeque<Turn>) -> Result<Progress, Error> {
        let FrameWork { engine, pipeline, reply, jobs, deadline, mut progress, .. } = self;
        let mut begin = 0;
        let mut held = None;
        loop {
            let end = turns.front().map_or(pipeline.segments(), |turn| turn.segment);
            let leg = Leg { segments: begin..end, held, reply: turns.is_empty().then_some(reply) };
            progress = {
                let _in_queue = jobs.acquire().await;
                let shared = Arc::clone(&pipeline);
                let limit =
                    deadline.filter(|_| begin == 0).map(|deadline| (deadline, CancellationToken::new()));
                let taken = limit.as_ref().map(|(_, taken)| taken.clone().drop_guard());
                let job = engine.pool.submit(move |bench, wanted| {
                    drop(taken);
                    let advanced = progress.advance(&shared, leg, bench, wanted);
                    bench.tidy();
                    advanced.map(|()| progress)
                });
                match limit {
                    Some((deadline, taken)) => in_time(job, &taken, deadline).await??,
                    None => job.await??,
                }
            };
            let Some(Turn { segment, before, after }) = turns.pop_front() else { return Ok(progress) };
            // There is no frame before, or its worker was lost to a panic: then the state begins anew.
            let workers = match before {
                Some(before) => before.await.ok(),
                None => None,
            };
            held = Some((workers.map_or_else(|| pipeline.workers(segment), Ok)?, after));
            begin = segment;
        }
    }
}

/// Waits for a job, but no longer than to the deadline if no thread has taken it by then.
async fn in_time<R>(mut job: Submitted<R>, taken: &CancellationToken, deadline: Instant) -> Result<R, Error> {
    tokio::select! {
        biased;
        done = &mut job => return done,
        () = taken.cancelled() => {}
        () = tokio::time::sleep_until(deadline.into()) => return Err(Error::QueueTimeout),
    }
    job.await
}

impl Progress {
    fn advance(
        &mut self,
        pipeline: &Pipeline,
        leg: Leg,
        bench: &mut Workbench,
        wanted: Wanted<'_>,
    ) -> Result<(), Error> {
        let mut frame = match self.frame.take() {
            Some(frame) => frame,
            None => self.decode(pipeline, bench)?,
        };
        let mut segments = leg.segments;
        if let Some((mut workers, after)) = leg.held
            && let Some(segment) = segments.next()
        {
            let times = &mut self.timing.stages;
            let passage = Passage { frame: &mut frame, scratch: &mut bench.scratch, times, wanted };
            let done = pipeline.run(segment, &mut workers, passage);
            let _stream_has_ended = after.send(workers);
            done?;
        }
        for segment in segments {
            let mut workers = pipeline.workers(segment)?;
            let times = &mut self.timing.stages;
            let passage = Passage { frame: &mut frame, scratch: &mut bench.scratch, times, wanted };
            let done = pipeline.run(segment, &mut workers, passage);
            pipeline.give_back(segment, workers);
            done?;
        }
        match leg.reply {
            Some(reply) => self.encode(frame, reply, bench)?,
            None => self.frame = Some(frame),
        }
        Ok(())
    }

    fn decode(&mut self, pipeline: &Pipeline, bench: &mut Workbench) -> Result<Frame, Error> {
        let begin = Instant::now();
        let image = self.encoded.decode(pipeline.need(self.encoded.size), bench)?;
        // The message is not needed any more, and may be large.
        self.encoded.bytes = Bytes::new();
        self.timing.decode = begin.elapsed();
        Ok(Frame::new(self.identity, image))
    }

    fn encode(&mut self, frame: Frame, reply: Reply, bench: &mut Workbench) -> Result<(), Error> {
        let begin = Instant::now();
        self.size = frame.image.size();
        self.findings = frame.findings;
        match reply.encoding(self.encoded.codec, &frame.image) {
            Some(encoding) => self.picture = Some((encoding.encode(frame.image, bench)?, encoding.codec)),
            None => bench.recycle(frame.image),
        }
        self.timing.encode = begin.elapsed();
        Ok(())
    }
}

impl Reply {
    /// Whether a raw frame of this format that nothing is done to can go back as it is.
    fn raw_as_it_is(&self, format: PixelFormat) -> bool {
        match self.codec {
            ReplyCodec::AsItCame | ReplyCodec::Raw => true,
            ReplyCodec::Codec(codec) => codec == Codec::Raw(format),
            ReplyCodec::NoPicture => false,
        }
    }

    /// How to encode a picture that came in the codec `came`; `None` for not at all.
    fn encoding(&self, came: Codec, image: &Image) -> Option<Encoding> {
        let Reply { quality, chroma, .. } = *self;
        let codec = match (self.codec, came) {
            (ReplyCodec::NoPicture, _) => return None,
            (ReplyCodec::Codec(codec), _) => codec,
            (ReplyCodec::AsItCame | ReplyCodec::Raw, Codec::Raw(format)) => {
                Codec::Raw(raw_format(format, image))
            }
            (ReplyCodec::AsItCame, codec) => codec,
            (ReplyCodec::Raw, _) => Codec::Raw(raw_format(PixelFormat::Bgr24, image)),
        };
        Some(Encoding { codec, quality, chroma })
    }
}

/// The format that came, where the picture can have it without loss or waste: else gray8 or bgr24.
fn raw_format(came: PixelFormat, image: &Image) -> PixelFormat {
    match came {
        _ if image.is_gray() => PixelFormat::Gray8,
        PixelFormat::Gray8 => PixelFormat::Bgr24,
        came if came.byte_len(image.size()).is_ok() => came,
        _ => PixelFormat::Bgr24,
    }
}
