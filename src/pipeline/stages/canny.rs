//! `canny`: edges, thin and connected.

use opencv::imgproc;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_gray};

pub const KIND: StageKind = StageKind {
    name: "canny",
    group: Group::Edges,
    doc: "Edges of the luma by Canny's method: white lines, one pixel wide, on black; gray.",
    params: &[
        Param::new("low", Range::Number(0.0, 10_000.0), "Gradient below which nothing is an edge.").or("50"),
        Param::new("high", Range::Number(0.0, 10_000.0), "Gradient above which everything is an edge.")
            .or("150"),
        Param::new("aperture", Range::Odd(3, 7), "Size of the Sobel operator, in pixels.").or("3"),
    ],
    example: "canny=50,150",
    build,
};

#[derive(Debug)]
struct Canny {
    low: f64,
    high: f64,
    aperture: i32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let canny =
        Canny { low: args.number("low"), high: args.number("high"), aperture: args.integer("aperture") };
    if canny.low > canny.high {
        let reason = format!("low ({}) must not be above high ({})", canny.low, canny.high);
        return Err(Error::Stage { stage: KIND.name, reason });
    }
    Ok(Box::new(canny))
}

impl Stage for Canny {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let Canny { low, high, aperture } = *self;
        on_gray(move |from, to| imgproc::canny(from, to, low, high, aperture, false))
    }

    fn colors(&self) -> Colors {
        Colors::Luma
    }
}
