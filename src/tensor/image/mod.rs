//! From a decoded picture to the part of a tensor that holds it.

mod antialias;
mod geometry;
mod pixels;
mod samples;

use opencv::boxed_ref::BoxedRef;
use opencv::core::{self, CV_8UC1, Mat, Rect, Scalar, Vector};
use opencv::imgproc;
use opencv::prelude::*;

use antialias::{Filter, Pixels};
pub use geometry::Geometry;
pub use samples::Scaling;

use super::DataType;
use crate::error::Error;
use crate::frame::{Image, Need, Size};
use geometry::Steps;
use pixels::Rest;
use samples::Samples;

/// What is done to a picture before it is a model's input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    /// First it gets another size.
    pub resize: Resize,
    /// Then this much of it is kept, from the centre.
    pub crop: Option<Size>,
    /// How its pixels are computed.
    pub interpolation: Interpolation,
    /// What `fit` fills with.
    pub pad: u8,
    /// The channels that the tensor has.
    pub color: Color,
    /// How they lie in it.
    pub layout: Layout,
    /// What becomes of their values.
    pub scaling: Scaling,
}

/// Another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// None: it is taken as it is.
    Keep,
    /// This one, whatever becomes of the proportions.
    Stretch(Size),
    /// One whose shorter side is this, in the same proportions.
    Short(u32),
    /// This one; the picture keeps its proportions and lies in the middle.
    Fit(Size),
    /// This one; the picture keeps its proportions, and loses at two sides what sticks out.
    Fill(Size),
}

/// How pixels are computed when the size changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names say what they are")]
pub enum Interpolation {
    Nearest,
    Bilinear,
    Bicubic,
    /// The mean of what a pixel covers, by halves as far as they go; bilinear where the picture grows.
    Area,
    /// Bilinear over all that a pixel covers, as PIL and torchvision have it.
    BilinearAntialias,
    /// Bicubic over all that a pixel covers, as PIL and torchvision have it.
    BicubicAntialias,
}

/// Channels of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names say what they are")]
pub enum Color {
    Rgb,
    Bgr,
    /// ITU-R BT.601 luma.
    Gray,
}

/// How the channels of a picture lie in a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One after the other.
    Chw,
    /// Side by side.
    Hwc,
}

/// A [`Recipe`] for tensors of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Preparation {
    recipe: Recipe,
    datatype: DataType,
    samples: Samples,
}

/// Memory that a thread keeps from picture to picture.
#[derive(Default)]
pub struct Scratch {
    halved: Mat,
    resized: Mat,
    colored: Mat,
    planes: Vector<Mat>,
}

impl Color {
    /// How many there are.
    pub fn channels(self) -> usize {
        match self {
            Color::Rgb | Color::Bgr => 3,
            Color::Gray => 1,
        }
    }
}

impl Scratch {
    /// One that works in the memory of this matrix where it can.
    pub fn with(memory: Mat) -> Self {
        Scratch { resized: memory, ..Scratch::default() }
    }

    /// Its memory, for something else.
    pub fn into_memory(self) -> Mat {
        self.resized
    }
}

impl Preparation {
    /// For tensors of this type, which must be one of numbers.
    pub fn new(recipe: Recipe, datatype: DataType) -> Result<Self, Error> {
        let samples = Samples::new(&recipe.scaling, datatype)?;
        Ok(Preparation { recipe, datatype, samples })
    }

    /// What is done.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The type of the tensors.
    pub fn datatype(&self) -> DataType {
        self.datatype
    }

    /// The size that a picture of this size is scaled to, before anything is cut off or put around it.
    pub fn scaled_size(&self, picture: Size) -> Size {
        let [wide, high] = [f64::from(picture.width), f64::from(picture.height)];
        match self.recipe.resize {
            Resize::Keep => picture,
            Resize::Stretch(size) => size,
            Resize::Short(short) => {
                // The longer side is rounded down, as most write it who train models.
                let side = |side: u32, other: u32| {
                    let side = u64::from(short) * u64::from(side) / u64::from(side.min(other).max(1));
                    u32::try_from(side).unwrap_or(u32::MAX)
                };
                Size::new(side(picture.width, picture.height), side(picture.height, picture.width))
            }
            Resize::Fit(Size { width, height }) => {
                let factor = (f64::from(width) / wide).min(f64::from(height) / high);
                let side = |side: f64, most: u32| ((side * factor).round() as u32).clamp(1, most);
                Size::new(side(wide, width), side(high, height))
            }
            Resize::Fill(Size { width, height }) => {
                let factor = (f64::from(width) / wide).max(f64::from(height) / high);
                let side = |side: f64, least: u32| ((side * factor).round() as u32).max(least);
                Size::new(side(wide, width), side(high, height))
            }
        }
    }

