//! `gamma`: the middle tones lighter or darker.

use super::table::Table;
use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "gamma",
    group: Group::Color,
    doc: "The middle tones lighter or darker, black and white as they are: 255 * (sample / 255) ^ (1 / gamma).",
    params: &[Param::new("gamma", Range::Number(0.01, 100.0), "Above 1 it gets lighter, below 1 darker.")],
    example: "gamma=1.8",
    build,
};

#[derive(Debug)]
struct Gamma {
    table: Table,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let exponent = args.number("gamma").recip();
    Ok(Box::new(Gamma { table: Table::new(|sample| 255.0 * (sample / 255.0).powf(exponent)) }))
}

impl Stage for Gamma {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        self.table.worker()
    }
}
