//! `motion`: boxes around what moves.

use opencv::core::{self, Mat, Point, Ptr, Rect, Size, Vector};
use opencv::imgproc;
use opencv::prelude::*;
use opencv::video::{self, BackgroundSubtractorMOG2};

use super::kept::Shape;
use super::marks;
use crate::error::Error;
use crate::frame::{self, Frame, Measure};
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "motion",
    group: Group::Time,
    doc: "Finds what moves: pixels whose luma differs from the learned background, or from the frame before, \
          are joined into areas. Their boxes come with the result, from top to bottom, at most 1000, and are \
          drawn on the picture, made BGR if it is gray; `motion.ratio` is the share of pixels that moved. In a \
          stream's first frame, and one of a new size, nothing moves.",
    params: &[
        Param::new("min", Range::Integer(0, 1 << 24), "Area of the smallest thing that is found, in pixels.")
            .or("500"),
        Param::new(
            "method",
            Range::Choice(&["background", "difference"]),
            "Compare with the background (MOG2), or with the frame before.",
        )
        .or("background"),
        Param::new(
            "threshold",
            Range::Number(1.0, 255.0),
            "From which difference on a pixel moves: gray levels, or, squared, variances of the background.",
        )
        .or("25"),
        Param::new("history", Range::Integer(1, 10_000), "How many frames the background is learned from.")
            .or("500"),
        Param::new("blur", Range::Odd(1, 31), "Side of the filter against noise, in pixels.").or("5"),
        Param::new("grow", Range::Integer(0, 50), "By how many pixels areas grow, and so join.").or("4"),
        Param::new("draw", Range::Flag, "Whether the boxes are drawn.").or("true"),
        Param::new("color", Range::Color, "Their color.").or("green"),
    ],
    example: "motion=800,difference",
    build,
};

/// Boxes of one frame; noise could make thousands.
const MAX_BOXES: usize = 1000;

#[derive(Debug, Clone, Copy)]
struct Motion {
    min: i32,
    background: bool,
    threshold: f64,
    history: i32,
    blur: i32,
    grow: i32,
    draw: bool,
    color: Color,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Motion {
        min: args.integer("min"),
        background: args.choice("method") == "background",
        threshold: args.number("threshold"),
        history: args.integer("history"),
        blur: args.integer("blur"),
        grow: args.integer("grow"),
        draw: args.flag("draw"),
        color: args.color("color"),
    }))
}

impl Stage for Motion {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let side = 2 * self.grow + 1;
        Ok(Box::new(Worker {
            motion: *self,
            element: imgproc::get_structuring_element_def(imgproc::MORPH_RECT, Size::new(side, side))?,
            shape: Shape::default(),
            model: self.model()?,
            luma: Mat::default(),
            smooth: Mat::default(),
            before: Mat::default(),
            mask: Mat::default(),
            grown: Mat::default(),
            outlines: Vector::new(),
        }))
    }

    fn is_stateful(&self) -> bool {
        true
    }

    fn kept_bytes(&self, input: frame::Size) -> u64 {
        // Five Gaussians for each pixel, at most.
        u64::from(input.width) * u64::from(input.height) * 100
    }
}

impl Motion {
    fn model(&self) -> opencv::Result<Ptr<BackgroundSubtractorMOG2>> {
        video::create_background_subtractor_mog2(self.history, self.threshold, false)
    }
}

struct Worker {
    motion: Motion,
    element: Mat,
    shape: Shape,
    model: Ptr<BackgroundSubtractorMOG2>,
    luma: Mat,
    smooth: Mat,
    before: Mat,
    mask: Mat,
    grown: Mat,
    outlines: Vector<Vector<Point>>,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        let picture = frame.image.mat();
        let first = self.shape.changes(picture);
        let pixels = picture.total() as f64;
        if first {
            self.model = self.motion.model()?;
        }
        let luma = if frame.image.is_gray() {
            picture
        } else {
            imgproc::cvt_color_def(picture, &mut self.luma, imgproc::COLOR_BGR2GRAY)?;
            &self.luma
        };
        let side = Size::new(self.motion.blur, self.motion.blur);
        imgproc::gaussian_blur_def(luma, &mut self.smooth, side, 0.0)?;
        let moved = self.compare(first)?;
        let ratio = f64::from(moved) / pixels;
        frame.findings.measures.push(Measure { name: "motion.ratio".into(), value: ratio });
        let found = frame.findings.detections.len();
        let areas = if moved > 0 { self.areas()? } else { Vec::new() };
        let detections = areas.into_iter().map(|area| marks::detection(area, "motion", KIND.name));
        frame.findings.detections.extend(detections);
        if self.motion.draw {
            marks::draw(found, self.motion.color, frame, scratch)?;
        }
        Ok(())
    }
}

