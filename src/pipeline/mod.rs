//! Pipelines: what is done to the frames of a stream.
//!
//! A [`Pipeline`] is a list of stages, cut into segments: the frames of one stream go through a stateless
//! segment in parallel, and through a stateful one (which is always a single stage) one by one, in order.

pub mod names;
pub mod param;
pub mod spec;
pub mod stage;
pub mod stages;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opencv::core::Mat;

use crate::error::Error;
use crate::frame::{Frame, Need, Size};
use crate::limits::Limits;
use names::Names;
use spec::StageSpec;
use stage::{Colors, Stage, StageWorker};

/// Stages with validated parameters, ready to work on frames. Immutable, shared by streams and threads.
#[derive(Debug)]
pub struct Pipeline {
    text: String,
    steps: Vec<Step>,
    segments: Vec<Segment>,
    limits: Limits,
}

/// One stage, and how it is called in reports.
#[derive(Debug)]
struct Step {
    text: Arc<str>,
    name: &'static str,
    stage: Box<dyn Stage>,
}

/// Stages that a frame goes through in one go, on one thread.
#[derive(Debug)]
struct Segment {
    first: usize,
    end: usize,
    stateful: bool,
    /// Workers of a stateless segment that no thread uses at the moment: at most one set for each thread.
    idle: Idle,
}

#[derive(Default)]
struct Idle(Mutex<Vec<Workers>>);

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Idle")
    }
}

/// What does the work of one segment: one worker for each of its stages.
pub struct Workers(Vec<Box<dyn StageWorker>>);

/// A frame on its way through a segment, and what it needs there.
pub struct Passage<'a> {
    /// The frame.
    pub frame: &'a mut Frame,
    /// Memory of the thread.
    pub scratch: &'a mut Mat,
    /// Where the time that each stage took is noted.
    pub times: &'a mut Vec<StepTime>,
    /// Asked before each stage: if nobody waits for the frame any more, it is given up.
    pub wanted: &'a dyn Fn() -> bool,
}

/// How long a stage took with one frame.
#[derive(Debug, Clone)]
pub struct StepTime {
    /// The stage's canonical text.
    pub stage: Arc<str>,
    /// Time on the thread.
    pub took: Duration,
}

/// What a frame takes on its way through a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of the picture where it is largest. The stages work in two buffers of that size.
    pub picture: usize,
}

impl Pipeline {
    /// Reads a pipeline from its text; see [`spec`] for the grammar.
    pub fn parse(text: &str, names: &Names, limits: &Limits) -> Result<Self, Error> {
        Self::new(spec::parse(text, names)?, limits)
    }

    /// Begins a pipeline that is put together in code.
    ///
    /// ```
    /// use frameserve::limits::Limits;
    /// use frameserve::pipeline::Pipeline;
    ///
    /// let pipeline = Pipeline::builder()
    ///     .stage("resize", &[("size", "640x360")])
    ///     .stage("canny", &[("low", "50"), ("high", "120")])
    ///     .build(&Limits::default())?;
    /// assert_eq!(pipeline.text(), "resize=640x360 | canny=high=120");
    /// # Ok::<(), frameserve::Error>(())
    /// ```
    pub fn builder() -> Builder {
        Builder { stages: Ok(Vec::new()) }
    }

    /// A pipeline of these stages.
    pub fn new(specs: Vec<StageSpec>, limits: &Limits) -> Result<Self, Error> {
        if specs.len() > limits.max_stages {
            return Err(Error::TooManyStages { stages: specs.len(), max: limits.max_stages });
        }
        let text = spec::print(&specs);
        let step = |spec: &StageSpec| {
            let stage = (spec.kind.build)(&spec.args)?;
            Ok(Step { text: spec.to_string().into(), name: spec.kind.name, stage })
        };
        let steps = specs.iter().map(step).collect::<Result<Vec<_>, Error>>()?;
        let segments = cut(&steps);
        let pipeline = Pipeline { text, steps, segments, limits: limits.clone() };
        // A stage whose worker can't be made is refused now, not at the first frame.
        for segment in &pipeline.segments {
            let workers = pipeline.make_workers(segment)?;
            segment.idle.0.lock().unwrap_or_else(PoisonError::into_inner).push(workers);
        }
        Ok(pipeline)
    }

