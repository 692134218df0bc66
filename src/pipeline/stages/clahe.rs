//! `clahe`: contrast where there is little.

use opencv::imgproc;
use opencv::prelude::*;

use super::luma::on_luma;
use crate::error::Error;
use crate::frame::Size;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "clahe",
    group: Group::Color,
    doc: "Contrast where there is little: contrast-limited adaptive histogram equalisation, tile by tile. Of a \
          color picture that is the Y of YCrCb: lightness changes, colors do not.",
    params: &[
        Param::new(
            "clip",
            Range::Number(0.0, 1000.0),
            "How far contrast may be raised, as a multiple of an even histogram's height; 0 for no limit.",
        )
        .or("2"),
        Param::new("tiles", Range::Size(64), "How many tiles there are across and down.").or("8x8"),
    ],
    example: "clahe=2,8x8",
    build,
};

#[derive(Debug)]
struct Clahe {
    clip: f64,
    tiles: Size,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Clahe { clip: args.number("clip"), tiles: args.size("tiles") }))
}

impl Stage for Clahe {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let mut clahe = imgproc::create_clahe(self.clip, self.tiles.into())?;
        on_luma(move |from, to| clahe.apply(from, to))
    }
}
