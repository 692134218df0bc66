//! `resize`: another size, with or without the same proportions.

use opencv::core::{self, Mat, Scalar};
use opencv::imgproc;
use opencv::prelude::*;

use crate::error::Error;
use crate::frame::Size;
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_image};

pub const KIND: StageKind = StageKind {
    name: "resize",
    group: Group::Geometry,
    doc: "Another size. `stretch` takes it as it is; `fit` keeps the proportions and fills the rest with \
          `color`; `fill` keeps them and cuts off, equally on both sides, what does not fit.",
    params: &[
        Param::new("size", Range::Size(16_384), "Width and height in pixels."),
        Param::new("mode", Range::Choice(&["stretch", "fit", "fill"]), "What becomes of other proportions.")
            .or("stretch"),
        Param::new(
            "interpolation",
            Range::Choice(&["linear", "area", "nearest", "cubic", "lanczos"]),
            "How pixels are computed.",
        )
        .or("linear"),
        Param::new("color", Range::Color, "What `fit` fills with.").or("black"),
    ],
    example: "resize=640x360,fit",
    build,
};

#[derive(Debug, Clone, Copy)]
struct Resize {
    size: Size,
    mode: Mode,
    interpolation: i32,
    color: Color,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Stretch,
    Fit,
    Fill,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Resize {
        size: args.size("size"),
        mode: match args.choice("mode") {
            "fit" => Mode::Fit,
            "fill" => Mode::Fill,
            _ => Mode::Stretch,
        },
        interpolation: match args.choice("interpolation") {
            "area" => imgproc::INTER_AREA,
            "nearest" => imgproc::INTER_NEAREST,
            "cubic" => imgproc::INTER_CUBIC,
            "lanczos" => imgproc::INTER_LANCZOS4,
            _ => imgproc::INTER_LINEAR,
        },
        color: args.color("color"),
    }))
}

impl Stage for Resize {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let resize = *self;
        let mut part = Mat::default();
        on_image(move |from, to| resize.apply(from, to, &mut part))
    }

    fn output_size(&self, _: Size) -> Result<Size, Error> {
        Ok(self.size)
    }

    fn colors(&self) -> Colors {
        Colors::Alike
    }

    fn enough(&self, input: Size) -> Option<Size> {
        (self.interpolation != imgproc::INTER_NEAREST).then(|| self.scaled(input))
    }
}

impl Resize {
    /// The size that the whole picture is brought to, before `fit` fills or `fill` cuts.
    fn scaled(&self, input: Size) -> Size {
        let Size { width, height } = self.size;
        let wide = f64::from(width) / f64::from(input.width);
        let high = f64::from(height) / f64::from(input.height);
        let factor = match self.mode {
            Mode::Stretch => return self.size,
            Mode::Fit => wide.min(high),
            Mode::Fill => wide.max(high),
        };
        let side = |side: u32| (f64::from(side) * factor).round().max(1.0) as u32;
        match self.mode {
            Mode::Fit => Size::new(side(input.width).min(width), side(input.height).min(height)),
            _ => Size::new(side(input.width).max(width), side(input.height).max(height)),
        }
    }

    fn apply(&self, from: &Mat, to: &mut Mat, part: &mut Mat) -> opencv::Result<()> {
        let input = Size::new(from.cols().unsigned_abs(), from.rows().unsigned_abs());
        let scaled = self.scaled(input);
        if scaled == self.size {
            return imgproc::resize(from, to, self.size.into(), 0.0, 0.0, self.interpolation);
        }
        imgproc::resize(from, part, scaled.into(), 0.0, 0.0, self.interpolation)?;
        let spare = |inner: u32, outer: u32| ((outer.abs_diff(inner)) / 2) as i32;
        let (left, top) = (spare(scaled.width, self.size.width), spare(scaled.height, self.size.height));
        if self.mode == Mode::Fill {
            let inside = core::Rect::new(left, top, self.size.width as i32, self.size.height as i32);
            return part.roi(inside)?.copy_to(to);
        }
        let color: Scalar = if from.channels() == 1 { self.color.luma() } else { self.color.bgr() };
        let right = (self.size.width - scaled.width) as i32 - left;
        let bottom = (self.size.height - scaled.height) as i32 - top;
        core::copy_make_border(part, to, top, bottom, left, right, core::BORDER_CONSTANT, color)
    }
}
