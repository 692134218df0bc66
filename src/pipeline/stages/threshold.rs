//! `threshold`: black and white.

use opencv::imgproc;

use crate::error::Error;
use crate::frame::Measure;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_frame, on_gray};

pub const KIND: StageKind = StageKind {
    name: "threshold",
    group: Group::Edges,
    doc: "White where the luma is above a threshold, black elsewhere; gray. `fixed` takes `value` for the whole \
          picture, `otsu` finds one that parts the luma's histogram best and reports it as `threshold.value`, \
          `mean` and `gaussian` take the (weighted) mean of each pixel's surroundings less `c`.",
    params: &[
        Param::new("method", Range::Choice(&["fixed", "otsu", "mean", "gaussian"]), "Where it comes from.")
            .or("fixed"),
        Param::new("value", Range::Number(0.0, 255.0), "The threshold of `fixed`.").or("127"),
        Param::new("block", Range::Odd(3, 151), "Side of the surroundings, in pixels.").or("11"),
        Param::new("c", Range::Number(-255.0, 255.0), "What is taken from their mean.").or("2"),
        Param::new("invert", Range::Flag, "Black above the threshold, white elsewhere.").or("false"),
    ],
    example: "threshold=gaussian,block=15,c=4",
    build,
};

#[derive(Debug, Clone, Copy)]
struct Threshold {
    method: Method,
    kind: i32,
}

#[derive(Debug, Clone, Copy)]
enum Method {
    Fixed(f64),
    Otsu,
    Adaptive { mean: i32, block: i32, c: f64 },
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let adaptive = |mean| Method::Adaptive { mean, block: args.integer("block"), c: args.number("c") };
    Ok(Box::new(Threshold {
        method: match args.choice("method") {
            "otsu" => Method::Otsu,
            "mean" => adaptive(imgproc::ADAPTIVE_THRESH_MEAN_C),
            "gaussian" => adaptive(imgproc::ADAPTIVE_THRESH_GAUSSIAN_C),
            _ => Method::Fixed(args.number("value")),
        },
        kind: if args.flag("invert") { imgproc::THRESH_BINARY_INV } else { imgproc::THRESH_BINARY },
    }))
}

impl Stage for Threshold {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let Threshold { method, kind } = *self;
        match method {
            Method::Fixed(value) => {
                on_gray(move |from, to| imgproc::threshold(from, to, value, 255.0, kind).map(drop))
            }
            Method::Adaptive { mean, block, c } => {
                on_gray(move |from, to| imgproc::adaptive_threshold(from, to, 255.0, mean, kind, block, c))
            }
            Method::Otsu => on_frame(move |frame, scratch| {
                frame.image.make_gray(scratch)?;
                let mut value = 0.0;
                frame.image.update(scratch, |from, to| {
                    value = imgproc::threshold(from, to, 0.0, 255.0, kind | imgproc::THRESH_OTSU)?;
                    Ok(())
                })?;
                frame.findings.measures.push(Measure { name: "threshold.value".into(), value });
                Ok(())
            }),
        }
    }

    fn colors(&self) -> Colors {
        Colors::Luma
    }
}
