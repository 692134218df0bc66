//! Standard input: y4m, MJPEG or a single picture, whichever it begins like.

use std::io::{self, BufRead, BufReader, Read};

use super::probe::Sound;
use super::{Arrival, Facts, Source, SourceFrame, mjpeg, y4m};
use crate::codec::sniff;
use crate::failure::Failure;
use crate::picture::Picture;

/// A PNG or WebP, which ends where the input does.
struct Single {
    facts: Facts,
    picture: Option<Picture>,
}

pub fn open(mjpeg_fps: f64) -> Result<Box<dyn Source>, Failure> {
    from_reader(io::stdin(), mjpeg_fps)
}

impl Single {
    fn read(mut input: impl Read, fps: f64) -> Result<Single, Failure> {
        let mut bytes = Vec::new();
        let read = input.read_to_end(&mut bytes);
        read.map_err(|error| Failure::usage(format!("standard input: {error}")))?;
        let encoding = sniff(&bytes).ok_or_else(|| unknown(&bytes))?;
        let title = "a picture from standard input".into();
        let facts = Facts { title, frames: Some(1), fps, arrival: Arrival::OnDemand, sound: Sound::Absent };
        Ok(Single { facts, picture: Some(Picture::Encoded(encoding, bytes.into())) })
    }
}

impl Source for Single {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn next(&mut self) -> Result<Option<SourceFrame>, Failure> {
        let picture = self.picture.take();
        Ok(picture.map(|picture| SourceFrame { picture, timestamp_us: 0, name: None }))
    }
}

fn from_reader(input: impl Read + Send + 'static, mjpeg_fps: f64) -> Result<Box<dyn Source>, Failure> {
    let mut input = BufReader::with_capacity(1 << 18, input);
    let start = input.fill_buf().map_err(|error| Failure::usage(format!("standard input: {error}")))?;
    match start {
        [] => Err(Failure::usage("standard input is empty: pipe y4m, MJPEG or a picture into it")),
        [b'Y', ..] => Ok(Box::new(y4m::Y4m::new(input)?)),
        [0xff, ..] => Ok(Box::new(mjpeg::Mjpeg::new(input, mjpeg_fps))),
        [0x89 | b'R', ..] => Ok(Box::new(Single::read(input, mjpeg_fps)?)),
        other => Err(unknown(other)),
    }
}

fn unknown(bytes: &[u8]) -> Failure {
    Failure::usage(format!(
        "standard input begins with {:02x?}: neither y4m (ffmpeg: -f yuv4mpegpipe), MJPEG (-f mjpeg), PNG nor WebP",
        &bytes[..bytes.len().min(4)]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_begins_like() {
        assert!(from_reader(&b"YUV4MPEG2 W2 H2 F25:1\n"[..], 25.0).is_ok());
        assert!(from_reader(&b"\xff\xd8\xff"[..], 25.0).is_ok());
        let mut png = from_reader(&b"\x89PNG and so on"[..], 25.0).unwrap();
        assert!(png.next().unwrap().is_some() && png.next().unwrap().is_none());
        for bad in [&b""[..], b"RIFF....AVI ", b"\0", b"Y", b"YUV4MPEG2\n"] {
            assert!(from_reader(bad, 25.0).is_err(), "{bad:?}");
        }
    }
}
