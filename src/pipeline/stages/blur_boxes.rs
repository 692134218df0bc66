//! `blur-boxes`: what lies in boxes can't be recognised any more.

mod region;

use std::ops::Range as Span;

use opencv::core::{Mat, Rect, Size};
use opencv::imgproc::{self, INTER_AREA, INTER_LINEAR, INTER_NEAREST};
use opencv::prelude::*;

use self::region::{Outline, Shape, each_span};
use super::found::{Edges, LABELS, Labels};
use crate::error::Error;
use crate::frame::{self, Frame};
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "blur-boxes",
    group: Group::Filter,
    doc: "Blurs, pixelates or fills what lies in the boxes that the stages before it found; what they did not find \
          stays as it is. Blurring and pixelating leave a little to guess from, filling leaves nothing.",
    params: &[
        Param::new("how", Range::Choice(&["blur", "pixelate", "fill"]), "What is done to it.").or("blur"),
        Param::new(
            "strength",
            Range::Number(0.01, 1.0),
            "Width of the smallest detail that is left, as a part of the box's longer side; rounded up to a power \
             of two in pixels, 4 or more.",
        )
        .or("0.15"),
        Param::new(
            "margin",
            Range::Number(0.0, 4.0),
            "By which part of its width and height a box grows, on each side.",
        )
        .or("0.1"),
        Param::new("shape", Range::Choice(&["box", "ellipse"]), "All of the box, or the ellipse in it.")
            .or("box"),
        LABELS,
        Param::new("color", Range::Color, "What `fill` fills with.").or("black"),
    ],
    example: "faces=draw=false | blur-boxes=pixelate,shape=ellipse",
    build,
};

/// Powers of two that the smallest detail may be wide.
const LEAST_LEVEL: u32 = 2;
const MOST_LEVEL: u32 = 14;

#[derive(Debug, Clone)]
struct BlurBoxes {
    how: How,
    strength: f64,
    margin: f64,
    outline: Outline,
    labels: Labels,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Blur,
    Pixelate,
    Fill(Color),
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(BlurBoxes {
        how: match args.choice("how") {
            "pixelate" => How::Pixelate,
            "fill" => How::Fill(args.color("color")),
            _ => How::Blur,
        },
        strength: args.number("strength"),
        margin: args.number("margin"),
        outline: if args.choice("shape") == "ellipse" { Outline::Ellipse } else { Outline::Box },
        labels: Labels::parse(&args.text("labels")),
    }))
}

impl Stage for BlurBoxes {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        Ok(Box::new(Worker {
            stage: self.clone(),
            small: Mat::default(),
            smooth: Mat::default(),
            coarse: Mat::default(),
        }))
    }
}

struct Worker {
    stage: BlurBoxes,
    small: Mat,
    smooth: Mat,
    coarse: Mat,
}

/// A shape, and what it is in whole pixels of the picture.
struct Place {
    shape: Shape,
    area: Rect,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, _: &mut Mat) -> Result<(), Error> {
        let size = frame.image.size();
        let places = self.stage.places(frame);
        if let How::Fill(color) = self.stage.how {
            let color = if frame.image.is_gray() { color.luma() } else { color.bgr() };
            let shapes: Vec<_> = places.iter().map(|place| place.shape).collect();
            return Ok(fill(frame.image.mat_mut(), &shapes, size, color)?);
        }
        // All boxes of about one size at once, so that thousands of them cost no more than a few.
        for level in LEAST_LEVEL..=MOST_LEVEL {
            let of_level: Vec<_> =
                places.iter().filter(|place| self.stage.level(place.area) == level).collect();
            if let Some(area) = of_level.iter().map(|place| place.area).reduce(|a, b| a | b) {
                let area = aligned(area, 1 << level, size);
                let shapes: Vec<_> = of_level.iter().map(|place| place.shape).collect();
                self.coarsen(frame.image.mat(), area, 1 << level)?;
                put(&self.coarse, area, frame.image.mat_mut(), &shapes)?;
            }
        }
        Ok(())
    }
}

impl BlurBoxes {
    fn places(&self, frame: &Frame) -> Vec<Place> {
        let wanted = frame.findings.detections.iter().filter(|thing| self.labels.wants(thing));
        let place = |edges: Edges| {
            let edges = edges.grown(self.margin);
            let area = edges.pixels(frame.image.size())?;
            Some(Place { shape: Shape { edges, outline: self.outline }, area })
        };
        wanted.filter_map(Edges::of).filter_map(place).collect()
    }

