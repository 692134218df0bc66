//! What the device is told to make of pixels of 8 bits, and to make pixels of.

use std::ffi::{CStr, CString};
use std::ptr;

use super::raw::{CPicture, CPixels};
use crate::error::Error;
use crate::model::pictures::{PictureOutput, Pictures};
use crate::tensor::image::{Color, Layout};
use crate::tensor::{DataType, Shape};

/// The output that can come back as pixels, and how it is found among what a run gave.
#[derive(Debug)]
pub struct Picture {
    /// What it is, as a picture.
    pub output: PictureOutput,
    /// Its place; where values have names and it has one too, that counts.
    pub place: usize,
    pub name: Option<CString>,
}

impl Picture {
    /// For a call, during which this must live.
    pub fn lend(&self) -> CPicture {
        let PictureOutput { scale, color, dims, .. } = &self.output;
        CPicture {
            name: self.name.as_deref().map_or(ptr::null(), CStr::as_ptr),
            place: self.place,
            color: number(*color),
            planes: dims.layout == Layout::Chw,
            rows: dims.counts_pictures(),
            channels: dims.counts_channels(),
            scale: f64::from(*scale),
        }
    }

    /// The shape of its pixels, where the model gave a tensor of these dimensions.
    pub fn shape(&self, given: &Shape) -> Result<Shape, Error> {
        let none = |_| no_picture(given);
        let (rows, size) = self.output.dims.read(given).map_err(none)?;
        let channels = self.output.color.channels();
        Ok(Shape::new(vec![rows, size.height as usize, size.width as usize, channels]))
    }
}

/// The error for an output that is no picture, whatever its configuration says.
pub fn no_picture(given: &Shape) -> Error {
    Error::Model(format!("an output of shape {given} holds no picture"))
}

/// What becomes of pixels of these dimensions, where the model takes tensors of this type.
pub fn conversion(pictures: &Pictures, datatype: DataType, pixels: [i64; 4]) -> CPixels {
    let recipe = pictures.preparation().recipe();
    let [least, most] = range(datatype);
    CPixels {
        dims: pixels,
        color: number(recipe.color),
        planes: recipe.layout == Layout::Chw,
        scale: recipe.scaling.scale,
        mean: recipe.scaling.mean,
        deviation: recipe.scaling.std,
        least,
        most,
    }
}

fn number(color: Color) -> i32 {
    match color {
        Color::Rgb => 0,
        Color::Bgr => 1,
        Color::Gray => 2,
    }
}

/// The ends of a type of whole numbers, or the nearest to them that are 64-bit floats within; all there is for others.
fn range(datatype: DataType) -> [f64; 2] {
    match datatype {
        DataType::Uint8 => [0.0, f64::from(u8::MAX)],
        DataType::Int8 => [f64::from(i8::MIN), f64::from(i8::MAX)],
        DataType::Uint16 => [0.0, f64::from(u16::MAX)],
        DataType::Int16 => [f64::from(i16::MIN), f64::from(i16::MAX)],
        DataType::Uint32 => [0.0, f64::from(u32::MAX)],
        DataType::Int32 => [f64::from(i32::MIN), f64::from(i32::MAX)],
        DataType::Uint64 => [0.0, (u64::MAX as f64).next_down()],
        DataType::Int64 => [i64::MIN as f64, (i64::MAX as f64).next_down()],
        DataType::Bool
        | DataType::Bytes
        | DataType::Fp16
        | DataType::Bf16
        | DataType::Fp32
        | DataType::Fp64 => [f64::MIN, f64::MAX],
    }
}
