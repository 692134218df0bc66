//! A picture on its way: as encoded bytes, as raw pixels of the wire, or as an OpenCV matrix.

use bytes::Bytes;
use frameserve::proto::{Encoding, PixelFormat};
use opencv::core::{CV_8UC1, CV_8UC3, Mat, Rect, Scalar, Size};
use opencv::imgproc::{
    self, COLOR_BGR2GRAY, COLOR_BGR2RGB, COLOR_BGR2YUV_I420, COLOR_BGRA2BGR, COLOR_GRAY2BGR, COLOR_RGB2BGR,
    COLOR_YUV2BGR_I420, COLOR_YUV2BGR_NV12,
};
use opencv::prelude::*;

/// More than any camera has. A header that claims more is not believed.
pub const MAX_PIXELS: u64 = 1 << 28;

/// A picture as its source has it.
#[derive(Debug)]
pub enum Picture {
    /// JPEG, PNG or WebP, not decoded yet.
    Encoded(Encoding, Bytes),
    Raw(RawPicture),
    /// 8-bit, gray or BGR.
    Pixels(Mat),
}

/// Pixels as they lie on the wire.
#[derive(Debug, Clone)]
pub struct RawPicture {
    format: PixelFormat,
    width: u32,
    height: u32,
    bytes: Bytes,
}

/// Why a picture can't be read or made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PictureError(pub String);

impl From<opencv::Error> for PictureError {
    fn from(error: opencv::Error) -> PictureError {
        PictureError(format!("OpenCV: {}", error.message))
    }
}

impl From<turbojpeg::Error> for PictureError {
    fn from(error: turbojpeg::Error) -> PictureError {
        PictureError(format!("JPEG: {error}"))
    }
}

impl RawPicture {
    /// Checks that `bytes` are exactly one picture of that format and size.
    pub fn new(
        format: PixelFormat,
        width: u32,
        height: u32,
        bytes: Bytes,
    ) -> Result<RawPicture, PictureError> {
        let pixels = pixel_count(width, height)?;
        let planar = matches!(format, PixelFormat::I420 | PixelFormat::Nv12);
        if planar && (width % 2 == 1 || height % 2 == 1) {
            return Err(PictureError(format!(
                "{} needs an even width and height, and the picture has {width}x{height}",
                name(format)
            )));
        }
        let expected = match format {
            PixelFormat::Gray8 => pixels,
            PixelFormat::Bgr24 | PixelFormat::Rgb24 => pixels * 3,
            PixelFormat::I420 | PixelFormat::Nv12 => pixels / 2 * 3,
            PixelFormat::Unspecified => return Err(PictureError("raw pixels of an unknown format".into())),
        };
        if bytes.len() as u64 != expected {
            return Err(PictureError(format!(
                "{width}x{height} pixels of {} are {expected} bytes, not {}",
                name(format),
                bytes.len()
            )));
        }
        Ok(RawPicture { format, width, height, bytes })
    }

    /// The wire's pixels of a gray or BGR matrix.
    pub fn from_mat(format: PixelFormat, mat: &Mat) -> Result<RawPicture, PictureError> {
        let (width, height) = (mat.cols() as u32, mat.rows() as u32);
        // Refused here by name, where OpenCV would fail an assertion.
        if matches!(format, PixelFormat::I420 | PixelFormat::Nv12) && (width % 2 == 1 || height % 2 == 1) {
            return RawPicture::new(format, width, height, Bytes::new());
        }
        let mut converted = Mat::default();
        match format {
            PixelFormat::Gray8 if mat.channels() == 1 => mat.copy_to(&mut converted)?,
            PixelFormat::Gray8 => imgproc::cvt_color_def(mat, &mut converted, COLOR_BGR2GRAY)?,
            PixelFormat::Rgb24 => imgproc::cvt_color_def(&bgr(mat)?, &mut converted, COLOR_BGR2RGB)?,
            PixelFormat::I420 | PixelFormat::Nv12 => {
                imgproc::cvt_color_def(&bgr(mat)?, &mut converted, COLOR_BGR2YUV_I420)?;
            }
            PixelFormat::Bgr24 | PixelFormat::Unspecified => converted = bgr(mat)?,
        }
        let mut bytes = converted.data_bytes()?.to_vec();
        if format == PixelFormat::Nv12 {
            interleave_chroma(&mut bytes, (width * height) as usize);
        }
        RawPicture::new(format, width, height, bytes.into())
    }

