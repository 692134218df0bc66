//! A video file, through OpenCV's VideoWriter.

use std::path::{Path, PathBuf};

use opencv::core::{Mat, Size};
use opencv::prelude::*;
use opencv::videoio::VideoWriter;

use super::place::video_file;
use super::steady::Film;
use crate::failure::Failure;
use crate::hush::Hush;
use crate::report::short;

pub struct VideoFile {
    /// As it was given.
    path: PathBuf,
    /// What OpenCV is given: no link, where that is possible, since it removes a file that it could not begin.
    file: PathBuf,
    fps: f64,
    codec: Option<[char; 4]>,
    /// From the first picture on, which tells the size.
    open: Option<Open>,
}

struct Open {
    writer: VideoWriter,
    codec: String,
    size: Size,
    frames: u64,
}

impl VideoFile {
    pub fn new(path: &Path, fps: f64, codec: Option<[char; 4]>) -> Result<VideoFile, Failure> {
        let behind = video_file(path)?;
        // The ending tells the container, and what a link leads to may have another.
        let file = if behind.extension() == path.extension() { behind } else { path.into() };
        Ok(VideoFile { path: path.into(), file, fps, codec, open: None })
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
    fn title(&self) -> String {
        self.path.display().to_string()
    }

    fn begin(&mut self, size: Size) -> Result<(), Failure> {
        let codecs = self.codecs();
        for [a, b, c, d] in &codecs {
            let fourcc = VideoWriter::fourcc(*a, *b, *c, *d)?;
            let hush = Hush::new();
            let writer = VideoWriter::new(&self.file, fourcc, self.fps, size, true)?;
            drop(hush);
            if writer.is_opened()? {
                let codec = String::from_iter([a, b, c, d]);
                self.open = Some(Open { writer, codec, size, frames: 0 });
                return Ok(());
            }
        }
        let tried: Vec<String> = codecs.iter().map(String::from_iter).collect();
        Err(Failure::usage(format!(
            "cannot write '{}': this OpenCV has no encoder for {} there, or the file can't be made",
            self.path.display(),
            tried.join(" or ")
        )))
    }

    fn frame(&mut self, picture: &Mat) -> Result<(), Failure> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.writer.write(picture)?;
        open.frames += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<String>, Failure> {
        let path = self.path.display();
        // It could not be made, and there is nothing to complete.
        let Some(mut open) = self.open.take() else { return Ok(Vec::new()) };
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
