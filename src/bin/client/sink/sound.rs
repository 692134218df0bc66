//! The sound of the source, copied beside the processed pictures by the ffmpeg program.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::place::video_file;
use crate::failure::Failure;

/// From where, and which part.
#[derive(Debug, Clone)]
pub struct SoundTrack {
    pub source: PathBuf,
    pub start: f64,
}

impl SoundTrack {
    /// Fails where there is no ffmpeg to do it.
    pub fn check_ffmpeg() -> Result<(), Failure> {
        let works =
            Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        match works {
            Ok(status) if status.success() => Ok(()),
            _ => Err(Failure::usage("--copy-audio needs the ffmpeg program, which is not on the PATH")),
        }
    }

    /// Puts the sound into the finished video: as it is, or as AAC where the container doesn't take it.
    pub fn add_to(&self, video: &Path) -> Result<(), Failure> {
        let extension = video.extension().unwrap_or(OsStr::new("mp4"));
        let file = video_file(video)?;
        let joined = file.with_extension(format!("with-sound.{}", extension.to_string_lossy()));
        let worked = ["copy", "aac"].into_iter().any(|codec| self.join(video, &joined, codec));
        if worked {
            return fs::rename(&joined, file)
                .map_err(|error| Failure::usage(format!("cannot write '{}': {error}", video.display())));
        }
        let _ = fs::remove_file(&joined);
        let source = self.source.display();
        Err(Failure::usage(format!("ffmpeg could not copy the sound of '{source}': the video is without it")))
    }

    fn join(&self, video: &Path, joined: &Path, codec: &str) -> bool {
        Command::new("ffmpeg")
            .args(["-loglevel", "quiet", "-nostdin", "-y", "-i"])
            .arg(video)
            .args(["-ss", &self.start.to_string(), "-i"])
            .arg(&self.source)
            .args(["-map", "0:v:0", "-map", "1:a", "-c:v", "copy", "-c:a", codec, "-shortest"])
            .arg(joined)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}
