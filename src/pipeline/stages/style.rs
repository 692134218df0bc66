//! `style`: the picture in the style that a model was trained for.

use opencv::core::{self, Mat};
use opencv::imgproc;
use opencv::prelude::*;

use super::model::{NAME, picture};
use crate::error::Error;
use crate::frame::Frame;
use crate::pipeline::models::Task;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_frame};

pub const KIND: StageKind = StageKind {
    name: "style",
    group: Group::Model,
    doc: "The picture in the style that a model of the repository was trained for (its task is `image`), blended with \
          the picture itself.",
    params: &[
        NAME,
        Param::new(
            "strength",
            Range::Number(0.0, 1.0),
            "How much of the style: 0 changes nothing, 1 leaves only the model's picture.",
        )
        .or("1"),
    ],
    example: "style=wave,strength=0.8",
    build,
};

#[derive(Debug)]
struct Style {
    name: String,
    strength: f64,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Style { name: args.text("name"), strength: args.number("strength") }))
}

impl Stage for Style {
    fn asks(&self) -> Option<(&str, Task)> {
        Some((&self.name, Task::Picture))
    }

    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let strength = self.strength;
        on_frame(move |frame, scratch| match picture(frame)? {
            Some(picture) if strength < 1.0 => blend(frame, picture.into_mat(), strength, scratch),
            Some(picture) => {
                frame.image = picture;
                Ok(())
            }
            None => Ok(()),
        })
    }
}

/// Blends the frame's picture with a styled one. The result has the size of that.
fn blend(frame: &mut Frame, mut styled: Mat, strength: f64, scratch: &mut Mat) -> Result<(), Error> {
    frame.image.make_bgr(scratch)?;
    if styled.channels() == 1 {
        imgproc::cvt_color_def(&styled, scratch, imgproc::COLOR_GRAY2BGR)?;
        std::mem::swap(&mut styled, scratch);
    }
    let size = styled.size()?;
    if frame.image.mat().size()? != size {
        frame
            .image
            .update(scratch, |from, to| imgproc::resize(from, to, size, 0.0, 0.0, imgproc::INTER_LINEAR))?;
    }
    frame
        .image
        .update(scratch, |from, to| core::add_weighted_def(&styled, strength, from, 1.0 - strength, 0.0, to))
}
