//! y4m: uncompressed video with a header line, as `ffmpeg -f yuv4mpegpipe` writes it (YUV4MPEG2, mjpegtools).

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use frameserve::proto::PixelFormat;
use opencv::core::{BORDER_REPLICATE, Mat, Rect, Scalar, Size, copy_make_border};
use opencv::imgproc::{self, COLOR_YUV2BGR_I420, INTER_AREA};
use opencv::prelude::*;

use super::probe::Sound;
use super::{Arrival, Facts, Source, SourceFrame};
use crate::failure::Failure;
use crate::picture::{Picture, PictureError, RawPicture, pixel_count};

/// Longer than any header that a program writes.
const MAX_LINE: u64 = 4096;

pub struct Y4m<R> {
    input: R,
    header: Header,
    facts: Facts,
    frames: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Header {
    width: u32,
    height: u32,
    fps: f64,
    chroma: Chroma,
}

/// How many color samples there are to the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chroma {
    None,
    /// Columns and rows of pixels for each sample.
    Every(u32, u32),
}

impl<R: BufRead> Y4m<R> {
    pub fn new(mut input: R) -> Result<Y4m<R>, Failure> {
        let fail = |reason: String| Failure::usage(format!("y4m on standard input: {reason}"));
        let line = line(&mut input).map_err(fail)?.ok_or_else(|| fail("it has no header".into()))?;
        let header = Header::parse(&line).map_err(fail)?;
        let title = format!("y4m from standard input, {}x{}", header.width, header.height);
        let facts =
            Facts { title, frames: None, fps: header.fps, arrival: Arrival::OnDemand, sound: Sound::Absent };
        Ok(Y4m { input, header, facts, frames: 0 })
    }

    fn frame(&mut self) -> Result<Option<Picture>, String> {
        let Some(line) = line(&mut self.input)? else { return Ok(None) };
        if line != "FRAME" && !line.starts_with("FRAME ") {
            let shown: String = line.chars().take(20).collect();
            return Err(format!("'{shown}' where FRAME must stand"));
        }
        let size = self.header.frame_size();
        // The memory grows with what really comes, not with what the header claims.
        let mut planes = Vec::new();
        (&mut self.input).take(size).read_to_end(&mut planes).map_err(|error| error.to_string())?;
        if (planes.len() as u64) < size {
            return Err(format!("the input ends after {} of its {size} bytes", planes.len()));
        }
        self.header.picture(planes.into()).map(Some).map_err(|error| error.to_string())
    }
}

impl<R: BufRead + Send> Source for Y4m<R> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn next(&mut self) -> Result<Option<SourceFrame>, Failure> {
        let picture = self.frame().map_err(|reason| {
            Failure::usage(format!("y4m on standard input, frame {}: {reason}", self.frames))
        })?;
        let timestamp_us = (self.frames as f64 / self.facts.fps * 1e6).round() as i64;
        self.frames += 1;
        Ok(picture.map(|picture| SourceFrame { picture, timestamp_us, name: None }))
    }
}

impl Header {
    fn parse(line: &str) -> Result<Header, String> {
        let mut words = line.split(' ');
        if words.next() != Some("YUV4MPEG2") {
            return Err("its header must begin with YUV4MPEG2".into());
        }
        let (mut width, mut height, mut fps, mut chroma) = (0, 0, 25.0, Chroma::Every(2, 2));
        for word in words.filter(|word| !word.is_empty()) {
            let tag = word.chars().next().unwrap_or_default();
            let value = &word[tag.len_utf8()..];
            let bad = || format!("'{word}' in its header");
            match tag {
                'W' => width = value.parse().map_err(|_| bad())?,
                'H' => height = value.parse().map_err(|_| bad())?,
                'F' => fps = ratio(value).ok_or_else(bad)?,
                'C' => chroma = Chroma::parse(value)?,
                _ => {}
            }
        }
        pixel_count(width, height).map_err(|error| error.to_string())?;
        Ok(Header { width, height, fps, chroma })
    }

