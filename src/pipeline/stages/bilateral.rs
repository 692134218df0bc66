//! `bilateral`: smooth areas, sharp edges.

use opencv::core;
use opencv::imgproc;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_image};

pub const KIND: StageKind = StageKind {
    name: "bilateral",
    group: Group::Filter,
    doc: "Smooth areas, sharp edges: every pixel becomes the mean of those around it that have a similar color. \
          The time that it takes grows with the square of `size`.",
    params: &[
        Param::new("size", Range::Odd(3, 31), "Diameter of what is averaged, in pixels.").or("9"),
        Param::new(
            "color",
            Range::Number(1.0, 1000.0),
            "Standard deviation over colors, as a sum over the channels of differences of samples: what differs \
             by much more does not count.",
        )
        .or("75"),
        Param::new("space", Range::Number(1.0, 1000.0), "Standard deviation over distances, in pixels.").or("75"),
    ],
    example: "bilateral=9,75,75",
    build,
};

#[derive(Debug)]
struct Bilateral {
    size: i32,
    color: f64,
    space: f64,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Bilateral {
        size: args.integer("size"),
        color: args.number("color"),
        space: args.number("space"),
    }))
}

impl Stage for Bilateral {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let Bilateral { size, color, space } = *self;
        on_image(move |from, to| {
            imgproc::bilateral_filter(from, to, size, color, space, core::BORDER_DEFAULT)
        })
    }
}
