//! The frames of one stream on their way through its pipeline.
//!
//! Frames go through the stateless parts of a pipeline side by side. A stateful stage's worker is handed from
//! each frame to the next one, like a baton: whoever waits for it has its turn, and that is all there is to
//! order. Where a stage has a model look at the frame, the frame waits in that model's line, and holds no thread.
//! A change of pipeline leaves the batons of those stages that stay the same where they are.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::reply::Reply;
use crate::error::Error;
use crate::exec::pool::{Submitted, Wanted};
use crate::frame::{Codec, Encoded, Findings, Frame, Identity, Size, Workbench};
use crate::limits::{Credit, WhenFull};
use crate::pipeline::models::{Asker, Seen, Shown};
use crate::pipeline::{Every, Passage, Pipeline, StepTime, Workers};

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
    /// What each segment of the pipeline saw so far.
    seen: Vec<SegmentSeen>,
    /// Among all streams and requests of the engine.
    number: u64,
    /// What becomes of a frame where a model lets no more wait.
    when_full: WhenFull,
    /// Jobs that this stream may have in the pool's queue, so that it fills it with its own no further than it
    /// takes to keep all threads busy.
    jobs: Arc<Semaphore>,
}

/// Workers of a stateful segment, once the frame before is through.
type Baton = oneshot::Receiver<Workers>;

/// What a segment saw of the stream.
#[derive(Default)]
struct SegmentSeen {
    /// `None` where it is stateless or saw no frame yet.
    baton: Option<Baton>,
    /// Frames that came to its model, or passed it by.
    frames: u64,
}

/// A place on a frame's way where it has to wait.
struct Stop {
    segment: usize,
    /// For its turn at a stateful stage.
    turn: Option<Turn>,
    /// For what a model says of it.
    asks: bool,
}

/// A frame's turn at a stateful segment.
struct Turn {
    before: Option<Baton>,
    after: oneshot::Sender<Workers>,
}

impl Lane {
    /// A lane through this pipeline.
    pub fn new(engine: Arc<Engine>, pipeline: Arc<Pipeline>, reply: Reply) -> Self {
        let seen = (0..pipeline.segments()).map(|_| SegmentSeen::default()).collect();
        let jobs = Arc::new(Semaphore::new(engine.threads() + 1));
        let number = engine.number_lane();
        Lane { engine, pipeline, reply, seen, number, when_full: WhenFull::default(), jobs }
    }

    /// Says what becomes of a frame where a model lets no more wait.
    pub fn when_full(self, when_full: WhenFull) -> Self {
        Lane { when_full, ..self }
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
        let mut kept: Vec<_> =
            self.seen.drain(..).enumerate().map(|(segment, seen)| (old.stateful(segment), seen)).collect();
        let mut take = |segment| {
            let stage = self.pipeline.stateful(segment)?;
            let (_, seen) =
                kept.iter_mut().find(|(old, seen)| *old == Some(stage) && seen.baton.is_some())?;
            Some(std::mem::take(seen))
        };
        self.seen = (0..self.pipeline.segments()).map(|segment| take(segment).unwrap_or_default()).collect();
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
        let stops = self.seen.iter_mut().enumerate();
        let stops = stops.filter_map(|(segment, seen)| seen.stop(segment, &self.pipeline)).collect();
        let way = Way {
            engine: Arc::clone(&self.engine),
            pipeline: Arc::clone(&self.pipeline),
            reply: self.reply,
            jobs: Arc::clone(&self.jobs),
            deadline: None,
            stream: self.number,
            when_full: self.when_full,
            priority: 0,
        };
        Begun::Work(Box::new(FrameWork {
            way,
            stops,
            came,
            progress: Progress {
                identity,
                size: encoded.size,
                encoded,
                frame: None,
                shown: None,
                picture: None,
                findings: Findings::default(),
                timing: Timing::default(),
                credit: Arc::new(credit),
            },
        }))
    }
}

/// A frame with everything that it needs on its way.
pub struct FrameWork {
    way: Way,
    stops: VecDeque<Stop>,
    came: Instant,
    progress: Progress,
}

