//! `invert`: the negative.

use opencv::core;

use crate::error::Error;
use crate::pipeline::param::Args;
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_image};

pub const KIND: StageKind = StageKind {
    name: "invert",
    group: Group::Color,
    doc: "The negative: 255 less every sample.",
    params: &[],
    example: "invert",
    build,
};

#[derive(Debug)]
struct Invert;

fn build(_: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Invert))
}

impl Stage for Invert {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        on_image(core::bitwise_not_def)
    }

    fn colors(&self) -> Colors {
        Colors::Alike
    }
}
