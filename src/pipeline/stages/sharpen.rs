//! `sharpen`: clearer edges.

use opencv::core::{self, Mat, Size};
use opencv::imgproc;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_image};

pub const KIND: StageKind = StageKind {
    name: "sharpen",
    group: Group::Filter,
    doc: "Clearer edges by unsharp masking: picture + amount * (picture - blurred picture).",
    params: &[
        Param::new("amount", Range::Number(0.0, 20.0), "How much.").or("1"),
        Param::new("sigma", Range::Number(0.1, 50.0), "Standard deviation of the blur, in pixels.").or("1"),
    ],
    example: "sharpen=1.5",
    build,
};

#[derive(Debug)]
struct Sharpen {
    amount: f64,
    sigma: f64,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Sharpen { amount: args.number("amount"), sigma: args.number("sigma") }))
}

impl Stage for Sharpen {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let Sharpen { amount, sigma } = *self;
        let mut blurred = Mat::default();
        on_image(move |from, to| {
            // The size follows from sigma.
            let size = Size::new(0, 0);
            imgproc::gaussian_blur(from, &mut blurred, size, sigma, 0.0, core::BORDER_DEFAULT)?;
            core::add_weighted(from, 1.0 + amount, &blurred, -amount, 0.0, to, -1)
        })
    }
}
