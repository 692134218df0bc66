//! MJPEG: JPEG pictures one after the other, told apart by their markers (ITU T.81, annex B).

use std::io::Read;

use bytes::{Buf, Bytes, BytesMut};
use frameserve::proto::Encoding;

use super::probe::Sound;
use super::{Arrival, Facts, Source, SourceFrame};
use crate::failure::Failure;
use crate::picture::Picture;

/// No camera makes larger ones; without a bound, garbage could fill the memory.
const MAX_PICTURE: usize = 64 << 20;
const READ_STEP: usize = 1 << 16;

pub struct Mjpeg<R> {
    splitter: Splitter<R>,
    facts: Facts,
    pictures: u64,
}

struct Splitter<R> {
    input: R,
    buffer: BytesMut,
    at_end: bool,
}

/// What the bytes at a position are.
enum Step {
    /// Goes on at this position.
    Next(usize),
    /// The picture ends before this position.
    End(usize),
    /// This is no picture; the next one may begin here.
    Broken(usize),
}

impl<R: Read> Mjpeg<R> {
    pub fn new(input: R, fps: f64) -> Mjpeg<R> {
        let title = "MJPEG from standard input".into();
        let facts = Facts { title, frames: None, fps, arrival: Arrival::OnDemand, sound: Sound::Absent };
        Mjpeg { splitter: Splitter { input, buffer: BytesMut::new(), at_end: false }, facts, pictures: 0 }
    }
}

impl<R: Read + Send> Source for Mjpeg<R> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn next(&mut self) -> Result<Option<SourceFrame>, Failure> {
        let picture = self.splitter.next_picture().map_err(|reason| {
            Failure::usage(format!("MJPEG on standard input, picture {}: {reason}", self.pictures))
        })?;
        let Some(bytes) = picture else { return Ok(None) };
        let timestamp_us = (self.pictures as f64 / self.facts.fps * 1e6).round() as i64;
        self.pictures += 1;
        Ok(Some(SourceFrame { picture: Picture::Encoded(Encoding::Jpeg, bytes), timestamp_us, name: None }))
    }
}

