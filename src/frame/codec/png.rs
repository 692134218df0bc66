//! PNG by the `png` crate.

use std::io::Cursor;

use bytes::Bytes;
use opencv::core::{CV_8UC1, CV_8UC3, Mat};
use opencv::imgproc;
use opencv::prelude::*;
use png::{BitDepth, ColorType, Compression, Decoder, Encoder, Transformations};

use super::{Codec, Encoded, prepare, unreadable};
use crate::error::Error;
use crate::frame::format::Size;
use crate::frame::image::Image;

pub fn size(bytes: &[u8]) -> Result<Size, Error> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    let header = decoder.read_header_info().map_err(|error| unreadable(Codec::Png, bytes, error))?;
    Ok(Size::new(header.width, header.height))
}

pub fn decode(from: &Encoded, buffer: &mut Vec<u8>, to: &mut Mat) -> Result<(), Error> {
    let mut decoder = Decoder::new(Cursor::new(&from.bytes[..]));
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let unreadable = |error| from.unreadable(error);
    let mut reader = decoder.read_info().map_err(unreadable)?;
    let (color, _) = reader.output_color_type();
    let code = match color {
        ColorType::Grayscale => {
            prepare(to, from.size, CV_8UC1)?;
            reader.next_frame(to.data_bytes_mut()?).map_err(unreadable)?;
            return Ok(());
        }
        ColorType::Rgb | ColorType::Indexed => imgproc::COLOR_RGB2BGR,
        ColorType::Rgba => imgproc::COLOR_RGBA2BGR,
        ColorType::GrayscaleAlpha => imgproc::COLOR_BGR2GRAY,
    };
    let channels = color.samples();
    let length = from.size.width as usize * from.size.height as usize * channels;
    buffer.resize(buffer.len().max(length), 0);
    reader.next_frame(&mut buffer[..length]).map_err(unreadable)?;
    let rows = i32::try_from(from.size.height).map_err(|error| from.unreadable(error))?;
    if color == ColorType::GrayscaleAlpha {
        let pixels = Mat::new_rows_cols_with_bytes::<opencv::core::Vec2b>(
            rows,
            from.size.width as i32,
            &buffer[..length],
        )?;
        opencv::core::extract_channel(&pixels, to, 0)?;
        return Ok(());
    }
    prepare(to, from.size, CV_8UC3)?;
    let flat = Mat::from_slice(&buffer[..length])?;
    let pixels = flat.reshape(channels as i32, rows)?;
    imgproc::cvt_color_def(&pixels, to, code)?;
    Ok(())
}

pub fn encode(image: &Image, scratch: &mut Mat) -> Result<Bytes, Error> {
    let Size { width, height } = image.size();
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    let pixels = if image.is_gray() {
        encoder.set_color(ColorType::Grayscale);
        image.mat()
    } else {
        encoder.set_color(ColorType::Rgb);
        imgproc::cvt_color_def(image.mat(), scratch, imgproc::COLOR_BGR2RGB)?;
        scratch
    };
    let mut writer = encoder.write_header().map_err(internal)?;
    writer.write_image_data(pixels.data_bytes()?).map_err(internal)?;
    writer.finish().map_err(internal)?;
    Ok(bytes.into())
}

fn internal(error: png::EncodingError) -> Error {
    Error::Internal(format!("png: {error}"))
}