    pub fn format(&self) -> PixelFormat {
        self.format
    }

    pub fn width(&self) -> u32 {
        self.width
    }

    pub fn height(&self) -> u32 {
        self.height
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Writes the picture into `out` as gray or BGR, reusing its memory.
    pub fn to_mat(&self, out: &mut Mat) -> Result<(), PictureError> {
        let (rows, columns) = (self.height as i32, self.width as i32);
        match self.format {
            PixelFormat::Gray8 => {
                Mat::new_rows_cols_with_data::<u8>(rows, columns, &self.bytes)?.copy_to(out)?;
            }
            PixelFormat::Bgr24 | PixelFormat::Rgb24 => {
                let pixels =
                    Mat::new_rows_cols_with_bytes::<opencv::core::Vec3b>(rows, columns, &self.bytes)?;
                if self.format == PixelFormat::Bgr24 {
                    pixels.copy_to(out)?;
                } else {
                    imgproc::cvt_color_def(&pixels, out, COLOR_RGB2BGR)?;
                }
            }
            PixelFormat::I420 | PixelFormat::Nv12 | PixelFormat::Unspecified => {
                let planes = Mat::new_rows_cols_with_data::<u8>(rows / 2 * 3, columns, &self.bytes)?;
                let code =
                    if self.format == PixelFormat::Nv12 { COLOR_YUV2BGR_NV12 } else { COLOR_YUV2BGR_I420 };
                imgproc::cvt_color_def(&planes, out, code)?;
            }
        }
        Ok(())
    }
}

/// The number of pixels, where it is one that a picture can have.
pub fn pixel_count(width: u32, height: u32) -> Result<u64, PictureError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > MAX_PIXELS {
        return Err(PictureError(format!(
            "a picture of {width}x{height} pixels: it must have 1 to {MAX_PIXELS}"
        )));
    }
    Ok(pixels)
}

/// The same picture with three channels. A matrix that has them already is shared, not copied.
pub fn bgr(mat: &Mat) -> Result<Mat, PictureError> {
    let code = match mat.channels() {
        1 => COLOR_GRAY2BGR,
        3 => return Ok(Mat::roi(mat, whole(mat))?.clone_pointee()),
        4 => COLOR_BGRA2BGR,
        other => return Err(PictureError(format!("a picture of {other} channels: it must have 1, 3 or 4"))),
    };
    let mut out = Mat::default();
    imgproc::cvt_color_def(mat, &mut out, code)?;
    Ok(out)
}

/// Makes `out` a matrix of that shape, and keeps its memory where it has it already.
pub fn shape(out: &mut Mat, size: Size, channels: Channels) -> Result<(), PictureError> {
    let kind = match channels {
        Channels::Gray => CV_8UC1,
        Channels::Bgr => CV_8UC3,
    };
    if out.size()? != size || out.typ() != kind || !out.is_continuous() {
        *out = Mat::new_size_with_default(size, kind, Scalar::all(0.0))?;
    }
    Ok(())
}

/// How many numbers a pixel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    Gray,
    Bgr,
}

/// Scales `picture` into `canvas` of a fixed size, with black bars where the proportions differ.
pub fn letterbox(picture: &Mat, canvas: &mut Mat) -> Result<(), PictureError> {
    let (from, to) = (picture.size()?, canvas.size()?);
    let place = fit(from, to);
    canvas.set_scalar(Scalar::all(0.0))?;
    let mut inner = Mat::roi_mut(canvas, place)?;
    let scaling = if place.width < from.width { imgproc::INTER_AREA } else { imgproc::INTER_LINEAR };
    imgproc::resize(picture, &mut inner, place.size(), 0.0, 0.0, scaling)?;
    Ok(())
}

