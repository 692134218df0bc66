//! From an output that is a picture to that picture.

use std::borrow::Cow;

use opencv::core::{self, Mat, Vector};
use opencv::imgproc;
use opencv::prelude::*;

use super::output;
use super::shape::{Channels, PictureDims};
use crate::error::Error;
use crate::frame::{Encoding, Image, Size, Workbench};
use crate::tensor::image::{Color, Layout};
use crate::tensor::values::values_f32;
use crate::tensor::{DataType, Shape, Tensor};

/// A float that is so large has no room for a fraction: what is added to it is rounded, and stands in its lowest
/// bits. This is several times faster than `as u8`.
pub(super) const WHOLE: f32 = 8_388_608.0;

/// How an output is a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureOutput {
    /// Which output.
    pub output: usize,
    /// Its values times this are 0 to 255.
    pub scale: f32,
    /// What its channels are.
    pub color: Color,
    /// Which of its dimensions are which.
    pub dims: PictureDims,
}

impl PictureOutput {
    /// The same output where the backend made pixels of 8 bits of it, gray or BGR.
    pub fn of_pixels(&self) -> Self {
        let color = if self.color == Color::Gray { Color::Gray } else { Color::Bgr };
        PictureOutput { output: self.output, scale: 1.0, color, dims: PictureDims::pixels() }
    }

    /// The pictures of all rows, gray or BGR.
    pub fn images(&self, outputs: &[Tensor]) -> Result<Vec<Image>, Error> {
        self.each(outputs, Ok)
    }

    /// The pictures of all rows, encoded: a BYTES tensor with one element for each.
    pub fn encode(
        &self,
        outputs: &[Tensor],
        encoding: Encoding,
        bench: &mut Workbench,
    ) -> Result<Tensor, Error> {
        let elements = self.each(outputs, |image| encoding.encode(image, bench))?;
        Tensor::elements(Shape::new(vec![elements.len()]), elements)
    }

    fn each<T>(
        &self,
        outputs: &[Tensor],
        mut then: impl FnMut(Image) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let tensor = output(outputs, self.output)?;
        let none = || Error::Model(format!("an output of shape {} holds no picture", tensor.shape()));
        let (rows, size) = self.dims.read(tensor.shape()).map_err(|_| none())?;
        let values = self.values(tensor)?;
        let row = values.len().checked_div(rows).unwrap_or(0);
        let pixels = (size.width as usize).checked_mul(size.height as usize);
        if rows > 0
            && (row == 0 || pixels.and_then(|all| all.checked_mul(self.color.channels())) != Some(row))
        {
            return Err(none());
        }
        values.chunks_exact(row.max(1)).map(|values| then(self.image(values, size)?)).collect()
    }

    /// Its values as those of pixels. What is out of their range becomes its end; what is no number, 0.
    fn values<'a>(&self, tensor: &'a Tensor) -> Result<Cow<'a, [u8]>, Error> {
        if tensor.datatype() == DataType::Uint8
            && self.scale == 1.0
            && let Some(bytes) = tensor.bytes()
        {
            return Ok(Cow::Borrowed(bytes));
        }
        let values = values_f32(tensor)?;
        #[allow(clippy::manual_clamp, reason = "`clamp` leaves what is no number, and `max` makes it 0")]
        let pixel = |value: &f32| ((value * self.scale).max(0.0).min(255.0) + WHOLE).to_bits() as u8;
        Ok(values.iter().map(pixel).collect())
    }

    fn image(&self, values: &[u8], size: Size) -> Result<Image, Error> {
        let wrong = |_| Error::Model(format!("a picture of {size} is too large"));
        let rows = i32::try_from(size.height).map_err(wrong)?;
        let columns = i32::try_from(size.width).map_err(wrong)?;
        let mut mat = Mat::default();
        match (self.color, self.dims.layout, self.dims.channels) {
            (Color::Gray, _, _) | (_, _, Channels::Implied) => {
                Mat::new_rows_cols_with_data(rows, columns, values)?.copy_to(&mut mat)?;
            }
            (color, Layout::Chw, _) => {
                let plane = values.len() / 3;
                let mut planes: Vector<Mat> = Vector::new();
                for channel in 0..3 {
                    // OpenCV's order is BGR.
                    let channel = if color == Color::Rgb { 2 - channel } else { channel };
                    let plane = &values[channel * plane..(channel + 1) * plane];
                    planes.push(Mat::new_rows_cols_with_data(rows, columns, plane)?.try_clone()?);
                }
                core::merge(&planes, &mut mat)?;
            }
            (color, Layout::Hwc, _) => {
                let pixels = Mat::from_slice(values)?;
                let pixels = pixels.reshape(3, rows)?;
                match color {
                    Color::Rgb => imgproc::cvt_color_def(&pixels, &mut mat, imgproc::COLOR_RGB2BGR)?,
                    _ => pixels.copy_to(&mut mat)?,
                }
            }
        }
        Image::new(mat)
    }
}
