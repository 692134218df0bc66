//! Models that look at the frames of streams: what a pipeline's stages want of the registry's models.

use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use opencv::core::Mat;
use tracing::Span;

use crate::error::Error;
use crate::frame::{Answer, Image, Size};
use crate::model::pictures::{self, Pictures};
use crate::model::registry::Registry;
use crate::model::statistics::{Compute, Success};
use crate::model::version::{Treatment, Version, Work};
use crate::pipeline::models::{Asker, Asking, FrameModel, Models, Seen, Shown, Task};
use crate::tensor::image::{Geometry, Scratch};
use crate::tensor::{Kept, Tensor};

/// All models of the registry.
pub struct Lookers(pub Arc<Registry>);

/// A model by its name: every frame is looked at by the version that is ready when it comes.
struct Looker {
    registry: Arc<Registry>,
    name: String,
    task: Task,
    last: RwLock<Option<Found>>,
}

/// A version that fitted when it was looked for, and how often something had changed in the registry before.
struct Found {
    changes: u64,
    version: Weak<Version>,
}

/// A version that gives what is wanted.
struct Fitting {
    version: Arc<Version>,
    task: Task,
}

/// A prepared picture on its way to a version.
struct Prepared {
    fitting: Fitting,
    tensor: Tensor,
    geometry: Geometry,
    took: Duration,
}

impl Models for Lookers {
    fn find(&self, name: &str, task: Task) -> Arc<dyn FrameModel> {
        Arc::new(Looker { registry: Arc::clone(&self.0), name: name.into(), task, last: RwLock::default() })
    }
}

impl std::fmt::Debug for Looker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Looker({} {:?})", self.name, self.task)
    }
}

impl Looker {
    /// The version that is ready now. Every frame asks several times, and finds the same one until something changes.
    fn fitting(&self) -> Result<Fitting, Error> {
        let changes = self.registry.changes();
        if let Some(version) = self.last(changes) {
            return Ok(Fitting { version, task: self.task });
        }
        let fitting = self.find()?;
        let found = Found { changes, version: Arc::downgrade(&fitting.version) };
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(fitting)
    }

    /// The version that was found last, if nothing has changed since.
    fn last(&self, changes: u64) -> Option<Arc<Version>> {
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
        let version = last.as_ref().filter(|found| found.changes == changes)?.version.upgrade()?;
        version.condition().is_ok().then_some(version)
    }

    fn find(&self) -> Result<Fitting, Error> {
        let fitting = Fitting { version: self.registry.find(&self.name, None)?, task: self.task };
        let pictures = fitting.pictures()?;
        let refuse = |reason: String| Err(Error::ModelUnfit { model: self.name.clone(), reason });
        let inputs = &fitting.version.settings().signature.inputs;
        let others =
            inputs.iter().enumerate().filter(|(index, port)| *index != pictures.input && !port.optional);
        if let Some((_, port)) = others.into_iter().next() {
            return refuse(format!("it wants more than a picture: `{}`", port.name));
        }
        let wanted = match self.task {
            Task::Picture => "image",
            Task::Detections(_) => "detection",
            Task::Labels(_) => "classification",
            Task::Mask => "segmentation",
        };
        match pictures.task.as_ref().map(pictures::Task::name) {
            Some(task) if task == wanted => Ok(fitting),
            Some(task) => refuse(format!("its task is `{task}`, and `{wanted}` is wanted")),
            None => refuse(format!(
                "its configuration names no task (`frameserve.task`), and `{wanted}` is wanted"
            )),
        }
    }
}

impl FrameModel for Looker {
    fn check(&self) -> Result<(), Error> {
        self.fitting().map(drop)
    }

    fn labels(&self) -> Result<Option<Arc<[String]>>, Error> {
        let fitting = self.fitting()?;
        Ok(Some(match &fitting.pictures()?.task {
            Some(pictures::Task::Detection(detector)) => Arc::clone(&detector.labels),
            Some(pictures::Task::Classification(classifier)) => Arc::clone(&classifier.labels),
            Some(pictures::Task::Segmentation(segmenter)) => Arc::clone(&segmenter.labels),
            _ => Arc::default(),
        }))
    }

    fn memory(&self, picture: Size) -> Result<usize, Error> {
        let fitting = self.fitting()?;
        let (pictures, pixels) = (fitting.pictures()?, fitting.version.pixels());
        let input = match pixels.input {
            true => pictures.pixels_memory(picture)?,
            false => pictures.image_memory(picture)?,
        };
        let output = match pictures.picture_output() {
            Some(output) if pixels.output => {
                let Size { width, height } = output.dims.size_or(pictures.prepared_size(picture)?);
                (width as usize).saturating_mul(height as usize).saturating_mul(3)
            }
            _ => fitting.version.settings().signature.output_bytes(1, pictures.image_memory(picture)?),
        };
        Ok(input.saturating_add(output))
    }

