//! `flow`: where every part of the picture moves.

use opencv::core::{self, CV_8U, CV_8UC3, CV_32FC2, Mat, Point, Scalar};
use opencv::imgproc;
use opencv::prelude::*;
use opencv::video;

use super::kept::Shape;
use crate::error::Error;
use crate::frame::{Frame, Measure, Size};
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "flow",
    group: Group::Time,
    doc: "Optical flow of the luma since the frame before, by Farnebäck's method. `colors`: hue is the \
          direction, brightness the speed; `arrows`: drawn over the picture. Both BGR. `flow.mean` is the mean \
          speed in pixels per frame. A stream's first frame, and one of a new size, shows no motion. It takes \
          long: a `resize` before it helps.",
    params: &[
        Param::new("output", Range::Choice(&["colors", "arrows"]), "How it is shown.").or("colors"),
        Param::new("gain", Range::Number(0.1, 255.0), "Brightness of `colors`, of 255, per pixel of motion.")
            .or("16"),
        Param::new("step", Range::Integer(4, 256), "From arrow to arrow, in pixels.").or("16"),
        Param::new(
            "length",
            Range::Number(0.1, 100.0),
            "Length of an arrow, in pixels, per pixel of motion.",
        )
        .or("2"),
        Param::new("color", Range::Color, "Color of the arrows.").or("green"),
        Param::new("levels", Range::Integer(1, 8), "Sizes, each half of the one before, that are compared.")
            .or("3"),
        Param::new("window", Range::Integer(3, 101), "Side of the area that moves together, in pixels.")
            .or("15"),
        Param::new("iterations", Range::Integer(1, 10), "Passes over each size.").or("3"),
    ],
    example: "resize=320x180 | flow=arrows,step=12",
    build,
};

#[derive(Debug, Clone, Copy)]
struct Flow {
    output: Output,
    levels: i32,
    window: i32,
    iterations: i32,
}

#[derive(Debug, Clone, Copy)]
enum Output {
    Colors { gain: f64 },
    Arrows { step: i32, length: f64, color: Color },
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Flow {
        output: match args.choice("output") {
            "arrows" => Output::Arrows {
                step: args.integer("step"),
                length: args.number("length"),
                color: args.color("color"),
            },
            _ => Output::Colors { gain: args.number("gain") },
        },
        levels: args.integer("levels"),
        window: args.integer("window"),
        iterations: args.integer("iterations"),
    }))
}

impl Stage for Flow {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        Ok(Box::new(Worker {
            flow: *self,
            shape: Shape::default(),
            before: Mat::default(),
            luma: Mat::default(),
            motion: Mat::default(),
            parts: Parts::default(),
        }))
    }

    fn is_stateful(&self) -> bool {
        true
    }

    fn kept_bytes(&self, input: Size) -> u64 {
        // The picture before, and Farnebäck's fields of floats for both.
        u64::from(input.width) * u64::from(input.height) * 70
    }

    fn colors(&self) -> Colors {
        match self.output {
            Output::Colors { .. } => Colors::Luma,
            Output::Arrows { .. } => Colors::All,
        }
    }
}

struct Worker {
    flow: Flow,
    shape: Shape,
    before: Mat,
    luma: Mat,
    motion: Mat,
    parts: Parts,
}

/// The motion, taken apart.
#[derive(Default)]
struct Parts {
    x: Mat,
    y: Mat,
    speed: Mat,
    angle: Mat,
    channel: Mat,
    hsv: Mat,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        let picture = frame.image.mat();
        if frame.image.is_gray() {
            picture.copy_to(&mut self.luma)?;
        } else {
            imgproc::cvt_color_def(picture, &mut self.luma, imgproc::COLOR_BGR2GRAY)?;
        }
        if self.shape.changes(&self.luma) {
            let (rows, cols) = (self.luma.rows(), self.luma.cols());
            self.motion = Mat::new_rows_cols_with_default(rows, cols, CV_32FC2, Scalar::all(0.0))?;
        } else {
            let Flow { levels, window, iterations, .. } = self.flow;
            video::calc_optical_flow_farneback(
                &self.before,
                &self.luma,
                &mut self.motion,
                0.5,
                levels,
                window,
                iterations,
                5,
                1.1,
                0,
            )?;
        }
        std::mem::swap(&mut self.before, &mut self.luma);
        self.parts.measure(&self.motion)?;
        let mean = core::mean_def(&self.parts.speed)?[0];
        frame.findings.measures.push(Measure { name: "flow.mean".into(), value: mean });
        match self.flow.output {
            Output::Colors { gain } => frame.image.update(scratch, |_, to| self.parts.paint(gain, to)),
            Output::Arrows { step, length, color } => {
                frame.image.make_bgr(scratch)?;
                Ok(draw_arrows(&self.motion, (step, length), color.bgr(), frame.image.mat_mut())?)
            }
        }
    }
}

