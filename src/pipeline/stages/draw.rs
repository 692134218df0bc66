//! `draw`: what was found, drawn on the picture.

use std::fmt::Write;

use opencv::core::{Mat, Point, Rect, Vector};
use opencv::imgproc::{self, FILLED, LINE_8, LINE_AA};

use super::found::{Edges, LABELS, Labels};
use super::tags::{self, CORNER, Corner, Letters, Line, SIZE};
use crate::error::Error;
use crate::frame::{Detection, Frame, Size};
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_frame};

pub const KIND: StageKind = StageKind {
    name: "draw",
    group: Group::Draw,
    doc: "Draws what the stages before it found, whoever did: boxes with their track, name, score and text, points \
          (four of them as an outline instead of the box), and in a corner the names for the whole picture. The \
          font has the characters of ASCII; others show as `?`. A gray picture is made BGR.",
    params: &[
        Param::new("color", Range::Color, "Color of what has neither track nor class, or of all.")
            .or("green"),
        Param::new(
            "colors",
            Range::Choice(&["auto", "one"]),
            "`auto`: one for each track, else for each class; `one`: all have `color`.",
        )
        .or("auto"),
        LABELS,
        Param::new("tags", Range::Flag, "Whether words stand by the boxes.").or("true"),
        Param::new(
            "thickness",
            Range::Integer(0, 255),
            "Width of lines, in pixels; 0: by the picture's size.",
        )
        .or("0"),
        SIZE,
        CORNER,
    ],
    example: "faces=draw=false | draw=yellow",
    build,
};

/// Points of one thing that are drawn.
const MAX_POINTS: usize = 1000;
/// Names for the whole picture that are written.
const MAX_NAMES: usize = 10;
/// Behind the names for the whole picture.
const GROUND: Color = Color::new(0, 0, 0);

#[derive(Debug, Clone)]
struct Draw {
    color: Color,
    one_color: bool,
    labels: Labels,
    tags: bool,
    thickness: i32,
    size: i32,
    corner: Corner,
}

/// How one picture is drawn on.
struct Pen<'a> {
    mat: &'a mut Mat,
    picture: Size,
    thickness: i32,
    letters: Letters,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(Draw {
        color: args.color("color"),
        one_color: args.choice("colors") == "one",
        labels: Labels::parse(&args.text("labels")),
        tags: args.flag("tags"),
        thickness: args.integer("thickness"),
        size: args.integer("size"),
        corner: Corner::of(args),
    }))
}

impl Stage for Draw {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let draw = self.clone();
        on_frame(move |frame, scratch| {
            frame.image.make_bgr(scratch)?;
            Ok(draw.apply(frame)?)
        })
    }
}

impl Draw {
    fn apply(&self, frame: &mut Frame) -> opencv::Result<()> {
        let picture = frame.image.size();
        let mut pen = Pen {
            mat: frame.image.mat_mut(),
            picture,
            thickness: if self.thickness > 0 { self.thickness } else { thickness(picture) },
            letters: Letters::of(self.size, picture),
        };
        let found = frame.findings.detections.iter().filter(|thing| self.labels.wants(thing));
        let things: Vec<_> = found.filter_map(|thing| Some((thing, Edges::of(thing)?))).collect();
        for (thing, edges) in &things {
            pen.outline(thing, edges, self.color(thing))?;
        }
        // Words last, so that no line crosses them.
        for (thing, edges) in things.iter().filter(|_| self.tags) {
            pen.tag(&tag(thing), edges, self.color(thing))?;
        }
        let names = frame.findings.labels.iter().take(MAX_NAMES);
        let names: Vec<_> =
            names.map(|label| Line::of(&format!("{} {:.2}", label.name, label.score))).collect();
        pen.letters.column(pen.mat, &names, self.corner, GROUND)
    }

    fn color(&self, thing: &Detection) -> Color {
        match (thing.track_id, thing.class_id) {
            _ if self.one_color => self.color,
            (Some(track), _) => color_of(track),
            (None, Some(class)) => color_of(class.into()),
            (None, None) => self.color,
        }
    }
}

