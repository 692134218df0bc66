//! A video file, through OpenCV's VideoWriter.

use std::path::{Path, PathBuf};

use opencv::core::{Mat, Size};
use opencv::prelude::*;
use opencv::videoio::VideoWriter;

use super::steady::Film;
use crate::failure::Failure;
use crate::hush::Hush;
use crate::report::short;

pub struct VideoFile {
    path: PathBuf,
    fps: f64,
    codec: Option<[char; 4]>,
    state: State,
}

enum State {
    /// The first picture, and with it the size, has not come yet.
    Waiting,
    Open(Open),
    /// There is nothing to complete.
    Failed,
}

struct Open {
    writer: VideoWriter,
    codec: String,
    size: Size,
    frames: u64,
}

impl VideoFile {
    pub fn new(path: &Path, fps: f64, codec: Option<[char; 4]>) -> VideoFile {
        VideoFile { path: path.into(), fps, codec, state: State::Waiting }
    }

    /// What containers usually hold, the best first.
    fn codecs(&self) -> Vec<[char; 4]> {
        if let Some(codec) = self.codec {
            return vec![codec];
        }
        let extension = self.path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let names: &[&str] = match extension.as_deref() {
            Some("avi" | "wmv") => &["XVID", "MJPG"],
            Some("mkv") => &["H264", "avc1", "mp4v", "XVID"],
            Some("webm") => &["VP90", "VP80"],
            Some("mpg" | "mpeg") => &["MPG2", "PIM1"],
            Some("ogv") => &["THEO"],
            _ => &["avc1", "mp4v"],
        };
        names.iter().filter_map(|name| name.chars().collect::<Vec<_>>().try_into().ok()).collect()
    }
}

impl Film for VideoFile {
    fn begin(&mut self, size: Size) -> Result<(), Failure> {
        let codecs = self.codecs();
        for [a, b, c, d] in &codecs {
            let fourcc = VideoWriter::fourcc(*a, *b, *c, *d)?;
            let hush = Hush::new();
            let writer = VideoWriter::new(&self.path, fourcc, self.fps, size, true)?;
            drop(hush);
            if writer.is_opened()? {
                let codec = String::from_iter([a, b, c, d]);
                self.state = State::Open(Open { writer, codec, size, frames: 0 });
                return Ok(());
            }
        }
        self.state = State::Failed;
        let tried: Vec<String> = codecs.iter().map(String::from_iter).collect();
        Err(Failure::usage(format!(
            "cannot write '{}': this OpenCV has no encoder for {} there, or the file can't be made",
            self.path.display(),
            tried.join(" or ")
        )))
    }

    fn frame(&mut self, picture: &Mat) -> Result<(), Failure> {
        let State::Open(open) = &mut self.state else { return Ok(()) };
        open.writer.write(picture)?;
        open.frames += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<String>, Failure> {
        let path = self.path.display();
        let mut open = match std::mem::replace(&mut self.state, State::Failed) {
            State::Waiting => return Ok(vec![format!("{path} was not written: no picture came back")]),
            State::Failed => return Ok(Vec::new()),
            State::Open(open) => open,
        };
        open.writer.release()?;
        let Open { codec, size, frames, .. } = open;
        // The writer cuts the last column or row of an odd size.
        let (width, height) = (size.width / 2 * 2, size.height / 2 * 2);
        let cut = if (width, height) == (size.width, size.height) { "" } else { ", cut to an even size" };
        // The writer reports no errors of its own: a full disk shows here only.
        match std::fs::metadata(&self.path) {
            Ok(file) if file.len() > 0 => {
                let fps = short(self.fps);
                Ok(vec![format!("{path}: {frames} frames of {width}x{height} at {fps} fps, {codec}{cut}")])
            }
            _ => Err(Failure::usage(format!("'{path}' could not be written"))),
        }
    }
}
