//! `crop-boxes`: the part of the picture with the best thing in it.

use opencv::core::{Mat, Rect};
use opencv::prelude::*;

use super::found::{Edges, LABELS, Labels};
use super::resize::{Mode, Resize};
use crate::error::Error;
use crate::frame::{Detection, Frame, Size};
use crate::pipeline::param::{Args, Param, Range, Value};
use crate::pipeline::placement::Placement;
use crate::pipeline::stage::{Colors, Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "crop-boxes",
    group: Group::Geometry,
    doc: "The part of the picture with one of the things that the stages before it found. What else was found moves \
          along, and is left out where nothing of it lies in that part. A picture without such a thing stays whole; \
          with `size` it is brought to that size too, so that all of a stream have one.",
    params: &[
        Param::new(
            "pick",
            Range::Choice(&["best", "largest", "first"]),
            "The thing with the greatest score, with the largest area in the picture, or the first that was found.",
        )
        .or("best"),
        Param::new(
            "margin",
            Range::Number(0.0, 4.0),
            "By which part of its width and height the box grows, on each side.",
        )
        .or("0.1"),
        Param::new(
            "size",
            Range::Text(11),
            "WIDTHxHEIGHT of the result in pixels, each 1 to 16384; empty: as large as the part is.",
        )
        .or(""),
        Param::new(
            "mode",
            Range::Choice(&["fit", "stretch"]),
            "With a size: keep the proportions and fill the rest with `color`, or don't.",
        )
        .or("fit"),
        Param::new("color", Range::Color, "What `fit` fills with.").or("black"),
        LABELS,
    ],
    example: "faces=draw=false | crop-boxes=largest,0.3,256x256",
    build,
};

/// What `size` may be.
const SIZES: Range = Range::Size(16_384);

#[derive(Debug, Clone)]
struct CropBoxes {
    pick: Pick,
    margin: f64,
    resize: Option<Resize>,
    labels: Labels,
}

#[derive(Debug, Clone, Copy)]
enum Pick {
    Best,
    Largest,
    First,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let mode = if args.choice("mode") == "stretch" { Mode::Stretch } else { Mode::Fit };
    let size = size(&args.text("size"))?;
    Ok(Box::new(CropBoxes {
        pick: match args.choice("pick") {
            "largest" => Pick::Largest,
            "first" => Pick::First,
            _ => Pick::Best,
        },
        margin: args.number("margin"),
        resize: size.map(|size| Resize::smooth(size, mode, args.color("color"))),
        labels: Labels::parse(&args.text("labels")),
    }))
}

fn size(text: &str) -> Result<Option<Size>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    match SIZES.parse(text) {
        Some(Value::Size(size)) => Ok(Some(size)),
        _ => {
            let reason = format!("`size` is `{text}`, and may be empty or {SIZES}");
            Err(Error::Stage { stage: KIND.name, reason })
        }
    }
}

impl Stage for CropBoxes {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        Ok(Box::new(Worker { crop: self.clone(), fitted: Mat::default() }))
    }

    /// The part is no larger than the picture.
    fn output_size(&self, input: Size) -> Result<Size, Error> {
        Ok(self.resize.map_or(input, |resize| resize.size()))
    }

    fn colors(&self) -> Colors {
        Colors::Alike
    }
}

struct Worker {
    crop: CropBoxes,
    fitted: Mat,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, scratch: &mut Mat) -> Result<(), Error> {
        let Worker { crop, fitted } = self;
        if let Some(area) = crop.area(&frame.findings.detections, frame.image.size()) {
            let size = Size::new(area.width.unsigned_abs(), area.height.unsigned_abs());
            let part = Placement::moved(-f64::from(area.x), -f64::from(area.y));
            part.place_all(&mut frame.findings, size);
            frame.image.update(scratch, |from, to| from.roi(area)?.copy_to(to))?;
        }
        let cut = frame.image.size();
        if let Some(resize) = crop.resize.filter(|resize| resize.size() != cut) {
            resize.placement(cut).place_all(&mut frame.findings, resize.size());
            frame.image.update(scratch, |from, to| resize.apply(from, to, fitted))?;
        }
        Ok(())
    }
}

impl CropBoxes {
    /// Where the thing is that is wanted, in the picture and with its margin.
    fn area(&self, things: &[Detection], picture: Size) -> Option<Rect> {
        let wanted = things.iter().filter(|thing| self.labels.wants(thing));
        let mut best: Option<(f64, Rect)> = None;
        for thing in wanted {
            // Nothing of it shows where only its margin does.
            let Some(edges) = Edges::of(thing) else { continue };
            let Some(shown) = edges.pixels(picture) else { continue };
            let rank = match self.pick {
                Pick::Best if thing.score.is_nan() => f64::NEG_INFINITY,
                Pick::Best => thing.score.into(),
                Pick::Largest => f64::from(shown.width) * f64::from(shown.height),
                Pick::First => 0.0,
            };
            if best.is_none_or(|(best, _)| rank > best) {
                best = Some((rank, edges.grown(self.margin).pixels(picture).unwrap_or(shown)));
            }
        }
        best.map(|(_, area)| area)
    }
}

