//! `trails`: what moves leaves a trail behind it.

use opencv::core::{self, CV_8U, CV_32F, Mat};
use opencv::imgproc;
use opencv::prelude::*;

use super::kept::Shape;
use crate::error::Error;
use crate::frame::{Frame, Size};
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "trails",
    group: Group::Time,
    doc: "Earlier frames shine through and fade: `max` keeps the brighter of the frame and the faded earlier \
          ones (for bright things before a dark ground), `average` mixes them. A new size begins anew.",
    params: &[
        Param::new("decay", Range::Number(0.0, 0.999), "What is left of the earlier ones in each frame.")
            .or("0.9"),
        Param::new("mode", Range::Choice(&["max", "average"]), "How they come together.").or("max"),
    ],
    example: "trails=0.95",
    build,
};

#[derive(Debug, Clone, Copy)]
struct Trails {
    decay: f64,
    average: bool,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Trails { decay: args.number("decay"), average: args.choice("mode") == "average" }))
}

impl Stage for Trails {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        Ok(Box::new(Worker {
            trails: *self,
            shape: Shape::default(),
            // Floating point, since 8 bits would stop fading where a step is less than a half.
            seen: Mat::default(),
            now: Mat::default(),
            faded: Mat::default(),
        }))
    }

    fn is_stateful(&self) -> bool {
        true
    }

    fn kept_bytes(&self, input: Size) -> u64 {
        // Three floats for each pixel, at most.
        u64::from(input.width) * u64::from(input.height) * 12
    }
}

struct Worker {
    trails: Trails,
    shape: Shape,
    seen: Mat,
    now: Mat,
    faded: Mat,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        let Trails { decay, average } = self.trails;
        let picture = frame.image.mat();
        if self.shape.changes(picture) {
            picture.convert_to(&mut self.seen, CV_32F, 1.0, 0.0)?;
            return Ok(());
        }
        if average {
            imgproc::accumulate_weighted_def(picture, &mut self.seen, 1.0 - decay)?;
        } else {
            picture.convert_to(&mut self.now, CV_32F, 1.0, 0.0)?;
            self.seen.convert_to(&mut self.faded, CV_32F, decay, 0.0)?;
            core::max(&self.now, &self.faded, &mut self.seen)?;
        }
        frame.image.update(scratch, |_, to| self.seen.convert_to(to, CV_8U, 1.0, 0.0))
    }
}

#[cfg(test)]
mod tests {
    use opencv::core::Rect;

    use super::super::kept::tests::{bytes, run, square, stage};

    #[test]
    fn what_was_bright_fades_to_black() {
        let mut worker = stage("trails", &[("decay", "0.5")]).worker().unwrap();
        let at = |x| square((3, 1), Rect::new(x, 0, 1, 1), 1);
        assert_eq!(bytes(&run(&mut worker, at(0))), [255, 0, 0]);
        assert_eq!(bytes(&run(&mut worker, at(1))), [128, 255, 0]);
        assert_eq!(bytes(&run(&mut worker, at(2))), [64, 128, 255]);
        for _ in 0..10 {
            run(&mut worker, at(2));
        }
        assert_eq!(bytes(&run(&mut worker, at(2))), [0, 0, 255]);
    }

    #[test]
    fn a_new_size_or_type_begins_anew() {
        for mode in ["max", "average"] {
            let mut worker = stage("trails", &[("mode", mode)]).worker().unwrap();
            for (size, channels) in [((4, 3), 1), ((3, 4), 1), ((3, 4), 3), ((1, 1), 3)] {
                let frame = || square(size, Rect::new(0, 0, 1, 1), channels);
                assert_eq!(bytes(&run(&mut worker, frame())), bytes(&frame()));
            }
        }
    }
}
