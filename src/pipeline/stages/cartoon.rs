//! `cartoon`: flat colors, black outlines.

use opencv::core::{self, Mat, Scalar};
use opencv::imgproc;
use opencv::prelude::*;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_image};

pub const KIND: StageKind = StageKind {
    name: "cartoon",
    group: Group::Filter,
    doc: "Flat colors with black outlines: a bilateral filter, and a line wherever the luma, without specks, is \
          clearly below the mean around it.",
    params: &[
        Param::new("size", Range::Odd(3, 31), "Diameter of the bilateral filter, in pixels.").or("9"),
        Param::new(
            "flat",
            Range::Number(1.0, 1000.0),
            "Its standard deviations, over colors and over pixels.",
        )
        .or("100"),
        Param::new("around", Range::Odd(3, 99), "Width and height of what the mean is taken of, in pixels.")
            .or("9"),
        Param::new(
            "below",
            Range::Integer(0, 100),
            "How far below it there is a line; more gives fewer lines.",
        )
        .or("5"),
    ],
    example: "cartoon",
    build,
};

/// Size of the median filter that removes specks before lines are drawn, in pixels.
const SPECKS: i32 = 5;

#[derive(Debug, Clone, Copy)]
struct Cartoon {
    size: i32,
    flat: f64,
    around: i32,
    below: i32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Cartoon {
        size: args.integer("size"),
        flat: args.number("flat"),
        around: args.integer("around"),
        below: args.integer("below"),
    }))
}

impl Stage for Cartoon {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let Cartoon { size, flat, around, below } = *self;
        let (mut luma, mut calm, mut lines) = (Mat::default(), Mat::default(), Mat::default());
        on_image(move |from, to| {
            if from.channels() == 1 {
                imgproc::median_blur(from, &mut calm, SPECKS)?;
            } else {
                imgproc::cvt_color_def(from, &mut luma, imgproc::COLOR_BGR2GRAY)?;
                imgproc::median_blur(&luma, &mut calm, SPECKS)?;
            }
            let (mean, low) = (imgproc::ADAPTIVE_THRESH_MEAN_C, imgproc::THRESH_BINARY_INV);
            imgproc::adaptive_threshold(&calm, &mut lines, 255.0, mean, low, around, below.into())?;
            imgproc::bilateral_filter(from, to, size, flat, flat, core::BORDER_DEFAULT)?;
            to.set_to(&Scalar::all(0.0), &lines)?;
            Ok(())
        })
    }
}
