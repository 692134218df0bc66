//! `difference`: what changed since the frame before.

use opencv::core::{self, Mat, Scalar};
use opencv::prelude::*;

use super::kept::Shape;
use crate::error::Error;
use crate::frame::{Frame, Size};
use crate::pipeline::param::{Args, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "difference",
    group: Group::Time,
    doc: "Absolute difference to the frame before, channel by channel, cut at 255. A stream's first frame, and \
          one of another size than the one before, comes out black.",
    params: &[Param::new("gain", Range::Number(0.1, 100.0), "Factor on the difference.").or("1")],
    example: "difference=4",
    build,
};

#[derive(Debug)]
struct Difference {
    gain: f64,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Difference { gain: args.number("gain") }))
}

impl Stage for Difference {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        Ok(Box::new(Worker { gain: self.gain, shape: Shape::default(), before: Mat::default() }))
    }

    fn is_stateful(&self) -> bool {
        true
    }

    fn kept_bytes(&self, input: Size) -> u64 {
        // The picture before.
        u64::from(input.width) * u64::from(input.height) * 3
    }
}

struct Worker {
    gain: f64,
    shape: Shape,
    before: Mat,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        let first = self.shape.changes(frame.image.mat());
        frame.image.update(scratch, |from, to| {
            if !first {
                return core::absdiff(from, &self.before, to);
            }
            *to = Mat::new_rows_cols_with_default(from.rows(), from.cols(), from.typ(), Scalar::all(0.0))?;
            Ok(())
        })?;
        // The picture as it came is in `scratch` now: it is kept instead of being copied.
        std::mem::swap(scratch, &mut self.before);
        if self.gain != 1.0 && !first {
            frame.image.update(scratch, |from, to| from.convert_to(to, -1, self.gain, 0.0))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opencv::core::Rect;

    use super::super::kept::tests::{bytes, run, square, stage};

    #[test]
    fn it_is_the_difference_to_the_frame_before_of_the_same_stream() {
        let stage = stage("difference", &[]);
        let [mut one, mut other] = [stage.worker().unwrap(), stage.worker().unwrap()];
        let at = |x| square((10, 4), Rect::new(x, 0, 1, 1), 1);
        let white = |frame| bytes(&frame).iter().map(|b| usize::from(*b)).sum::<usize>();
        assert_eq!(white(run(&mut one, at(0))), 0);
        assert_eq!(white(run(&mut one, at(1))), 2 * 255);
        assert_eq!(white(run(&mut one, at(1))), 0);
        assert_eq!(white(run(&mut other, at(5))), 0, "what another worker saw is nothing to this one");
        assert_eq!(white(run(&mut one, at(5))), 2 * 255);
    }

    #[test]
    fn a_new_size_or_type_begins_anew() {
        let mut worker = stage("difference", &[("gain", "2")]).worker().unwrap();
        for (size, channels) in [((10, 4), 1), ((4, 10), 1), ((4, 10), 3), ((1, 1), 3), ((10, 4), 1)] {
            let frame = run(&mut worker, square(size, Rect::new(0, 0, 1, 1), channels));
            assert!(bytes(&frame).iter().all(|b| *b == 0), "{size:?}");
            assert_eq!(bytes(&frame).len(), (size.0 * size.1) as usize * channels);
        }
    }
}