    /// The largest size that a picture of this size has on its way, once it is decoded.
    pub fn working_size(&self, picture: Size) -> Size {
        let around = self.around(picture);
        if Filter::of(self.recipe.interpolation).is_none() || self.recipe.resize == Resize::Keep {
            return around;
        }
        // A high picture can become a large one before it is low.
        let between = antialias::between(picture, around);
        let pixels = |size: &Size| u64::from(size.width) * u64::from(size.height);
        if pixels(&between) > pixels(&around) { between } else { around }
    }

    /// The size in which a scaled picture lies, with what is put around it.
    fn around(&self, picture: Size) -> Size {
        match self.recipe.resize {
            Resize::Fit(size) | Resize::Fill(size) => size,
            _ => self.scaled_size(picture),
        }
    }

    /// The size of the prepared picture, or an error if this one is smaller than what is to be cut out of it.
    pub fn output_size(&self, picture: Size) -> Result<Size, Error> {
        let size = self.around(picture);
        let Some(crop) = self.recipe.crop else { return Ok(size) };
        if size.width < crop.width || size.height < crop.height {
            return Err(Error::Picture(format!(
                "a picture of {picture}, which is resized to {size}, is smaller than the {crop} to be cut out of it"
            )));
        }
        Ok(crop)
    }

    /// Bytes that a prepared picture of this size takes; `None` if they can't be counted.
    pub fn byte_len(&self, prepared: Size) -> Option<usize> {
        let pixels = (prepared.width as usize).checked_mul(prepared.height as usize)?;
        pixels.checked_mul(self.recipe.color.channels())?.checked_mul(self.datatype.size()?)
    }

    /// How much of a picture of this size has to be decoded. A reduced one does where areas are averaged anyway.
    pub fn need(&self, picture: Size) -> Need {
        let averaged = self.recipe.interpolation == Interpolation::Area && self.recipe.resize != Resize::Keep;
        let at_least = averaged.then(|| self.scaled_size(picture));
        Need { gray: self.recipe.color == Color::Gray, at_least }
    }

    /// Writes a picture to `to`, which must be as long as [`byte_len`](Self::byte_len) says. `sent` is its size
    /// as it was sent, of which it may be a reduced copy, decoded as [`need`](Self::need) says.
    pub fn apply(
        &self,
        image: &Image,
        sent: Size,
        scratch: &mut Scratch,
        to: &mut [u8],
    ) -> Result<Geometry, Error> {
        self.shape(image, sent, scratch, |pixels, rest| {
            let (length, size) = (to.len(), size_of(pixels));
            if self.byte_len(size) != Some(length) {
                return Err(Error::Internal(format!(
                    "{length} bytes are none of a prepared picture of {size}"
                )));
            }
            self.write(pixels, rest, to)
        })
    }

    /// Brings a picture to its prepared size, and hands its pixels on, gray or BGR.
    fn shape(
        &self,
        image: &Image,
        sent: Size,
        scratch: &mut Scratch,
        then: impl FnOnce(&BoxedRef<'_, Mat>, Rest<'_>) -> Result<(), Error>,
    ) -> Result<Geometry, Error> {
        let steps = self.steps(image.size(), sent)?;
        let Scratch { halved, resized, colored, planes } = scratch;
        let shown = image.mat().roi(steps.shown)?;
        let pixels = if steps.is_cut_only() {
            shown.roi(steps.kept())?
        } else {
            self.resize(&shown, &steps, halved, resized)?;
            resized.roi(steps.kept())?
        };
        then(&pixels, Rest { colored, planes })?;
        Ok(Geometry::new(&steps))
    }

