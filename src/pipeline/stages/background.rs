//! `background`: what differs from the scene as it usually is.

use opencv::core::{self, Mat, Ptr, Scalar};
use opencv::imgproc;
use opencv::prelude::*;
use opencv::video::{self, BackgroundSubtractorKNN, BackgroundSubtractorMOG2};

use super::kept::Shape;
use crate::error::Error;
use crate::frame::{Frame, Size};
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "background",
    group: Group::Time,
    doc: "Learns the scene's background and leaves what is in front of it: a mask, white where something is, \
          gray (127) for its shadow, or the picture itself, black elsewhere. In a stream's first frame \
          everything is in front. A new size begins anew.",
    params: &[
        Param::new("output", Range::Choice(&["mask", "foreground"]), "What is given back.").or("mask"),
        Param::new(
            "method",
            Range::Choice(&["mog2", "knn"]),
            "A mixture of Gaussians for each pixel, or its nearest neighbors.",
        )
        .or("mog2"),
        Param::new("history", Range::Integer(1, 10_000), "How many frames the background is learned from.")
            .or("500"),
        Param::new(
            "threshold",
            Range::Number(0.0, 100_000.0),
            "Squared distance from the background, in variances for `mog2` and gray levels for `knn`; 0 takes \
             16 and 400.",
        )
        .or("0"),
        Param::new("shadows", Range::Flag, "Whether shadows are told from things; slower.").or("false"),
    ],
    example: "background=foreground,history=200",
    build,
};

#[derive(Debug, Clone, Copy)]
struct Background {
    foreground: bool,
    method: Method,
    history: i32,
    shadows: bool,
}

/// With the threshold.
#[derive(Debug, Clone, Copy)]
enum Method {
    Mog2(f64),
    Knn(f64),
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let threshold = args.number("threshold");
    let or = |default: f64| if threshold == 0.0 { default } else { threshold };
    Ok(Box::new(Background {
        foreground: args.choice("output") == "foreground",
        method: match args.choice("method") {
            "knn" => Method::Knn(or(400.0)),
            _ => Method::Mog2(or(16.0)),
        },
        history: args.integer("history"),
        shadows: args.flag("shadows"),
    }))
}

impl Stage for Background {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        Ok(Box::new(Worker {
            background: *self,
            shape: Shape::default(),
            model: Model::new(self)?,
            mask: Mat::default(),
            behind: Mat::default(),
        }))
    }

    fn is_stateful(&self) -> bool {
        true
    }

    fn kept_bytes(&self, input: Size) -> u64 {
        // Five Gaussians for each pixel, or as many samples.
        u64::from(input.width) * u64::from(input.height) * 100
    }
}

enum Model {
    Mog2(Ptr<BackgroundSubtractorMOG2>),
    /// With the number of frames that it has seen.
    Knn(Ptr<BackgroundSubtractorKNN>, i32),
}

impl Model {
    fn new(background: &Background) -> opencv::Result<Self> {
        let Background { history, shadows, .. } = *background;
        Ok(match background.method {
            Method::Mog2(threshold) => {
                Model::Mog2(video::create_background_subtractor_mog2(history, threshold, shadows)?)
            }
            Method::Knn(threshold) => {
                Model::Knn(video::create_background_subtractor_knn(history, threshold, shadows)?, 0)
            }
        })
    }

    fn apply(&mut self, from: &Mat, mask: &mut Mat) -> opencv::Result<()> {
        match self {
            Model::Mog2(model) => BackgroundSubtractorMOG2Trait::apply_def(model, from, mask),
            Model::Knn(model, seen) => {
                // It draws from its thread's random numbers. Frames of one stream come to one thread and another,
                // and the same video is to give the same result.
                core::set_rng_seed(*seen)?;
                *seen = seen.wrapping_add(1);
                BackgroundSubtractorTrait::apply_def(model, from, mask)
            }
        }
    }
}

struct Worker {
    background: Background,
    shape: Shape,
    model: Model,
    mask: Mat,
    behind: Mat,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        if self.shape.changes(frame.image.mat()) {
            self.model = Model::new(&self.background)?;
        }
        if !self.background.foreground {
            return frame.image.update(scratch, |from, to| self.model.apply(from, to));
        }
        self.model.apply(frame.image.mat(), &mut self.mask)?;
        // Shadows, 127, are background here.
        imgproc::threshold(&self.mask, &mut self.behind, 200.0, 255.0, imgproc::THRESH_BINARY_INV)?;
        frame.image.mat_mut().set_to(&Scalar::all(0.0), &self.behind)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opencv::core::Rect;

    use super::super::kept::tests::{bytes, run, square, stage};

    #[test]
    fn a_new_size_or_type_begins_anew() {
        for method in ["mog2", "knn"] {
            let mut worker = stage("background", &[("method", method)]).worker().unwrap();
            let none = Rect::new(0, 0, 0, 0);
            let mut white = |size, channels| {
                let frame = run(&mut worker, square(size, none, channels));
                bytes(&frame).iter().filter(|b| **b == 255).count()
            };
            assert_eq!(white((8, 6), 3), 48, "the first frame is all in front");
            for _ in 0..10 {
                white((8, 6), 3);
            }
            assert_eq!(white((8, 6), 3), 0, "{method} has learned it");
            assert_eq!(white((6, 8), 3), 48);
            assert_eq!(white((6, 8), 1), 48);
            assert_eq!(white((1, 1), 1), 1);
        }
    }
}