impl Pen<'_> {
    fn outline(&mut self, thing: &Detection, edges: &Edges, color: Color) -> opencv::Result<()> {
        if thing.points.len() == 8 {
            return self.corners(&thing.points, color);
        }
        let area = self.area(edges);
        imgproc::rectangle(self.mat, area, color.bgr(), self.thickness, LINE_8, 0)?;
        let radius = self.thickness + 1;
        let (wide, high) = (self.picture.width as f32, self.picture.height as f32);
        for at in thing.points.chunks_exact(2).take(MAX_POINTS) {
            if (0.0..wide).contains(&at[0]) && (0.0..high).contains(&at[1]) {
                imgproc::circle(self.mat, point(at), radius, color.bgr(), FILLED, LINE_AA, 0)?;
            }
        }
        Ok(())
    }

    fn corners(&mut self, points: &[f32], color: Color) -> opencv::Result<()> {
        let corners: Vector<Point> = points.chunks_exact(2).map(point).collect();
        imgproc::polylines(self.mat, &corners, true, color.bgr(), self.thickness, LINE_AA, 0)
    }

    /// The box in whole pixels. What lies so far outside that no line of it shows is cut off, since OpenCV counts
    /// in 32 bits.
    fn area(&self, edges: &Edges) -> Rect {
        let around = f64::from(self.thickness) + 2.0;
        let cut = |edge: f64, side: u32| edge.round().clamp(-around, f64::from(side) + around) as i32;
        let (left, right) = (cut(edges.left, self.picture.width), cut(edges.right, self.picture.width));
        let (top, bottom) = (cut(edges.top, self.picture.height), cut(edges.bottom, self.picture.height));
        Rect::new(left, top, (right - left).max(1), (bottom - top).max(1))
    }

    /// Words above the box, or inside where the picture ends there.
    fn tag(&mut self, words: &Line, edges: &Edges, color: Color) -> opencv::Result<()> {
        let (wide, high) = (f64::from(self.picture.width), f64::from(self.picture.height));
        let seen = edges.left < wide && edges.top < high && edges.right > 0.0 && edges.bottom > 0.0;
        if words.words().is_empty() || !seen {
            return Ok(());
        }
        let extent = self.letters.extent(words)?;
        let area = self.area(edges);
        let half = self.thickness / 2;
        let x = (area.x - half).min(self.picture.width as i32 - extent.width).max(0);
        let above = area.y - half - extent.height;
        let y = if above >= 0 { above } else { area.y.max(0) };
        self.letters.write(self.mat, words, Point::new(x, y), color)
    }
}

/// Width of lines that are seen, and hide little, in a picture of this size.
fn thickness(picture: Size) -> i32 {
    (tags::side(picture) / 400.0 + 0.5).round().max(1.0) as i32
}

/// OpenCV counts in 32 bits, of which 16 are for parts of pixels.
fn point(at: &[f32]) -> Point {
    const FAR: f32 = 16_384.0;
    // NaN becomes 0.
    let [x, y] = [at[0], at[1]].map(|number| number.round().clamp(-FAR, 2.0 * FAR) as i32);
    Point::new(x, y)
}

/// `#7 person 0.93`: what there is of track, name, score and text.
fn tag(thing: &Detection) -> Line {
    let mut words = String::new();
    // Writing to a String can't fail.
    if let Some(track) = thing.track_id {
        let _ = write!(words, "#{track} ");
    }
    words += &thing.label;
    // Detectors that give none have a score of 1.
    if thing.score < 1.0 {
        let _ = write!(words, " {:.2}", thing.score);
    }
    if !thing.text.is_empty() {
        let _ = write!(words, " {}", thing.text);
    }
    Line::of(words.trim())
}

/// A color for a number; numbers that follow each other have colors far apart.
fn color_of(number: u64) -> Color {
    // Steps of the golden ratio around the circle of hues.
    let hue = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24) * 6.0;
    let part = |offset: f64| {
        let distance = ((hue + offset) % 6.0 - 3.0).abs();
        (255.0 * (distance - 1.0).clamp(0.0, 1.0)).round().max(40.0) as u8
    };
    Color::new(part(0.0), part(4.0), part(2.0))
}

#[cfg(test)]
mod tests {
    use super::super::found::tests::{odd_boxes, thing};
    use super::super::kept::tests::{bytes, run, square, stage};
    use super::*;
    use crate::frame::Label;

    fn drawn(args: &[(&str, &str)], size: (i32, i32), things: Vec<Detection>) -> Frame {
        let mut frame = square(size, Rect::new(0, 0, 0, 0), 3);
        frame.findings.detections = things;
        run(&mut stage("draw", args).worker().unwrap(), frame)
    }

    fn pixel(frame: &Frame, x: usize, y: usize) -> [u8; 3] {
        let at = (y * frame.image.size().width as usize + x) * 3;
        bytes(frame)[at..at + 3].try_into().unwrap()
    }

