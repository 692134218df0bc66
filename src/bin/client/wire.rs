//! Pictures as the fields of a message: sent as they are, or encoded.

use bytes::Bytes;
use frameserve::proto::{Encoding, MsgReply, MsgRequest, PixelFormat};
use opencv::core::Mat;

use crate::args::values::Wire;
use crate::codec::{Codec, sniff};
use crate::picture::{Picture, PictureError, RawPicture};

/// One thread's way from a source's picture to a message.
pub struct Encoder {
    codec: Codec,
    wire: Wire,
    quality: u8,
    decoded: Mat,
}

/// One thread's way from a reply to pixels.
pub struct Decoder {
    codec: Codec,
    pixels: Mat,
}

impl Encoder {
    pub fn new(wire: Wire, quality: u8) -> Result<Encoder, PictureError> {
        Ok(Encoder { codec: Codec::new()?, wire, quality, decoded: Mat::default() })
    }

    /// Pixels of the picture, gray or BGR, valid until the next call.
    pub fn pixels<'a>(&'a mut self, picture: &'a Picture) -> Result<&'a Mat, PictureError> {
        match picture {
            Picture::Pixels(pixels) => return Ok(pixels),
            Picture::Encoded(encoding, bytes) => self.codec.decode(*encoding, bytes, &mut self.decoded)?,
            Picture::Raw(raw) => raw.to_mat(&mut self.decoded)?,
        }
        Ok(&self.decoded)
    }

    /// The picture as a file has it: as it is where it is encoded, else as this encodes it.
    pub fn file(&mut self, picture: Picture) -> Result<(Encoding, Bytes), PictureError> {
        if let Picture::Encoded(encoding, bytes) = picture {
            return Ok((encoding, bytes));
        }
        let message = self.message(&picture)?;
        Ok((message.encoding(), message.img))
    }

    /// A message with the picture, and nothing else.
    pub fn message(&mut self, picture: &Picture) -> Result<MsgRequest, PictureError> {
        let encoding = match (self.wire, picture) {
            (Wire::Auto, Picture::Encoded(encoding, bytes)) => return Ok(encoded(*encoding, bytes.clone())),
            (Wire::Raw(format), Picture::Raw(raw)) if raw.format() == format => return Ok(message_of(raw)),
            (Wire::Raw(format), _) => {
                let raw = RawPicture::from_mat(format, self.pixels(picture)?)?;
                return Ok(message_of(&raw));
            }
            (Wire::Auto | Wire::Jpeg, _) => Encoding::Jpeg,
            (Wire::Png, _) => Encoding::Png,
            (Wire::Webp, _) => Encoding::Webp,
        };
        if !matches!(picture, Picture::Pixels(_)) {
            self.pixels(picture)?;
        }
        let pixels = if let Picture::Pixels(pixels) = picture { pixels } else { &self.decoded };
        self.codec.encode(encoding, pixels, self.quality).map(|bytes| encoded(encoding, bytes))
    }
}

impl Decoder {
    pub fn new() -> Result<Decoder, PictureError> {
        Ok(Decoder { codec: Codec::new()?, pixels: Mat::default() })
    }

    /// The reply's picture, gray or BGR, valid until the next call.
    pub fn pixels(&mut self, reply: &MsgReply) -> Result<&Mat, PictureError> {
        match reply.encoding() {
            Encoding::Raw => {
                RawPicture::new(reply.pixel_format(), reply.width, reply.height, reply.img.clone())?
                    .to_mat(&mut self.pixels)?;
            }
            Encoding::Unspecified | Encoding::NoPicture => {
                let encoding =
                    sniff(&reply.img).ok_or_else(|| PictureError("a picture in no known encoding".into()))?;
                self.codec.decode(encoding, &reply.img, &mut self.pixels)?;
            }
            encoding => self.codec.decode(encoding, &reply.img, &mut self.pixels)?,
        }
        Ok(&self.pixels)
    }

    /// The picture of the last call.
    pub fn last(&self) -> &Mat {
        &self.pixels
    }
}

fn encoded(encoding: Encoding, img: Bytes) -> MsgRequest {
    MsgRequest { img, encoding: encoding.into(), ..MsgRequest::default() }
}

fn message_of(raw: &RawPicture) -> MsgRequest {
    MsgRequest {
        img: raw.bytes().clone(),
        encoding: Encoding::Raw.into(),
        width: raw.width(),
        height: raw.height(),
        pixel_format: PixelFormat::into(raw.format()),
        ..MsgRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencv::core::{CV_8UC3, Scalar};
    use opencv::prelude::*;

    fn reply_to(message: MsgRequest) -> MsgReply {
        MsgReply {
            img: message.img,
            encoding: message.encoding,
            width: message.width,
            height: message.height,
            pixel_format: message.pixel_format,
            ..MsgReply::default()
        }
    }

    #[test]
    fn every_wire_format_comes_back() {
        let mut decoder = Decoder::new().unwrap();
        let pixels = || {
            Mat::new_rows_cols_with_default(12, 20, CV_8UC3, Scalar::new(30.0, 140.0, 200.0, 0.0)).unwrap()
        };
        for format in
            ["auto", "jpeg", "png", "webp", "raw-bgr24", "raw-rgb24", "raw-gray8", "raw-i420", "raw-nv12"]
        {
            let mut encoder = Encoder::new(format.parse().unwrap(), 95).unwrap();
            let message = encoder.message(&Picture::Pixels(pixels())).expect(format);
            let reply = reply_to(message);
            let back = decoder.pixels(&reply).expect(format);
            assert_eq!((back.cols(), back.rows()), (20, 12), "{format}");
            let green =
                if back.channels() == 3 { back.at_2d::<opencv::core::Vec3b>(6, 10).unwrap()[1] } else { 140 };
            assert!((130..150).contains(&green), "{format}: {green}");
        }
    }

    #[test]
    fn encoded_pictures_go_as_they_are_unless_told_otherwise() {
        let jpeg = Codec::new().unwrap().encode(
            Encoding::Jpeg,
            &Mat::zeros(8, 8, CV_8UC3).unwrap().to_mat().unwrap(),
            50,
        );
        let jpeg = jpeg.unwrap();
        let picture = Picture::Encoded(Encoding::Jpeg, jpeg.clone());
        let send = |wire: &str| Encoder::new(wire.parse().unwrap(), 90).unwrap().message(&picture).unwrap();
        assert_eq!(send("auto").img.as_ptr(), jpeg.as_ptr());
        assert_ne!(send("jpeg").img, jpeg);
        assert_eq!(send("raw-bgr24").img.len(), 8 * 8 * 3);
    }

    #[test]
    fn replies_that_lie_are_errors() {
        let mut decoder = Decoder::new().unwrap();
        let lie = |encoding: Encoding, pixel_format: PixelFormat| MsgReply {
            img: Bytes::from_static(b"short"),
            encoding: encoding.into(),
            width: 640,
            height: 360,
            pixel_format: pixel_format.into(),
            ..MsgReply::default()
        };
        for encoding in [Encoding::Raw, Encoding::Jpeg, Encoding::Png, Encoding::Unspecified] {
            assert!(decoder.pixels(&lie(encoding, PixelFormat::Bgr24)).is_err());
        }
        assert!(decoder.pixels(&lie(Encoding::Raw, PixelFormat::Unspecified)).is_err());
    }
}