    fn output_size(&self, picture: Size) -> Result<Size, Error> {
        let fitting = self.fitting()?;
        let pictures = fitting.pictures()?;
        match &pictures.task {
            Some(pictures::Task::Image(output)) => Ok(output.dims.size_or(pictures.prepared_size(picture)?)),
            _ => Ok(picture),
        }
    }

    fn show(&self, image: &Image, scratch: &mut Mat) -> Result<Box<dyn Shown>, Error> {
        let begin = Instant::now();
        let fitting = self.fitting()?;
        let mut memory = Scratch::with(std::mem::take(scratch));
        let pictures = fitting.pictures()?;
        let prepared = match fitting.version.pixels().input {
            true => pictures.image_pixels(image, &mut memory),
            false => pictures.prepare_image(image, &mut memory),
        };
        *scratch = memory.into_memory();
        let (tensor, geometry) = prepared?;
        Ok(Box::new(Prepared { fitting, tensor, geometry, took: begin.elapsed() }))
    }
}

impl Fitting {
    fn pictures(&self) -> Result<&Pictures, Error> {
        let settings = self.version.settings();
        settings.pictures.as_ref().ok_or_else(|| Error::ModelUnfit {
            model: settings.name.clone(),
            reason: "its configuration does not say how it takes pictures (`frameserve.` parameters)".into(),
        })
    }

    /// What the outputs mean.
    fn read(&self, outputs: &[Tensor], geometry: &[Geometry]) -> Result<Answer, Error> {
        let pictures = self.pictures()?;
        let none = || Error::Model("the model gave nothing for the picture".into());
        Ok(match (&pictures.task, self.task) {
            (Some(pictures::Task::Image(output)), _) => {
                let images = match self.version.pixels().output {
                    true => output.of_pixels().images(outputs)?,
                    false => output.images(outputs)?,
                };
                Answer::Picture(images.into_iter().next_back().ok_or_else(none)?)
            }
            (Some(pictures::Task::Detection(detector)), Task::Detections(threshold)) => {
                let found = detector.with_threshold(threshold).detections(outputs, geometry)?;
                Answer::Detections(found.into_iter().next().unwrap_or_default())
            }
            (Some(pictures::Task::Classification(classifier)), Task::Labels(top)) => {
                let rows = (self.version.settings().signature.max_batch > 0).then_some(1);
                let best = classifier.best(outputs, top, rows)?;
                Answer::Labels(best.labels.into_iter().next().unwrap_or_default())
            }
            (Some(pictures::Task::Segmentation(_)), _) => {
                Answer::Mask(pictures.masks(outputs, geometry)?.pop().ok_or_else(none)?)
            }
            _ => return Err(Error::Internal("a model's task has changed under way".into())),
        })
    }
}

impl Shown for Prepared {
    fn ask(self: Box<Self>, asker: Asker) -> Asking {
        let Prepared { fitting, tensor, geometry, took } = *self;
        let began = Instant::now();
        Box::pin(async move {
            let Asker { stream, deadline, when_full, priority, credit } = asker;
            let treatment = Treatment { priority, timeout: None, deadline, stream: Some(stream), when_full };
            let mut inputs = vec![None; fitting.version.settings().signature.inputs.len()];
            inputs[fitting.pictures()?.input] = Some(Kept::Here(tensor));
            let (pixels, span) = (fitting.version.pixels(), Span::current());
            let work = Work { inputs, rows: 1, pixels, places: Vec::new(), span, credit };
            let done = fitting.version.infer(work, treatment).await.inspect_err(|_| {
                fitting.version.statistics().failed(took + began.elapsed());
            })?;
            let (ran, queued) = (done.ran, done.queued);
            let outputs: Vec<Tensor> = done.outputs.into_iter().map(Kept::fetch).collect::<Result<_, _>>()?;
            let read = move || {
                let begin = Instant::now();
                let answer = fitting.read(&outputs, &[geometry]);
                let compute = Compute { input: took, infer: ran, output: begin.elapsed() };
                let total = took + began.elapsed();
                let statistics = fitting.version.statistics();
                match &answer {
                    Ok(_) => statistics.succeeded(Success { rows: 1, queue: queued, compute, total }),
                    Err(_) => statistics.failed(total),
                }
                answer
            };
            Ok(Seen { ran, read: Box::new(read) })
        })
    }
}
