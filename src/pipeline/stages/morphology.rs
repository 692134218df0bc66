//! `morphology`: bright areas made larger or smaller.

use opencv::core::{self, Point};
use opencv::imgproc;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_image};

pub const KIND: StageKind = StageKind {
    name: "morphology",
    group: Group::Edges,
    doc: "`erode` makes bright areas smaller, `dilate` larger; `open` removes small bright spots, `close` small \
          dark ones; `gradient` leaves outlines; `tophat` leaves what `open` removes, `blackhat` what `close` \
          does. Each channel by itself.",
    params: &[
        Param::new(
            "op",
            Range::Choice(&["erode", "dilate", "open", "close", "gradient", "tophat", "blackhat"]),
            "What is done.",
        ),
        Param::new("size", Range::Odd(1, 99), "Side of the structuring element, in pixels.").or("3"),
        Param::new("shape", Range::Choice(&["rect", "ellipse", "cross"]), "Shape of that element.")
            .or("rect"),
        Param::new("iterations", Range::Integer(1, 20), "How often it is done.").or("1"),
    ],
    example: "morphology=open,5,ellipse",
    build,
};

/// Pixels of an elliptic element, times iterations: beyond it a picture takes seconds.
const MAX_WORK: i32 = 10_000;

#[derive(Debug, Clone, Copy)]
struct Morphology {
    op: i32,
    size: i32,
    shape: i32,
    iterations: i32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let morphology = Morphology {
        op: match args.choice("op") {
            "dilate" => imgproc::MORPH_DILATE,
            "open" => imgproc::MORPH_OPEN,
            "close" => imgproc::MORPH_CLOSE,
            "gradient" => imgproc::MORPH_GRADIENT,
            "tophat" => imgproc::MORPH_TOPHAT,
            "blackhat" => imgproc::MORPH_BLACKHAT,
            _ => imgproc::MORPH_ERODE,
        },
        size: args.integer("size"),
        shape: match args.choice("shape") {
            "ellipse" => imgproc::MORPH_ELLIPSE,
            "cross" => imgproc::MORPH_CROSS,
            _ => imgproc::MORPH_RECT,
        },
        iterations: args.integer("iterations"),
    };
    let Morphology { size, iterations, .. } = morphology;
    if morphology.shape == imgproc::MORPH_ELLIPSE && size * size * iterations > MAX_WORK {
        let reason = format!(
            "an ellipse of {size}x{size} done {iterations} times is too much work: size x size x iterations is {}, \
             and the limit is {MAX_WORK}",
            size * size * iterations
        );
        return Err(Error::Stage { stage: KIND.name, reason });
    }
    Ok(Box::new(morphology))
}

impl Stage for Morphology {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let Morphology { op, size, shape, iterations } = *self;
        let element = imgproc::get_structuring_element_def(shape, core::Size::new(size, size))?;
        let border = imgproc::morphology_default_border_value()?;
        on_image(move |from, to| {
            let center = Point::new(-1, -1);
            imgproc::morphology_ex(from, to, op, &element, center, iterations, core::BORDER_CONSTANT, border)
        })
    }
}
