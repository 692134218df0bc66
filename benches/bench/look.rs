//! What a reply's picture is: so that who is compared does the same work.

use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use frameserve::proto::{Encoding, MsgReply};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Size and encoding of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    pub width: usize,
    pub height: usize,
    /// "JPEG Gray", "JPEG Sub2x2", "raw".
    pub format: String,
    /// Of a JPEG's quantization tables, which are what its quality comes down to.
    pub quality: u64,
}

impl Look {
    /// Decodes it, and fails if it can't be.
    pub fn at(reply: &MsgReply) -> Result<Look> {
        let (width, height) = (reply.width as usize, reply.height as usize);
        let look = match reply.encoding() {
            Encoding::Jpeg => Look::of_jpeg(&reply.img)?,
            Encoding::Raw if reply.img.len() == width * height * 3 => {
                Look { width, height, format: "raw".into(), quality: 0 }
            }
            other => return Err(format!("{} bytes of {}", reply.img.len(), other.as_str_name()).into()),
        };
        if (look.width, look.height) != (width, height) {
            let Look { width: found, height: found_height, .. } = look;
            return Err(format!("a reply said {width}x{height} and was {found}x{found_height}").into());
        }
        Ok(look)
    }

    fn of_jpeg(bytes: &Bytes) -> Result<Look> {
        let header = turbojpeg::read_header(bytes)?;
        turbojpeg::decompress(bytes, turbojpeg::PixelFormat::BGR)?;
        let turbojpeg::DecompressHeader { width, height, subsamp, .. } = header;
        Ok(Look { width, height, format: format!("JPEG {subsamp:?}"), quality: hash_of_tables(bytes) })
    }
}

/// Goes from segment to segment (ITU-T T.81, B.1.1) up to the scan, and takes the DQT ones.
fn hash_of_tables(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let [0xff, marker, high, low, ..] = *rest {
        let end = 2 + usize::from(u16::from_be_bytes([high, low]));
        match (marker, rest.get(4..end)) {
            (0xda, _) | (_, None) => break,
            // Tables may share a segment or not, so what divides them is left out.
            (0xdb, Some(tables)) => tables.chunks(65).for_each(|table| hasher.write(table)),
            _ => {}
        }
        rest = &rest[end..];
    }
    hasher.finish()
}