    #[test]
    fn boxes_have_the_color_of_their_track_then_class_then_the_one_given() {
        let at = [40.0, 30.0, 50.0, 40.0];
        let tracked = Detection { track_id: Some(7), class_id: Some(1), ..thing("a", at) };
        let classed = Detection { class_id: Some(1), ..thing("a", at) };
        let bgr = |color: Color| [color.blue, color.green, color.red];
        let color = |args: &[_], thing: &Detection| {
            let args = [args, &[("tags", "false")]].concat();
            pixel(&drawn(&args, (160, 120), vec![thing.clone()]), 40, 50)
        };
        assert_eq!(color(&[], &tracked), bgr(color_of(7)));
        assert_eq!(color(&[], &classed), bgr(color_of(1)));
        assert_eq!(color(&[("color", "red")], &thing("a", at)), [0, 0, 255]);
        assert_eq!(color(&[("color", "red"), ("colors", "one")], &tracked), [0, 0, 255]);
        assert_eq!(color(&[("labels", "b")], &tracked), [0, 0, 0]);
    }

    #[test]
    fn lines_grow_with_the_picture() {
        let sizes = [(320, 180), (640, 360), (1920, 1080), (3840, 2160)];
        assert_eq!(sizes.map(|(w, h)| thickness(Size::new(w, h))), [1, 2, 4, 8]);
    }

    #[test]
    fn words_say_what_there_is() {
        let mut found = Detection { score: 0.934, ..thing("person", [0.0; 4]) };
        assert_eq!(tag(&found).words(), "person 0.93");
        found.track_id = Some(7);
        assert_eq!(tag(&found).words(), "#7 person 0.93");
        let code = Detection { text: "https://a.b\n".into(), ..thing("qr", [0.0; 4]) };
        assert_eq!(tag(&code).words(), "qr https://a.b");
        assert_eq!(tag(&Detection { score: f32::NAN, ..Detection::default() }).words(), "");
    }

    #[test]
    fn words_stay_in_the_picture() {
        let corners = [[0.0, 0.0, 20.0, 20.0], [300.0, 0.0, 20.0, 20.0], [300.0, 160.0, 20.0, 20.0]];
        for at in corners {
            let with = drawn(&[("thickness", "1")], (320, 180), vec![thing("person", at)]);
            let without =
                drawn(&[("thickness", "1"), ("tags", "false")], (320, 180), vec![thing("person", at)]);
            let differ = bytes(&with).iter().zip(bytes(&without)).filter(|(a, b)| a != b).count();
            assert!(differ > 400, "{differ} samples of the words at {at:?}");
        }
    }

    #[test]
    fn names_of_the_picture_stand_in_the_corner() {
        for (corner, x, y) in [("top-left", 1, 1), ("bottom-right", 318, 178)] {
            let mut frame = square((320, 180), Rect::new(0, 0, 320, 180), 1);
            let label =
                |n: usize| Label { name: format!("name {n}"), score: 0.5, class_id: None, source: "" };
            frame.findings.labels = (0..5000).map(label).collect();
            let frame = run(&mut stage("draw", &[("corner", corner)]).worker().unwrap(), frame);
            assert_eq!(pixel(&frame, x, y), [0; 3], "{corner}");
            assert_eq!(pixel(&frame, 160, 90), [255; 3]);
        }
    }

    #[test]
    fn points_are_dots_and_four_of_them_an_outline() {
        let at = [20.0, 20.0, 100.0, 80.0];
        let points = |points: &[f32]| {
            let found = Detection { points: points.to_vec(), ..thing("", at) };
            drawn(&[("thickness", "2")], (160, 120), vec![found])
        };
        let five = points(&[40.0, 40.0, 60.0, 50.0, 1e30, f32::NAN, -5.0, 3.0, 80.0, 90.0]);
        assert_eq!([pixel(&five, 60, 50), pixel(&five, 20, 60)], [[0, 255, 0]; 2]);
        let four = points(&[30.0, 60.0, 70.0, 30.0, 100.0, 60.0, 70.0, 90.0]);
        assert_eq!([pixel(&four, 50, 45), pixel(&four, 20, 60)], [[0, 255, 0], [0, 0, 0]]);
    }

    #[test]
    fn odd_boxes_and_points_do_no_harm() {
        let things = odd_boxes().into_iter().map(|at| {
            let points = [&at[..], &at[..]].concat();
            Detection { points, track_id: Some(u64::MAX), ..thing(&"\u{0}é".repeat(999), at) }
        });
        let frame = drawn(&[], (160, 120), things.collect());
        assert_eq!(frame.image.size(), Size::new(160, 120));
        let without: Vec<_> = odd_boxes().into_iter().map(|at| thing("x", at)).collect();
        for size in [(1, 1), (40_000, 1), (1, 40_000)] {
            drawn(&[("thickness", "255"), ("size", "512")], size, without.clone());
        }
    }
}
