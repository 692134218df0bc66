//! Pipelines: what is done to the frames of a stream.
//!
//! A [`Pipeline`] is a list of stages, cut into segments: the frames of one stream go through a stateless
//! segment in parallel, and through a stateful one (which is always a single stage) one by one, in order.

pub mod models;
pub mod names;
pub mod param;
pub mod placement;
pub mod spec;
pub mod stage;
pub mod stages;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opencv::core::Mat;

use crate::error::Error;
use crate::frame::findings::Key;
use crate::frame::{Answer, Frame, Image, Need, Sighting, Size, When};
use crate::limits::Limits;
use models::{FrameModel, Models, NoModels, Shown, Task};
use names::Names;
use placement::Placement;
use spec::StageSpec;
use stage::{Colors, Original, Stage, StageWorker};

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
    /// Its place in the pipeline.
    index: usize,
    /// The model that it shows the frame to before it has its turn.
    asks: Option<Asks>,
    /// Which of the frames the model looks at, or the stage itself.
    every: Every,
}

#[derive(Debug)]
struct Asks {
    model: Arc<dyn FrameModel>,
    task: Task,
}

/// One of so many frames, the first one among them. What is seen in one counts until there is a look at the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every(pub u64);

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

/// What `every` needs behind it.
const FOLLOWS: &str = "a stage must follow that runs a model, or that finds things itself (`faces`, `qr`)";

/// What does the work of one segment: one worker for each of its stages.
pub struct Workers(Vec<Box<dyn StageWorker>>);

impl Workers {
    /// Whether the model before this segment has to look at the next frame, although that is not one of those that it
    /// is shown: of those before it nothing was said.
    pub fn want_look(&self) -> bool {
        self.0.first().is_some_and(|worker| worker.wants_look())
    }
}

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
    /// Time that a model took for the first stage.
    pub before: Duration,
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
    /// Bytes of what models take and give, where that is most.
    pub tensors: usize,
    /// Bytes of the picture as it came, if a stage shows it.
    pub original: usize,
}

impl Memory {
    /// All of it together.
    pub fn all(self) -> usize {
        self.picture.saturating_add(self.tensors).saturating_add(self.original)
    }
}

/// What a frame waits for before it can go through a segment.
#[derive(Debug, Clone, Copy)]
pub struct Stop<'a> {
    /// The text of the stage, if its worker is handed from frame to frame.
    pub stateful: Option<&'a Arc<str>>,
    /// Which of the frames a model looks at before.
    pub asks: Option<Every>,
}

