//! `median`: without specks.

use opencv::imgproc;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_image};

pub const KIND: StageKind = StageKind {
    name: "median",
    group: Group::Filter,
    doc: "Without specks, and with its edges: every sample becomes the median of those around it.",
    params: &[Param::new(
        "size",
        Range::Odd(1, 255),
        "Width and height of what the median is taken of, in pixels.",
    )
    .or("5")],
    example: "median=5",
    build,
};

#[derive(Debug)]
struct Median {
    size: i32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Median { size: args.integer("size") }))
}

impl Stage for Median {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let size = self.size;
        on_image(move |from, to| imgproc::median_blur(from, to, size))
    }
}
