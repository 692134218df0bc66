//! Pictures as bytes, and back: which codec it is, how large, decode, encode. One file for each codec.

mod jpeg;
mod png;
mod raw;
mod webp;

use bytes::Bytes;
use opencv::core::Mat;
use opencv::prelude::*;

use super::format::{PixelFormat, Size};
use super::image::Image;
use crate::error::Error;

/// How the bytes of a picture are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Baseline or progressive, gray or color.
    Jpeg,
    /// Any PNG; 16 bits become 8, transparency is dropped.
    Png,
    /// Lossy or lossless, not animated; transparency is dropped.
    Webp,
    /// Pixels as they are.
    Raw(PixelFormat),
}

/// A picture as it came, with its size known and nothing decoded.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Its bytes.
    pub bytes: Bytes,
    /// How they are to be read.
    pub codec: Codec,
    /// By the header; of a raw picture, by who sent it.
    pub size: Size,
}

/// How pictures are to be sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// The codec.
    pub codec: Codec,
    /// JPEG and WebP: 1 to 100.
    pub quality: u8,
    /// JPEG: how much of the color is kept.
    pub chroma: Chroma,
}

/// Resolution of the color of a JPEG, against that of its luma.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chroma {
    /// Half in both directions: 4:2:0.
    #[default]
    Quarter,
    /// Half across: 4:2:2.
    Half,
    /// The same: 4:4:4.
    Full,
}

/// How much of a picture is needed of it, so that no more is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Only its luma.
    pub gray: bool,
    /// Only this size or a larger one, of the same proportions.
    pub at_least: Option<Size>,
}

/// Quality of JPEG and WebP where nothing else is said.
pub const DEFAULT_QUALITY: u8 = 85;

/// The largest buffer that a thread keeps: a BGR picture of 4K.
const KEPT_BYTES: usize = 3840 * 2160 * 3;

/// What a thread keeps from picture to picture: handles and buffers.
pub struct Workbench {
    /// Memory for the stages.
    pub scratch: Mat,
    jpeg: jpeg::Handles,
    spare: Mat,
    buffer: Vec<u8>,
}

impl Workbench {
    /// An empty one.
    pub fn new() -> Result<Self, Error> {
        Ok(Workbench {
            scratch: Mat::default(),
            jpeg: jpeg::Handles::new()?,
            spare: Mat::default(),
            buffer: Vec::new(),
        })
    }

    /// Memory of a picture that is no longer needed, for the next one.
    pub fn recycle(&mut self, image: Image) {
        self.spare = image.into_mat();
    }

    /// Lets go of what an unusually large picture left behind.
    pub fn tidy(&mut self) {
        for mat in [&mut self.scratch, &mut self.spare] {
            if mat.total() * mat.elem_size().unwrap_or(1) > KEPT_BYTES {
                *mat = Mat::default();
            }
        }
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
    }
}

impl Codec {
    /// As it is written in messages.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Jpeg => "JPEG",
            Codec::Png => "PNG",
            Codec::Webp => "WebP",
            Codec::Raw(format) => format.name(),
        }
    }

    /// The library that does the work, with its version.
    pub fn library(self) -> String {
        match self {
            Codec::Jpeg => "libjpeg-turbo 3".into(),
            Codec::Png => "png".into(),
            Codec::Webp => webp::library(),
            Codec::Raw(_) => format!("OpenCV {}", opencv::core::CV_VERSION),
        }
    }

    /// The codec by the first bytes of a picture; `None` for one that could only be raw.
    pub fn sniff(bytes: &[u8]) -> Option<Codec> {
        match bytes {
            [0xff, 0xd8, 0xff, ..] => Some(Codec::Jpeg),
            [0x89, b'P', b'N', b'G', ..] => Some(Codec::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Codec::Webp),
            _ => None,
        }
    }
}

impl Encoded {
    /// Finds the codec from the first bytes, and reads the header.
    pub fn sniffed(bytes: Bytes) -> Result<Self, Error> {
        let Some(codec) = Codec::sniff(&bytes) else {
            return Err(Error::NotAPicture { bytes: bytes.len(), begin: first_bytes(&bytes) });
        };
        Self::with_header(bytes, codec)
    }

    /// Reads the header, and no more.
    pub fn with_header(bytes: Bytes, codec: Codec) -> Result<Self, Error> {
        let size = match codec {
            Codec::Jpeg => jpeg::size(&bytes)?,
            Codec::Png => png::size(&bytes)?,
            Codec::Webp => webp::size(&bytes)?,
            Codec::Raw(_) => return Err(Error::Internal("raw pixels have no header".into())),
        };
        Ok(Encoded { bytes, codec, size })
    }

    /// Raw pixels: their number must be that of the size.
    pub fn raw(bytes: Bytes, format: PixelFormat, size: Size) -> Result<Self, Error> {
        let expected = format.byte_len(size)?;
        if bytes.len() as u64 != expected {
            let Size { width, height } = size;
            return Err(Error::RawLength {
                format: format.name(),
                width,
                height,
                expected,
                found: bytes.len(),
            });
        }
        Ok(Encoded { bytes, codec: Codec::Raw(format), size })
    }

    /// Decodes as much of it as is needed.
    pub fn decode(&self, need: Need, bench: &mut Workbench) -> Result<Image, Error> {
        let mut to = std::mem::take(&mut bench.spare);
        match self.codec {
            Codec::Jpeg => jpeg::decode(self, need, &mut bench.jpeg, &mut to)?,
            Codec::Png => png::decode(self, &mut bench.buffer, &mut to)?,
            Codec::Webp => webp::decode(self, &mut to)?,
            Codec::Raw(format) => raw::decode(self, format, need, &mut to)?,
        }
        Image::new(to)
    }

    fn unreadable(&self, reason: impl ToString) -> Error {
        unreadable(self.codec, &self.bytes, reason)
    }
}

impl Encoding {
    /// This codec with the usual quality.
    pub fn new(codec: Codec) -> Self {
        Encoding { codec, quality: DEFAULT_QUALITY, chroma: Chroma::default() }
    }

    /// Encodes a picture. What it leaves behind goes back to the workbench.
    pub fn encode(&self, mut image: Image, bench: &mut Workbench) -> Result<Bytes, Error> {
        let bytes = match self.codec {
            Codec::Jpeg => jpeg::encode(&image, self, &mut bench.jpeg, &mut bench.buffer)?,
            Codec::Png => png::encode(&image, &mut bench.scratch)?,
            Codec::Webp => webp::encode(&mut image, self.quality, &mut bench.scratch)?,
            Codec::Raw(format) => return raw::encode(image, format, bench),
        };
        bench.recycle(image);
        Ok(bytes)
    }
}

/// The first bytes of a picture in hexadecimal, for those who wonder what it is.
pub fn first_bytes(bytes: &[u8]) -> String {
    let begin: Vec<_> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    begin.join(" ")
}

fn unreadable(codec: Codec, bytes: &[u8], reason: impl ToString) -> Error {
    Error::Undecodable { codec: codec.name(), bytes: bytes.len(), reason: reason.to_string() }
}

/// Makes `to` a matrix of this size and type, in its old memory if that fits.
fn prepare(to: &mut Mat, size: Size, kind: i32) -> Result<(), Error> {
    let size: opencv::core::Size = size.into();
    // SAFETY: the contents are not read before they are written by the caller.
    unsafe { to.create_size(size, kind)? };
    Ok(())
}
