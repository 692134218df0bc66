//! `equalize`: all tones used equally.

use opencv::imgproc;

use super::luma::on_luma;
use crate::error::Error;
use crate::pipeline::param::Args;
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "equalize",
    group: Group::Color,
    doc: "Equalises the histogram, so that all tones are used equally. Of a color picture that is the Y of \
          YCrCb: lightness changes, colors do not.",
    params: &[],
    example: "equalize",
    build,
};

#[derive(Debug)]
struct Equalize;

fn build(_: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Equalize))
}

impl Stage for Equalize {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        on_luma(imgproc::equalize_hist)
    }
}