    fn chroma_size(&self) -> Option<Size> {
        match self.chroma {
            Chroma::None => None,
            Chroma::Every(columns, rows) => {
                Some(Size::new(self.width.div_ceil(columns) as i32, self.height.div_ceil(rows) as i32))
            }
        }
    }

    fn frame_size(&self) -> u64 {
        let chroma = self.chroma_size().map_or(0, |size| 2 * i64::from(size.width) * i64::from(size.height));
        u64::from(self.width) * u64::from(self.height) + chroma.unsigned_abs()
    }

    fn picture(&self, planes: Bytes) -> Result<Picture, PictureError> {
        let (width, height) = (self.width, self.height);
        match self.chroma_size() {
            None => RawPicture::new(PixelFormat::Gray8, width, height, planes).map(Picture::Raw),
            Some(_) if self.chroma == Chroma::Every(2, 2) && width % 2 == 0 && height % 2 == 0 => {
                RawPicture::new(PixelFormat::I420, width, height, planes).map(Picture::Raw)
            }
            Some(chroma) => self.converted(&planes, chroma).map(Picture::Pixels),
        }
    }

    /// What has no format on the wire, as BGR: filled up to an even size, with chroma in quarters.
    fn converted(&self, planes: &[u8], chroma: Size) -> Result<Mat, PictureError> {
        let (width, height) = (self.width as i32, self.height as i32);
        let (luma, rest) = planes.split_at((self.width * self.height) as usize);
        let even = Size::new(width + width % 2, height + height % 2);
        let quarter = Size::new(even.width / 2, even.height / 2);
        let y = Mat::new_rows_cols_with_data::<u8>(height, width, luma)?;
        let mut filled = Mat::default();
        let (down, right) = (even.height - height, even.width - width);
        copy_make_border(&y, &mut filled, 0, down, 0, right, BORDER_REPLICATE, Scalar::default())?;
        let mut i420 = filled.data_bytes()?.to_vec();
        for plane in rest.chunks_exact((chroma.width * chroma.height) as usize) {
            let plane = Mat::new_rows_cols_with_data::<u8>(chroma.height, chroma.width, plane)?;
            let mut small = Mat::default();
            imgproc::resize(&plane, &mut small, quarter, 0.0, 0.0, INTER_AREA)?;
            i420.extend_from_slice(small.data_bytes()?);
        }
        let i420 = Mat::new_rows_cols_with_data::<u8>(even.height / 2 * 3, even.width, &i420)?;
        let mut pixels = Mat::default();
        imgproc::cvt_color_def(&i420, &mut pixels, COLOR_YUV2BGR_I420)?;
        Ok(Mat::roi(&pixels, Rect::new(0, 0, width, height))?.try_clone()?)
    }
}

impl Chroma {
    fn parse(name: &str) -> Result<Chroma, String> {
        match name {
            "420" | "420jpeg" | "420mpeg2" | "420paldv" => Ok(Chroma::Every(2, 2)),
            "422" => Ok(Chroma::Every(2, 1)),
            "444" => Ok(Chroma::Every(1, 1)),
            "411" => Ok(Chroma::Every(4, 1)),
            "mono" => Ok(Chroma::None),
            other => Err(format!(
                "pixels of '{other}': they must be 8-bit 420, 422, 444, 411 or mono (ffmpeg: -pix_fmt yuv420p)"
            )),
        }
    }
}

/// The next line without its end; `None` where the input ends.
fn line(input: &mut impl BufRead) -> Result<Option<String>, String> {
    let mut line = Vec::new();
    input.take(MAX_LINE).read_until(b'\n', &mut line).map_err(|error: io::Error| error.to_string())?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(String::from_utf8_lossy(&line).into_owned())),
        Some(_) => Err("a header without an end".into()),
    }
}

