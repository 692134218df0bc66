//! `text`: words and numbers written on the picture.

use std::fmt::Write;

use opencv::core::{Mat, Point, Rect};
use opencv::imgproc::{self, LINE_AA};

use crate::error::Error;
use crate::frame::{Frame, Identity, Size};
use crate::pipeline::param::{Args, Color, Param, Range};
use crate::pipeline::stage::{Group, Stage, StageKind, StageWorker};

pub const KIND: StageKind = StageKind {
    name: "text",
    group: Group::Draw,
    doc: "One line of text. In it `{frame}` stands for the frame's number, `{time}` for its timestamp, `{width}` \
          and `{height}` for the picture's size, `{{` and `}}` for braces. The font has the characters of ASCII; \
          others show as `?`. On a gray picture it has the color's luma.",
    params: &[
        Param::new("text", Range::Text(256), "What is written."),
        Param::new(
            "corner",
            Range::Choice(&["top-left", "top-right", "bottom-left", "bottom-right"]),
            "Where it stands, and from where `x` and `y` are counted.",
        )
        .or("top-left"),
        Param::new("x", Range::Integer(-16_384, 16_384), "From the corner's side to the text, in pixels.")
            .or("8"),
        Param::new("y", Range::Integer(-16_384, 16_384), "From its upper or lower edge, in pixels.").or("8"),
        Param::new("size", Range::Integer(4, 512), "Height of a capital letter, in pixels.").or("18"),
        Param::new("color", Range::Color, "Color of the letters.").or("white"),
        Param::new(
            "background",
            Range::Choice(&["outline", "area", "none"]),
            "What keeps it legible, black, or white behind dark letters.",
        )
        .or("outline"),
    ],
    example: "text='frame {frame}, {time}',bottom-left",
    build,
};

/// Height of a capital letter of this font at scale 1, in pixels.
const CAPITAL: f64 = 21.0;
const FONT: i32 = imgproc::FONT_HERSHEY_SIMPLEX;

#[derive(Debug, Clone)]
struct Text {
    template: Template,
    right: bool,
    bottom: bool,
    x: i32,
    y: i32,
    size: i32,
    color: Color,
    background: Background,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Background {
    Outline,
    Area,
    None,
}

/// Text with places for what differs from frame to frame.
#[derive(Debug, Clone, PartialEq)]
struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Literal(String),
    Frame,
    Time,
    Width,
    Height,
}

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    let corner = args.choice("corner");
    Ok(Box::new(Text {
        template: Template::parse(&args.text("text"))?,
        right: corner.ends_with("right"),
        bottom: corner.starts_with("bottom"),
        x: args.integer("x"),
        y: args.integer("y"),
        size: args.integer("size"),
        color: args.color("color"),
        background: match args.choice("background") {
            "area" => Background::Area,
            "none" => Background::None,
            _ => Background::Outline,
        },
    }))
}

impl Stage for Text {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        Ok(Box::new(Worker { text: self.clone(), line: String::new() }))
    }
}

struct Worker {
    text: Text,
    line: String,
}

impl StageWorker for Worker {
    fn apply(&mut self, frame: &mut Frame, _: &mut Mat) -> Result<(), Error> {
        self.line.clear();
        self.text.template.fill_in(&mut self.line, &frame.identity, frame.image.size());
        Ok(self.text.draw(&self.line, frame)?)
    }
}

impl Text {
    fn draw(&self, line: &str, frame: &mut Frame) -> opencv::Result<()> {
        let scale = f64::from(self.size) / CAPITAL;
        let thickness = ((self.size + 6) / 12).max(1);
        let mut below = 0;
        let extent = imgproc::get_text_size(line, FONT, scale, thickness, &mut below)?;
        let picture: opencv::core::Size = frame.image.size().into();
        let left = if self.right { picture.width - self.x - extent.width } else { self.x };
        let base = if self.bottom { picture.height - self.y - below } else { self.y + extent.height };

        let plain = |color: Color| if frame.image.is_gray() { color.luma() } else { color.bgr() };
        let (letters, contrast) = (plain(self.color), plain(self.contrast()));
        let mat = frame.image.mat_mut();
        let at = Point::new(left, base);
        match self.background {
            Background::None => {}
            Background::Outline => {
                imgproc::put_text(mat, line, at, FONT, scale, contrast, 3 * thickness, LINE_AA, false)?;
            }
            Background::Area => {
                let margin = thickness + 1;
                let area = Rect::new(
                    left - margin,
                    base - extent.height - margin,
                    extent.width + 2 * margin,
                    extent.height + below + 2 * margin,
                );
                imgproc::rectangle(mat, area, contrast, imgproc::FILLED, imgproc::LINE_8, 0)?;
            }
        }
        imgproc::put_text(mat, line, at, FONT, scale, letters, thickness, LINE_AA, false)
    }