impl Parts {
    fn measure(&mut self, motion: &Mat) -> opencv::Result<()> {
        core::extract_channel(motion, &mut self.x, 0)?;
        core::extract_channel(motion, &mut self.y, 1)?;
        core::cart_to_polar(&self.x, &self.y, &mut self.speed, &mut self.angle, true)
    }

    fn paint(&mut self, gain: f64, to: &mut Mat) -> opencv::Result<()> {
        let (rows, cols) = (self.angle.rows(), self.angle.cols());
        if (self.hsv.rows(), self.hsv.cols()) != (rows, cols) {
            let saturated = Scalar::new(0.0, 255.0, 0.0, 0.0);
            self.hsv = Mat::new_rows_cols_with_default(rows, cols, CV_8UC3, saturated)?;
        }
        // OpenCV's hue is half of the degrees.
        self.angle.convert_to(&mut self.channel, CV_8U, 0.5, 0.0)?;
        core::insert_channel(&self.channel, &mut self.hsv, 0)?;
        self.speed.convert_to(&mut self.channel, CV_8U, gain, 0.0)?;
        core::insert_channel(&self.channel, &mut self.hsv, 2)?;
        imgproc::cvt_color_def(&self.hsv, to, imgproc::COLOR_HSV2BGR)
    }
}

/// Arrows of at least a pixel, from the middle of each square of `step` pixels.
fn draw_arrows(motion: &Mat, (step, length): (i32, f64), color: Scalar, to: &mut Mat) -> opencv::Result<()> {
    for y in (step / 2..motion.rows()).step_by(step as usize) {
        let row = motion.at_row::<core::Vec2f>(y)?;
        for x in (step / 2..motion.cols()).step_by(step as usize) {
            let [dx, dy] = row[x as usize].0.map(|part| (f64::from(part) * length).round() as i32);
            if (dx, dy) != (0, 0) {
                let (from, tip) = (Point::new(x, y), Point::new(x.saturating_add(dx), y.saturating_add(dy)));
                imgproc::arrowed_line(to, from, tip, color, 1, imgproc::LINE_8, 0, 0.3)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use opencv::core::Rect;

    use super::super::kept::tests::{run, square, stage};

    #[test]
    fn pictures_of_all_sizes_and_a_change_between_them() {
        for output in ["colors", "arrows"] {
            let mut worker = stage("flow", &[("output", output), ("step", "4")]).worker().unwrap();
            for size in [(1, 1), (1, 9), (9, 1), (2, 2), (31, 33), (64, 48)] {
                for (channels, x) in [(1, 0), (1, 1), (3, 0)] {
                    let frame = run(&mut worker, square(size, Rect::new(x, 0, 3, 3), channels));
                    assert!(!frame.image.is_gray());
                    assert_eq!(frame.findings.measures.len(), 1);
                }
            }
        }
    }

    #[test]
    fn the_mean_is_in_pixels_per_frame() {
        let mut worker = stage("flow", &[]).worker().unwrap();
        let mut mean = |x| {
            let frame = run(&mut worker, square((64, 64), Rect::new(x, 20, 24, 24), 1));
            frame.findings.measures[0].value
        };
        assert_eq!(mean(20), 0.0);
        assert_eq!(mean(20), 0.0);
        // The square is about a seventh of the picture and moves by 2.
        let moved = mean(22);
        assert!((0.1..2.0).contains(&moved), "{moved}");
    }
}
