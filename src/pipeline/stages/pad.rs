//! `pad`: a border around the picture.

use opencv::core;
use opencv::prelude::*;

use crate::error::Error;
use crate::frame::Size;
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::placement::Placement;
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_image};

const SIDE: Range = Range::Integer(-1, 8192);

pub const KIND: StageKind = StageKind {
    name: "pad",
    group: Group::Geometry,
    doc: "A border around the picture: of one color (`constant`), of its outermost pixels (`replicate`), of its \
          mirror image with the outermost pixels twice (`reflect`) or once (`reflect101`), or of its other side \
          (`wrap`).",
    params: &[
        Param::new("all", Range::Integer(0, 8192), "Width of the border in pixels, on every side.").or("0"),
        Param::new(
            "mode",
            Range::Choice(&["constant", "replicate", "reflect", "reflect101", "wrap"]),
            "What it consists of.",
        )
        .or("constant"),
        Param::new("color", Range::Color, "Of `constant`.").or("black"),
        Param::new("left", SIDE, "Its width on the left, in pixels; -1: as `all`.").or("-1"),
        Param::new("top", SIDE, "Its height above, in pixels; -1: as `all`.").or("-1"),
        Param::new("right", SIDE, "Its width on the right, in pixels; -1: as `all`.").or("-1"),
        Param::new("bottom", SIDE, "Its height below, in pixels; -1: as `all`.").or("-1"),
    ],
    example: "pad=16,reflect",
    build,
};

#[derive(Debug, Clone, Copy)]
struct Pad {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
    border: i32,
    color: Color,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let side = |name| match args.integer(name) {
        -1 => args.integer("all"),
        side => side,
    };
    Ok(Box::new(Pad {
        left: side("left"),
        top: side("top"),
        right: side("right"),
        bottom: side("bottom"),
        border: match args.choice("mode") {
            "replicate" => core::BORDER_REPLICATE,
            "reflect" => core::BORDER_REFLECT,
            "reflect101" => core::BORDER_REFLECT_101,
            "wrap" => core::BORDER_WRAP,
            _ => core::BORDER_CONSTANT,
        },
        color: args.color("color"),
    }))
}

impl Stage for Pad {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let Pad { left, top, right, bottom, border, color } = *self;
        on_image(move |from, to| {
            let color = if from.channels() == 1 { color.luma() } else { color.bgr() };
            core::copy_make_border(from, to, top, bottom, left, right, border, color)
        })
    }

    fn output_size(&self, input: Size) -> Result<Size, Error> {
        let width = input.width.saturating_add_signed(self.left + self.right);
        Ok(Size::new(width, input.height.saturating_add_signed(self.top + self.bottom)))
    }

    fn placement(&self, _: Size) -> Option<Placement> {
        Some(Placement::moved(self.left.into(), self.top.into()))
    }

    fn colors(&self) -> Colors {
        Colors::Alike
    }
}