impl<R: Read> Splitter<R> {
    fn next_picture(&mut self) -> Result<Option<Bytes>, String> {
        'picture: while self.find_start()? {
            let mut at = 2;
            while self.holds(at + 4)? || self.holds(at + 2)? {
                match self.step(at)? {
                    Step::Next(next) => at = next,
                    Step::End(end) => return Ok(Some(self.buffer.split_to(end).freeze())),
                    Step::Broken(next) => {
                        self.buffer.advance(next.min(self.buffer.len()));
                        continue 'picture;
                    }
                }
            }
            return Err("the input ends in its middle".into());
        }
        Ok(None)
    }

    /// Drops what lies before the next start of a picture.
    fn find_start(&mut self) -> Result<bool, String> {
        loop {
            if let Some(start) = self.buffer.windows(3).position(|bytes| bytes == [0xff, 0xd8, 0xff]) {
                self.buffer.advance(start);
                return Ok(true);
            }
            // The last two bytes may be the beginning of a start.
            let garbage = self.buffer.len().saturating_sub(2);
            self.buffer.advance(garbage);
            if !self.read_more()? {
                return Ok(false);
            }
        }
    }

    /// Reads the marker at `at`, with what belongs to it.
    fn step(&mut self, at: usize) -> Result<Step, String> {
        let (first, marker) = (self.buffer[at], self.buffer[at + 1]);
        Ok(match (first, marker) {
            (0xff, 0xff) => Step::Next(at + 1),
            (0xff, 0xd9) => Step::End(at + 2),
            // Another start: the picture before it was cut short.
            (0xff, 0xd8) => Step::Broken(at),
            (0xff, 0x01 | 0xd0..=0xd7) => Step::Next(at + 2),
            (0xff, 0x02..) if self.holds(at + 4)? => {
                let length = usize::from(u16::from_be_bytes([self.buffer[at + 2], self.buffer[at + 3]]));
                match (length, marker) {
                    (..2, _) => Step::Broken(at + 2),
                    (_, 0xda) => Step::Next(self.after_scan(at + 2 + length)?),
                    _ => Step::Next(at + 2 + length),
                }
            }
            (0xff, 0x02..) => Step::Next(at + 4),
            _ => Step::Broken(at),
        })
    }

    /// The position of the first marker after the compressed data at `at`.
    fn after_scan(&mut self, mut at: usize) -> Result<usize, String> {
        while self.holds(at + 2)? {
            let data = &self.buffer[at..];
            let marker =
                data.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xd0..=0xd7));
            match marker {
                Some(offset) => return Ok(at + offset),
                None => at += data.len() - 1,
            }
        }
        Ok(at + 2)
    }

    /// Whether `count` bytes are there, once as many have been read as there are.
    fn holds(&mut self, count: usize) -> Result<bool, String> {
        while self.buffer.len() < count {
            if !self.read_more()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn read_more(&mut self) -> Result<bool, String> {
        if self.at_end {
            return Ok(false);
        }
        let old = self.buffer.len();
        if old > MAX_PICTURE {
            return Err(format!("more than {} MiB without an end", MAX_PICTURE >> 20));
        }
        self.buffer.resize(old + READ_STEP, 0);
        let count = loop {
            match self.input.read(&mut self.buffer[old..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let count = count.map_err(|error| error.to_string());
        self.buffer.truncate(old + *count.as_ref().unwrap_or(&0));
        self.at_end = count? == 0;
        Ok(!self.at_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives few bytes at a time, as a pipe may.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let count = self.1.min(self.0.len()).min(out.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    /// Markers enough for a picture: a segment that holds a thumbnail's markers, stuffing, a restart, two scans.
    fn picture(tag: u8) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1, 0, 8, 0xff, 0xd8, 0xff, 0xd9, tag, 0];
        bytes.extend([0xff, 0xda, 0, 3, 0, 1, 2, 0xff, 0x00, 3, 0xff, 0xd3, 4]);
        bytes.extend([0xff, 0xff, 0xda, 0, 2, 9, 9, 0xff, 0xd9]);
        bytes
    }

    fn split(input: &[u8], step: usize) -> (Vec<Bytes>, Result<(), String>) {
        let mut splitter = Splitter { input: Drip(input, step), buffer: BytesMut::new(), at_end: false };
        let mut pictures = Vec::new();
        loop {
            match splitter.next_picture() {
                Ok(Some(picture)) => pictures.push(picture),
                Ok(None) => return (pictures, Ok(())),
                Err(reason) => return (pictures, Err(reason)),
            }
        }
    }

    #[test]
    fn pictures_come_apart_whatever_the_pieces() {
        let mut input = picture(1);
        input.extend(b"--boundary\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8 no \xff");
        input.extend(picture(2));
        input.extend(picture(3));
        input.extend([0, 0xff, 0xd8]);
        for step in 1..input.len() {
            let (pictures, end) = split(&input, step);
            assert_eq!(pictures, [picture(1), picture(2), picture(3)], "step {step}");
            assert_eq!(end, Ok(()));
        }
    }

    #[test]
    fn a_cut_picture_is_an_error_at_the_end_and_skipped_before_another() {
        let whole = picture(1);
        for end in 3..whole.len() - 1 {
            let (pictures, result) = split(&whole[..end], 7);
            assert!(pictures.is_empty() && result.is_err(), "cut at {end}");
        }
        let mut input = whole[..20].to_vec();
        input.extend(picture(2));
        assert_eq!(split(&input, 5), (vec![picture(2).into()], Ok(())));
    }

    #[test]
    fn garbage_is_no_panic() {
        let mut seed = 1u32;
        for length in 0..400 {
            let mut input = vec![0xff, 0xd8, 0xff];
            input.extend((0..length).map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Many markers among the noise.
                if seed >> 30 == 0 { 0xff } else { (seed >> 16) as u8 }
            }));
            let _ = split(&input, 3);
        }
    }
}
