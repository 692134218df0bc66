//! Legible text on a picture: OpenCV's stroke font, drawn large and scaled down.

use opencv::core::{CV_8UC1, Mat, Point, Scalar, Size, Vec3b};
use opencv::imgproc::{self, FONT_HERSHEY_DUPLEX, INTER_AREA, LINE_AA};
use opencv::prelude::*;

use crate::picture::PictureError;

const OVERSAMPLING: i32 = 4;
/// Pixels of a capital letter of this font at scale 1.
const CAPITAL: f64 = 22.0;

/// A color: blue, green, red.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ink(pub u8, pub u8, pub u8);

/// One style of text.
#[derive(Debug, Clone, Copy)]
pub struct Lettering {
    ink: Ink,
    scale: f64,
    stroke: i32,
}

impl Lettering {
    /// `size` is that of a type, in pixels: its capitals are about two thirds as high.
    pub fn new(size: i32, ink: Ink) -> Lettering {
        let scale = f64::from(size * OVERSAMPLING) * 0.68 / CAPITAL;
        let stroke = ((f64::from(size * OVERSAMPLING) * 0.055).round() as i32).max(1);
        Lettering { ink, scale, stroke }
    }

    /// In pixels of the picture.
    pub fn width(&self, text: &str) -> Result<i32, PictureError> {
        Ok(self.measure(&ascii(text))?.0.width / OVERSAMPLING)
    }

    /// The text, or as much of its beginning as fits.
    pub fn shorten(&self, text: &str, width: i32) -> Result<String, PictureError> {
        let mut kept = ascii(text);
        if self.width(&kept)? <= width {
            return Ok(kept);
        }
        while !kept.is_empty() && self.width(&format!("{kept}..."))? > width {
            kept.pop();
        }
        Ok(format!("{}...", kept.trim_end()))
    }

    /// Writes with the left end of its baseline at `origin`. What lies outside the picture is cut off.
    pub fn draw(&self, picture: &mut Mat, text: &str, origin: Point) -> Result<(), PictureError> {
        let text = ascii(text);
        let (size, below) = self.measure(&text)?;
        let pad = OVERSAMPLING;
        let mask_size = Size::new(
            (size.width + 2 * pad).next_multiple_of_oversampling(),
            (size.height + below + 2 * pad).next_multiple_of_oversampling(),
        );
        let mut large = Mat::new_size_with_default(mask_size, CV_8UC1, Scalar::all(0.0))?;
        let baseline = (size.height + pad).next_multiple_of_oversampling().min(mask_size.height);
        let start = Point::new(pad, baseline);
        let white = Scalar::all(255.0);
        imgproc::put_text(
            &mut large,
            &text,
            start,
            FONT_HERSHEY_DUPLEX,
            self.scale,
            white,
            self.stroke,
            LINE_AA,
            false,
        )?;
        let mut mask = Mat::default();
        let small = Size::new(mask_size.width / OVERSAMPLING, mask_size.height / OVERSAMPLING);
        imgproc::resize(&large, &mut mask, small, 0.0, 0.0, INTER_AREA)?;
        self.blend(picture, &mask, Point::new(origin.x - 1, origin.y - baseline / OVERSAMPLING))
    }

    fn measure(&self, text: &str) -> Result<(Size, i32), PictureError> {
        let mut below = 0;
        let size = imgproc::get_text_size(text, FONT_HERSHEY_DUPLEX, self.scale, self.stroke, &mut below)?;
        // The measure knows a baseline, but no descenders as deep as g and p have.
        Ok((size, below + size.height / 3))
    }

    fn blend(&self, picture: &mut Mat, mask: &Mat, corner: Point) -> Result<(), PictureError> {
        let ink = [self.ink.0, self.ink.1, self.ink.2];
        for y in 0..mask.rows() {
            let Some(row) = Some(y + corner.y).filter(|row| (0..picture.rows()).contains(row)) else {
                continue;
            };
            let coverage = mask.at_row::<u8>(y)?;
            let pixels = picture.at_row_mut::<Vec3b>(row)?;
            for (x, covered) in coverage.iter().enumerate() {
                let column = usize::try_from(x as i32 + corner.x).unwrap_or(usize::MAX);
                let Some(pixel) = pixels.get_mut(column) else { continue };
                for (value, ink) in pixel.0.iter_mut().zip(ink) {
                    let (covered, paper) = (u32::from(*covered), u32::from(*value));
                    *value = ((u32::from(ink) * covered + paper * (255 - covered)) / 255) as u8;
                }
            }
        }
        Ok(())
    }
}

trait NextMultiple {
    fn next_multiple_of_oversampling(self) -> i32;
}

impl NextMultiple for i32 {
    fn next_multiple_of_oversampling(self) -> i32 {
        (self + OVERSAMPLING - 1) / OVERSAMPLING * OVERSAMPLING
    }
}

/// The font knows no other characters.
fn ascii(text: &str) -> String {
    text.chars().map(|character| if (' '..='~').contains(&character) { character } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencv::core::CV_8UC3;

    #[test]
    fn text_that_is_too_wide_is_shortened() {
        let lettering = Lettering::new(15, Ink(0, 0, 0));
        let short = lettering.shorten(&"wide ".repeat(40), 200).unwrap();
        assert!(short.ends_with("...") && lettering.width(&short).unwrap() <= 200);
        assert_eq!(lettering.shorten("a", 200).unwrap(), "a");
    }

    #[test]
    fn text_beyond_the_edges_is_cut() {
        let mut picture = Mat::new_rows_cols_with_default(20, 30, CV_8UC3, Scalar::all(255.0)).unwrap();
        for (x, y) in [(-50, 10), (25, 10), (0, -40), (0, 60), (2, 14)] {
            Lettering::new(14, Ink(0, 0, 0)).draw(&mut picture, "gyp", Point::new(x, y)).unwrap();
        }
        assert!(picture.data_bytes().unwrap().iter().any(|value| *value < 128));
    }
}
