//! Models that stages show frames to. Who has models implements these traits; a pipeline knows no more of them.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opencv::core::Mat;

use crate::error::Error;
use crate::frame::{Answer, Image, Size};
use crate::limits::{Credit, WhenFull};

/// What a stage wants of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Task {
    /// Another picture.
    Picture,
    /// Where things are: those of at least this score, in place of the model's own threshold.
    Detections(Option<f32>),
    /// What a picture shows, so many of the best.
    Labels(usize),
    /// What each pixel belongs to.
    Mask,
}

/// Where stages find their models.
pub trait Models: Sync {
    /// The model of this name, for what a stage wants of it. Whether there is one is asked later.
    fn find(&self, name: &str, task: Task) -> Arc<dyn FrameModel>;
}

/// A model by its name: whichever version is ready when a frame comes.
pub trait FrameModel: Send + Sync + Debug {
    /// Whether it is there, takes pictures and gives what is wanted.
    fn check(&self) -> Result<(), Error>;

    /// The names of what it tells apart; none at all if it has no names for it, and `None` if that is not known.
    fn labels(&self) -> Result<Option<Arc<[String]>>, Error>;

    /// Bytes that its tensors take for a picture of this size, or why it can't take such a picture.
    fn memory(&self, picture: Size) -> Result<usize, Error>;

    /// The size of the picture that comes of one of this size, as far as that is known before.
    fn output_size(&self, picture: Size) -> Result<Size, Error>;

    /// Makes of a picture what the model takes, on a thread that computes. `scratch` is memory of that thread.
    fn show(&self, image: &Image, scratch: &mut Mat) -> Result<Box<dyn Shown>, Error>;
}

/// A picture in the form that a model takes.
pub trait Shown: Send {
    /// Waits for its turn, and for the model. Dropping the future takes it out of the queue again.
    fn ask(self: Box<Self>, asker: Asker) -> Asking;
}

/// A model's outputs, once they are there.
pub type Asking = Pin<Box<dyn Future<Output = Result<Seen, Error>> + Send>>;

/// Who asks.
pub struct Asker {
    /// The number of the stream: all of its frames together have no more than its share of a model.
    pub stream: u64,
    /// Until when the model must have begun.
    pub deadline: Option<Instant>,
    /// What becomes of the frame where the model lets no more wait.
    pub when_full: WhenFull,
    /// The priority that the model is asked for, from 1; 0 for its own.
    pub priority: u32,
    /// Is held for as long as the model works, even if nobody waits any more.
    pub credit: Arc<Credit>,
}

/// What a model made of a picture.
pub struct Seen {
    /// How long the batch ran that it was in.
    pub ran: Duration,
    /// Its outputs, to be read on a thread that computes.
    pub read: Box<dyn FnOnce() -> Result<Answer, Error> + Send>,
}

/// Where there are no models: pipelines are checked without them, and refuse frames.
#[derive(Debug, Clone, Copy)]
pub struct NoModels;

#[derive(Debug)]
struct NoModel(String);

impl Models for NoModels {
    fn find(&self, name: &str, _: Task) -> Arc<dyn FrameModel> {
        Arc::new(NoModel(name.into()))
    }
}

impl FrameModel for NoModel {
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    fn labels(&self) -> Result<Option<Arc<[String]>>, Error> {
        Ok(None)
    }

    fn memory(&self, _: Size) -> Result<usize, Error> {
        Ok(0)
    }

    fn output_size(&self, picture: Size) -> Result<Size, Error> {
        Ok(picture)
    }

    fn show(&self, _: &Image, _: &mut Mat) -> Result<Box<dyn Shown>, Error> {
        Err(Error::Unsupported(format!("model `{}` can't be run here: there are no models", self.0)))
    }
}
