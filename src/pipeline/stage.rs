//! What a stage is: a declaration, validated parameters, and workers that do the work.

use std::fmt::Debug;

use opencv::core::Mat;

use super::models::Task;
use super::param::{Args, Param};
use super::placement::Placement;
use crate::error::Error;
use crate::frame::{Answer, Frame, Size};

/// A stage as it is declared, once, in its own file.
#[derive(Debug)]
pub struct StageKind {
    /// As it is written in a pipeline's text: `canny`.
    pub name: &'static str,
    /// Where it stands in lists.
    pub group: Group,
    /// One or two sentences: what it does, and what it gives back.
    pub doc: &'static str,
    /// In the order in which values without a name are taken.
    pub params: &'static [Param],
    /// A text that shows it, valid as a pipeline.
    pub example: &'static str,
    /// Makes the stage from values that are each within their range.
    pub build: fn(&Args) -> Result<Box<dyn Stage>, Error>,
}

/// What a stage is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Size, shape, orientation.
    Geometry,
    /// Colors and tones, pixel by pixel.
    Color,
    /// Smoothing, sharpening, style.
    Filter,
    /// Edges and shapes.
    Edges,
    /// Drawing on the picture.
    Draw,
    /// Finding things in it.
    Find,
    /// What a model of the repository does.
    Model,
    /// Comparing it with earlier frames.
    Time,
}

/// A stage with its parameters: immutable, shared by all threads.
pub trait Stage: Send + Sync + Debug {
    /// Makes what does the work. A stateless stage gets one for each thread that runs it at a time, a stateful
    /// one exactly one for each stream.
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error>;

    /// Keeps something from frame to frame, and so must see the frames of a stream one by one, in order.
    fn is_stateful(&self) -> bool {
        false
    }

    /// The size of the result for a picture of this size, or why such a picture can't be taken. It is asked
    /// before any memory is.
    fn output_size(&self, input: Size) -> Result<Size, Error> {
        Ok(input)
    }

    /// For a stage that changes size or shape: where the points of a picture of this size come to lie. What was found
    /// before it is moved there behind the worker, and left out where it shows no more. `None`: all stays in its place,
    /// or the worker sees to it.
    fn placement(&self, input: Size) -> Option<Placement> {
        let _ = input;
        None
    }

    /// Bytes that a stateful stage keeps from frame to frame, for pictures of this size.
    fn kept_bytes(&self, input: Size) -> u64 {
        let _ = input;
        0
    }

    /// The model that is to look at each frame before the worker has it, and what is wanted of it: the worker then
    /// finds that in [`Frame::answer`].
    fn asks(&self) -> Option<(&str, Task)> {
        None
    }

    /// Whether its workers look at frames themselves ([`StageWorker::look`]), for which it takes no model.
    fn looks(&self) -> bool {
        false
    }

    /// Whether it can do with a model that tells these apart.
    fn check_labels(&self, labels: &[String]) -> Result<(), Error> {
        let _ = labels;
        Ok(())
    }

    /// What it needs of the picture's colors.
    fn colors(&self) -> Colors {
        Colors::All
    }

    /// Whether it shows the picture as it came to the pipeline, which is then kept for it.
    fn original(&self) -> Original {
        Original::Unused
    }

    /// For a stage whose result has fewer pixels and shows all of the picture: the size that the picture must
    /// at least have, if one of `input` is to be reduced. A decoder may then give a smaller picture than
    /// `input`, of the same proportions.
    fn enough(&self, input: Size) -> Option<Size> {
        let _ = input;
        None
    }
}

/// What a stage needs of a picture's colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colors {
    /// All three channels.
    All,
    /// The luma alone: it makes the picture gray before anything else.
    Luma,
    /// Whatever the stages after it need: it treats every channel alike, linearly, and knows no gray from color.
    Alike,
}

/// What a stage does with the picture as it came to the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Original {
    /// Nothing.
    Unused,
    /// It shows it: [`Frame::original`] must be there, with all its pixels and colors.
    Shown,
}

/// Does the work of a stage, on one frame at a time.
pub trait StageWorker: Send {
    /// Changes the frame. `scratch` is memory of the thread: its contents mean nothing before or after.
    fn apply(&mut self, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error>;

    /// For a stage that looks at frames itself: what there is in this one. `apply` goes by [`Frame::answer`] where
    /// there is one, and looks where there is none.
    fn look(&mut self, frame: &Frame) -> Result<Answer, Error> {
        let _ = frame;
        Err(Error::Internal("a stage that does not look at frames was told to".into()))
    }

    /// Whether it can do nothing with a frame that its model does not look at, even if that is not to look at every
    /// frame.
    fn wants_look(&self) -> bool {
        false
    }
}

/// A worker from a closure on the frame.
pub fn on_frame<F>(operation: F) -> Result<Box<dyn StageWorker>, Error>
where
    F: FnMut(&mut Frame, &mut Mat) -> Result<(), Error> + Send + 'static,
{
    Ok(Box::new(OnFrame(operation)))
}

/// A worker from an OpenCV operation that reads its first argument and writes its second.
pub fn on_image<F>(mut operation: F) -> Result<Box<dyn StageWorker>, Error>
where
    F: FnMut(&Mat, &mut Mat) -> opencv::Result<()> + Send + 'static,
{
    on_frame(move |frame, scratch| frame.image.update(scratch, &mut operation))
}

/// The same for an operation that takes gray pictures only: others are made gray first.
pub fn on_gray<F>(mut operation: F) -> Result<Box<dyn StageWorker>, Error>
where
    F: FnMut(&Mat, &mut Mat) -> opencv::Result<()> + Send + 'static,
{
    on_frame(move |frame, scratch| {
        frame.image.make_gray(scratch)?;
        frame.image.update(scratch, &mut operation)
    })
}

/// The same for an operation that takes BGR pictures only: gray ones are made BGR first.
pub fn on_bgr<F>(mut operation: F) -> Result<Box<dyn StageWorker>, Error>
where
    F: FnMut(&Mat, &mut Mat) -> opencv::Result<()> + Send + 'static,
{
    on_frame(move |frame, scratch| {
        frame.image.make_bgr(scratch)?;
        frame.image.update(scratch, &mut operation)
    })
}

struct OnFrame<F>(F);

impl<F> StageWorker for OnFrame<F>
where
    F: FnMut(&mut Frame, &mut Mat) -> Result<(), Error> + Send,
{
    fn apply(&mut self, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        (self.0)(frame, scratch)
    }
}
