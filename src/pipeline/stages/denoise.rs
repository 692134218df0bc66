//! `denoise`: without noise.

use opencv::core::{self, Mat};
use opencv::photo;
use opencv::prelude::*;

use crate::error::Error;
use crate::frame::Size;
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_image};

pub const KIND: StageKind = StageKind {
    name: "denoise",
    group: Group::Filter,
    doc: "Without noise, by non-local means: every pixel becomes the mean of those whose surroundings look alike. \
          Slow: seconds for one color picture of 1280x720. `median` and `bilateral` are for live video.",
    params: &[
        Param::new("strength", Range::Number(0.1, 100.0), "More removes more noise, and more detail.")
            .or("3"),
        Param::new("color", Range::Number(0.1, 100.0), "The same for the noise of colors; gray has none.")
            .or("3"),
        Param::new("patch", Range::Odd(1, 15), "Width and height of the surroundings, in pixels.").or("7"),
        Param::new("search", Range::Odd(1, 35), "Width and height of where like ones are sought, in pixels.")
            .or("21"),
    ],
    example: "denoise=5",
    build,
};

/// A picture that is so many times as high as it is wide is denoised lying on its side, with the same result:
/// every row costs OpenCV search * search * patch * patch steps before its first pixel, and a picture of one
/// column hours.
const TALL: i32 = 4;

/// Pixels times positions of the search: some ten seconds of a thread, which nothing can interrupt.
const MOST_WORK: u64 = 1_200_000_000;

#[derive(Debug, Clone, Copy)]
struct Denoise {
    strength: f32,
    color: f32,
    patch: i32,
    search: i32,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Denoise {
        strength: args.number("strength") as f32,
        color: args.number("color") as f32,
        patch: args.integer("patch"),
        search: args.integer("search"),
    }))
}

impl Stage for Denoise {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let denoise = *self;
        let (mut wide, mut clean) = (Mat::default(), Mat::default());
        on_image(move |from, to| {
            if from.rows() <= TALL * from.cols() {
                return denoise.apply(from, to);
            }
            core::transpose(from, &mut wide)?;
            denoise.apply(&wide, &mut clean)?;
            core::transpose(&clean, to)
        })
    }

    fn output_size(&self, input: Size) -> Result<Size, Error> {
        let positions = u64::from(self.search.unsigned_abs()).pow(2);
        let work = u64::from(input.width) * u64::from(input.height) * positions;
        if work > MOST_WORK {
            let Size { width, height } = input;
            let reason = format!(
                "{width}x{height} pixels times a search of {positions} places are {work}, and the limit is {MOST_WORK}"
            );
            return Err(Error::Stage { stage: KIND.name, reason });
        }
        Ok(input)
    }
}

impl Denoise {
    fn apply(&self, from: &Mat, to: &mut Mat) -> opencv::Result<()> {
        let Denoise { strength, color, patch, search } = *self;
        match from.channels() {
            1 => photo::fast_nl_means_denoising(from, to, strength, patch, search),
            _ => photo::fast_nl_means_denoising_colored(from, to, strength, color, patch, search),
        }
    }
}
