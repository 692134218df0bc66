//! `resize`: another size, with or without the same proportions.

use opencv::core::{self, Mat};
use opencv::imgproc;
use opencv::prelude::*;

use crate::error::Error;
use crate::frame::Size;
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::placement::Placement;
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_frame};

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

/// Another size, as other stages may have it too.
#[derive(Debug, Clone, Copy)]
pub struct Resize {
    size: Size,
    mode: Mode,
    interpolation: i32,
    color: Color,
}

/// What becomes of other proportions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// They are not kept.
    Stretch,
    /// They are kept, and the rest is filled.
    Fit,
    /// They are kept, and what does not fit is cut off.
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
        on_frame(move |frame, scratch| {
            // A decoder that was told what is enough may have brought it to this size already.
            if frame.image.size() == resize.size {
                return Ok(());
            }
            frame.image.update(scratch, |from, to| resize.apply(from, to, &mut part))
        })
    }

    fn output_size(&self, _: Size) -> Result<Size, Error> {
        Ok(self.size)
    }

    fn placement(&self, input: Size) -> Option<Placement> {
        Some(Resize::placement(self, input)).filter(|_| input != self.size)
    }

    fn colors(&self) -> Colors {
        match self.interpolation {
            // They overshoot at edges, and are cut off there in each channel.
            imgproc::INTER_CUBIC | imgproc::INTER_LANCZOS4 => Colors::All,
            _ => Colors::Alike,
        }
    }

    fn enough(&self, input: Size) -> Option<Size> {
        (self.interpolation != imgproc::INTER_NEAREST).then(|| self.scaled(input))
    }
}

impl Resize {
    /// With pixels from the nearest four.
    pub fn smooth(size: Size, mode: Mode, color: Color) -> Self {
        Resize { size, mode, interpolation: imgproc::INTER_LINEAR, color }
    }

    /// The size of the result.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The size that the whole picture is brought to, `fit`'s filling and what `fill` cuts aside.
    pub fn scaled(&self, input: Size) -> Size {
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

    /// Where the points of a picture of this size come to lie.
    pub fn placement(&self, input: Size) -> Placement {
        let scale = |to: u32, from: u32| f64::from(to) / f64::from(from);
        let Size { width, height } = self.size;
        match self.mode {
            Mode::Stretch => Placement::scaled(scale(width, input.width), scale(height, input.height)),
            Mode::Fit => {
                let scaled = self.scaled(input);
                let across = scale(scaled.width, input.width);
                let down = scale(scaled.height, input.height);
                let (left, top) = ((width - scaled.width) / 2, (height - scaled.height) / 2);
                Placement::scaled(across, down).then(Placement::moved(left.into(), top.into()))
            }
            Mode::Fill => {
                let shown = self.shown(input);
                let part = Placement::moved(-f64::from(shown.x), -f64::from(shown.y));
                let across = scale(width, shown.width.unsigned_abs());
                part.then(Placement::scaled(across, scale(height, shown.height.unsigned_abs())))
            }
        }
    }

    /// Makes the result, with `part` as memory on the way.
    pub fn apply(&self, from: &Mat, to: &mut Mat, part: &mut Mat) -> opencv::Result<()> {
        let input = Size::new(from.cols().unsigned_abs(), from.rows().unsigned_abs());
        match self.mode {
            Mode::Stretch => imgproc::resize(from, to, self.size.into(), 0.0, 0.0, self.interpolation),
            Mode::Fill => {
                let part = from.roi(self.shown(input))?;
                imgproc::resize(&part, to, self.size.into(), 0.0, 0.0, self.interpolation)
            }
            Mode::Fit => {
                let scaled = self.scaled(input);
                imgproc::resize(from, part, scaled.into(), 0.0, 0.0, self.interpolation)?;
                let (wide, high) =
                    ((self.size.width - scaled.width) as i32, (self.size.height - scaled.height) as i32);
                let (left, top) = (wide / 2, high / 2);
                let color = if from.channels() == 1 { self.color.luma() } else { self.color.bgr() };
                let border = core::BORDER_CONSTANT;
                core::copy_make_border(part, to, top, high - top, left, wide - left, border, color)
            }
        }
    }

    /// The part of a picture that `fill` shows: cut before it is scaled, so that a picture of extreme
    /// proportions does not become a huge one on the way.
    fn shown(&self, input: Size) -> core::Rect {
        let Size { width, height } = self.size;
        let factor =
            (f64::from(width) / f64::from(input.width)).max(f64::from(height) / f64::from(input.height));
        let side = |wanted: u32, there: u32| {
            ((f64::from(wanted) / factor).round() as i32).clamp(1, there.cast_signed())
        };
        let (wide, high) = (side(width, input.width), side(height, input.height));
        let (left, top) = (input.width.cast_signed() - wide, input.height.cast_signed() - high);
        core::Rect::new(left / 2, top / 2, wide, high)
    }
}
