//! `posterize`: few tones.

use super::table::Table;
use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "posterize",
    group: Group::Color,
    doc: "Few tones: the 256 values of each channel become `levels`, black and white among them, at equal \
          distances.",
    params: &[Param::new("levels", Range::Integer(2, 256), "How many values each channel has left.").or("4")],
    example: "posterize=4",
    build,
};

#[derive(Debug)]
struct Posterize {
    table: Table,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let levels = f64::from(args.integer("levels"));
    let tone = |sample: f64| (sample * levels / 256.0).floor() * 255.0 / (levels - 1.0);
    Ok(Box::new(Posterize { table: Table::new(tone) }))
}

impl Stage for Posterize {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        self.table.worker()
    }
}
