//! How the picture of a reply is encoded.

use crate::frame::codec::Chroma;
use crate::frame::{Codec, Encoding, Image, PixelFormat};

/// How replies are to be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The codec, or none.
    pub codec: ReplyCodec,
    /// JPEG and WebP: 1 to 100.
    pub quality: u8,
    /// JPEG only.
    pub chroma: Chroma,
}

/// What a reply's picture is encoded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyCodec {
    /// The frame's own.
    AsItCame,
    /// There is no picture.
    NoPicture,
    /// Raw pixels, in the frame's own format where the result can have it.
    Raw,
    /// This one.
    Codec(Codec),
}

impl Reply {
    /// Whether a raw frame of this format that nothing is done to can go back as it is.
    pub fn raw_as_it_is(&self, format: PixelFormat) -> bool {
        match self.codec {
            ReplyCodec::AsItCame | ReplyCodec::Raw => true,
            ReplyCodec::Codec(codec) => codec == Codec::Raw(format),
            ReplyCodec::NoPicture => false,
        }
    }

    /// How to encode a picture that came in the codec `came`; `None` for not at all.
    pub fn encoding(&self, came: Codec, image: &Image) -> Option<Encoding> {
        let Reply { quality, chroma, .. } = *self;
        let codec = match (self.codec, came) {
            (ReplyCodec::NoPicture, _) => return None,
            (ReplyCodec::Codec(codec), _) => codec,
            (ReplyCodec::AsItCame | ReplyCodec::Raw, Codec::Raw(format)) => {
                Codec::Raw(raw_format(format, image))
            }
            (ReplyCodec::AsItCame, codec) => codec,
            (ReplyCodec::Raw, _) => Codec::Raw(raw_format(PixelFormat::Bgr24, image)),
        };
        Some(Encoding { codec, quality, chroma })
    }
}

/// The format that came, where the picture can have it without loss or waste: else gray8 or bgr24.
fn raw_format(came: PixelFormat, image: &Image) -> PixelFormat {
    match came {
        _ if image.is_gray() => PixelFormat::Gray8,
        PixelFormat::Gray8 => PixelFormat::Bgr24,
        came if came.byte_len(image.size()).is_ok() => came,
        _ => PixelFormat::Bgr24,
    }
}
