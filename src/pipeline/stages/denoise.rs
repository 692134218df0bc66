//! `denoise`: without noise.

use opencv::photo;
use opencv::prelude::*;

use crate::error::Error;
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

#[derive(Debug)]
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
        let Denoise { strength, color, patch, search } = *self;
        on_image(move |from, to| match from.channels() {
            1 => photo::fast_nl_means_denoising(from, to, strength, patch, search),
            _ => photo::fast_nl_means_denoising_colored(from, to, strength, color, patch, search),
        })
    }
}
