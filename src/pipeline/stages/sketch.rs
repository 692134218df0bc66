//! `sketch`: a pencil drawing.

use opencv::core::{self, Mat, Size};
use opencv::imgproc;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_gray};

pub const KIND: StageKind = StageKind {
    name: "sketch",
    group: Group::Filter,
    doc: "A pencil drawing: the luma divided by its own blur, so that what is even turns white and what is darker \
          than its surroundings stays; gray.",
    params: &[Param::new(
        "size",
        Range::Odd(3, 255),
        "Width and height of the blur, in pixels; more gives broader strokes.",
    )
    .or("21")],
    example: "sketch",
    build,
};

#[derive(Debug)]
struct Sketch {
    size: i32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Sketch { size: args.integer("size") }))
}

impl Stage for Sketch {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let size = Size::new(self.size, self.size);
        let mut blurred = Mat::default();
        on_gray(move |from, to| {
            imgproc::gaussian_blur(from, &mut blurred, size, 0.0, 0.0, core::BORDER_DEFAULT)?;
            core::divide2(from, &blurred, to, 256.0, -1)
        })
    }

    fn colors(&self) -> Colors {
        Colors::Luma
    }
}