#[cfg(test)]
mod tests {
    use super::super::found::tests::{odd_boxes, thing};
    use super::super::kept::tests::{run, square, stage};
    use super::*;

    fn cropped(args: &[(&str, &str)], size: (i32, i32), things: Vec<Detection>) -> Frame {
        let mut frame = square(size, Rect::new(40, 30, 20, 10), 3);
        frame.findings.detections = things;
        run(&mut stage("crop-boxes", args).worker().unwrap(), frame)
    }

    fn scored(score: f32, at: [f32; 4]) -> Detection {
        Detection { score, ..thing("a", at) }
    }

    fn size(frame: &Frame) -> [u32; 2] {
        [frame.image.size().width, frame.image.size().height]
    }

    #[test]
    fn the_part_is_that_of_the_thing_that_is_wanted() {
        let things = || {
            vec![
                scored(0.5, [0.0, 0.0, 10.0, 12.0]),
                scored(f32::NAN, [0.0, 0.0, 11.0, 9.0]),
                scored(0.9, [50.0, 40.0, 14.0, 16.0]),
                Detection { label: "b".into(), ..scored(0.9, [20.0, 20.0, 30.0, 20.0]) },
            ]
        };
        let picked = |args: &[_]| size(&cropped(&[args, &[("margin", "0")]].concat(), (160, 120), things()));
        assert_eq!(picked(&[]), [14, 16]);
        assert_eq!(picked(&[("pick", "first")]), [10, 12]);
        assert_eq!(picked(&[("pick", "largest")]), [30, 20]);
        assert_eq!(picked(&[("pick", "largest"), ("labels", "a")]), [14, 16]);
        assert_eq!(picked(&[("labels", "c")]), [160, 120], "without one the picture stays whole");
    }

    #[test]
    fn what_was_found_moves_along_or_is_left_out() {
        let things = || {
            vec![
                Detection { points: vec![50.0, 35.0], ..thing("a", [40.0, 30.0, 20.0, 10.0]) },
                thing("reaches in", [0.0, 0.0, 42.0, 33.0]),
                thing("outside", [70.0, 30.0, 20.0, 10.0]),
                thing("none", [45.0, 35.0, f32::NAN, 3.0]),
            ]
        };
        let frame = cropped(&[("margin", "0.1"), ("labels", "a")], (160, 120), things());
        assert_eq!(size(&frame), [24, 12]);
        let found = &frame.findings.detections;
        let boxes: Vec<_> = found.iter().map(|d| [d.x, d.y, d.width, d.height]).collect();
        assert_eq!(boxes, [[2.0, 1.0, 20.0, 10.0], [0.0, 0.0, 4.0, 4.0]]);
        assert_eq!(found[0].points, [12.0, 6.0]);
        assert_eq!(frame.image.mat().at_2d::<opencv::core::Vec3b>(6, 12).unwrap()[0], 255);

        // 20x10 in 100x100: five times as large, in the middle.
        let args = [("margin", "0"), ("labels", "a"), ("size", "100x100")];
        let frame = cropped(&args, (160, 120), things());
        let found = &frame.findings.detections[0];
        assert_eq!(size(&frame), [100, 100]);
        assert_eq!([found.x, found.y, found.width, found.height], [0.0, 25.0, 100.0, 50.0]);
        assert_eq!(found.points, [50.0, 50.0]);
    }

    #[test]
    fn with_a_size_all_results_have_it() {
        let things = || vec![thing("a", [40.0, 30.0, 20.0, 10.0])];
        for mode in ["fit", "stretch"] {
            let args = [("size", "50x40"), ("mode", mode), ("labels", "a")];
            let whole = cropped(&args, (100, 80), vec![thing("b", [90.0, 70.0, 8.0, 1.0])]);
            assert_eq!(size(&whole), [50, 40]);
            assert_eq!(
                whole.findings.detections[0].x, 45.0,
                "what lies elsewhere is kept with the whole picture"
            );
            assert_eq!(size(&cropped(&args, (100, 80), things())), [50, 40]);
        }
    }

    #[test]
    fn a_wrong_size_is_refused() {
        let wrong = |text: &str| super::size(text).unwrap_err().to_string();
        let expected = "crop-boxes: `size` is `0x5`, and may be empty or WIDTHxHEIGHT, each 1 to 16384";
        assert_eq!(wrong("0x5"), expected);
        assert!(wrong("640").contains("`640`"));
    }

    #[test]
    fn odd_boxes_do_no_harm() {
        for at in odd_boxes() {
            for size in [(64, 48), (1, 1), (40_000, 1)] {
                for args in
                    [&[("margin", "4")][..], &[("size", "9x7")], &[("size", "9x7"), ("mode", "stretch")]]
                {
                    let things = vec![Detection { points: at.to_vec(), ..thing("", at) }];
                    cropped(args, size, things);
                }
            }
        }
    }
}
