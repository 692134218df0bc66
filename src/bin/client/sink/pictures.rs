//! Picture files: one for each frame, in the reply's own bytes where they are a file already.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use frameserve::proto::Encoding;

use super::Sink;
use super::place::make_directory;
use crate::codec::{Codec, encode_as, sniff};
use crate::download::Arrived;
use crate::failure::Failure;

pub struct Pictures {
    naming: Naming,
    written: u64,
    codec: Option<Codec>,
}

enum Naming {
    Directory(PathBuf),
    /// For the only frame of its source.
    Single(PathBuf),
}

impl Pictures {
    pub fn in_directory(directory: &Path) -> Result<Pictures, Failure> {
        make_directory(directory)?;
        Ok(Pictures { naming: Naming::Directory(directory.into()), written: 0, codec: None })
    }

    pub fn single(file: &Path) -> Pictures {
        Pictures { naming: Naming::Single(file.into()), written: 0, codec: None }
    }

    /// The reply's bytes, or PNG of raw pixels.
    fn file_bytes(&mut self, frame: &mut Arrived<'_>) -> Result<(Encoding, Bytes), Failure> {
        if let Some(encoding) = sniff(&frame.reply.img).filter(|_| frame.reply.encoding() != Encoding::Raw) {
            return Ok((encoding, frame.reply.img.clone()));
        }
        let pixels = frame.pixels()?;
        let codec = match &mut self.codec {
            Some(codec) => codec,
            none => none.insert(Codec::new().map_err(Failure::usage)?),
        };
        Ok((Encoding::Png, codec.encode(Encoding::Png, pixels, 100).map_err(Failure::usage)?))
    }
}

impl Sink for Pictures {
    fn write(&mut self, frame: &mut Arrived<'_>) -> Result<(), Failure> {
        let (path, bytes) = match &self.naming {
            Naming::Single(_) if self.written > 0 => {
                return Err(Failure::usage(
                    "-o: one picture file for several frames; name a directory instead",
                ));
            }
            Naming::Single(file) => {
                let extension = file.extension().map(|extension| extension.to_string_lossy().to_lowercase());
                let wanted = extension.unwrap_or_default();
                let sent = sniff(&frame.reply.img).filter(|_| frame.reply.encoding() != Encoding::Raw);
                match (sent, wanted.as_str()) {
                    (Some(Encoding::Jpeg), "jpg" | "jpeg")
                    | (Some(Encoding::Png), "png")
                    | (Some(Encoding::Webp), "webp") => (file.clone(), frame.reply.img.clone()),
                    _ => (file.clone(), encode_as(&wanted, frame.pixels()?).map_err(Failure::usage)?),
                }
            }
            Naming::Directory(directory) => {
                let directory = directory.clone();
                let (encoding, bytes) = self.file_bytes(frame)?;
                (directory.join(file_name(frame, encoding)), bytes)
            }
        };
        fs::write(&path, &bytes)
            .map_err(|error| Failure::usage(format!("cannot write '{}': {error}", path.display())))?;
        self.written += 1;
        Ok(())
    }

    fn repeat(&mut self, _count: u64) -> Result<(), Failure> {
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<String>, Failure> {
        let (Naming::Directory(path) | Naming::Single(path)) = &self.naming;
        if self.written == 0 && matches!(self.naming, Naming::Single(_)) {
            return Ok(vec![format!("{} was not written: no picture came back", path.display())]);
        }
        let noun = if self.written == 1 { "picture" } else { "pictures" };
        Ok(vec![format!("{}: {} {noun}", path.display(), self.written)])
    }
}

/// The frame's number, and the name that its picture came with.
fn file_name(frame: &Arrived<'_>, encoding: Encoding) -> String {
    let extension = match encoding {
        Encoding::Jpeg => "jpg",
        Encoding::Webp => "webp",
        _ => "png",
    };
    match &frame.sent.name {
        Some(name) => format!("{:06}_{name}.{extension}", frame.reply.sequence),
        None => format!("{:06}.{extension}", frame.reply.sequence),
    }
}
