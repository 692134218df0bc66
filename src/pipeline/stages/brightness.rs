//! `brightness`: lighter or darker.

use opencv::prelude::*;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_image};

pub const KIND: StageKind = StageKind {
    name: "brightness",
    group: Group::Color,
    doc: "Lighter or darker: adds a number to every sample, and holds the sum to 0 to 255.",
    params: &[Param::new("add", Range::Integer(-255, 255), "What is added; negative makes it darker.")],
    example: "brightness=40",
    build,
};

#[derive(Debug)]
struct Brightness {
    add: i32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Brightness { add: args.integer("add") }))
}

impl Stage for Brightness {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let add = f64::from(self.add);
        on_image(move |from, to| from.convert_to(to, -1, 1.0, add))
    }
}
