//! Resizing as PIL does it, and with it torchvision: filters that look at all that a pixel covers.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use opencv::core::Mat;
use opencv::prelude::*;

use super::{Interpolation, size_of};
use crate::error::Error;
use crate::frame::Size;

/// The filter of an interpolation, if it is one of these.
pub fn filter(interpolation: Interpolation) -> Option<FilterType> {
    match interpolation {
        Interpolation::BilinearAntialias => Some(FilterType::Bilinear),
        Interpolation::BicubicAntialias => Some(FilterType::CatmullRom),
        Interpolation::Nearest | Interpolation::Bilinear | Interpolation::Bicubic | Interpolation::Area => {
            None
        }
    }
}

/// The size that a picture has between the two directions: it is first scaled down or up, then across.
pub fn between(picture: Size, scaled: Size) -> Size {
    Size::new(picture.width, scaled.height)
}

/// Pixels that lie in one piece.
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    pub bytes: &'a [u8],
    pub size: Size,
    /// One byte each, and not three.
    pub gray: bool,
}

/// Resizes pixels to the size of `to`, which lies in one piece too.
pub fn resize(from: Pixels<'_>, filter: FilterType, to: &mut Mat) -> Result<(), Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::Internal(format!("a picture can't be resized: {error}"));
    let Pixels { bytes, size, gray } = from;
    let pixels = if gray { PixelType::U8 } else { PixelType::U8x3 };
    let from = ImageRef::new(size.width, size.height, bytes, pixels).map_err(|error| failed(&error))?;
    let size = size_of(to);
    let to = Image::from_slice_u8(size.width, size.height, to.data_bytes_mut()?, pixels);
    let mut to = to.map_err(|error| failed(&error))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
    Resizer::new().resize(&from, &mut to, &options).map_err(|error| failed(&error))
}