    /// What is to be done to a decoded picture.
    fn steps(&self, decoded: Size, picture: Size) -> Result<Steps, Error> {
        let prepared = self.output_size(picture)?;
        let around = self.around(picture);
        let reduced = geometry::reduction(picture, decoded).map(f64::from).ok_or_else(|| {
            Error::Internal(format!("a picture of {decoded} is no reduced one of {picture}"))
        })?;
        let (shown, extent, scaled) = match self.recipe.resize {
            Resize::Fill(size) => {
                let shown = filling(decoded, size);
                (shown, [shown.width, shown.height].map(f64::from), size)
            }
            _ => {
                let extent = [picture.width, picture.height].map(|side| f64::from(side) / reduced);
                (rect([0; 2], decoded), extent, self.scaled_size(picture))
            }
        };
        let inset =
            [(around.width - scaled.width) / 2, (around.height - scaled.height) / 2].map(u32::cast_signed);
        let half = |rest: u32| (f64::from(rest) / 2.0).round_ties_even() as i32;
        let cut = [half(around.width - prepared.width), half(around.height - prepared.height)];
        Ok(Steps { picture, reduced, shown, extent, scaled, inset, around, cut, prepared })
    }

    /// Scales what is shown, and puts something around it where that is not all.
    fn resize(
        &self,
        shown: &BoxedRef<'_, Mat>,
        steps: &Steps,
        halved: &mut Mat,
        to: &mut Mat,
    ) -> Result<(), Error> {
        let Steps { extent: [wide, high], scaled, .. } = *steps;
        let around: core::Size = steps.around.into();
        // SAFETY: every pixel is written before any is read.
        unsafe { to.create_size(around, shown.typ())? };
        if scaled != steps.around {
            to.set_to_def(&Scalar::all(self.recipe.pad.into()))?;
        }
        if let Some(filter) = Filter::of(self.recipe.interpolation) {
            return antialiased(shown, filter, steps, halved, to);
        }
        let mut to = to.roi_mut(rect(steps.inset, scaled))?;
        let interpolation = self.interpolation(size_of(shown), scaled);
        if [wide, high] != [shown.cols(), shown.rows()].map(f64::from) {
            // The last pixel of a reduced picture stands for a part of one. With the scale given, and not the
            // size, nothing moves; what there is too much of lies at the end.
            let (across, down) = (f64::from(scaled.width) / wide, f64::from(scaled.height) / high);
            imgproc::resize(shown, halved, core::Size::default(), across, down, interpolation)?;
            return Ok(halved.roi(rect([0; 2], scaled))?.copy_to(&mut to)?);
        }
        if self.halve(shown, scaled, halved)? {
            let interpolation = self.interpolation(size_of(halved), scaled);
            return Ok(imgproc::resize(halved, &mut to, scaled.into(), 0.0, 0.0, interpolation)?);
        }
        Ok(imgproc::resize(shown, &mut to, scaled.into(), 0.0, 0.0, interpolation)?)
    }

    /// Halves a picture as often as it remains large enough, if areas are to be averaged; says whether it did.
    ///
    /// Means of 2x2 pixels are cheap, and means of areas that begin in the midst of a pixel are not. Both together
    /// weigh an area softly, which is nearer to the filters that models are trained with.
    fn halve(&self, from: &BoxedRef<'_, Mat>, scaled: Size, to: &mut Mat) -> Result<bool, Error> {
        let (columns, rows) = (from.cols(), from.rows());
        let fits = |halving: &i32| {
            (columns % halving, rows % halving) == (0, 0)
                && columns / halving >= scaled.width.cast_signed()
                && rows / halving >= scaled.height.cast_signed()
        };
        let halving = [16, 8, 4, 2].into_iter().find(fits);
        let Some(halving) = halving.filter(|_| self.recipe.interpolation == Interpolation::Area) else {
            return Ok(false);
        };
        let size = core::Size::new(columns / halving, rows / halving);
        imgproc::resize(from, to, size, 0.0, 0.0, imgproc::INTER_AREA)?;
        Ok(true)
    }

    fn interpolation(&self, from: Size, to: Size) -> i32 {
        match self.recipe.interpolation {
            Interpolation::Nearest => imgproc::INTER_NEAREST,
            Interpolation::Bicubic | Interpolation::BicubicAntialias => imgproc::INTER_CUBIC,
            Interpolation::Area if to.width <= from.width && to.height <= from.height => imgproc::INTER_AREA,
            Interpolation::Area | Interpolation::Bilinear | Interpolation::BilinearAntialias => {
                imgproc::INTER_LINEAR
            }
        }
    }

