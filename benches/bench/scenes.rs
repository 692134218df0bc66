//! What is seen in the frames: made in code, the same every time.
//!
//! The easy clip is a cartoon: flat areas, a gradient, outlines that move. The hard one is foliage in grain:
//! texture at every scale and noise in every pixel, which is the most that a codec has to do.

use opencv::core::{self, CV_8UC3, Mat, Point, Rect, Scalar, Size};
use opencv::imgproc;
use opencv::prelude::*;

use crate::Result;

/// Of either clip.
pub const FRAMES: i32 = 60;
const SIZE: Size = Size { width: 1280, height: 720 };
/// How far the hard clip's camera travels, in pixels.
const TRAVEL: i32 = 240;

/// Frame `at` of the easy clip.
pub fn cartoon(at: i32) -> Result<Mat> {
    let mut picture = Mat::new_size_with_default(SIZE, CV_8UC3, Scalar::default())?;
    for y in 0..SIZE.height {
        let level = f64::from(y) / f64::from(SIZE.height);
        let sky = Scalar::new(235.0 - 60.0 * level, 190.0 - 30.0 * level, 120.0 + 110.0 * level, 0.0);
        line(&mut picture, (Point::new(0, y), Point::new(SIZE.width, y)), sky)?;
    }
    let ink = Scalar::new(30.0, 25.0, 20.0, 0.0);
    // Hills.
    for (n, green) in [90.0, 130.0, 170.0].into_iter().enumerate() {
        let n = n as i32;
        for hill in 0..3 {
            let center =
                Point::new((hill * 560 + n * 210 - at * (n + 1)).rem_euclid(1700) - 200, 760 + n * 40);
            disc(&mut picture, (center, 300 - n * 40), Scalar::new(60.0, green, 80.0, 0.0), ink)?;
        }
    }
    // Houses with windows.
    for house in 0..5 {
        let corner = Point::new((house * 270 - at * 4).rem_euclid(1450) - 140, 430 + house % 3 * 40);
        let walls = Scalar::new(90.0 + 30.0 * f64::from(house), 140.0, 220.0 - 25.0 * f64::from(house), 0.0);
        block(&mut picture, Rect::from_point_size(corner, Size::new(130, 170)), walls, ink)?;
        for window in 0..6 {
            let pane = corner + Point::new(15 + window % 2 * 60, 15 + window / 2 * 50);
            let light = Scalar::new(200.0, 240.0, 250.0, 0.0);
            block(&mut picture, Rect::from_point_size(pane, Size::new(40, 34)), light, ink)?;
        }
    }
    // Balls that cross each other.
    for ball in 0..8 {
        let bounce = (at * (7 + ball) + ball * 97).rem_euclid(720) - 360;
        let center = Point::new((ball * 190 + at * (3 + ball % 3)).rem_euclid(1280), 120 + bounce.abs());
        let paint = Scalar::new(f64::from(ball * 31 % 256), f64::from(ball * 83 % 256), 230.0, 0.0);
        disc(&mut picture, (center, 34 + ball * 4), paint, ink)?;
    }
    Ok(picture)
}

fn line(picture: &mut Mat, (from, to): (Point, Point), paint: Scalar) -> Result<()> {
    Ok(imgproc::line(picture, from, to, paint, 1, imgproc::LINE_8, 0)?)
}

fn disc(picture: &mut Mat, (center, radius): (Point, i32), paint: Scalar, ink: Scalar) -> Result<()> {
    imgproc::circle(picture, center, radius, paint, imgproc::FILLED, imgproc::LINE_AA, 0)?;
    Ok(imgproc::circle(picture, center, radius, ink, 3, imgproc::LINE_AA, 0)?)
}

fn block(picture: &mut Mat, place: Rect, paint: Scalar, ink: Scalar) -> Result<()> {
    imgproc::rectangle(picture, place, paint, imgproc::FILLED, imgproc::LINE_8, 0)?;
    Ok(imgproc::rectangle(picture, place, ink, 2, imgproc::LINE_8, 0)?)
}

/// What the hard clip's camera travels over: noise at every scale, more of it the larger the scale is.
pub fn foliage() -> Result<Mat> {
    let size = Size::new(SIZE.width + TRAVEL, SIZE.height + TRAVEL);
    let mut texture = Mat::new_size_with_default(size, CV_8UC3, Scalar::new(90.0, 120.0, 100.0, 0.0))?;
    for (scale, weight) in [(2, 0.14), (4, 0.2), (8, 0.24), (32, 0.3), (96, 0.4)] {
        let coarse = Size::new(size.width / scale, size.height / scale);
        let mut noise = Mat::new_size_with_default(coarse, CV_8UC3, Scalar::default())?;
        fill_with_noise(&mut noise, scale.unsigned_abs())?;
        let (mut fine, mut sum) = (Mat::default(), Mat::default());
        imgproc::resize(&noise, &mut fine, size, 0.0, 0.0, imgproc::INTER_CUBIC)?;
        core::add_weighted(&texture, 1.0, &fine, weight, -128.0 * weight, &mut sum, -1)?;
        texture = sum;
    }
    Ok(texture)
}

/// Frame `at` of the hard clip.
pub fn grain(texture: &Mat, at: i32) -> Result<Mat> {
    let corner = Point::new(at * TRAVEL / FRAMES, at * TRAVEL / FRAMES / 2);
    let view = Mat::roi(texture, Rect::from_point_size(corner, SIZE))?;
    let mut noise = Mat::new_size_with_default(SIZE, CV_8UC3, Scalar::default())?;
    fill_with_noise(&mut noise, 1000 + at.unsigned_abs())?;
    let mut picture = Mat::default();
    core::add_weighted(&view, 1.0, &noise, 0.08, -128.0 * 0.08, &mut picture, -1)?;
    Ok(picture)
}

/// Xorshift: a random number for every byte.
fn fill_with_noise(picture: &mut Mat, seed: u32) -> Result<()> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for byte in picture.data_bytes_mut()? {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = (state >> 32) as u8;
    }
    Ok(())
}
