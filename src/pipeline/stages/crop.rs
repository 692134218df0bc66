//! `crop`: a part of the picture.

use opencv::core::Rect;
use opencv::prelude::*;

use crate::error::Error;
use crate::frame::Size;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::placement::Placement;
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_frame};

pub const KIND: StageKind = StageKind {
    name: "crop",
    group: Group::Geometry,
    doc: "A part of the picture, from its middle unless `x` or `y` say where. The part must lie within the \
          picture.",
    params: &[
        Param::new("size", Range::Size(16_384), "Width and height in pixels."),
        Param::new("x", Range::Integer(-1, 16_384), "Left edge in pixels; -1: as much left as right.")
            .or("-1"),
        Param::new("y", Range::Integer(-1, 16_384), "Upper edge in pixels; -1: as much above as below.")
            .or("-1"),
    ],
    example: "crop=320x240",
    build,
};

#[derive(Debug, Clone, Copy)]
struct Crop {
    size: Size,
    x: Option<u32>,
    y: Option<u32>,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let edge = |name| u32::try_from(args.integer(name)).ok();
    Ok(Box::new(Crop { size: args.size("size"), x: edge("x"), y: edge("y") }))
}

impl Stage for Crop {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let crop = *self;
        on_frame(move |frame, scratch| {
            let part = crop.part(frame.image.size())?;
            frame.image.update(scratch, |from, to| from.roi(part)?.copy_to(to))
        })
    }

    fn output_size(&self, input: Size) -> Result<Size, Error> {
        self.part(input).map(|_| self.size)
    }

    fn placement(&self, input: Size) -> Option<Placement> {
        let part = self.part(input).ok()?;
        Some(Placement::moved(-f64::from(part.x), -f64::from(part.y)))
    }

    fn colors(&self) -> Colors {
        Colors::Alike
    }
}

impl Crop {
    fn part(&self, input: Size) -> Result<Rect, Error> {
        let Size { width, height } = self.size;
        let x = self.x.unwrap_or_else(|| input.width.saturating_sub(width) / 2);
        let y = self.y.unwrap_or_else(|| input.height.saturating_sub(height) / 2);
        if x + width > input.width || y + height > input.height {
            let reason = format!("{} at {x},{y} does not lie within the picture of {input}", self.size);
            return Err(Error::Stage { stage: KIND.name, reason });
        }
        let [x, y, width, height] = [x, y, width, height].map(u32::cast_signed);
        Ok(Rect::new(x, y, width, height))
    }
}
