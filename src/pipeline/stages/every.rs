//! `every`: how often the next stage's model is asked, or the stage looks itself.

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_frame};

pub const KIND: StageKind = StageKind {
    name: "every",
    group: Group::Model,
    doc: "Has the model of the next stage look at one of so many frames, the first one among them; what it says counts \
          for those after it too, until it looks again; where it failed and has said nothing before, it looks at the \
          next one. So a model that is too slow for every frame can be used on \
          live video: `every=5 | detect=faces | draw`. The same for stages that find things without a model: \
          `every=5 | faces | track`.",
    params: &[
        Param::new("frames", Range::Integer(1, 1000), "How many frames one look is for.").keeping_state()
    ],
    example: "every=5 | detect=faces",
    build,
};

/// It is part of the stage behind it, which the pipeline sees to.
#[derive(Debug)]
struct Every;

fn build(_: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Every))
}

impl Stage for Every {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        on_frame(|_, _| Ok(()))
    }
}
