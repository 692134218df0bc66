//! JPEG by libjpeg-turbo.

use bytes::Bytes;
use opencv::core::{CV_8UC1, CV_8UC3, Mat};
use opencv::prelude::*;
use turbojpeg::{Colorspace, Compressor, Decompressor, PixelFormat, ScalingFactor, Subsamp};

use super::{Chroma, Codec, Encoded, Encoding, Need, prepare, unreadable};
use crate::error::Error;
use crate::frame::format::Size;
use crate::frame::image::Image;

/// A progressive picture with more scans than this is an attack, not a picture.
const MAX_SCANS: u32 = 50;

/// One decoder and one encoder, used again and again.
pub struct Handles {
    decoder: Decompressor,
    encoder: Compressor,
}

impl Handles {
    pub fn new() -> Result<Self, Error> {
        let mut decoder = Decompressor::new().map_err(internal)?;
        decoder.set_scan_limit(MAX_SCANS).map_err(internal)?;
        Ok(Handles { decoder, encoder: Compressor::new().map_err(internal)? })
    }
}

pub fn size(bytes: &[u8]) -> Result<Size, Error> {
    let damaged = || unreadable(Codec::Jpeg, bytes, "its header is damaged or cut off");
    let header = turbojpeg::read_header(bytes).map_err(|error| match error {
        turbojpeg::Error::IntegerOverflow(_) => damaged(),
        error => unreadable(Codec::Jpeg, bytes, error),
    })?;
    let side = |side: usize| u32::try_from(side).map_err(|_| damaged());
    Ok(Size::new(side(header.width)?, side(header.height)?))
}

pub fn decode(from: &Encoded, need: Need, handles: &mut Handles, to: &mut Mat) -> Result<(), Error> {
    let decoder = &mut handles.decoder;
    let header = decoder.read_header(&from.bytes).map_err(|error| from.unreadable(error))?;
    let gray = match header.colorspace {
        Colorspace::Gray => true,
        Colorspace::CMYK | Colorspace::YCCK => {
            return Err(from.unreadable("CMYK colors are not supported, RGB and gray are"));
        }
        // Luma is a plane of its own only where the picture is stored as YCbCr.
        Colorspace::YCbCr => need.gray,
        Colorspace::RGB => false,
    };
    let factor = if header.is_lossless { ScalingFactor::ONE } else { factor(from.size, need.at_least) };
    decoder.set_scaling_factor(factor).map_err(|error| from.unreadable(error))?;
    let header = header.scaled(factor);
    let size = Size::new(header.width as u32, header.height as u32);
    prepare(to, size, if gray { CV_8UC1 } else { CV_8UC3 })?;
    let format = if gray { PixelFormat::GRAY } else { PixelFormat::BGR };
    let image = turbojpeg::Image {
        width: header.width,
        height: header.height,
        pitch: header.width * format.size(),
        format,
        pixels: to.data_bytes_mut()?,
    };
    decoder.decompress(&from.bytes, image).map_err(|error| from.unreadable(error))
}

/// The smallest size that libjpeg-turbo can decode to at full speed and that is still enough.
fn factor(size: Size, enough: Option<Size>) -> ScalingFactor {
    let Some(enough) = enough else { return ScalingFactor::ONE };
    [ScalingFactor::ONE_EIGHTH, ScalingFactor::ONE_QUARTER, ScalingFactor::ONE_HALF]
        .into_iter()
        .find(|factor| {
            factor.scale(size.width as usize) >= enough.width as usize
                && factor.scale(size.height as usize) >= enough.height as usize
        })
        .unwrap_or(ScalingFactor::ONE)
}

pub fn encode(
    image: &Image,
    encoding: &Encoding,
    handles: &mut Handles,
    buffer: &mut Vec<u8>,
) -> Result<Bytes, Error> {
    let encoder = &mut handles.encoder;
    let Size { width, height } = image.size();
    if width > 65_500 || height > 65_500 {
        let rule = "JPEG has at most 65500 rows and columns";
        return Err(Error::Dimensions { format: "JPEG", width, height, rule });
    }
    let (format, chroma) = match (image.is_gray(), encoding.chroma) {
        (true, _) => (PixelFormat::GRAY, Subsamp::Gray),
        (false, Chroma::Quarter) => (PixelFormat::BGR, Subsamp::Sub2x2),
        (false, Chroma::Half) => (PixelFormat::BGR, Subsamp::Sub2x1),
        (false, Chroma::Full) => (PixelFormat::BGR, Subsamp::None),
    };
    encoder.set_quality(encoding.quality.into()).map_err(internal)?;
    encoder.set_subsamp(chroma).map_err(internal)?;
    let (width, height) = (width as usize, height as usize);
    let most = encoder.buf_len(width, height).map_err(internal)?;
    if buffer.len() < most {
        buffer.resize(most, 0);
    }
    let pixels = image.mat().data_bytes()?;
    let picture = turbojpeg::Image { pixels, width, height, pitch: width * format.size(), format };
    let length = encoder.compress_to_slice(picture, buffer).map_err(internal)?;
    Ok(Bytes::copy_from_slice(&buffer[..length]))
}

fn internal(error: turbojpeg::Error) -> Error {
    Error::Internal(format!("libjpeg-turbo: {error}"))
}
