//! `sobel`: how steeply the luma rises or falls.

use opencv::core::{self, CV_8U, CV_16S, CV_32F, Mat};
use opencv::imgproc;
use opencv::prelude::*;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_gray};

pub const KIND: StageKind = StageKind {
    name: "sobel",
    group: Group::Edges,
    doc: "Gradient of the luma by Sobel's operator: its magnitude, or the absolute value of its part along x or \
          y; gray, cut at 255.",
    params: &[
        Param::new("part", Range::Choice(&["magnitude", "x", "y"]), "Which part of the gradient.")
            .or("magnitude"),
        Param::new("size", Range::Odd(1, 7), "Size of the operator, in pixels.").or("3"),
        Param::new("scale", Range::Number(0.001, 100.0), "Factor on the result.").or("1"),
    ],
    example: "sobel=x",
    build,
};

#[derive(Debug, Clone, Copy)]
struct Sobel {
    part: Part,
    size: i32,
    scale: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Magnitude,
    X,
    Y,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Sobel {
        part: match args.choice("part") {
            "x" => Part::X,
            "y" => Part::Y,
            _ => Part::Magnitude,
        },
        size: args.integer("size"),
        scale: args.number("scale"),
    }))
}

impl Stage for Sobel {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let sobel = *self;
        let mut gradients = [Mat::default(), Mat::default(), Mat::default()];
        on_gray(move |from, to| sobel.apply(from, to, &mut gradients))
    }

    fn colors(&self) -> Colors {
        Colors::Luma
    }
}

impl Sobel {
    fn apply(&self, from: &Mat, to: &mut Mat, [x, y, magnitude]: &mut [Mat; 3]) -> opencv::Result<()> {
        let derive = |depth, (dx, dy), to: &mut Mat| {
            imgproc::sobel(from, to, depth, dx, dy, self.size, 1.0, 0.0, core::BORDER_DEFAULT)
        };
        // The operator of 7 pixels gives up to 163,200, which 16 bits can't hold.
        let depth = if self.size < 7 { CV_16S } else { CV_32F };
        match self.part {
            Part::X => derive(depth, (1, 0), x)?,
            Part::Y => derive(depth, (0, 1), x)?,
            Part::Magnitude => {
                derive(CV_32F, (1, 0), x)?;
                derive(CV_32F, (0, 1), y)?;
                core::magnitude(x, y, magnitude)?;
                return magnitude.convert_to(to, CV_8U, self.scale, 0.0);
            }
        }
        core::convert_scale_abs(x, to, self.scale, 0.0)
    }
}