    /// The power of two that the smallest detail in an area of this size is wide.
    fn level(&self, area: Rect) -> u32 {
        let side = f64::from(area.width.max(area.height)) * self.strength;
        (side.ceil() as u32).next_power_of_two().trailing_zeros().clamp(LEAST_LEVEL, MOST_LEVEL)
    }
}

impl Worker {
    /// Makes the coarse picture of an area.
    fn coarsen(&mut self, picture: &Mat, area: Rect, cell: i32) -> opencv::Result<()> {
        let from = picture.roi(area)?;
        let count = |side: i32| side.unsigned_abs().div_ceil(cell.unsigned_abs()).cast_signed();
        let cells = Size::new(count(area.width), count(area.height));
        imgproc::resize(&from, &mut self.small, cells, 0.0, 0.0, INTER_AREA)?;
        if self.stage.how == How::Pixelate {
            return imgproc::resize(&self.small, &mut self.coarse, area.size(), 0.0, 0.0, INTER_NEAREST);
        }
        imgproc::gaussian_blur_def(&self.small, &mut self.smooth, Size::new(5, 5), 1.0)?;
        imgproc::resize(&self.smooth, &mut self.coarse, area.size(), 0.0, 0.0, INTER_LINEAR)
    }
}

/// The area with whole cells, counted from the picture's corner, so that they stand still while a box moves.
fn aligned(area: Rect, cell: i32, picture: frame::Size) -> Rect {
    let (left, top) = (area.x / cell * cell, area.y / cell * cell);
    let end = |end: i32, side: u32| {
        let next = i64::from(end - 1) / i64::from(cell) + 1;
        (next * i64::from(cell)).min(side.into()) as i32
    };
    let right = end(area.x + area.width, picture.width);
    let bottom = end(area.y + area.height, picture.height);
    Rect::new(left, top, right - left, bottom - top)
}

/// Puts what lies in the shapes from a picture of an area into the whole picture.
fn put(coarse: &Mat, area: Rect, mat: &mut Mat, shapes: &[Shape]) -> opencv::Result<()> {
    let channels = mat.channels() as usize;
    let size = frame::Size::new(mat.cols().unsigned_abs(), mat.rows().unsigned_abs());
    let (wide, high) = (mat.cols() as usize * channels, area.width as usize * channels);
    let (left, top) = (area.x as usize, area.y as usize);
    let from = coarse.data_bytes()?;
    let to = mat.data_bytes_mut()?;
    each_span(shapes, size, |row, Span { start, end }| {
        let row = row as usize;
        let source = (row - top) * high;
        let source = &from[source + (start - left) * channels..source + (end - left) * channels];
        to[row * wide + start * channels..row * wide + end * channels].copy_from_slice(source);
    });
    Ok(())
}

