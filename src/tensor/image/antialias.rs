//! Resizing as PIL does it, and with it torchvision: filters that look at all that a pixel covers, across and then down,
//! in whole numbers. The pixels are PIL's own, to the last bit.

use opencv::core::Mat;
use opencv::prelude::*;

use super::{Interpolation, size_of};
use crate::error::Error;
use crate::frame::Size;

/// Bits behind the point of a weight: those that are left when a value of 8 bits and two bits of a sum have theirs.
const BITS: u32 = 32 - 8 - 2;

/// Weights that are held at a time.
const MOST_WEIGHTS: usize = 1 << 18;

/// How a pixel counts by its distance, in pixels of the smaller picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// A triangle that spans two pixels.
    Bilinear,
    /// A cubic curve (a = -0.5) that spans four.
    Bicubic,
}

/// Pixels that lie in one piece.
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    pub bytes: &'a [u8],
    pub size: Size,
    /// One byte each, and not three.
    pub gray: bool,
}

/// What one pixel of the result is made of, along one direction.
struct Window {
    /// The first pixel that counts.
    first: usize,
    /// How much each one from there on counts.
    weights: Vec<i32>,
}

impl Filter {
    /// That of an interpolation, if it is one of these.
    pub fn of(interpolation: Interpolation) -> Option<Self> {
        match interpolation {
            Interpolation::BilinearAntialias => Some(Filter::Bilinear),
            Interpolation::BicubicAntialias => Some(Filter::Bicubic),
            Interpolation::Nearest
            | Interpolation::Bilinear
            | Interpolation::Bicubic
            | Interpolation::Area => None,
        }
    }

    /// The distance from which on nothing counts.
    fn reach(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    fn at(self, distance: f64) -> f64 {
        let distance = distance.abs();
        match self {
            Filter::Bilinear => (1.0 - distance).max(0.0),
            Filter::Bicubic if distance < 1.0 => (1.5 * distance - 2.5) * distance * distance + 1.0,
            Filter::Bicubic if distance < 2.0 => {
                (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5
            }
            Filter::Bicubic => 0.0,
        }
    }

    /// How many pixels a window has at most.
    fn width(self, from: u32, to: u32) -> usize {
        let scale = f64::from(from) / f64::from(to);
        (2.0 * self.reach() * scale.max(1.0)) as usize + 2
    }

    /// The window of each pixel of a side that gets another length.
    fn windows(self, from: u32, to: u32) -> impl Iterator<Item = Window> {
        let scale = f64::from(from) / f64::from(to);
        let wide = scale.max(1.0);
        let reach = self.reach() * wide;
        let window = move |index: u32| {
            let middle = (f64::from(index) + 0.5) * scale;
            let first = (middle - reach + 0.5).max(0.0) as u32;
            let end = ((middle + reach + 0.5) as u32).min(from);
            let weight = |place: u32| self.at((f64::from(place) - middle + 0.5) / wide);
            let sum: f64 = (first..end).map(weight).sum();
            let whole = |weight: f64| (weight / sum * f64::from(1 << BITS)).round() as i32;
            Window {
                first: first as usize,
                weights: (first..end).map(|place| whole(weight(place))).collect(),
            }
        };
        (0..to).map(window)
    }
}

/// The size that a picture has between the two directions.
pub fn between(picture: Size, scaled: Size) -> Size {
    Size::new(scaled.width, picture.height)
}

/// Resizes pixels to the size of `to`, which lies in one piece too.
pub fn resize(from: Pixels<'_>, filter: Filter, to: &mut Mat) -> Result<(), Error> {
    let scaled = size_of(to);
    let size = between(from.size, scaled);
    let channels = if from.gray { 1 } else { 3 };
    let to = to.data_bytes_mut()?;
    let row = size.width as usize * channels;
    if to.len() != row * scaled.height as usize || to.is_empty() {
        return Err(Error::Internal(format!("{} bytes are no picture of {scaled}", to.len())));
    }
    let bytes;
    let narrowed = if size == from.size {
        from.bytes
    } else {
        bytes = narrow(from, channels, filter, size);
        &bytes
    };
    if size == scaled {
        to.copy_from_slice(narrowed);
    } else {
        down(narrowed, row, filter.windows(size.height, scaled.height), to);
    }
    Ok(())
}

/// All rows, in another width.
fn narrow(from: Pixels<'_>, channels: usize, filter: Filter, size: Size) -> Vec<u8> {
    let Pixels { bytes, size: Size { width, .. }, .. } = from;
    let (wide, row) = (width as usize * channels, size.width as usize * channels);
    let mut windows = filter.windows(width, size.width);
    // Those of an extremely wide picture are larger than itself.
    let together = (MOST_WEIGHTS / filter.width(width, size.width)).max(1);
    let mut narrowed = vec![0; row * size.height as usize];
    for done in (0..size.width as usize).step_by(together) {
        let some: Vec<Window> = windows.by_ref().take(together).collect();
        for (from, to) in bytes.chunks_exact(wide).zip(narrowed.chunks_exact_mut(row)) {
            let to = &mut to[done * channels..];
            match channels {
                1 => across::<1>(from, &some, to),
                _ => across::<3>(from, &some, to),
            }
        }
    }
    narrowed
}

/// Pixels of one row.
fn across<const CHANNELS: usize>(from: &[u8], windows: &[Window], to: &mut [u8]) {
    let (from, to) = (from.as_chunks::<CHANNELS>().0, to.as_chunks_mut::<CHANNELS>().0);
    for (Window { first, weights }, to) in windows.iter().zip(to) {
        let mut sums = [HALF; CHANNELS];
        for (pixel, weight) in from[*first..].iter().zip(weights) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(*value) * weight;
            }
        }
        *to = sums.map(rounded);
    }
}

