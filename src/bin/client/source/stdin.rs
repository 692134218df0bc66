//! Standard input: y4m or MJPEG, whichever it begins like.

use std::io::{self, BufRead, BufReader, Read};

use super::{Source, mjpeg, y4m};
use crate::failure::Failure;

pub fn open(mjpeg_fps: f64) -> Result<Box<dyn Source>, Failure> {
    from_reader(io::stdin(), mjpeg_fps)
}

fn from_reader(input: impl Read + Send + 'static, mjpeg_fps: f64) -> Result<Box<dyn Source>, Failure> {
    let mut input = BufReader::with_capacity(1 << 18, input);
    let start = input.fill_buf().map_err(|error| Failure::usage(format!("standard input: {error}")))?;
    match start {
        [] => Err(Failure::usage("standard input is empty: pipe y4m or MJPEG into it")),
        [b'Y', ..] => Ok(Box::new(y4m::Y4m::new(input)?)),
        [0xff, ..] => Ok(Box::new(mjpeg::Mjpeg::new(input, mjpeg_fps))),
        other => Err(Failure::usage(format!(
            "standard input begins with {:02x?}: neither y4m (ffmpeg: -f yuv4mpegpipe) nor MJPEG (-f mjpeg)",
            &other[..other.len().min(4)]
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_begins_like() {
        assert!(from_reader(&b"YUV4MPEG2 W2 H2 F25:1\n"[..], 25.0).is_ok());
        assert!(from_reader(&b"\xff\xd8\xff"[..], 25.0).is_ok());
        for bad in [&b""[..], b"RIFF....AVI ", b"\0", b"Y", b"YUV4MPEG2\n"] {
            assert!(from_reader(bad, 25.0).is_err(), "{bad:?}");
        }
    }
}