fn fill(
    mat: &mut Mat,
    shapes: &[Shape],
    size: frame::Size,
    color: opencv::core::Scalar,
) -> opencv::Result<()> {
    let channels = mat.channels() as usize;
    let wide = mat.cols() as usize * channels;
    let color = [color[0] as u8, color[1] as u8, color[2] as u8];
    let to = mat.data_bytes_mut()?;
    each_span(shapes, size, |row, Span { start, end }| {
        let row = row as usize * wide;
        for pixel in to[row + start * channels..row + end * channels].chunks_exact_mut(channels) {
            pixel.copy_from_slice(&color[..channels]);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use opencv::core;

    use super::super::found::tests::{odd_boxes, thing};
    use super::super::kept::tests::{bytes, run, square, stage};
    use super::*;
    use crate::frame::{Detection, Identity, Image};

    /// Pixels in no order.
    fn noise((width, height): (i32, i32), channels: usize) -> Frame {
        let mut mat = square((width, height), Rect::new(0, 0, 0, 0), channels).image.into_mat();
        core::set_rng_seed(7).unwrap();
        core::randu(&mut mat, &0.0, &256.0).unwrap();
        Frame::new(Identity::default(), Image::new(mat).unwrap())
    }

    fn blurred(args: &[(&str, &str)], mut frame: Frame, things: Vec<Detection>) -> Frame {
        frame.findings.detections = things;
        run(&mut stage("blur-boxes", args).worker().unwrap(), frame)
    }

    /// Which pixels are not what they were.
    fn changed(args: &[(&str, &str)], things: Vec<Detection>) -> Vec<(usize, usize)> {
        let (before, after) = (noise((64, 48), 3), blurred(args, noise((64, 48), 3), things));
        let pixels = bytes(&before).chunks(3).zip(bytes(&after).chunks(3)).enumerate();
        pixels.filter(|(_, (a, b))| a != b).map(|(at, _)| (at % 64, at / 64)).collect()
    }

    #[test]
    fn the_box_changes_and_nothing_else() {
        let at = || vec![thing("a", [10.0, 8.0, 30.0, 20.0]), thing("b", [0.0, 0.0, 64.0, 48.0])];
        for how in ["blur", "pixelate", "fill"] {
            let changed = changed(&[("how", how), ("margin", "0"), ("labels", "a")], at());
            assert!(changed.iter().all(|(x, y)| (10..40).contains(x) && (8..28).contains(y)), "{how}");
            assert!(changed.len() > 590, "{how} changed {} of 600 pixels", changed.len());
        }
    }

    #[test]
    fn a_box_grows_by_its_margin_and_stays_in_the_picture() {
        let at = vec![thing("a", [40.0, 30.0, 20.0, 10.0])];
        let changed = changed(&[("how", "fill"), ("margin", "0.5"), ("color", "white")], at);
        assert_eq!((changed.first(), changed.last()), (Some(&(30, 25)), Some(&(63, 44))));
        assert_eq!(changed.len(), 34 * 20);
    }

    #[test]
    fn an_ellipse_leaves_the_corners() {
        let at = vec![thing("a", [10.0, 8.0, 40.0, 30.0])];
        let changed = changed(&[("how", "fill"), ("margin", "0"), ("shape", "ellipse")], at);
        assert!(!changed.contains(&(11, 9)) && changed.contains(&(30, 8)) && changed.contains(&(10, 23)));
        let area = std::f64::consts::PI * 20.0 * 15.0;
        assert!((changed.len() as f64 / area - 1.0).abs() < 0.1, "{} pixels", changed.len());
    }

    /// However small or large a box is, about as many details of it are left.
    #[test]
    fn a_larger_box_is_coarser() {
        for (side, cells) in [(24.0, 6..=7), (100.0, 5..=8), (400.0, 5..=8)] {
            let at = [0.0, 0.0, side, side];
            let frame =
                blurred(&[("how", "pixelate"), ("margin", "0")], noise((400, 400), 1), vec![thing("", at)]);
            let row = &bytes(&frame)[..side as usize];
            let found = row.chunk_by(|a, b| a == b).count();
            assert!(cells.contains(&found), "{found} cells in {side} pixels");
        }
    }

    #[test]
    fn it_is_the_same_in_whatever_order_things_were_found() {
        let mut things: Vec<_> =
            (0..40).map(|n| n as f32).map(|n| thing("", [n, n / 2.0, 3.0 + n, 40.0 - n])).collect();
        for how in ["blur", "pixelate", "fill"] {
            let before = blurred(&[("how", how)], noise((64, 48), 3), things.clone());
            things.reverse();
            let after = blurred(&[("how", how)], noise((64, 48), 3), things.clone());
            assert_eq!(bytes(&before), bytes(&after));
        }
    }

    #[test]
    fn odd_boxes_do_no_harm() {
        for how in ["blur", "pixelate", "fill"] {
            for size in [(64, 48), (1, 1), (40_000, 1), (1, 40_000)] {
                for margin in ["0", "4"] {
                    let things = odd_boxes().into_iter().map(|at| thing("", at)).collect();
                    blurred(&[("how", how), ("margin", margin)], noise(size, 3), things);
                }
            }
        }
    }

    #[test]
    fn a_thousand_boxes_that_cover_a_picture_of_4k_cost_little_more_than_one() {
        let things = |count: usize| -> Vec<_> {
            (0..count)
                .map(|n| n as f32)
                .map(|n| thing("", [n, n, 3840.0 - 3.0 * n, 2160.0 - 2.0 * n]))
                .collect()
        };
        for shape in ["box", "ellipse"] {
            let frame = square((3840, 2160), Rect::new(0, 0, 0, 0), 3);
            let begin = Instant::now();
            blurred(&[("shape", shape)], frame, things(1000));
            let took = begin.elapsed();
            println!("{shape}: {took:?}");
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
    }
}
