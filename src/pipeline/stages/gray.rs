//! `gray`: luma.

use crate::error::Error;
use crate::pipeline::param::Args;
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_frame};

pub const KIND: StageKind = StageKind {
    name: "gray",
    group: Group::Color,
    doc: "One channel: ITU-R BT.601 luma.",
    params: &[],
    example: "gray",
    build,
};

#[derive(Debug)]
struct Gray;

fn build(_: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Gray))
}

impl Stage for Gray {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        on_frame(|frame, scratch| frame.image.make_gray(scratch))
    }

    fn colors(&self) -> Colors {
        Colors::Luma
    }
}
