//! `split`: the picture as it came, beside what became of it.

use opencv::core::{self, Mat, Rect};
use opencv::imgproc::{self, FILLED, LINE_8};

use super::resize::{Mode, Resize};
use crate::error::Error;
use crate::frame::{Frame, Image, Size};
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::placement::Placement;
use crate::pipeline::stage::{Group, Original, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "split",
    group: Group::Geometry,
    doc: "The picture as it came to the pipeline, on the left or above, beside what the stages before made of it, \
          which has its size and proportions kept: the other is brought to that size, with black around where its \
          proportions differ. What was found moves along. The picture is gray only if both are.",
    params: &[
        Param::new(
            "arrange",
            Range::Choice(&["left-right", "top-bottom"]),
            "Side by side, or one above the other.",
        )
        .or("left-right"),
        Param::new(
            "line",
            Range::Integer(0, 64),
            "Width of a line between them, in pixels; it covers a little of both.",
        )
        .or("2"),
        Param::new("color", Range::Color, "Its color.").or("white"),
    ],
    example: "canny | split",
    build,
};

#[derive(Debug, Clone, Copy)]
struct Split {
    arrange: Arrange,
    line: i32,
    color: Color,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Arrange {
    LeftRight,
    TopBottom,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let top = args.choice("arrange") == "top-bottom";
    Ok(Box::new(Split {
        arrange: if top { Arrange::TopBottom } else { Arrange::LeftRight },
        line: args.integer("line"),
        color: args.color("color"),
    }))
}

impl Stage for Split {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        Ok(Box::new(Worker {
            split: *self,
            fitted: Mat::default(),
            bgr: Mat::default(),
            part: Mat::default(),
        }))
    }

    fn output_size(&self, input: Size) -> Result<Size, Error> {
        let Size { width, height } = input;
        Ok(match self.arrange {
            Arrange::LeftRight => Size::new(width.saturating_mul(2), height),
            Arrange::TopBottom => Size::new(width, height.saturating_mul(2)),
        })
    }

    fn original(&self) -> Original {
        Original::Shown
    }
}

struct Worker {
    split: Split,
    fitted: Mat,
    bgr: Mat,
    part: Mat,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        let Worker { split, fitted, bgr, part } = self;
        let Some(original) = &frame.original else {
            return Err(Error::Internal("split: the frame came without its original".into()));
        };
        if !original.is_gray() {
            frame.image.make_bgr(scratch)?;
        }
        let size = frame.image.size();
        let mut before = original.mat();
        if original.is_gray() && !frame.image.is_gray() {
            imgproc::cvt_color_def(before, bgr, imgproc::COLOR_GRAY2BGR)?;
            before = bgr;
        }
        if original.size() != size {
            Resize::smooth(size, Mode::Fit, Color::new(0, 0, 0)).apply(before, fitted, part)?;
            before = fitted;
        }
        frame.image.update(scratch, |after, to| split.join(before, after, to))?;
        split.draw_line(&mut frame.image)?;
        // Nothing of it reaches over into the other picture.
        Placement::moved(0.0, 0.0).place_all(&mut frame.findings, size);
        split.placement(size).place_all(&mut frame.findings, frame.image.size());
        Ok(())
    }
}

impl Split {
    fn join(&self, before: &Mat, after: &Mat, to: &mut Mat) -> opencv::Result<()> {
        match self.arrange {
            Arrange::LeftRight => core::hconcat2(before, after, to),
            Arrange::TopBottom => core::vconcat2(before, after, to),
        }
    }

    fn draw_line(&self, image: &mut Image) -> opencv::Result<()> {
        let color = if image.is_gray() { self.color.luma() } else { self.color.bgr() };
        let Size { width, height } = image.size();
        let (wide, high) = (width.cast_signed(), height.cast_signed());
        let area = match self.arrange {
            Arrange::LeftRight => Rect::new((wide - self.line) / 2, 0, self.line, high),
            Arrange::TopBottom => Rect::new(0, (high - self.line) / 2, wide, self.line),
        };
        if self.line == 0 {
            return Ok(());
        }
        imgproc::rectangle(image.mat_mut(), area, color, FILLED, LINE_8, 0)
    }