/// All rows, in another number.
fn down(from: &[u8], row: usize, windows: impl Iterator<Item = Window>, to: &mut [u8]) {
    let mut sums = vec![0; row];
    for (Window { first, weights }, to) in windows.zip(to.chunks_exact_mut(row)) {
        sums.fill(HALF);
        for (values, weight) in from.chunks_exact(row).skip(first).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += i32::from(*value) * weight;
            }
        }
        to.iter_mut().zip(&sums).for_each(|(to, sum)| *to = rounded(*sum));
    }
}

/// What a sum begins with, so that it is rounded where its last bits are cut off.
const HALF: i32 = 1 << (BITS - 1);

fn rounded(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use opencv::core::{CV_8UC1, CV_8UC3, Scalar};

    use super::*;

    fn resized(bytes: &[u8], size: Size, gray: bool, scaled: Size) -> Vec<u8> {
        let [rows, columns] = [scaled.height, scaled.width].map(u32::cast_signed);
        let kind = if gray { CV_8UC1 } else { CV_8UC3 };
        let mut to = Mat::new_rows_cols_with_default(rows, columns, kind, Scalar::all(0.0)).unwrap();
        resize(Pixels { bytes, size, gray }, Filter::Bicubic, &mut to).unwrap();
        to.data_bytes().unwrap().to_vec()
    }

    #[test]
    fn a_gray_picture_is_one_channel() {
        let size = Size::new(37, 23);
        let gray: Vec<u8> = (0..37 * 23_u32).map(|at| (at * at % 251) as u8).collect();
        let color: Vec<u8> = gray.iter().flat_map(|value| [*value, 255 - value, *value]).collect();
        for scaled in [Size::new(11, 7), Size::new(80, 60), Size::new(37, 7), Size::new(11, 23), size] {
            let (gray, color) = (resized(&gray, size, true, scaled), resized(&color, size, false, scaled));
            assert!(gray.iter().eq(color.iter().step_by(3)), "{scaled}");
            let other = color[1..].iter().step_by(3);
            assert!(
                gray.iter()
                    .zip(other)
                    .all(|(value, other)| (254..=256).contains(&(u16::from(*value) + u16::from(*other))))
            );
        }
    }

    #[test]
    fn a_line_becomes_another() {
        let line: Vec<u8> = std::iter::repeat_n([10, 10, 10, 30], 100_000).flatten().collect();
        let long = u32::try_from(line.len()).unwrap();
        for (size, scaled) in [(Size::new(long, 1), Size::new(3, 2)), (Size::new(1, long), Size::new(2, 3))] {
            assert_eq!(resized(&line, size, true, scaled), [15; 6]);
        }
        assert_eq!(resized(&[7, 9], Size::new(2, 1), true, Size::new(1, 1)), [8]);
    }
}
