//! `sepia`: the browns of an old photograph.

use opencv::core::{self, Matx33f};

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_bgr};

/// What blue, green and red (rows) get of blue, green and red: the filter `sepia()` of CSS,
/// W3C Filter Effects Module Level 1.
const SEPIA: [f64; 9] = [0.131, 0.534, 0.272, 0.168, 0.686, 0.349, 0.189, 0.769, 0.393];

pub const KIND: StageKind = StageKind {
    name: "sepia",
    group: Group::Color,
    doc: "The browns of an old photograph.",
    params: &[Param::new(
        "strength",
        Range::Number(0.0, 1.0),
        "How much of it: 0 changes nothing, 1 leaves only browns.",
    )
    .or("1")],
    example: "sepia",
    build,
};

#[derive(Debug)]
struct Sepia {
    strength: f64,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Sepia { strength: args.number("strength") }))
}

impl Stage for Sepia {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let strength = self.strength;
        let matrix = Matx33f::from_array(std::array::from_fn(|at| {
            let same = if at % 4 == 0 { 1.0 - strength } else { 0.0 };
            (same + strength * SEPIA[at]) as f32
        }));
        on_bgr(move |from, to| core::transform(from, to, &matrix))
    }
}
