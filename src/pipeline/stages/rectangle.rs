//! `box`: a rectangle drawn on the picture.

use opencv::core::Rect;
use opencv::imgproc;

use crate::error::Error;
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_frame};

pub const KIND: StageKind = StageKind {
    name: "box",
    group: Group::Draw,
    doc: "A rectangle, drawn or filled; what lies outside of the picture is left out. On a gray picture it has \
          the color's luma.",
    params: &[
        Param::new("x", Range::Integer(-16_384, 16_384), "Left edge, in pixels."),
        Param::new("y", Range::Integer(-16_384, 16_384), "Upper edge, in pixels."),
        Param::new("width", Range::Integer(1, 16_384), "Width, in pixels."),
        Param::new("height", Range::Integer(1, 16_384), "Height, in pixels."),
        Param::new("color", Range::Color, "Color of the line, or of the area.").or("green"),
        Param::new(
            "thickness",
            Range::Integer(1, 255),
            "Width of the line, in pixels, half of it outside of the box.",
        )
        .or("2"),
        Param::new("filled", Range::Flag, "The whole area, not a line around it.").or("false"),
    ],
    example: "box=20,20,100,60,red",
    build,
};

#[derive(Debug, Clone, Copy)]
struct Rectangle {
    area: Rect,
    color: Color,
    thickness: i32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Rectangle {
        area: Rect::new(args.integer("x"), args.integer("y"), args.integer("width"), args.integer("height")),
        color: args.color("color"),
        thickness: if args.flag("filled") { imgproc::FILLED } else { args.integer("thickness") },
    }))
}

impl Stage for Rectangle {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let Rectangle { area, color, thickness } = *self;
        on_frame(move |frame, _| {
            let color = if frame.image.is_gray() { color.luma() } else { color.bgr() };
            imgproc::rectangle(frame.image.mat_mut(), area, color, thickness, imgproc::LINE_8, 0)?;
            Ok(())
        })
    }

    fn colors(&self) -> Colors {
        Colors::Alike
    }
}
