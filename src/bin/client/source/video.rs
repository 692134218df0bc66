//! Videos, network streams and cameras, through OpenCV's VideoCapture.

use std::path::Path;
use std::time::Instant;

use opencv::core::Mat;
use opencv::prelude::*;
use opencv::videoio::{
    CAP_ANY, CAP_FFMPEG, CAP_PROP_FPS, CAP_PROP_FRAME_COUNT, CAP_PROP_ORIENTATION_AUTO, CAP_PROP_POS_MSEC,
    VideoCapture,
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
        // Not every backend knows it; those that don't have nothing to turn.
        capture.set(CAP_PROP_ORIENTATION_AUTO, 1.0)?;
        Ok(Video { capture, facts, started: Instant::now(), last_us: None })
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

fn plausible_fps(fps: f64) -> Option<f64> {
    (0.01..=1000.0).contains(&fps).then_some(fps)
}

fn whole_number(count: f64) -> Option<u64> {
    (1.0..1e12).contains(&count).then_some(count as u64)
}
