//! `laplacian`: where the luma's slope changes.

use opencv::core::{self, CV_16S, CV_32F, Mat};
use opencv::imgproc;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_gray};

pub const KIND: StageKind = StageKind {
    name: "laplacian",
    group: Group::Edges,
    doc: "Absolute value of the luma's Laplacian: lines and edges, bright on black; gray, cut at 255.",
    params: &[
        Param::new("size", Range::Odd(1, 7), "Size of the operator, in pixels.").or("3"),
        Param::new("scale", Range::Number(0.001, 100.0), "Factor on the result.").or("1"),
    ],
    example: "laplacian=3",
    build,
};

#[derive(Debug)]
struct Laplacian {
    size: i32,
    scale: f64,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Laplacian { size: args.integer("size"), scale: args.number("scale") }))
}

impl Stage for Laplacian {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let Laplacian { size, scale } = *self;
        // Above 3 pixels the operator's results outgrow 16 bits.
        let depth = if size <= 3 { CV_16S } else { CV_32F };
        let mut curvature = Mat::default();
        on_gray(move |from, to| {
            imgproc::laplacian(from, &mut curvature, depth, size, 1.0, 0.0, core::BORDER_DEFAULT)?;
            core::convert_scale_abs(&curvature, to, scale, 0.0)
        })
    }

    fn colors(&self) -> Colors {
        Colors::Luma
    }
}