impl Pipeline {
    /// Reads a pipeline from its text; see [`spec`] for the grammar. Stages that want a model are checked as far
    /// as that goes without one, and refuse frames.
    pub fn parse(text: &str, names: &Names, limits: &Limits) -> Result<Self, Error> {
        Self::new(spec::parse(text, names)?, limits, &NoModels)
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

    /// A pipeline of these stages, and of these models.
    pub fn new(specs: Vec<StageSpec>, limits: &Limits, models: &dyn Models) -> Result<Self, Error> {
        if specs.len() > limits.max_stages {
            return Err(Error::TooManyStages { stages: specs.len(), max: limits.max_stages });
        }
        let text = spec::print(&specs);
        let steps = steps(&specs, models)?;
        let segments = cut(&steps);
        let pipeline = Pipeline { text, steps, segments, limits: limits.clone() };
        pipeline.check_models()?;
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

    /// Whether its models are there, and give what is wanted of them.
    pub fn check_models(&self) -> Result<(), Error> {
        let asking = self.steps.iter().filter_map(|step| Some((step, step.asks.as_ref()?)));
        asking.into_iter().try_for_each(|(step, asks)| {
            asks.model.check()?;
            asks.model.labels()?.map_or(Ok(()), |labels| step.stage.check_labels(&labels))
        })
    }

    /// What a frame waits for before a segment.
    pub fn stop(&self, segment: usize) -> Stop<'_> {
        let asks = self.asks(segment).map(|_| self.steps[self.segments[segment].first].every);
        Stop { stateful: self.stateful(segment), asks }
    }

    fn asks(&self, segment: usize) -> Option<&Asks> {
        self.steps[self.segments[segment].first].asks.as_ref()
    }

    /// Makes of a picture what the model before this segment takes. `scratch` is memory of the thread.
    pub fn show(
        &self,
        segment: usize,
        image: &Image,
        scratch: &mut Mat,
    ) -> Result<Option<Box<dyn Shown>>, Error> {
        self.asks(segment).map(|asks| asks.model.show(image, scratch)).transpose()
    }

    /// How much of a picture of this size has to be decoded.
    pub fn need(&self, input: Size) -> Need {
        if self.shows_original() {
            return Need { gray: false, at_least: None };
        }
        let mut colors = self.steps.iter().map(|step| step.stage.colors());
        let gray = colors.find(|colors| *colors != Colors::Alike) == Some(Colors::Luma);
        // Gray is taken pixel by pixel, so a resize behind it may as well come first.
        let first = self.steps.iter().find(|step| step.name != stages::GRAY);
        Need { gray, at_least: first.and_then(|step| step.stage.enough(input)) }
    }

    fn shows_original(&self) -> bool {
        self.steps.iter().any(|step| step.stage.original() == Original::Shown)
    }

    /// The memory that a picture of this size takes on its way, or why it can't be taken.
    pub fn memory(&self, input: Size) -> Result<Memory, Error> {
        let pixels = |size: Size| u64::from(size.width) * u64::from(size.height);
        let (mut size, mut most, mut kept, mut tensors) = (input, pixels(input), 0_u64, 0);
        for step in &self.steps {
            if let Some(asks) = &step.asks {
                tensors = tensors.max(asks.model.memory(size)?);
            }
            kept = kept.saturating_add(step.kept_bytes(size)?);
            size = step.output_size(size)?;
            self.limits.check_pixels(step.name, size.width, size.height)?;
            most = most.max(pixels(size));
        }
        if kept > self.limits.max_stream_bytes as u64 {
            return Err(Error::TooMuchState { bytes: kept, max: self.limits.max_stream_bytes });
        }
        let bytes = |pixels: u64| usize::try_from(pixels.saturating_mul(3)).unwrap_or(usize::MAX);
        let original = if self.shows_original() { bytes(pixels(input)) } else { 0 };
        Ok(Memory { picture: bytes(most), tensors, original })
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
        steps.iter().map(Step::worker).collect::<Result<_, _>>().map(Workers)
    }

    /// Takes a frame through a segment.
    pub fn run(&self, segment: usize, workers: &mut Workers, passage: Passage<'_>) -> Result<(), Error> {
        let Passage { frame, scratch, times, wanted, mut before } = passage;
        if segment == 0 && self.shows_original() {
            frame.original = Some(frame.image.copy()?);
        }
        let segment = &self.segments[segment];
        let steps = &self.steps[segment.first..segment.end];
        for (step, worker) in steps.iter().zip(&mut workers.0) {
            if !wanted() {
                return Err(Error::Cancelled);
            }
            let begin = Instant::now();
            // Of a stage that had a model look: the model may be gone since, and its answer still counts.
            let came = frame.image.size();
            let size = step.stage.output_size(came)?;
            self.limits.check_pixels(step.name, size.width, size.height)?;
            worker.apply(frame, scratch)?;
            if let Some(placement) = step.placement(came, frame.image.size()) {
                placement.place_all(&mut frame.findings, frame.image.size());
            }
            if step.asks.is_some() {
                // How large a picture is that comes of a model is known only now.
                let Size { width, height } = frame.image.size();
                self.limits.check_pixels(step.name, width, height)?;
            }
            let took = begin.elapsed() + std::mem::take(&mut before);
            times.push(StepTime { stage: Arc::clone(&step.text), took });
        }
        Ok(())
    }
}

impl Step {
    fn new(
        index: usize,
        spec: &StageSpec,
        every: Option<&StageSpec>,
        models: &dyn Models,
    ) -> Result<Self, Error> {
        let stage = (spec.kind.build)(&spec.args)?;
        let asks = stage.asks().map(|(name, task)| Asks { model: models.find(name, task), task });
        let text = spec::print(every.into_iter().chain([spec]));
        if every.is_some() && asks.is_none() && !stage.looks() {
            let reason = format!("{FOLLOWS}, and `{}` is none of them", spec.kind.name);
            return Err(Error::Stage { stage: stages::EVERY, reason });
        }
        let every = every.map_or(1, |every| every.args.integer("frames").unsigned_abs().into());
        Ok(Step { text: text.into(), name: spec.kind.name, stage, index, asks, every: Every(every) })
    }