fn ratio(text: &str) -> Option<f64> {
    let (numerator, denominator) = text.split_once(':')?;
    let ratio = numerator.parse::<u32>().ok()? as f64 / denominator.parse::<u32>().ok()? as f64;
    (0.01..=1000.0).contains(&ratio).then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(input: &[u8]) -> Result<Vec<Picture>, String> {
        let mut source = Y4m::new(input).map_err(|failure| failure.message)?;
        let mut pictures = Vec::new();
        while let Some(frame) = source.next().map_err(|failure| failure.message)? {
            pictures.push(frame.picture);
        }
        Ok(pictures)
    }

    fn stream(header: &str, frame_bytes: usize, count: usize) -> Vec<u8> {
        let mut bytes = format!("{header}\n").into_bytes();
        for _ in 0..count {
            bytes.extend(b"FRAME\n");
            bytes.extend(vec![128; frame_bytes]);
        }
        bytes
    }

    #[test]
    fn every_layout_and_odd_sizes() {
        for (header, bytes) in [
            ("YUV4MPEG2 W4 H2 F30000:1001 Ip A1:1 C420jpeg XYSCSS=420JPEG", 12),
            ("YUV4MPEG2 W4 H2", 12),
            ("YUV4MPEG2 W5 H3 C420", 15 + 2 * 6),
            ("YUV4MPEG2 W5 H3 C422", 15 + 2 * 9),
            ("YUV4MPEG2 W5 H3 C444", 45),
            ("YUV4MPEG2 W5 H3 C411", 15 + 2 * 6),
            ("YUV4MPEG2 W1 H1 C420", 3),
            ("YUV4MPEG2 W5 H3 Cmono", 15),
        ] {
            let pictures = frames(&stream(header, bytes, 3)).expect(header);
            assert_eq!(pictures.len(), 3, "{header}");
            if let Picture::Pixels(pixels) = &pictures[0] {
                let middle = pixels.at_2d::<opencv::core::Vec3b>(0, 0).unwrap();
                assert!(middle.0.iter().all(|value| (120..140).contains(value)), "{header}: {middle:?}");
            }
        }
    }

    #[test]
    fn bad_headers_are_refused() {
        for header in [
            "",
            "YUV4MPEG",
            "YUV4MPEG2",
            "YUV4MPEG2 W4",
            "YUV4MPEG2 W0 H4",
            "YUV4MPEG2 W-4 H4",
            "YUV4MPEG2 W4294967295 H4294967295",
            "YUV4MPEG2 W99999999999999 H1",
            "YUV4MPEG2 W4 H4 F0:0",
            "YUV4MPEG2 W4 H4 F25",
            "YUV4MPEG2 W4 H4 F1:4294967295",
            "YUV4MPEG2 W4 H4 C420p10",
            "YUV4MPEG2 W4 H4 \u{e9}",
        ] {
            let result = frames(&stream(header, 24, 1));
            assert!(result.is_err() || header.contains('\u{e9}'), "{header}");
        }
        assert!(frames(&[b'Y'; 10_000]).is_err());
    }

    #[test]
    fn every_cut_is_an_error_or_an_end() {
        let whole = stream("YUV4MPEG2 W4 H2", 12, 2);
        let frame_ends = [whole.len(), whole.len() - 18, whole.len() - 36];
        for end in 0..whole.len() {
            assert_eq!(frames(&whole[..end]).is_ok(), frame_ends.contains(&end), "cut at {end}");
        }
    }

    #[test]
    fn a_large_claim_takes_no_memory() {
        assert!(frames(&stream("YUV4MPEG2 W16384 H16384", 100, 1)).is_err());
        let mut garbage = stream("YUV4MPEG2 W4 H2", 12, 1);
        garbage.extend(b"GARBAGE\n");
        assert!(frames(&garbage).unwrap_err().contains("GARBAGE"));
    }
}
