//! Encoded pictures to pixels and back. JPEG goes through handles that are kept; the rest through OpenCV.

use bytes::Bytes;
use frameserve::proto::Encoding;
use opencv::core::{Mat, Size, Vector};
use opencv::imgcodecs::{self, IMREAD_COLOR, IMWRITE_PNG_COMPRESSION, IMWRITE_WEBP_QUALITY};
use opencv::prelude::*;
use turbojpeg::{Colorspace, Compressor, Decompressor, Image, PixelFormat, Subsamp};

use crate::picture::{Channels, PictureError, pixel_count, shape};

/// One thread's codecs.
pub struct Codec {
    compressor: Compressor,
    decompressor: Decompressor,
    /// Where the JPEG encoder writes; it grows to the largest picture and stays.
    output: Vec<u8>,
}

impl Codec {
    pub fn new() -> Result<Codec, PictureError> {
        let (compressor, decompressor) = (Compressor::new()?, Decompressor::new()?);
        Ok(Codec { compressor, decompressor, output: Vec::new() })
    }

    /// Decodes into `out`, gray where the picture is, otherwise BGR.
    pub fn decode(&mut self, encoding: Encoding, bytes: &[u8], out: &mut Mat) -> Result<(), PictureError> {
        if encoding == Encoding::Jpeg {
            return self.decode_jpeg(bytes, out);
        }
        let picture = imgcodecs::imdecode(&Mat::from_slice(bytes)?, IMREAD_COLOR)?;
        if picture.empty() {
            return Err(PictureError(format!(
                "{} bytes that are no {}",
                bytes.len(),
                encoding.as_str_name()
            )));
        }
        *out = picture;
        Ok(())
    }

    /// Encodes a gray or BGR matrix; `quality` is for JPEG and WebP, 1 to 100.
    pub fn encode(&mut self, encoding: Encoding, mat: &Mat, quality: u8) -> Result<Bytes, PictureError> {
        match encoding {
            Encoding::Jpeg => self.encode_jpeg(mat, quality),
            // The fastest compression: the file is as lossless, and the wire is not worth more time.
            Encoding::Png => encode_with_opencv(".png", mat, [IMWRITE_PNG_COMPRESSION, 1]),
            Encoding::Webp => encode_with_opencv(".webp", mat, [IMWRITE_WEBP_QUALITY, quality.into()]),
            other => Err(PictureError(format!("{} is no encoding of a picture", other.as_str_name()))),
        }
    }

    fn decode_jpeg(&mut self, bytes: &[u8], out: &mut Mat) -> Result<(), PictureError> {
        let header = self.decompressor.read_header(bytes)?;
        pixel_count(header.width as u32, header.height as u32)?;
        let (format, channels) = match header.colorspace {
            Colorspace::Gray => (PixelFormat::GRAY, Channels::Gray),
            Colorspace::CMYK | Colorspace::YCCK => {
                *out = imgcodecs::imdecode(&Mat::from_slice(bytes)?, IMREAD_COLOR)?;
                return Ok(());
            }
            _ => (PixelFormat::BGR, Channels::Bgr),
        };
        shape(out, Size::new(header.width as i32, header.height as i32), channels)?;
        let pitch = header.width * format.size();
        let image = Image {
            pixels: out.data_bytes_mut()?,
            width: header.width,
            pitch,
            height: header.height,
            format,
        };
        Ok(self.decompressor.decompress(bytes, image)?)
    }

    fn encode_jpeg(&mut self, mat: &Mat, quality: u8) -> Result<Bytes, PictureError> {
        let (format, subsampling) = if mat.channels() == 1 {
            (PixelFormat::GRAY, Subsamp::Gray)
        } else {
            (PixelFormat::BGR, Subsamp::Sub2x2)
        };
        self.compressor.set_quality(quality.into())?;
        self.compressor.set_subsamp(subsampling)?;
        let width = mat.cols() as usize;
        let image = Image {
            pixels: mat.data_bytes()?,
            width,
            pitch: width * format.size(),
            height: mat.rows() as usize,
            format,
        };
        let worst = self.compressor.buf_len(image.width, image.height)?;
        if self.output.len() < worst {
            self.output.resize(worst, 0);
        }
        let length = self.compressor.compress_to_slice(image, &mut self.output)?;
        Ok(Bytes::copy_from_slice(&self.output[..length]))
    }
}

/// Which of the encodings of the wire the bytes begin like.
pub fn sniff(bytes: &[u8]) -> Option<Encoding> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some(Encoding::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Some(Encoding::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Encoding::Webp),
        _ => None,
    }
}

/// A file of the kind that the extension names, as OpenCV writes it.
pub fn encode_as(extension: &str, mat: &Mat) -> Result<Bytes, PictureError> {
    let mut out = Vector::new();
    if !imgcodecs::imencode_def(&format!(".{extension}"), mat, &mut out)? {
        return Err(PictureError(format!("this OpenCV can't write .{extension}")));
    }
    Ok(Bytes::copy_from_slice(out.as_slice()))
}

fn encode_with_opencv(extension: &str, mat: &Mat, parameters: [i32; 2]) -> Result<Bytes, PictureError> {
    let mut out = Vector::new();
    if !imgcodecs::imencode(extension, mat, &mut out, &Vector::from_slice(&parameters))? {
        return Err(PictureError(format!("this OpenCV can't write {extension}")));
    }
    Ok(Bytes::copy_from_slice(out.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencv::core::{CV_8UC1, CV_8UC3, Scalar};

    #[test]
    fn gray_stays_gray_and_color_color() {
        let mut codec = Codec::new().unwrap();
        for (kind, channels) in [(CV_8UC1, 1), (CV_8UC3, 3)] {
            let mat = Mat::new_rows_cols_with_default(33, 17, kind, Scalar::all(90.0)).unwrap();
            let jpeg = codec.encode(Encoding::Jpeg, &mat, 90).unwrap();
            assert_eq!(sniff(&jpeg), Some(Encoding::Jpeg));
            let mut back = Mat::default();
            codec.decode(Encoding::Jpeg, &jpeg, &mut back).unwrap();
            assert_eq!((back.cols(), back.rows(), back.channels()), (17, 33, channels));
        }
        for encoding in [Encoding::Png, Encoding::Webp] {
            let mat = Mat::new_rows_cols_with_default(9, 16, CV_8UC3, Scalar::all(90.0)).unwrap();
            let bytes = codec.encode(encoding, &mat, 90).unwrap();
            assert_eq!(sniff(&bytes), Some(encoding));
            let mut back = Mat::default();
            codec.decode(encoding, &bytes, &mut back).unwrap();
            assert_eq!((back.cols(), back.rows()), (16, 9));
        }
    }

    #[test]
    fn garbage_is_an_error() {
        let mut codec = Codec::new().unwrap();
        let mut out = Mat::default();
        for encoding in [Encoding::Jpeg, Encoding::Png, Encoding::Webp] {
            assert!(codec.decode(encoding, b"\xff\xd8\xff\xe0no picture", &mut out).is_err());
            assert!(codec.decode(encoding, b"", &mut out).is_err());
        }
    }
}
