//! `model`: the picture that a model makes of the picture.

use opencv::prelude::*;

use crate::error::Error;
use crate::frame::{Answer, Frame, Image};
use crate::pipeline::models::Task;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_frame};

pub const KIND: StageKind = StageKind {
    name: "model",
    group: Group::Model,
    doc: "The picture that a model of the repository makes of the picture: one whose task is `image`.",
    params: &[NAME],
    example: "model=background",
    build,
};

/// The parameter of all stages that run a model.
pub const NAME: Param = Param::new("name", Range::Text(255), "The model's name in the repository.");

#[derive(Debug)]
struct Model {
    name: String,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Model { name: args.text("name") }))
}

impl Stage for Model {
    fn asks(&self) -> Option<(&str, Task)> {
        Some((&self.name, Task::Picture))
    }

    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        on_frame(|frame, _| {
            if let Some(picture) = picture(frame)? {
                frame.image = picture;
            }
            Ok(())
        })
    }
}

/// The picture that a model made of this frame, if it did.
pub fn picture(frame: &mut Frame) -> Result<Option<Image>, Error> {
    let Some(answer) = frame.answer.take() else { return Ok(None) };
    match std::sync::Arc::try_unwrap(answer) {
        Ok(Answer::Picture(image)) => Ok(Some(image)),
        // It is kept for the next frame, too.
        Err(shared) => match &*shared {
            Answer::Picture(image) => Image::new(image.mat().try_clone()?).map(Some),
            _ => Ok(None),
        },
        Ok(_) => Ok(None),
    }
}
