//! A moving picture that needs no file: the same frames every time, each with its number.

use std::f64::consts::TAU;
use std::str::FromStr;

use opencv::core::{CV_8UC3, Mat, Point, Rect, Scalar, Vec3b};
use opencv::imgproc::{self, FONT_HERSHEY_DUPLEX, LINE_AA};
use opencv::prelude::*;

use super::probe::Sound;
use super::{Arrival, Facts, Source, SourceFrame};
use crate::failure::Failure;
use crate::picture::{Picture, PictureError};

const DEFAULT_SECONDS: f64 = 10.0;
const MAX_SIDE: i32 = 16_384;

/// What stands after `test:`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PatternSize {
    width: i32,
    height: i32,
    fps: f64,
}

pub struct Pattern {
    size: PatternSize,
    /// Wide enough that the background can move by choosing another part of it.
    background: Mat,
    facts: Facts,
    frame: u64,
    last: u64,
}

impl FromStr for PatternSize {
    type Err = String;

    fn from_str(text: &str) -> Result<PatternSize, String> {
        let (size, fps) = text.split_once('@').unwrap_or((text, "30"));
        let (width, height) =
            size.split_once('x').ok_or("write test:WIDTHxHEIGHT@FPS, as in test:1280x720@30")?;
        let side = |text: &str| match text.parse() {
            Ok(side) if (16..=MAX_SIDE).contains(&side) => Ok(side),
            _ => Err(format!("'{text}' pixels, where a side has 16 to {MAX_SIDE}")),
        };
        let fps = crate::args::values::fps(fps)?;
        Ok(PatternSize { width: side(width)?, height: side(height)?, fps })
    }
}

impl Pattern {
    pub fn new(size: PatternSize, frames: Option<u64>) -> Result<Pattern, Failure> {
        let last = frames.unwrap_or((DEFAULT_SECONDS * size.fps).ceil() as u64);
        let facts = Facts {
            title: format!("test pattern {}x{} at {} fps", size.width, size.height, size.fps),
            frames: Some(last),
            fps: size.fps,
            arrival: Arrival::OnDemand,
            sound: Sound::Absent,
        };
        Ok(Pattern { size, background: background(size).map_err(Failure::usage)?, facts, frame: 0, last })
    }

    fn draw(&self) -> opencv::Result<Mat> {
        let PatternSize { width, height, fps } = self.size;
        let seconds = self.frame as f64 / fps;
        let shift = (self.frame as i64 * i64::from(width / 240 + 1) % i64::from(width)) as i32;
        let mut picture = Mat::roi(&self.background, Rect::new(shift, 0, width, height))?.try_clone()?;
        let unit = f64::from(width.min(height));
        let ball = Point::new(
            (f64::from(width) * (0.5 + 0.38 * (TAU * seconds / 4.0).sin())) as i32,
            (f64::from(height) * (0.5 + 0.34 * (TAU * seconds / 2.7).cos())) as i32,
        );
        let radius = (unit * 0.09) as i32;
        imgproc::circle(&mut picture, ball, radius, Scalar::new(40.0, 170.0, 250.0, 0.0), -1, LINE_AA, 0)?;
        imgproc::circle(&mut picture, ball, radius, Scalar::all(255.0), (radius / 12).max(1), LINE_AA, 0)?;
        draw_number(&mut picture, self.frame, unit)?;
        Ok(picture)
    }
}

impl Source for Pattern {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn next(&mut self) -> Result<Option<SourceFrame>, Failure> {
        if self.frame >= self.last {
            return Ok(None);
        }
        let picture = Picture::Pixels(self.draw()?);
        let timestamp_us = (self.frame as f64 / self.size.fps * 1e6).round() as i64;
        self.frame += 1;
        Ok(Some(SourceFrame { picture, timestamp_us, name: None }))
    }
}

/// Soft waves of color that repeat after the picture's width, with a grid for filters to find.
fn background(size: PatternSize) -> Result<Mat, PictureError> {
    let PatternSize { width, height, .. } = size;
    let cell = (width.min(height) / 8).max(2);
    let mut picture = Mat::new_rows_cols_with_default(height, width * 2, CV_8UC3, Scalar::all(0.0))?;
    for y in 0..height {
        let down = f64::from(y) / f64::from(height);
        let row = picture.at_row_mut::<Vec3b>(y)?;
        for (x, pixel) in row.iter_mut().enumerate() {
            let x = x as i32 % width;
            let along = f64::from(x) / f64::from(width);
            let wave = |phase: f64, turn: f64| {
                (0.5 + 0.5 * (TAU * (along + phase) + turn * down * 3.0).cos()) * 110.0
            };
            let line = if x % cell == 0 || y % cell == 0 { 50.0 } else { 0.0 };
            *pixel = Vec3b::from([
                (60.0 + wave(0.0, 1.0) + line) as u8,
                (40.0 + wave(0.33, -1.0) + line) as u8,
                (35.0 + wave(0.66, 0.6) + line) as u8,
            ]);
        }
    }
    Ok(picture)
}

fn draw_number(picture: &mut Mat, frame: u64, unit: f64) -> opencv::Result<()> {
    let text = frame.to_string();
    let (scale, thickness) = (unit / 360.0, (unit / 200.0).ceil() as i32);
    let mut baseline = 0;
    let size = imgproc::get_text_size(&text, FONT_HERSHEY_DUPLEX, scale, thickness, &mut baseline)?;
    let margin = (unit * 0.03) as i32;
    let plate = Rect::new(margin, margin, size.width + 2 * margin, size.height + 2 * margin);
    imgproc::rectangle(picture, plate, Scalar::all(20.0), -1, LINE_AA, 0)?;
    let origin = Point::new(2 * margin, 2 * margin + size.height);
    imgproc::put_text(
        picture,
        &text,
        origin,
        FONT_HERSHEY_DUPLEX,
        scale,
        Scalar::all(255.0),
        thickness,
        LINE_AA,
        false,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_bounds() {
        assert_eq!("64x48@12.5".parse(), Ok(PatternSize { width: 64, height: 48, fps: 12.5 }));
        assert_eq!("64x48".parse(), Ok(PatternSize { width: 64, height: 48, fps: 30.0 }));
        for bad in ["", "64", "64x", "8x64", "64x99999", "64x48@0", "64x48@x", "64x-48"] {
            assert!(bad.parse::<PatternSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn it_moves_and_is_the_same_every_time() {
        let draw = |frame| {
            let mut pattern = Pattern::new("64x48@10".parse().unwrap(), Some(9)).unwrap();
            pattern.frame = frame;
            pattern.draw().unwrap().data_bytes().unwrap().to_vec()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}
