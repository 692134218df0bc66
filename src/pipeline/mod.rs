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

/// How long a stage took with one frame.
#[derive(Debug, Clone)]
pub struct StepTime {
    /// The stage's canonical text.
    pub stage: Arc<str>,
    /// Time on the thread.
    pub took: Duration,
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
    pub fn run(
        &self,
        segment: usize,
        workers: &mut Workers,
        (frame, scratch): (&mut Frame, &mut Mat),
        times: &mut Vec<StepTime>,
    ) -> Result<(), Error> {
        let segment = &self.segments[segment];
        let steps = &self.steps[segment.first..segment.end];
        for (step, worker) in steps.iter().zip(&mut workers.0) {
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