    /// The canonical text, which parses to the same pipeline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// No stage at all.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// The text of the stage that is all of a stateful segment; `None` for a stateless one.
    pub fn stateful(&self, segment: usize) -> Option<&Arc<str>> {
        let segment = &self.segments[segment];
        segment.stateful.then(|| &self.steps[segment.first].text)
    }

    /// How much of a picture of this size has to be decoded.
    pub fn need(&self, input: Size) -> Need {
        let mut colors = self.steps.iter().map(|step| step.stage.colors());
        let gray = colors.find(|colors| *colors != Colors::Alike) == Some(Colors::Luma);
        // Gray is taken pixel by pixel, so a resize behind it may as well come first.
        let first = self.steps.iter().find(|step| step.name != stages::GRAY);
        Need { gray, at_least: first.and_then(|step| step.stage.enough(input)) }
    }

    /// The memory that a picture of this size takes on its way, or why it can't be taken.
    pub fn memory(&self, input: Size) -> Result<Memory, Error> {
        let pixels = |size: Size| u64::from(size.width) * u64::from(size.height);
        let (mut size, mut most, mut kept) = (input, pixels(input), 0_u64);
        for step in &self.steps {
            kept = kept.saturating_add(step.stage.kept_bytes(size));
            size = step.stage.output_size(size)?;
            self.limits.check_pixels(step.name, size.width, size.height)?;
            most = most.max(pixels(size));
        }
        if kept > self.limits.max_stream_bytes as u64 {
            return Err(Error::TooMuchState { bytes: kept, max: self.limits.max_stream_bytes });
        }
        Ok(Memory { picture: usize::try_from(most.saturating_mul(3)).unwrap_or(usize::MAX) })
    }

    /// Workers for a segment: of a stateless one those that are idle, else new ones.
    pub fn workers(&self, segment: usize) -> Result<Workers, Error> {
        let segment = &self.segments[segment];
        let idle = segment.idle.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.make_workers(segment), Ok)
    }

    /// Gives the workers of a stateless segment back. Those of a stateful one hold what they saw of their
    /// stream, and are not for another.
    pub fn give_back(&self, segment: usize, workers: Workers) {
        let segment = &self.segments[segment];
        if !segment.stateful {
            segment.idle.0.lock().unwrap_or_else(PoisonError::into_inner).push(workers);
        }
    }

    fn make_workers(&self, segment: &Segment) -> Result<Workers, Error> {
        let steps = &self.steps[segment.first..segment.end];
        steps.iter().map(|step| step.stage.worker()).collect::<Result<_, _>>().map(Workers)
    }

    /// Takes a frame through a segment.
    pub fn run(&self, segment: usize, workers: &mut Workers, passage: Passage<'_>) -> Result<(), Error> {
        let Passage { frame, scratch, times, wanted } = passage;
        let segment = &self.segments[segment];
        let steps = &self.steps[segment.first..segment.end];
        for (step, worker) in steps.iter().zip(&mut workers.0) {
            if !wanted() {
                return Err(Error::Cancelled);
            }
            let begin = Instant::now();
            let size = step.stage.output_size(frame.image.size())?;
            self.limits.check_pixels(step.name, size.width, size.height)?;
            worker.apply(frame, scratch)?;
            times.push(StepTime { stage: Arc::clone(&step.text), took: begin.elapsed() });
        }
        Ok(())
    }
}

/// Cuts a list of stages into segments.
fn cut(steps: &[Step]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let stateful = step.stage.is_stateful();
        match segments.last_mut() {
            Some(last) if !stateful && !last.stateful => last.end = index + 1,
            _ => segments.push(Segment { first: index, end: index + 1, stateful, idle: Idle::default() }),
        }
    }
    segments
}

/// Puts a pipeline together stage by stage.
#[derive(Debug)]
pub struct Builder {
    stages: Result<Vec<StageSpec>, Error>,
}

impl Builder {
    /// Adds a stage, with the values of those parameters that are not to have their default.
    pub fn stage(mut self, name: &str, args: &[(&str, &str)]) -> Self {
        if let Ok(stages) = &mut self.stages {
            match StageSpec::new(name, args) {
                Ok(stage) => stages.push(stage),
                Err(error) => self.stages = Err(error),
            }
        }
        self
    }

    /// The pipeline, or the first thing that was wrong with it.
    pub fn build(self, limits: &Limits) -> Result<Pipeline, Error> {
        Pipeline::new(self.stages?, limits)
    }
}