/// The largest rectangle of `from`'s proportions in the middle of `to`.
pub fn fit(from: Size, to: Size) -> Rect {
    let scale = (f64::from(to.width) / f64::from(from.width.max(1)))
        .min(f64::from(to.height) / f64::from(from.height.max(1)));
    let width = ((f64::from(from.width) * scale).round() as i32).clamp(1, to.width);
    let height = ((f64::from(from.height) * scale).round() as i32).clamp(1, to.height);
    Rect::new((to.width - width) / 2, (to.height - height) / 2, width, height)
}

fn whole(mat: &Mat) -> Rect {
    Rect::new(0, 0, mat.cols(), mat.rows())
}

fn interleave_chroma(bytes: &mut [u8], luma: usize) {
    let (_, chroma) = bytes.split_at_mut(luma);
    let (u, v) = chroma.split_at(chroma.len() / 2);
    let pairs: Vec<u8> = u.iter().zip(v).flat_map(|(u, v)| [*u, *v]).collect();
    chroma.copy_from_slice(&pairs);
}

fn name(format: PixelFormat) -> String {
    format.as_str_name().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_pictures_are_measured() {
        let zeros = |count| Bytes::from(vec![0; count]);
        assert!(RawPicture::new(PixelFormat::Gray8, 4, 3, zeros(12)).is_ok());
        assert!(RawPicture::new(PixelFormat::Bgr24, 4, 3, zeros(36)).is_ok());
        assert!(RawPicture::new(PixelFormat::Nv12, 4, 2, zeros(12)).is_ok());
        assert!(RawPicture::new(PixelFormat::I420, 5, 2, zeros(15)).is_err());
        assert!(RawPicture::new(PixelFormat::Gray8, 4, 3, zeros(13)).is_err());
        assert!(RawPicture::new(PixelFormat::Gray8, 0, 3, zeros(0)).is_err());
        assert!(RawPicture::new(PixelFormat::Bgr24, u32::MAX, u32::MAX, zeros(3)).is_err());
    }

    #[test]
    fn every_format_comes_back_as_it_was() {
        let mut color =
            Mat::new_rows_cols_with_default(6, 8, CV_8UC3, Scalar::new(200.0, 60.0, 30.0, 0.0)).unwrap();
        let patch = Rect::new(0, 0, 4, 4);
        imgproc::rectangle(&mut color, patch, Scalar::new(20.0, 90.0, 220.0, 0.0), -1, imgproc::LINE_8, 0)
            .unwrap();
        for format in [PixelFormat::Bgr24, PixelFormat::Rgb24, PixelFormat::I420, PixelFormat::Nv12] {
            let mut back = Mat::default();
            RawPicture::from_mat(format, &color).unwrap().to_mat(&mut back).unwrap();
            let pairs = color.data_bytes().unwrap().iter().zip(back.data_bytes().unwrap());
            let difference = pairs.map(|(one, other)| one.abs_diff(*other)).max().unwrap();
            let allowed = if matches!(format, PixelFormat::I420 | PixelFormat::Nv12) { 6 } else { 0 };
            assert!(difference <= allowed, "{format:?} differs by {difference}");
        }
        let mut gray = Mat::default();
        RawPicture::from_mat(PixelFormat::Gray8, &color).unwrap().to_mat(&mut gray).unwrap();
        assert_eq!(gray.channels(), 1);
        assert!(
            RawPicture::from_mat(PixelFormat::I420, &Mat::zeros(3, 5, CV_8UC3).unwrap().to_mat().unwrap())
                .is_err()
        );
    }

    #[test]
    fn pictures_fit_with_bars() {
        assert_eq!(fit(Size::new(1280, 720), Size::new(640, 480)), Rect::new(0, 60, 640, 360));
        assert_eq!(fit(Size::new(100, 200), Size::new(100, 100)), Rect::new(25, 0, 50, 100));
        assert_eq!(fit(Size::new(10_000, 1), Size::new(10, 10)).height, 1);
    }
}