    /// Where the result comes to lie, for a result of this size.
    fn placement(&self, size: Size) -> Placement {
        match self.arrange {
            Arrange::LeftRight => Placement::moved(size.width.into(), 0.0),
            Arrange::TopBottom => Placement::moved(0.0, size.height.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::found::tests::thing;
    use super::super::kept::tests::{bytes, run, square, stage};
    use super::*;
    use crate::frame::{Detection, Need};
    use crate::limits::Limits;
    use crate::pipeline::names::Names;
    use crate::pipeline::{Memory, Pipeline};

    /// A black picture that came as a white one.
    fn halves(args: &[(&str, &str)], channels: [usize; 2]) -> Frame {
        let all = Rect::new(0, 0, 6, 4);
        let mut frame = square((6, 4), Rect::new(0, 0, 0, 0), channels[1]);
        frame.original = Some(square((6, 4), all, channels[0]).image);
        let found = Detection { points: vec![2.0, 3.0], ..thing("", [1.0, 2.0, 3.0, 1.0]) };
        frame.findings.detections = vec![found];
        run(&mut stage("split", args).worker().unwrap(), frame)
    }

    #[test]
    fn the_original_is_on_the_left_or_above() {
        let frame = halves(&[("line", "0")], [1, 1]);
        assert_eq!(bytes(&frame), [[[255; 6], [0; 6]]; 4].as_flattened().as_flattened());
        let found = &frame.findings.detections[0];
        assert_eq!(([found.x, found.y], &*found.points), ([7.0, 2.0], &[8.0, 3.0][..]));
        let frame = halves(&[("arrange", "top-bottom"), ("line", "0")], [1, 1]);
        assert_eq!(bytes(&frame), [[255; 24], [0; 24]].as_flattened());
        let found = &frame.findings.detections[0];
        assert_eq!(([found.x, found.y], &*found.points), ([1.0, 6.0], &[2.0, 7.0][..]));
    }

    /// A decoder must leave nothing out, and what is kept must be counted.
    #[test]
    fn the_original_is_decoded_whole_and_its_memory_counted() {
        let size = Size::new(640, 360);
        let pipeline = |text: &str| Pipeline::parse(text, &Names::default(), &Limits::default()).unwrap();
        let (with, without) = (pipeline("gray | resize=32x18 | split"), pipeline("gray | resize=32x18"));
        assert_eq!(without.need(size), Need { gray: true, at_least: Some(Size::new(32, 18)) });
        assert_eq!(with.need(size), Need { gray: false, at_least: None });
        let bytes = 640 * 360 * 3;
        assert_eq!(without.memory(size).unwrap(), Memory { picture: bytes, tensors: 0, original: 0 });
        assert_eq!(with.memory(size).unwrap(), Memory { picture: bytes, tensors: 0, original: bytes });
        assert_eq!(pipeline("split").memory(size).unwrap().picture, 2 * bytes);
    }

    #[test]
    fn a_line_is_between_them() {
        let frame = halves(&[("color", "gray")], [1, 1]);
        assert_eq!(bytes(&frame)[..12], [255, 255, 255, 255, 255, 128, 128, 0, 0, 0, 0, 0]);
        halves(&[("line", "64")], [1, 3]);
    }

    #[test]
    fn gray_and_color_come_together_as_color() {
        for (channels, gray) in [([1, 1], true), ([1, 3], false), ([3, 1], false), ([3, 3], false)] {
            let frame = halves(&[], channels);
            assert_eq!((frame.image.is_gray(), frame.image.size()), (gray, Size::new(12, 4)));
        }
    }

    #[test]
    fn another_size_is_brought_to_that_of_the_result() {
        let mut frame = square((8, 8), Rect::new(0, 0, 0, 0), 3);
        frame.original = Some(square((40, 10), Rect::new(0, 0, 40, 10), 1).image);
        let frame = run(&mut stage("split", &[("line", "0")]).worker().unwrap(), frame);
        let row =
            |y: usize| bytes(&frame)[y * 48..][..48].chunks(3).map(|pixel| pixel[0]).collect::<Vec<_>>();
        assert_eq!((row(2), &row(3)[..9]), (vec![0; 16], &[255, 255, 255, 255, 255, 255, 255, 255, 0][..]));
    }
}