    /// What is seen in a frame is kept for those after it, which have to come in order for that.
    fn carries(&self) -> bool {
        self.every != Every(1)
    }

    fn is_stateful(&self) -> bool {
        self.stage.is_stateful() || self.carries()
    }

    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let worker = self.stage.worker()?;
        if !self.carries() {
            return Ok(worker);
        }
        let looks = self.stage.looks().then_some(self.every);
        Ok(Box::new(Carried { worker, stage: self.index, looks, frames: 0, last: None }))
    }

    fn output_size(&self, input: Size) -> Result<Size, Error> {
        let size = match &self.asks {
            Some(Asks { model, task: Task::Picture, .. }) => model.output_size(input)?,
            _ => input,
        };
        self.stage.output_size(size)
    }

    /// Where the points of a picture of this size came to lie in the one that was made of it.
    fn placement(&self, came: Size, made: Size) -> Option<Placement> {
        let styled = matches!(self.asks, Some(Asks { task: Task::Picture, .. })) && came != made;
        let scale = |to: u32, from: u32| f64::from(to) / f64::from(from);
        let scaled = || Placement::scaled(scale(made.width, came.width), scale(made.height, came.height));
        self.stage.placement(came).or_else(|| styled.then(scaled))
    }

    fn kept_bytes(&self, input: Size) -> Result<u64, Error> {
        let carried = match &self.asks {
            Some(Asks { task: Task::Picture | Task::Mask, .. }) if self.carries() => {
                let Size { width, height } = self.output_size(input)?;
                u64::from(width) * u64::from(height) * 3
            }
            _ => 0,
        };
        Ok(self.stage.kept_bytes(input).saturating_add(carried))
    }
}

/// A worker that goes by what was seen last, where nobody looks.
struct Carried {
    worker: Box<dyn StageWorker>,
    /// Its place in the pipeline.
    stage: usize,
    /// Which frames it looks at itself, if no model does.
    looks: Option<Every>,
    /// Frames that came.
    frames: u64,
    last: Option<Arc<Answer>>,
}

impl StageWorker for Carried {
    fn apply(&mut self, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        let due =
            self.looks.is_some_and(|Every(every)| self.frames.is_multiple_of(every) || self.last.is_none());
        self.frames += 1;
        if due {
            frame.answer = Some(Arc::new(self.worker.look(frame)?));
        }
        let when = match &frame.answer {
            Some(answer) => {
                self.last = Some(Arc::clone(answer));
                When::Now
            }
            None => {
                frame.answer.clone_from(&self.last);
                When::Earlier
            }
        };
        let before = frame.findings.detections.len();
        self.worker.apply(frame, scratch)?;
        for (number, found) in frame.findings.detections.iter_mut().skip(before).enumerate() {
            found.sighting = Some(Sighting { key: Key { stage: self.stage, number }, when });
        }
        Ok(())
    }

    fn wants_look(&self) -> bool {
        self.looks.is_none() && self.last.is_none()
    }
}

/// Makes stages of their specifications; one that says `every` is part of the next.
fn steps(specs: &[StageSpec], models: &dyn Models) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::with_capacity(specs.len());
    let mut every = None;
    for spec in specs {
        if spec.kind.name == stages::EVERY && every.is_none() {
            every = Some(spec);
        } else {
            steps.push(Step::new(steps.len(), spec, every.take(), models)?);
        }
    }
    match every {
        None => Ok(steps),
        Some(_) => {
            let reason = format!("{FOLLOWS}, and there is none");
            Err(Error::Stage { stage: stages::EVERY, reason })
        }
    }
}

/// Cuts a list of stages into segments. One that begins with a model's answer begins anew.
fn cut(steps: &[Step]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let stateful = step.is_stateful();
        match segments.last_mut() {
            Some(last) if !stateful && !last.stateful && step.asks.is_none() => last.end = index + 1,
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
        Pipeline::new(self.stages?, limits, &NoModels)
    }
}