/// Where a frame goes, and what takes it there.
struct Way {
    engine: Arc<Engine>,
    pipeline: Arc<Pipeline>,
    reply: Reply,
    jobs: Arc<Semaphore>,
    /// When it is not wanted any more, if no thread has taken it by then.
    deadline: Option<Instant>,
    stream: u64,
    when_full: WhenFull,
    /// For the models; 0 for their own.
    priority: u32,
}

/// What goes from thread to thread.
struct Progress {
    identity: Identity,
    encoded: Encoded,
    frame: Option<Frame>,
    /// What the next stop's model is to look at, and how long it took to make that.
    shown: Option<(Box<dyn Shown>, Duration)>,
    picture: Option<(Bytes, Codec)>,
    size: Size,
    findings: Findings,
    timing: Timing,
    /// It is given back when the frame has arrived or is given up.
    credit: Arc<Credit>,
}

/// What one job on a thread does: some segments, and what comes next.
struct Leg {
    segments: Range<usize>,
    /// What the first segment waited for.
    arrival: Arrival,
    then: Then,
}

/// What a frame has got where it had to wait.
#[derive(Default)]
struct Arrival {
    held: Option<(Workers, oneshot::Sender<Workers>)>,
    seen: Option<Looked>,
}

/// What a model made of a frame, and how long that took so far.
type Looked = (Seen, Duration);

/// What is done with a frame at the end of a leg.
enum Then {
    /// It waits.
    Wait,
    /// It is shown to the model of this segment.
    Show(usize),
    /// It is the result.
    Encode(Reply),
}

impl SegmentSeen {
    /// Where the next frame has to wait before this segment.
    fn stop(&mut self, segment: usize, pipeline: &Pipeline) -> Option<Stop> {
        let stop = pipeline.stop(segment);
        let turn = stop.stateful.map(|_| {
            let (after, next) = oneshot::channel();
            Turn { before: self.baton.replace(next), after }
        });
        let asks = stop.asks.is_some_and(|Every(every)| self.frames.is_multiple_of(every));
        self.frames += 1;
        (asks || turn.is_some()).then_some(Stop { segment, turn, asks })
    }
}

impl FrameWork {
    /// Gives it up if no thread has taken it by then.
    pub fn until(mut self, deadline: Option<Instant>) -> Self {
        self.way.deadline = deadline;
        self
    }

    /// Asks its models for this priority.
    pub fn with_priority(mut self, priority: u32) -> Self {
        self.way.priority = priority;
        self
    }

