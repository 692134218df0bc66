//! `contrast`: tones further apart or closer together.

use opencv::prelude::*;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_image};

pub const KIND: StageKind = StageKind {
    name: "contrast",
    group: Group::Color,
    doc: "Tones further apart or closer together: multiplies the distance of every sample from a middle gray, \
          which stays as it is, and holds the result to 0 to 255. With `middle=0` it is a plain gain.",
    params: &[
        Param::new(
            "factor",
            Range::Number(0.0, 100.0),
            "What is multiplied by; below 1 there is less contrast.",
        ),
        Param::new("middle", Range::Number(0.0, 255.0), "The value that stays as it is.").or("128"),
    ],
    example: "contrast=1.5",
    build,
};

#[derive(Debug)]
struct Contrast {
    factor: f64,
    middle: f64,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Contrast { factor: args.number("factor"), middle: args.number("middle") }))
}

impl Stage for Contrast {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let (factor, offset) = (self.factor, self.middle * (1.0 - self.factor));
        on_image(move |from, to| from.convert_to(to, -1, factor, offset))
    }
}
