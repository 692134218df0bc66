//! `blur`: less detail.

use opencv::core::{self, Point, Size};
use opencv::imgproc;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_image};

pub const KIND: StageKind = StageKind {
    name: "blur",
    group: Group::Filter,
    doc: "Less detail: every pixel becomes the mean of those around it, either weighted by Gauss's bell or, with \
          `box`, all alike.",
    params: &[
        Param::new("size", Range::Odd(1, 255), "Width and height of what is averaged, in pixels.").or("5"),
        Param::new(
            "sigma",
            Range::Number(0.0, 100.0),
            "Standard deviation of the bell, in pixels; 0: 0.3 * ((size - 1) / 2 - 1) + 0.8. `box` has none.",
        )
        .or("0"),
        Param::new("kind", Range::Choice(&["gaussian", "box"]), "How the mean is weighted.").or("gaussian"),
    ],
    example: "blur=9",
    build,
};

#[derive(Debug)]
struct Blur {
    size: i32,
    sigma: f64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Gaussian,
    Box,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let kind = if args.choice("kind") == "box" { Kind::Box } else { Kind::Gaussian };
    Ok(Box::new(Blur { size: args.integer("size"), sigma: args.number("sigma"), kind }))
}

impl Stage for Blur {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let (size, sigma) = (Size::new(self.size, self.size), self.sigma);
        let border = core::BORDER_DEFAULT;
        match self.kind {
            Kind::Gaussian => {
                on_image(move |from, to| imgproc::gaussian_blur(from, to, size, sigma, 0.0, border))
            }
            Kind::Box => on_image(move |from, to| imgproc::blur(from, to, size, Point::new(-1, -1), border)),
        }
    }

    fn colors(&self) -> Colors {
        Colors::Alike
    }
}
