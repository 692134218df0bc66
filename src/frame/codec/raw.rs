//! Raw pixels: gray8, bgr24, rgb24, i420, nv12.

use bytes::Bytes;
use opencv::core::{CV_8UC1, CV_8UC3, Mat};
use opencv::imgproc;
use opencv::prelude::*;

use super::{Encoded, Need, Workbench, prepare};
use crate::error::Error;
use crate::frame::format::{PixelFormat, Size};
use crate::frame::image::Image;

/// Luma in studio range, 16 to 235, stretched to 0 to 255.
const STRETCH: f64 = 255.0 / 219.0;

pub fn decode(from: &Encoded, format: PixelFormat, need: Need, to: &mut Mat) -> Result<(), Error> {
    let rows = i32::try_from(from.size.height).map_err(|error| from.unreadable(error))?;
    let bytes = Mat::from_slice(&from.bytes[..])?;
    match format {
        PixelFormat::Gray8 => copy(from, CV_8UC1, to),
        PixelFormat::Bgr24 => copy(from, CV_8UC3, to),
        PixelFormat::Rgb24 => {
            let pixels = bytes.reshape(3, rows)?;
            let code = if need.gray { imgproc::COLOR_RGB2GRAY } else { imgproc::COLOR_RGB2BGR };
            Ok(imgproc::cvt_color_def(&pixels, to, code)?)
        }
        PixelFormat::I420 | PixelFormat::Nv12 if need.gray => {
            let luma = Mat::from_slice(&from.bytes[..from.size.width as usize * rows as usize])?;
            Ok(luma.reshape(1, rows)?.convert_to(to, CV_8UC1, STRETCH, -16.0 * STRETCH)?)
        }
        PixelFormat::I420 | PixelFormat::Nv12 => {
            let planes = bytes.reshape(1, rows / 2 * 3)?;
            let code = match format {
                PixelFormat::I420 => imgproc::COLOR_YUV2BGR_I420,
                _ => imgproc::COLOR_YUV2BGR_NV12,
            };
            Ok(imgproc::cvt_color_def(&planes, to, code)?)
        }
    }
}

fn copy(from: &Encoded, kind: i32, to: &mut Mat) -> Result<(), Error> {
    prepare(to, from.size, kind)?;
    to.data_bytes_mut()?.copy_from_slice(&from.bytes);
    Ok(())
}

pub fn encode(mut image: Image, format: PixelFormat, bench: &mut Workbench) -> Result<Bytes, Error> {
    format.byte_len(image.size())?;
    let scratch = &mut bench.scratch;
    match format {
        PixelFormat::Gray8 => image.make_gray(scratch)?,
        PixelFormat::Bgr24 => image.make_bgr(scratch)?,
        PixelFormat::Rgb24 if image.is_gray() => image.make_bgr(scratch)?,
        PixelFormat::Rgb24 => {
            image.update(scratch, |from, to| imgproc::cvt_color_def(from, to, imgproc::COLOR_BGR2RGB))?;
        }
        PixelFormat::I420 | PixelFormat::Nv12 => {
            let size = image.size();
            image.make_bgr(scratch)?;
            image
                .update(scratch, |from, to| imgproc::cvt_color_def(from, to, imgproc::COLOR_BGR2YUV_I420))?;
            if format == PixelFormat::Nv12 {
                return interleave(image.mat().data_bytes()?, size);
            }
        }
    }
    Ok(Bytes::from_owner(Pixels(image.into_mat())))
}

/// NV12 from I420, which is the one that OpenCV makes.
fn interleave(planes: &[u8], size: Size) -> Result<Bytes, Error> {
    let luma = size.width as usize * size.height as usize;
    let (y, chroma) = planes.split_at(luma);
    let (u, v) = chroma.split_at(luma / 4);
    let mut bytes = Vec::with_capacity(planes.len());
    bytes.extend_from_slice(y);
    bytes.extend(u.iter().zip(v).flat_map(|(u, v)| [*u, *v]));
    Ok(bytes.into())
}

/// A continuous matrix as the bytes of a message, which saves the copy.
struct Pixels(Mat);

impl AsRef<[u8]> for Pixels {
    fn as_ref(&self) -> &[u8] {
        // It was continuous when it came in, so this can't fail.
        self.0.data_bytes().unwrap_or_default()
    }
}
