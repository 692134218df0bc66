//! Videos, network streams and cameras, through OpenCV's VideoCapture.

use std::path::Path;
use std::time::Instant;

use opencv::core::{Mat, ROTATE_90_CLOCKWISE, ROTATE_90_COUNTERCLOCKWISE, ROTATE_180, rotate};
use opencv::prelude::*;
use opencv::videoio::{
    CAP_ANY, CAP_FFMPEG, CAP_PROP_FPS, CAP_PROP_FRAME_COUNT, CAP_PROP_ORIENTATION_AUTO,
    CAP_PROP_ORIENTATION_META, CAP_PROP_POS_MSEC, VideoCapture,
};

use super::probe::{self, Sound};
use super::{Arrival, Facts, Source, SourceFrame};
use crate::failure::Failure;
use crate::hush::Hush;
use crate::picture::Picture;

const ASSUMED_FPS: f64 = 25.0;

pub struct Video {
    capture: VideoCapture,
    facts: Facts,
    /// One of OpenCV's `ROTATE_` codes.
    turn: Option<i32>,
    started: Instant,
    last_us: Option<i64>,
}

impl Video {
    /// A file, from about `start` seconds on.
    pub fn file(path: &Path, start: f64) -> Result<Video, Failure> {
        let title = path.display().to_string();
        let mut capture = open(|| VideoCapture::from_file(path, CAP_ANY))?;
        if !capture.is_opened()? {
            return Err(Failure::usage(format!("'{title}' is no video that this OpenCV can read")));
        }
        let probed = probe::probe(path);
        let declared = plausible_fps(capture.get(CAP_PROP_FPS)?);
        let fps = probed.as_ref().and_then(|probed| probed.average_fps(declared)).or(declared);
        let counted = probed.as_ref().and_then(|probed| probed.frames);
        let frames = counted.or_else(|| whole_number(capture.get(CAP_PROP_FRAME_COUNT).unwrap_or(0.0)));
        if start > 0.0 {
            // Lands on a key frame near by; what comes too early is skipped by its timestamp.
            capture.set(CAP_PROP_POS_MSEC, (start - 1.0).max(0.0) * 1000.0)?;
        }
        let facts = Facts {
            title,
            frames,
            fps: fps.unwrap_or(ASSUMED_FPS),
            arrival: Arrival::OnDemand,
            sound: probed.map_or(Sound::Unknown, |probed| probed.sound),
        };
        Video::new(capture, facts)
    }

    /// A network camera, or a video on a web server.
    pub fn url(url: &str) -> Result<Video, Failure> {
        // Other backends are noisy about what they can't reach, and it may take long to find out.
        let capture = VideoCapture::from_file(url, CAP_FFMPEG)?;
        if !capture.is_opened()? {
            return Err(Failure::usage(format!("'{url}' can't be reached, or is no video")));
        }
        let frames = whole_number(capture.get(CAP_PROP_FRAME_COUNT)?);
        let arrival = if frames.is_some() { Arrival::OnDemand } else { Arrival::Live };
        Video::live(capture, url.into(), arrival, frames)
    }

    pub fn camera(number: i32) -> Result<Video, Failure> {
        let capture = open(|| VideoCapture::new(number, CAP_ANY))?;
        if !capture.is_opened()? {
            return Err(Failure::usage(format!("camera {number} is not there, or another program has it")));
        }
        Video::live(capture, format!("camera {number}"), Arrival::Live, None)
    }

    fn live(
        capture: VideoCapture,
        title: String,
        arrival: Arrival,
        frames: Option<u64>,
    ) -> Result<Video, Failure> {
        let fps = plausible_fps(capture.get(CAP_PROP_FPS)?).unwrap_or(ASSUMED_FPS);
        Video::new(capture, Facts { title, frames, fps, arrival, sound: Sound::Unknown })
    }

    fn new(mut capture: VideoCapture, facts: Facts) -> Result<Video, Failure> {
        // OpenCV's own turning goes the wrong way in 4.6.0. Not every backend knows the properties; those that
        // don't have nothing to turn.
        capture.set(CAP_PROP_ORIENTATION_AUTO, 0.0)?;
        let turn = turn(capture.get(CAP_PROP_ORIENTATION_META)?, &opencv::core::get_version_string()?);
        Ok(Video { capture, facts, turn, started: Instant::now(), last_us: None })
    }

    fn timestamp(&self) -> Result<i64, Failure> {
        if self.facts.arrival == Arrival::Live {
            return Ok(self.started.elapsed().as_micros() as i64);
        }
        let stated = (self.capture.get(CAP_PROP_POS_MSEC)? * 1000.0).round() as i64;
        Ok(match self.last_us {
            // Some containers state none, or the same one twice.
            Some(last) if stated <= last => last + (1e6 / self.facts.fps) as i64,
            _ => stated.max(0),
        })
    }
}

impl Source for Video {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn next(&mut self) -> Result<Option<SourceFrame>, Failure> {
        let mut pixels = Mat::default();
        if !self.capture.read(&mut pixels)? || pixels.empty() {
            return Ok(None);
        }
        if let Some(turn) = self.turn {
            let mut upright = Mat::default();
            rotate(&pixels, &mut upright, turn)?;
            pixels = upright;
        }
        let timestamp_us = self.timestamp()?;
        self.last_us = Some(timestamp_us);
        Ok(Some(SourceFrame { picture: Picture::Pixels(pixels), timestamp_us, name: None }))
    }
}

/// Backends that don't know a source say so on standard error, before the one that does is asked.
fn open(capture: impl FnOnce() -> opencv::Result<VideoCapture>) -> opencv::Result<VideoCapture> {
    let _hush = Hush::new();
    capture()
}

/// How to turn pictures upright. OpenCV states degrees clockwise; 4.6.0 has the sign wrong (its issue 22088).
fn turn(degrees: f64, version: &str) -> Option<i32> {
    let clockwise = if version.starts_with("4.6.0") { -degrees } else { degrees };
    match clockwise.rem_euclid(360.0) as i32 {
        90 => Some(ROTATE_90_CLOCKWISE),
        180 => Some(ROTATE_180),
        270 => Some(ROTATE_90_COUNTERCLOCKWISE),
        _ => None,
    }
}

fn plausible_fps(fps: f64) -> Option<f64> {
    (0.01..=1000.0).contains(&fps).then_some(fps)
}

fn whole_number(count: f64) -> Option<u64> {
    (1.0..1e12).contains(&count).then_some(count as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_allows_for_the_wrong_sign() {
        assert_eq!(turn(90.0, "4.6.0"), Some(ROTATE_90_COUNTERCLOCKWISE));
        assert_eq!(turn(90.0, "4.10.0"), Some(ROTATE_90_CLOCKWISE));
        assert_eq!(turn(-90.0, "4.10.0"), Some(ROTATE_90_COUNTERCLOCKWISE));
        assert_eq!(turn(180.0, "4.6.0"), Some(ROTATE_180));
        assert_eq!(turn(0.0, "4.6.0"), None);
    }
}
