//! `color`: another color space.

use opencv::imgproc;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_bgr};

/// Names with OpenCV's codes.
const SPACES: [(&str, i32); 8] = [
    ("hsv", imgproc::COLOR_BGR2HSV),
    ("hls", imgproc::COLOR_BGR2HLS),
    ("lab", imgproc::COLOR_BGR2Lab),
    ("luv", imgproc::COLOR_BGR2Luv),
    ("yuv", imgproc::COLOR_BGR2YUV),
    ("ycrcb", imgproc::COLOR_BGR2YCrCb),
    ("xyz", imgproc::COLOR_BGR2XYZ),
    ("rgb", imgproc::COLOR_BGR2RGB),
];

pub const KIND: StageKind = StageKind {
    name: "color",
    group: Group::Color,
    doc: "Another color space: the three channels of the result are those of this space, in its order, as 8-bit \
          numbers the way OpenCV scales them (the hue of `hsv` and `hls` in steps of two degrees, 0 to 179). \
          What shows or encodes the result takes them for blue, green and red.",
    params: &[Param::new(
        "space",
        Range::Choice(&["hsv", "hls", "lab", "luv", "yuv", "ycrcb", "xyz", "rgb"]),
        "The color space.",
    )],
    example: "color=hsv",
    build,
};

#[derive(Debug)]
struct Space {
    code: i32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let name = args.choice("space");
    let known = SPACES.iter().find(|(space, _)| *space == name);
    Ok(Box::new(Space { code: known.map_or(imgproc::COLOR_BGR2RGB, |(_, code)| *code) }))
}

impl Stage for Space {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let code = self.code;
        on_bgr(move |from, to| imgproc::cvt_color_def(from, to, code))
    }
}
