//! `pixelate`: coarse blocks.

use opencv::core::{Mat, Size};
use opencv::imgproc;
use opencv::prelude::*;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_image};

pub const KIND: StageKind = StageKind {
    name: "pixelate",
    group: Group::Filter,
    doc: "Coarse blocks, each of the mean of its colors. They divide the picture evenly, and so are a little \
          smaller where `block` does not.",
    params: &[
        Param::new("block", Range::Integer(1, 4096), "Width and height of a block, in pixels.").or("16")
    ],
    example: "pixelate=16",
    build,
};

#[derive(Debug)]
struct Pixelate {
    block: u32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Pixelate { block: args.integer("block").unsigned_abs() }))
}

impl Stage for Pixelate {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let block = self.block;
        let mut blocks = Mat::default();
        on_image(move |from, to| {
            let size = from.size()?;
            let count = |side: i32| side.unsigned_abs().div_ceil(block).cast_signed();
            let small = Size::new(count(size.width), count(size.height));
            imgproc::resize(from, &mut blocks, small, 0.0, 0.0, imgproc::INTER_AREA)?;
            imgproc::resize(&blocks, to, size, 0.0, 0.0, imgproc::INTER_NEAREST)
        })
    }

    fn colors(&self) -> Colors {
        Colors::Alike
    }
}
