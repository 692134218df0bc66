//! `flip`: the mirror image.

use opencv::core;

use crate::error::Error;
use crate::frame::Size;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::placement::Placement;
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_image};

pub const KIND: StageKind = StageKind {
    name: "flip",
    group: Group::Geometry,
    doc: "The mirror image.",
    params: &[Param::new(
        "direction",
        Range::Choice(&["horizontal", "vertical", "both"]),
        "What changes places: left and right, top and bottom, or both.",
    )
    .or("horizontal")],
    example: "flip=vertical",
    build,
};

#[derive(Debug)]
struct Flip {
    code: i32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let code = match args.choice("direction") {
        "vertical" => 0,
        "both" => -1,
        _ => 1,
    };
    Ok(Box::new(Flip { code }))
}

impl Stage for Flip {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let code = self.code;
        on_image(move |from, to| core::flip(from, to, code))
    }

    fn placement(&self, input: Size) -> Option<Placement> {
        let kept = |row: [f64; 3], turned: [f64; 3], changes: bool| if changes { turned } else { row };
        let (wide, high) = (f64::from(input.width), f64::from(input.height));
        Some(Placement::new(
            kept([1.0, 0.0, 0.0], [-1.0, 0.0, wide], self.code != 0),
            kept([0.0, 1.0, 0.0], [0.0, -1.0, high], self.code != 1),
        ))
    }

    fn colors(&self) -> Colors {
        Colors::Alike
    }
}
