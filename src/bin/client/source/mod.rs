//! Where frames come from: what a SOURCE argument means, and what every source gives.

mod exif;
mod mjpeg;
mod pattern;
mod pictures;
mod probe;
mod selection;
mod stdin;
mod video;
mod y4m;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::args::InputArgs;
use crate::failure::Failure;
use crate::picture::Picture;
use pattern::PatternSize;
pub use pictures::read as read_picture;
pub use probe::Sound;

/// One frame, before it is encoded for the wire.
#[derive(Debug)]
pub struct SourceFrame {
    pub picture: Picture,
    /// From the source's beginning.
    pub timestamp_us: i64,
    /// Of a picture file, without its extension.
    pub name: Option<Arc<str>>,
}

/// What is known of a source when it has been opened.
#[derive(Debug, Clone)]
pub struct Facts {
    /// For a person.
    pub title: String,
    /// How many frames will come, where that can be known.
    pub frames: Option<u64>,
    /// The average rate.
    pub fps: f64,
    pub arrival: Arrival,
    pub sound: Sound,
}

/// What sets the pace at which frames come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The world: what isn't taken now is old later.
    Live,
    /// The reader: the next frame is there when it is asked for.
    OnDemand,
}

/// Gives frames, one after the other.
pub trait Source: Send {
    fn facts(&self) -> &Facts;

    /// The next frame; `None` at the end.
    fn next(&mut self) -> Result<Option<SourceFrame>, Failure>;
}

/// What a SOURCE argument names.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    Video(PathBuf),
    Pictures(Vec<PathBuf>),
    StandardInput,
    Camera(i32),
    Url(String),
    Pattern(PatternSize),
}

impl Origin {
    /// Reads the arguments; several picture files make one source.
    pub fn parse_all(arguments: &[String]) -> Result<Vec<Origin>, Failure> {
        let origins: Vec<Origin> =
            arguments.iter().map(|text| Origin::parse(text)).collect::<Result<_, _>>()?;
        let all_single_pictures = arguments.iter().all(|text| pictures::is_picture(Path::new(text)));
        if !all_single_pictures {
            return Ok(origins);
        }
        let files = origins.into_iter().flat_map(|origin| match origin {
            Origin::Pictures(files) => files,
            _ => Vec::new(),
        });
        Ok(vec![Origin::Pictures(files.collect())])
    }

    fn parse(text: &str) -> Result<Origin, Failure> {
        if text == "-" {
            return Ok(Origin::StandardInput);
        }
        if let Some(pattern) = text.strip_prefix("test:") {
            return pattern
                .parse()
                .map(Origin::Pattern)
                .map_err(|reason: String| Failure::usage(format!("'{text}' is no test pattern: {reason}")));
        }
        if let Some(number) = camera_number(text) {
            let number = number.parse().ok().filter(|number| (0..=999).contains(number));
            return number
                .map(Origin::Camera)
                .ok_or_else(|| Failure::usage(format!("'{text}': a camera's number is from 0 to 999")));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return match scheme {
                "rtsp" | "rtsps" | "rtmp" | "http" | "https" | "udp" | "tcp" | "srt" => {
                    Ok(Origin::Url(text.into()))
                }
                _ => Err(Failure::usage(format!("'{text}': a source's URL begins with rtsp:// or http://"))),
            };
        }
        let path = Path::new(text);
        if path.is_dir() {
            return pictures::in_directory(path).map(Origin::Pictures);
        }
        if path.is_file() {
            let pictures = pictures::is_picture(path);
            return Ok(if pictures {
                Origin::Pictures(vec![path.into()])
            } else {
                Origin::Video(path.into())
            });
        }
        if text.contains(['*', '?']) {
            return pictures::matching(text).map(Origin::Pictures);
        }
        Err(Failure::usage(format!(
            "'{text}' is no file or directory, camera number, URL or test:WIDTHxHEIGHT@FPS"
        )))
    }

    /// A short name for output files and reports.
    pub fn name(&self) -> String {
        let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        match self {
            Origin::Video(path) => stem(path).unwrap_or_else(|| "video".into()),
            Origin::Pictures(files) => {
                let directory = files.first().and_then(|file| file.parent()).and_then(stem);
                directory.unwrap_or_else(|| "pictures".into())
            }
            Origin::StandardInput => "stdin".into(),
            Origin::Camera(number) => format!("camera{number}"),
            Origin::Url(url) => {
                let end = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                let kept: String =
                    end.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
                if kept.is_empty() { "network".into() } else { kept }
            }
            Origin::Pattern(_) => "test".into(),
        }
    }

    /// The file whose sound can be kept.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Origin::Video(path) => Some(path),
            _ => None,
        }
    }

    /// Opens the source, cut and repeated as `input` says.
    pub fn open(&self, input: &InputArgs) -> Result<Box<dyn Source>, Failure> {
        selection::Selection::open(self.clone(), input.clone())
            .map(|source| Box::new(source) as Box<dyn Source>)
    }

    fn open_once(&self, input: &InputArgs) -> Result<Box<dyn Source>, Failure> {
        Ok(match self {
            Origin::Video(path) => Box::new(video::Video::file(path, input.start)?),
            Origin::Url(url) => Box::new(video::Video::url(url)?),
            Origin::Camera(number) => Box::new(video::Video::camera(*number)?),
            Origin::Pictures(files) => Box::new(pictures::Pictures::new(files.clone(), input.source_fps)),
            Origin::StandardInput => stdin::open(input.source_fps)?,
            Origin::Pattern(size) => Box::new(pattern::Pattern::new(*size, input.frames)?),
        })
    }
}

fn camera_number(text: &str) -> Option<&str> {
    let number = text.strip_prefix("camera:").or_else(|| text.strip_prefix("/dev/video"));
    number.or_else(|| (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_origins() {
        assert_eq!(Origin::parse("-").unwrap(), Origin::StandardInput);
        assert_eq!(Origin::parse("0").unwrap(), Origin::Camera(0));
        assert_eq!(Origin::parse("camera:2").unwrap(), Origin::Camera(2));
        assert_eq!(Origin::parse("rtsp://h/s").unwrap(), Origin::Url("rtsp://h/s".into()));
        assert!(matches!(Origin::parse("test:64x48@5").unwrap(), Origin::Pattern(_)));
        for bad in ["camera:x", "99999999999", "ftp://x/y", "test:", "nowhere.mp4", "nowhere/*.png", ""] {
            let error = Origin::parse(bad).expect_err(bad);
            assert!(error.message.contains(&format!("'{bad}'")), "{}", error.message);
        }
    }

    #[test]
    fn names_suit_files() {
        assert_eq!(Origin::Video("a/b.c.mp4".into()).name(), "b.c");
        assert_eq!(Origin::Url("rtsp://h/cam%201/".into()).name(), "cam201");
        assert_eq!(Origin::Pictures(vec!["photos/x.jpg".into()]).name(), "photos");
        assert_eq!(Origin::Pictures(vec!["x.jpg".into()]).name(), "pictures");
    }
}