impl Worker {
    /// Makes the mask, and says how many pixels moved.
    fn compare(&mut self, first: bool) -> opencv::Result<i32> {
        let Motion { background, threshold, .. } = self.motion;
        if background {
            BackgroundSubtractorMOG2Trait::apply_def(&mut self.model, &self.smooth, &mut self.mask)?;
        } else if !first {
            core::absdiff(&self.smooth, &self.before, &mut self.grown)?;
            imgproc::threshold(&self.grown, &mut self.mask, threshold, 255.0, imgproc::THRESH_BINARY)?;
        }
        if !background {
            std::mem::swap(&mut self.smooth, &mut self.before);
        }
        if first { Ok(0) } else { core::count_non_zero(&self.mask) }
    }

    /// Boxes around what is white in the mask.
    fn areas(&mut self) -> opencv::Result<Vec<Rect>> {
        let mask = if self.motion.grow > 0 {
            imgproc::dilate_def(&self.mask, &mut self.grown, &self.element)?;
            &self.grown
        } else {
            &self.mask
        };
        let (outer, corners) = (imgproc::RETR_EXTERNAL, imgproc::CHAIN_APPROX_SIMPLE);
        imgproc::find_contours_def(mask, &mut self.outlines, outer, corners)?;
        let mut areas = Vec::new();
        for outline in &self.outlines {
            let area = imgproc::contour_area_def(&outline)?;
            if area >= f64::from(self.motion.min) {
                areas.push((area, imgproc::bounding_rect(&outline)?));
            }
        }
        if areas.len() > MAX_BOXES {
            areas.sort_by(|(a, _), (b, _)| b.total_cmp(a));
            areas.truncate(MAX_BOXES);
        }
        let mut boxes: Vec<Rect> = areas.into_iter().map(|(_, area)| area).collect();
        boxes.sort_unstable_by_key(|area| (area.y, area.x, area.width, area.height));
        Ok(boxes)
    }
}

#[cfg(test)]
mod tests {
    use opencv::core::Rect;

    use super::super::kept::tests::{run, square, stage};
    use crate::frame::Frame;

    const AREA: Rect = Rect { x: 40, y: 30, width: 20, height: 10 };

    fn boxes(frame: &Frame) -> Vec<[f32; 4]> {
        frame.findings.detections.iter().map(|d| [d.x, d.y, d.width, d.height]).collect()
    }

    #[test]
    fn a_moving_square_gets_the_right_box() {
        for method in ["background", "difference"] {
            let args = [("method", method), ("grow", "0"), ("blur", "1"), ("min", "50")];
            let mut worker = stage("motion", &args).worker().unwrap();
            let nothing = Rect::new(0, 0, 0, 0);
            for _ in 0..5 {
                let frame = run(&mut worker, square((160, 120), nothing, 3));
                assert_eq!((boxes(&frame), frame.findings.measures[0].value), (vec![], 0.0));
            }
            let frame = run(&mut worker, square((160, 120), AREA, 3));
            assert_eq!(boxes(&frame), [[40.0, 30.0, 20.0, 10.0]], "{method}");
            let thing = &frame.findings.detections[0];
            assert_eq!((thing.label.as_str(), thing.source, thing.score), ("motion", "motion", 1.0));
            let measure = &frame.findings.measures[0];
            assert_eq!((&*measure.name, measure.value), ("motion.ratio", 200.0 / 19_200.0));
        }
    }

    #[test]
    fn boxes_are_drawn_unless_told_otherwise() {
        for (draw, gray) in [("true", false), ("false", true)] {
            let args = [("method", "difference"), ("draw", draw)];
            let mut worker = stage("motion", &args).worker().unwrap();
            for area in [Rect::new(0, 0, 0, 0), Rect::new(40, 30, 60, 50)] {
                let frame = run(&mut worker, square((160, 120), area, 1));
                assert_eq!(frame.image.is_gray(), gray);
            }
        }
    }

    #[test]
    fn a_new_size_or_type_begins_anew() {
        for method in ["background", "difference"] {
            let mut worker = stage("motion", &[("method", method), ("min", "0")]).worker().unwrap();
            for (size, channels) in [((90, 70), 3), ((70, 90), 3), ((70, 90), 1), ((1, 1), 1), ((1, 7), 3)] {
                let frame = run(&mut worker, square(size, AREA, channels));
                assert_eq!((boxes(&frame), frame.findings.measures[0].value), (vec![], 0.0));
            }
        }
    }
}