    /// Writes pixels, gray or BGR, in the tensor's channels and layout.
    fn write(&self, pixels: &BoxedRef<'_, Mat>, rest: Rest<'_>, to: &mut [u8]) -> Result<(), Error> {
        let Rest { colored, planes } = rest;
        let gray = pixels.typ() == CV_8UC1;
        let Recipe { color, layout, .. } = self.recipe;
        match (gray, color, layout) {
            (true, Color::Gray, _) | (false, Color::Bgr, Layout::Hwc) => pixels.copy_to(colored)?,
            (false, Color::Gray, _) => imgproc::cvt_color_def(pixels, colored, imgproc::COLOR_BGR2GRAY)?,
            (false, Color::Rgb, Layout::Hwc) => {
                imgproc::cvt_color_def(pixels, colored, imgproc::COLOR_BGR2RGB)?;
            }
            (true, _, Layout::Hwc) => imgproc::cvt_color_def(pixels, colored, imgproc::COLOR_GRAY2BGR)?,
            (true, _, Layout::Chw) => {
                pixels.copy_to(colored)?;
                let values = colored.data_bytes()?;
                let length = to.len() / 3;
                for (channel, to) in to.chunks_exact_mut(length).enumerate() {
                    self.samples.plane(channel, values, to);
                }
                return Ok(());
            }
            (false, _, Layout::Chw) => {
                core::split(pixels, planes)?;
                let length = to.len() / 3;
                for (channel, to) in to.chunks_exact_mut(length).enumerate() {
                    // What was split is BGR.
                    let plane = planes.get(if color == Color::Rgb { 2 - channel } else { channel })?;
                    self.samples.plane(channel, plane.data_bytes()?, to);
                }
                return Ok(());
            }
        }
        match color {
            Color::Gray => self.samples.plane(0, colored.data_bytes()?, to),
            Color::Rgb | Color::Bgr => self.samples.pixels(colored.data_bytes()?, to),
        }
        Ok(())
    }
}

impl Steps {
    /// Whether nothing is scaled or put around.
    fn is_cut_only(&self) -> bool {
        let Size { width, height } = self.scaled;
        self.extent == [width, height].map(f64::from)
            && (self.shown.width, self.shown.height) == (width.cast_signed(), height.cast_signed())
            && self.scaled == self.around
    }

    /// What is kept of the frame in which the scaled picture lies.
    fn kept(&self) -> Rect {
        rect(self.cut, self.prepared)
    }
}

/// Scales what is shown in one piece, and puts it where it belongs.
fn antialiased(
    shown: &BoxedRef<'_, Mat>,
    filter: Filter,
    steps: &Steps,
    piece: &mut Mat,
    to: &mut Mat,
) -> Result<(), Error> {
    let copy;
    let pixels = if shown.is_continuous() {
        shown.data_bytes()?
    } else {
        copy = shown.try_clone()?;
        copy.data_bytes()?
    };
    let from = Pixels { bytes: pixels, size: size_of(shown), gray: shown.typ() == CV_8UC1 };
    if steps.scaled == steps.around {
        return antialias::resize(from, filter, to);
    }
    let size: core::Size = steps.scaled.into();
    // SAFETY: every pixel is written before any is read.
    unsafe { piece.create_size(size, shown.typ())? };
    antialias::resize(from, filter, piece)?;
    Ok(piece.copy_to(&mut to.roi_mut(rect(steps.inset, steps.scaled))?)?)
}

fn rect([x, y]: [i32; 2], size: Size) -> Rect {
    Rect::new(x, y, size.width.cast_signed(), size.height.cast_signed())
}

fn size_of(mat: &impl MatTraitConst) -> Size {
    Size::new(mat.cols().unsigned_abs(), mat.rows().unsigned_abs())
}

/// The part of a picture that fills this size: cut before it is scaled, so that a picture of extreme proportions
/// does not become a huge one on the way.
fn filling(picture: Size, size: Size) -> Rect {
    let factor = (f64::from(size.width) / f64::from(picture.width))
        .max(f64::from(size.height) / f64::from(picture.height));
    let side = |wanted: u32, there: u32| ((f64::from(wanted) / factor).round() as u32).clamp(1, there);
    let part = Size::new(side(size.width, picture.width), side(size.height, picture.height));
    let at = [(picture.width - part.width) / 2, (picture.height - part.height) / 2].map(u32::cast_signed);
    rect(at, part)
}

#[cfg(test)]
mod tests;
