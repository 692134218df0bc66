//! `rotate`: the picture turned by an angle.

use opencv::core::{self, Mat, Matx23d};
use opencv::imgproc;
use opencv::prelude::*;

use crate::error::Error;
use crate::frame::Size;
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::placement::Placement;
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_image};

/// Pixels of the longest side that OpenCV turns by any angle: it counts them in 16 bits.
const MAX_SIDE: u32 = i16::MAX as u32 - 1;

pub const KIND: StageKind = StageKind {
    name: "rotate",
    group: Group::Geometry,
    doc: "The picture turned about its middle. Multiples of 90 degrees move pixels and change none of them; \
          other angles interpolate between them.",
    params: &[
        Param::new("angle", Range::Number(-360.0, 360.0), "Degrees, clockwise."),
        Param::new(
            "canvas",
            Range::Choice(&["expand", "keep"]),
            "A size that has room for all of it, or the size that it has, which cuts off its corners.",
        )
        .or("expand"),
        Param::new("color", Range::Color, "Of what it does not cover.").or("black"),
    ],
    example: "rotate=90",
    build,
};

#[derive(Debug, Clone, Copy)]
struct Rotate {
    angle: f64,
    keep: bool,
    color: Color,
    method: Method,
}

/// How it is done.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Method {
    Copy,
    /// One of OpenCV's right angles.
    Move(i32),
    Interpolate,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let (angle, keep) = (args.number("angle"), args.choice("canvas") == "keep");
    let turned = angle.rem_euclid(360.0);
    let method = if turned == 0.0 {
        Method::Copy
    } else if turned == 180.0 {
        Method::Move(core::ROTATE_180)
    } else if turned == 90.0 && !keep {
        Method::Move(core::ROTATE_90_CLOCKWISE)
    } else if turned == 270.0 && !keep {
        Method::Move(core::ROTATE_90_COUNTERCLOCKWISE)
    } else {
        Method::Interpolate
    };
    Ok(Box::new(Rotate { angle, keep, color: args.color("color"), method }))
}

impl Stage for Rotate {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let rotate = *self;
        on_image(move |from, to| match rotate.method {
            Method::Copy => from.copy_to(to),
            Method::Move(code) => core::rotate(from, to, code),
            Method::Interpolate => rotate.interpolate(from, to),
        })
    }

    fn output_size(&self, input: Size) -> Result<Size, Error> {
        match self.method {
            Method::Copy | Method::Move(core::ROTATE_180) => Ok(input),
            Method::Move(_) => Ok(Size::new(input.height, input.width)),
            Method::Interpolate => {
                let output = self.turned(input);
                for (what, size) in [("a picture", input), ("a result", output)] {
                    if size.width.max(size.height) > MAX_SIDE {
                        let reason = format!("{what} of {size} is too long, the limit is {MAX_SIDE} pixels");
                        return Err(Error::Stage { stage: KIND.name, reason });
                    }
                }
                Ok(output)
            }
        }
    }

    fn placement(&self, input: Size) -> Option<Placement> {
        let (sin, cos) = match self.method {
            Method::Copy => return None,
            Method::Move(core::ROTATE_180) => (0.0, -1.0),
            Method::Move(core::ROTATE_90_CLOCKWISE) => (1.0, 0.0),
            Method::Move(_) => (-1.0, 0.0),
            Method::Interpolate => self.angle.to_radians().sin_cos(),
        };
        let output = self.output_size(input).ok()?;
        let middle = |side: u32| f64::from(side) / 2.0;
        let about = Placement::moved(-middle(input.width), -middle(input.height));
        let turned = about.then(Placement::new([cos, -sin, 0.0], [sin, cos, 0.0]));
        Some(turned.then(Placement::moved(middle(output.width), middle(output.height))))
    }

    fn colors(&self) -> Colors {
        Colors::Alike
    }
}

impl Rotate {
    fn turned(&self, input: Size) -> Size {
        if self.keep {
            return input;
        }
        let (sin, cos) = self.angle.to_radians().sin_cos();
        let (width, height) = (f64::from(input.width), f64::from(input.height));
        let side = |pixels: f64| pixels.round().max(1.0) as u32;
        Size::new(side(width * cos.abs() + height * sin.abs()), side(width * sin.abs() + height * cos.abs()))
    }

    /// The matrix takes the middle of the one picture to the middle of the other.
    fn interpolate(&self, from: &Mat, to: &mut Mat) -> opencv::Result<()> {
        let input = Size::new(from.cols().unsigned_abs(), from.rows().unsigned_abs());
        let output = self.turned(input);
        let middle = |side: u32| (f64::from(side) - 1.0) / 2.0;
        let (x, y) = (middle(input.width), middle(input.height));
        let (sin, cos) = self.angle.to_radians().sin_cos();
        let matrix = Matx23d::from_array([
            cos,
            -sin,
            middle(output.width) - cos * x + sin * y,
            sin,
            cos,
            middle(output.height) - sin * x - cos * y,
        ]);
        let color = if from.channels() == 1 { self.color.luma() } else { self.color.bgr() };
        let (linear, constant) = (imgproc::INTER_LINEAR, core::BORDER_CONSTANT);
        imgproc::warp_affine(from, to, &matrix, output.into(), linear, constant, color)
    }
}
