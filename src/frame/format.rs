//! Pixel formats and their sizes, in arithmetic that can't overflow.

use std::fmt;

use crate::error::Error;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// `width` columns, `height` rows.
    pub const fn new(width: u32, height: u32) -> Self {
        Size { width, height }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl From<Size> for opencv::core::Size {
    /// Sizes within [`Limits::max_pixels`](crate::limits::Limits) fit; a larger one is cut to `i32::MAX`.
    fn from(size: Size) -> Self {
        let fit = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        opencv::core::Size::new(fit(size.width), fit(size.height))
    }
}

/// How raw pixels lie in memory: rows without padding, 8 bits a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// One byte a pixel.
    Gray8,
    /// Blue, green, red.
    Bgr24,
    /// Red, green, blue.
    Rgb24,
    /// Planes Y, U, V, the latter two halved both ways; BT.601, studio range.
    I420,
    /// Plane Y, then U and V interleaved; BT.601, studio range.
    Nv12,
}

impl PixelFormat {
    /// All of them.
    pub const ALL: [PixelFormat; 5] =
        [PixelFormat::Gray8, PixelFormat::Bgr24, PixelFormat::Rgb24, PixelFormat::I420, PixelFormat::Nv12];

    /// As it is written on a command line.
    pub fn name(self) -> &'static str {
        match self {
            PixelFormat::Gray8 => "gray8",
            PixelFormat::Bgr24 => "bgr24",
            PixelFormat::Rgb24 => "rgb24",
            PixelFormat::I420 => "i420",
            PixelFormat::Nv12 => "nv12",
        }
    }

    /// The format of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The error for a name that is none of a format; `what` says where it stood.
    pub fn unknown(what: &'static str, name: &str) -> Error {
        let names = Self::ALL.map(PixelFormat::name).join(", ");
        Error::Range { what, value: format!("`{name}`"), range: format!("one of {names}") }
    }

    /// Bytes of a frame of this size, which must be one that the format can have.
    pub fn byte_len(self, size: Size) -> Result<u64, Error> {
        let Size { width, height } = size;
        let wrong = |rule| Error::Dimensions { format: self.name(), width, height, rule };
        if width == 0 || height == 0 {
            return Err(wrong("width and height must be at least 1"));
        }
        let pixels = u64::from(width) * u64::from(height);
        match self {
            PixelFormat::Gray8 => Ok(pixels),
            PixelFormat::Bgr24 | PixelFormat::Rgb24 => {
                pixels.checked_mul(3).ok_or(wrong("its bytes can't be counted in 64 bits"))
            }
            PixelFormat::I420 | PixelFormat::Nv12 if width % 2 != 0 || height % 2 != 0 => {
                Err(wrong("width and height must be even"))
            }
            PixelFormat::I420 | PixelFormat::Nv12 => {
                pixels.checked_add(pixels / 2).ok_or(wrong("its bytes can't be counted in 64 bits"))
            }
        }
    }
}
