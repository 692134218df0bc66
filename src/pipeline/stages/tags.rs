//! Words on a filled ground, as stages write them beside what was found.

use opencv::core::{Mat, Point, Rect, Size};
use opencv::imgproc::{self, LINE_AA};
use opencv::prelude::*;

use crate::frame;
use crate::pipeline::param::{Args, Color, Param, Range};

/// The parameter for the letters' size.
pub const SIZE: Param = Param::new(
    "size",
    Range::Integer(0, 512),
    "Height of a capital letter, in pixels; 0: by the picture's size.",
)
.or("0");

/// The parameter for where lines stand that belong to the whole picture.
pub const CORNER: Param = Param::new(
    "corner",
    Range::Choice(&["top-left", "top-right", "bottom-left", "bottom-right"]),
    "Where what belongs to the whole picture stands.",
)
.or("top-left");

const FONT: i32 = imgproc::FONT_HERSHEY_SIMPLEX;
/// Height of a capital letter of this font at scale 1, in pixels.
const CAPITAL: f64 = 21.0;
/// Letters of the longest line.
const MAX_LETTERS: usize = 48;

/// How words are written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letters {
    /// Height of a capital letter, in pixels.
    pub size: i32,
}

/// Words that OpenCV can write: a NUL in them would be a fault.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line(String);

/// A corner of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Corner {
    right: bool,
    bottom: bool,
}

/// The mean of width and height that a picture's lines and letters go by.
pub fn side(picture: frame::Size) -> f64 {
    (f64::from(picture.width) * f64::from(picture.height)).sqrt()
}

impl Letters {
    /// Of this size; 0 for one that can be read in a picture like this.
    pub fn of(size: i32, picture: frame::Size) -> Self {
        let fitting = || ((side(picture) / 54.0).round() as i32).clamp(8, 512);
        Letters { size: if size > 0 { size } else { fitting() } }
    }

    fn scale(self) -> f64 {
        f64::from(self.size) / CAPITAL
    }

    fn thickness(self) -> i32 {
        ((self.size + 5) / 11).max(1)
    }

    fn margin(self) -> i32 {
        (self.size / 4).max(2)
    }

    /// Width and height of a line with its ground.
    pub fn extent(self, line: &Line) -> opencv::Result<Size> {
        let mut below = 0;
        let words = imgproc::get_text_size(&line.0, FONT, self.scale(), self.thickness(), &mut below)?;
        Ok(Size::new(words.width + 2 * self.margin(), self.size + 2 * self.margin() + self.below()))
    }

    /// What letters as g have below the line.
    fn below(self) -> i32 {
        self.size / 4
    }

    /// Writes a line whose ground begins here.
    pub fn write(self, mat: &mut Mat, line: &Line, at: Point, ground: Color) -> opencv::Result<()> {
        let extent = self.extent(line)?;
        let gray = mat.channels() == 1;
        let plain = |color: Color| if gray { color.luma() } else { color.bgr() };
        let area = Rect::from_point_size(at, extent);
        imgproc::rectangle(mat, area, plain(ground), imgproc::FILLED, imgproc::LINE_8, 0)?;
        let base = Point::new(at.x + self.margin(), at.y + self.margin() + self.size);
        let color = plain(readable_on(ground));
        imgproc::put_text(mat, &line.0, base, FONT, self.scale(), color, self.thickness(), LINE_AA, false)
    }

    /// Writes lines into a corner, one below the other, as many as the picture has room for.
    pub fn column(self, mat: &mut Mat, lines: &[Line], corner: Corner, ground: Color) -> opencv::Result<()> {
        let picture = mat.size()?;
        let high = self.extent(&Line::default())?.height;
        let fit = usize::try_from(picture.height / high).unwrap_or(0).max(1);
        let lines = &lines[..lines.len().min(fit)];
        let all = high.saturating_mul(lines.len() as i32);
        let mut y = if corner.bottom { picture.height - all } else { 0 };
        for line in lines {
            let wide = self.extent(line)?.width;
            let x = if corner.right { picture.width - wide } else { 0 };
            self.write(mat, line, Point::new(x, y), ground)?;
            y += high;
        }
        Ok(())
    }
}

impl Corner {
    /// As the parameter says.
    pub fn of(args: &Args) -> Self {
        let corner = args.choice(CORNER.name);
        Corner { right: corner.ends_with("right"), bottom: corner.starts_with("bottom") }
    }
}

/// Black or white.
fn readable_on(ground: Color) -> Color {
    if ground.luma()[0] < 128.0 { Color::new(255, 255, 255) } else { Color::new(0, 0, 0) }
}

impl Line {
    /// What can be written of a text from anywhere: no control characters, and not too many letters.
    pub fn of(text: &str) -> Self {
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let mut line: String = text.chars().take(MAX_LETTERS).map(visible).collect();
        if text.chars().nth(MAX_LETTERS).is_some() {
            line += "...";
        }
        Line(line)
    }

    /// The words.
    pub fn words(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_grow_with_the_picture() {
        let sizes =
            [(640, 360), (1920, 1080), (1, 1)].map(|(w, h)| Letters::of(0, frame::Size::new(w, h)).size);
        assert_eq!(sizes, [9, 27, 8]);
        assert_eq!(Letters::of(40, frame::Size::new(1, 1)).size, 40);
    }

    #[test]
    fn a_line_has_an_end_and_no_control_characters() {
        assert_eq!(Line::of("a\0b\nc").words(), "a b c");
        assert_eq!(Line::of(&"x".repeat(48)).words(), "x".repeat(48));
        assert_eq!(Line::of(&"é".repeat(5000)).words(), format!("{}...", "é".repeat(48)));
    }

    #[test]
    fn letters_can_be_read_on_every_ground() {
        assert_eq!(readable_on(Color::new(255, 255, 0)), Color::new(0, 0, 0));
        assert_eq!(readable_on(Color::new(0, 0, 255)), Color::new(255, 255, 255));
    }
}
