//! WebP by libwebp.

use bytes::Bytes;
use libwebp_sys::{WebPDecodeBGRInto, WebPEncodeBGR, WebPFree, WebPGetDecoderVersion, WebPGetInfo};
use opencv::core::{CV_8UC3, Mat};
use opencv::prelude::*;

use super::{Codec, Encoded, prepare, unreadable};
use crate::error::Error;
use crate::frame::format::Size;
use crate::frame::image::Image;

/// Rows or columns of the largest WebP.
const MAX_SIDE: u32 = 16_383;

pub fn library() -> String {
    // SAFETY: it takes nothing and returns a number.
    let version = unsafe { WebPGetDecoderVersion() };
    format!("libwebp {}.{}.{}", version >> 16, (version >> 8) & 255, version & 255)
}

pub fn size(bytes: &[u8]) -> Result<Size, Error> {
    let (mut width, mut height) = (0, 0);
    // SAFETY: the pointer is to `bytes.len()` readable bytes, and the others to integers that live on.
    let readable = unsafe { WebPGetInfo(bytes.as_ptr(), bytes.len(), &raw mut width, &raw mut height) };
    match (readable, u32::try_from(width), u32::try_from(height)) {
        (1, Ok(width), Ok(height)) if width > 0 && height > 0 => Ok(Size::new(width, height)),
        _ => Err(unreadable(Codec::Webp, bytes, "its header is damaged")),
    }
}

pub fn decode(from: &Encoded, to: &mut Mat) -> Result<(), Error> {
    prepare(to, from.size, CV_8UC3)?;
    let stride = i32::try_from(from.size.width * 3).map_err(|error| from.unreadable(error))?;
    let pixels = to.data_bytes_mut()?;
    // SAFETY: both buffers are as long as is said, and libwebp writes only if the picture's rows fit.
    let done = unsafe {
        WebPDecodeBGRInto(from.bytes.as_ptr(), from.bytes.len(), pixels.as_mut_ptr(), pixels.len(), stride)
    };
    if done.is_null() {
        return Err(from.unreadable("it is damaged, cut off or animated"));
    }
    Ok(())
}

pub fn encode(image: &mut Image, quality: u8, scratch: &mut Mat) -> Result<Bytes, Error> {
    image.make_bgr(scratch)?;
    let Size { width, height } = image.size();
    if width > MAX_SIDE || height > MAX_SIDE {
        let rule = "WebP has at most 16383 rows and columns";
        return Err(Error::Dimensions { format: "WebP", width, height, rule });
    }
    let pixels = image.mat().data_bytes()?;
    let (width, height) = (width as i32, height as i32);
    let mut output = std::ptr::null_mut();
    // SAFETY: an `Image` that is BGR, as it was made above, has `height` rows of `3 * width` bytes, without padding.
    let length = unsafe {
        WebPEncodeBGR(pixels.as_ptr(), width, height, width * 3, f32::from(quality), &raw mut output)
    };
    if length == 0 || output.is_null() {
        return Err(Error::Internal("libwebp could not encode".into()));
    }
    // SAFETY: libwebp gives `length` bytes, which are ours until they are freed.
    let bytes = Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(output, length) });
    // SAFETY: `output` comes from libwebp and is not used any more.
    unsafe { WebPFree(output.cast()) };
    Ok(bytes)
}