    fn contrast(&self) -> Color {
        if self.color.luma()[0] < 96.0 { Color::new(255, 255, 255) } else { Color::new(0, 0, 0) }
    }
}

impl Template {
    fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Stage { stage: KIND.name, reason };
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let doubled = rest.starts_with("{{") || rest.starts_with("}}");
            if c == '}' && !doubled {
                return Err(wrong(format!("`}}` without `{{` in `{text}`: write `}}}}` for a brace")));
            }
            if c != '{' || doubled {
                // The font would show a control character as `?`; a NUL would even end the text.
                literal.push(if c.is_control() { ' ' } else { c });
                rest = &rest[if doubled { 2 } else { c.len_utf8() }..];
                continue;
            }
            let Some((name, after)) = rest[1..].split_once('}') else {
                return Err(wrong(format!("`{{` without `}}` in `{text}`: write `{{{{` for a brace")));
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(match name {
                "frame" => Part::Frame,
                "time" => Part::Time,
                "width" => Part::Width,
                "height" => Part::Height,
                _ => {
                    let known = "there are {frame}, {time}, {width} and {height}";
                    return Err(wrong(format!("nothing is known by `{{{name}}}`: {known}")));
                }
            });
            rest = after;
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Template(parts))
    }

    fn fill_in(&self, line: &mut String, identity: &Identity, size: Size) {
        for part in &self.0 {
            // Writing to a String can't fail.
            let _ = match part {
                Part::Literal(text) => line.write_str(text),
                Part::Frame => write!(line, "{}", identity.sequence),
                Part::Time => write_time(line, identity.timestamp_us),
                Part::Width => write!(line, "{}", size.width),
                Part::Height => write!(line, "{}", size.height),
            };
        }
    }
}

/// Hours, minutes, seconds and thousandths: `00:01:02.345`.
fn write_time(line: &mut String, timestamp_us: Option<i64>) -> std::fmt::Result {
    let Some(time) = timestamp_us else { return line.write_str("--:--:--.---") };
    let sign = if time < 0 { "-" } else { "" };
    let ms = time.unsigned_abs() / 1000;
    let (s, min, h) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    write!(line, "{sign}{h:02}:{:02}:{:02}.{:03}", min % 60, s % 60, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, identity: Identity) -> String {
        let mut line = String::new();
        Template::parse(text).unwrap().fill_in(&mut line, &identity, Size::new(640, 360));
        line
    }

    #[test]
    fn placeholders_are_filled_in() {
        let identity = Identity { sequence: 7, timestamp_us: Some(3_723_004_999), index: 0 };
        assert_eq!(written("#{frame} {time} {width}x{height}", identity), "#7 01:02:03.004 640x360");
        assert_eq!(written("{{frame}} }}{{", identity), "{frame} }{");
        assert_eq!(written("", identity), "");
        assert_eq!(written("a\0b\nc", identity), "a b c");
        assert_eq!(written("{frame}{frame}", identity), "77");
    }

    #[test]
    fn a_frame_without_a_timestamp_and_one_before_zero() {
        assert_eq!(written("{time}", Identity::default()), "--:--:--.---");
        let before = Identity { timestamp_us: Some(-1_500_000), ..Identity::default() };
        assert_eq!(written("{time}", before), "-00:00:01.500");
        let ends = [i64::MIN, i64::MAX].map(|us| Identity { timestamp_us: Some(us), ..Identity::default() });
        assert_eq!(ends.map(|end| written("{time}", end)), ["-2562047788:00:54.775", "2562047788:00:54.775"]);
    }

    #[test]
    fn a_wrong_template_is_refused() {
        let refused = |text: &str| Template::parse(text).unwrap_err().to_string();
        assert_eq!(
            refused("{fps}"),
            "text: nothing is known by `{fps}`: there are {frame}, {time}, {width} and {height}"
        );
        assert!(refused("50 {").contains("`{` without `}`"));
        assert!(refused("} 50").contains("`}` without `{`"));
        assert!(refused("{ frame }").contains("`{ frame }`"));
    }
}
