//! `colormap`: false colors.

use opencv::core::Mat;
use opencv::imgproc;
use opencv::prelude::*;

use crate::error::Error;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker, on_gray};

/// In the order of OpenCV's numbers, from 0.
const MAPS: &[&str] = &[
    "autumn",
    "bone",
    "jet",
    "winter",
    "rainbow",
    "ocean",
    "summer",
    "spring",
    "cool",
    "hsv",
    "pink",
    "hot",
    "parula",
    "magma",
    "inferno",
    "plasma",
    "viridis",
    "cividis",
    "twilight",
    "twilight_shifted",
    "turbo",
    "deepgreen",
];

pub const KIND: StageKind = StageKind {
    name: "colormap",
    group: Group::Color,
    doc: "False colors: a color for each of the 256 values that the luma can have.",
    params: &[Param::new(
        "map",
        Range::Choice(MAPS),
        "Which color stands for which luma: OpenCV's color maps.",
    )
    .or("jet")],
    example: "colormap=viridis",
    build,
};

#[derive(Debug)]
struct ColorMap {
    number: i32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let name = args.choice("map");
    let number = (0..).zip(MAPS).find(|(_, map)| **map == name).map_or(imgproc::COLORMAP_JET, |(n, _)| n);
    Ok(Box::new(ColorMap { number }))
}

impl Stage for ColorMap {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let ramp: Vec<u8> = (0..=255).collect();
        let mut colors = Mat::default();
        // One color a row, as OpenCV takes them.
        imgproc::apply_color_map(&Mat::from_slice(&ramp)?.reshape(1, 256)?, &mut colors, self.number)?;
        on_gray(move |from, to| imgproc::apply_color_map_user(from, to, &colors))
    }

    fn colors(&self) -> Colors {
        Colors::Luma
    }
}