    /// Does it, leg by leg, each on whichever thread is free.
    pub async fn run(self) -> Result<Processed, Error> {
        let FrameWork { way, mut stops, came, progress } = self;
        let traveled = way.travel(progress, &mut stops).await;
        // A frame that failed lets the next one have what the stateful stages saw before.
        for Turn { before, after } in stops.into_iter().filter_map(|stop| stop.turn) {
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
}

impl Way {
    async fn travel(&self, mut progress: Progress, stops: &mut VecDeque<Stop>) -> Result<Progress, Error> {
        let mut begin = 0;
        let mut arrival = Arrival::default();
        loop {
            let (end, then) = match stops.front() {
                Some(Stop { segment, asks: true, .. }) => (*segment, Then::Show(*segment)),
                Some(Stop { segment, .. }) => (*segment, Then::Wait),
                None => (self.pipeline.segments(), Then::Encode(self.reply)),
            };
            progress = self.go(progress, Leg { segments: begin..end, arrival, then }).await?;
            let mut seen = self.ask(&mut progress).await?;
            let Some(Stop { segment, turn, .. }) = stops.pop_front() else { return Ok(progress) };
            let mut held = None;
            if let Some(turn) = turn {
                let (workers, after) = turn.take(&self.pipeline, segment).await?;
                if seen.is_none() && workers.want_look() {
                    match self.look(progress, segment).await {
                        Ok(looked) => (progress, seen) = looked,
                        Err(error) => {
                            let _stream_has_ended = after.send(workers);
                            return Err(error);
                        }
                    }
                }
                held = Some((workers, after));
            }
            arrival = Arrival { held, seen };
            begin = segment;
        }
    }

    /// Goes a leg, on whichever thread is free.
    async fn go(&self, mut progress: Progress, leg: Leg) -> Result<Progress, Error> {
        let _in_queue = self.jobs.acquire().await;
        let pipeline = Arc::clone(&self.pipeline);
        let first = leg.segments.start == 0;
        let limit = self.deadline.filter(|_| first).map(|deadline| (deadline, CancellationToken::new()));
        let taken = limit.as_ref().map(|(_, taken)| taken.clone().drop_guard());
        let job = self.engine.pool.submit(move |bench, wanted| {
            drop(taken);
            let advanced = progress.advance(&pipeline, leg, bench, wanted);
            bench.tidy();
            advanced.map(|()| progress)
        });
        match limit {
            Some((deadline, taken)) => in_time(job, &taken, deadline).await?,
            None => job.await?,
        }
    }

    /// Has a model look at what was prepared for it, if anything was.
    async fn ask(&self, progress: &mut Progress) -> Result<Option<Looked>, Error> {
        let Some((shown, took)) = progress.shown.take() else { return Ok(None) };
        let Way { deadline, stream, when_full, priority, .. } = *self;
        let asker = Asker { stream, deadline, when_full, priority, credit: Arc::clone(&progress.credit) };
        let seen = shown.ask(asker).await?;
        let took = took + seen.ran;
        Ok(Some((seen, took)))
    }

    /// Has the model before a segment look at a frame that was not to be shown to it.
    async fn look(&self, progress: Progress, segment: usize) -> Result<(Progress, Option<Looked>), Error> {
        let leg = Leg { segments: segment..segment, arrival: Arrival::default(), then: Then::Show(segment) };
        let mut progress = self.go(progress, leg).await?;
        let seen = self.ask(&mut progress).await?;
        Ok((progress, seen))
    }
}

impl Turn {
    /// Waits for the frame before.
    async fn take(
        self,
        pipeline: &Pipeline,
        segment: usize,
    ) -> Result<(Workers, oneshot::Sender<Workers>), Error> {
        // There is no frame before, or its worker was lost to a panic: then the state begins anew.
        let workers = match self.before {
            Some(before) => before.await.ok(),
            None => None,
        };
        Ok((workers.map_or_else(|| pipeline.workers(segment), Ok)?, self.after))
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
        let Leg { mut segments, arrival: Arrival { held, seen }, then } = leg;
        if held.is_some() || seen.is_some() {
            let segment = segments.next().unwrap_or_default();
            let (mut workers, after) = match held {
                Some((workers, after)) => (workers, Some(after)),
                None => (pipeline.workers(segment)?, None),
            };
            let done = take_up(seen, &mut frame).and_then(|before| {
                let times = &mut self.timing.stages;
                let passage =
                    Passage { frame: &mut frame, scratch: &mut bench.scratch, times, wanted, before };
                pipeline.run(segment, &mut workers, passage)
            });
            match after {
                Some(after) => {
                    let _stream_has_ended = after.send(workers);
                }
                None => pipeline.give_back(segment, workers),
            }
            done?;
        }
        for segment in segments {
            let mut workers = pipeline.workers(segment)?;
            let times = &mut self.timing.stages;
            let before = Duration::ZERO;
            let passage = Passage { frame: &mut frame, scratch: &mut bench.scratch, times, wanted, before };
            let done = pipeline.run(segment, &mut workers, passage);
            pipeline.give_back(segment, workers);
            done?;
        }
        if let Then::Show(segment) = then {
            let begin = Instant::now();
            let shown = pipeline.show(segment, &frame.image, &mut bench.scratch)?;
            self.shown = shown.map(|shown| (shown, begin.elapsed()));
        }
        match then {
            Then::Encode(reply) => self.encode(frame, reply, bench)?,
            Then::Wait | Then::Show(_) => self.frame = Some(frame),
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

/// Reads what a model made of a frame, and says how long all of that took.
fn take_up(seen: Option<Looked>, frame: &mut Frame) -> Result<Duration, Error> {
    let Some((seen, took)) = seen else { return Ok(Duration::ZERO) };
    let begin = Instant::now();
    frame.answer = Some(Arc::new((seen.read)()?));
    Ok(took + begin.elapsed())
}
