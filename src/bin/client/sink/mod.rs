//! Where processed frames go: what an OUTPUT means, and what every sink does.

mod contact_sheet;
mod findings;
mod pictures;
mod place;
mod sound;
mod steady;
mod video;
mod y4m;

use std::path::{Path, PathBuf};

pub use contact_sheet::{Caption, write_sheet};
pub use findings::{Findings, FindingsFile};
pub use place::{check_parent, make_directory};
pub use sound::SoundTrack;

use crate::args::OutputArgs;
use crate::args::values::OutputKind;
use crate::console::Console;
use crate::download::Arrived;
use crate::failure::Failure;
use crate::source::Facts;
use place::{check_no_file_in_the_way, video_file};

/// Takes frames, in the order of the video.
pub trait Sink: Send {
    fn write(&mut self, frame: &mut Arrived<'_>) -> Result<(), Failure>;

    /// `count` frames that have no picture.
    fn repeat(&mut self, count: u64) -> Result<(), Failure>;

    /// Completes the file, and says in words what was written.
    fn finish(&mut self) -> Result<Vec<String>, Failure>;
}

/// Where the frames of one source go.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    Nothing,
    Video(PathBuf),
    /// A directory for pictures.
    Pictures(PathBuf),
    /// A file for a single one.
    Picture(PathBuf),
    Y4m(PathBuf),
    StandardOutput,
}

/// How many sources share an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    Alone,
    Several,
}

impl Target {
    /// What `-o` means for the source of that name.
    pub fn choose(options: &OutputArgs, name: &str, sharing: Sharing) -> Result<Target, Failure> {
        let Some(text) = &options.output else { return Ok(Target::Nothing) };
        if text == "-" {
            return match sharing {
                Sharing::Alone => Ok(Target::StandardOutput),
                Sharing::Several => Err(Failure::usage("-o -: several streams can't share standard output")),
            };
        }
        let path = Path::new(text);
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let is_directory = names_directory(text);
        if sharing == Sharing::Several && !is_directory {
            return Err(Failure::usage(format!(
                "-o {text}: several streams need a directory, as in -o results/"
            )));
        }
        if is_directory {
            check_no_file_in_the_way(path)?;
            return Ok(match (options.output_kind, sharing) {
                (Some(OutputKind::Pictures), Sharing::Several) => Target::Pictures(path.join(name)),
                (Some(OutputKind::Pictures), _) | (None, Sharing::Alone) => Target::Pictures(path.into()),
                (Some(OutputKind::Y4m), _) => Target::Y4m(path.join(format!("{name}.y4m"))),
                (Some(OutputKind::Video) | None, _) => Target::Video(path.join(format!("{name}.mp4"))),
            });
        }
        match (extension.as_deref(), options.output_kind) {
            (Some("y4m"), _) => Ok(Target::Y4m(path.into())),
            (Some("jpg" | "jpeg" | "png" | "webp" | "bmp" | "tif" | "tiff"), _) => {
                Ok(Target::Picture(path.into()))
            }
            (
                Some("mp4" | "m4v" | "mov" | "mkv" | "avi" | "webm" | "ts" | "mpg" | "mpeg" | "ogv" | "wmv"),
                _,
            ) => Ok(Target::Video(path.into())),
            (Some(extension), _) => Err(Failure::usage(format!(
                "-o {text}: '.{extension}' is no video (mp4, mkv, mov, avi, webm), picture or y4m; end a directory with /"
            ))),
            (None, _) => Ok(Target::Nothing),
        }
    }

    /// Fails where the file can't lie, so that nothing is sent in vain.
    pub fn check(&self) -> Result<(), Failure> {
        match self {
            Target::Video(path) => video_file(path).map(drop),
            Target::Picture(path) | Target::Y4m(path) => check_parent(path),
            Target::Nothing | Target::Pictures(_) | Target::StandardOutput => Ok(()),
        }
    }

    /// The single file that is written.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Target::Video(path) | Target::Picture(path) | Target::Y4m(path) => Some(path),
            Target::Nothing | Target::Pictures(_) | Target::StandardOutput => None,
        }
    }

    /// Opens the sink; `None` where nothing is to be written.
    pub fn open(
        &self,
        facts: &Facts,
        codec: Option<[char; 4]>,
        console: &Console,
    ) -> Result<Option<Box<dyn Sink>>, Failure> {
        let steady = |film| Box::new(steady::Steady::new(film, console.clone()));
        Ok(Some(match self {
            Target::Nothing => return Ok(None),
            Target::Video(path) => steady(Box::new(video::VideoFile::new(path, facts.fps, codec)?)),
            Target::Pictures(directory) => Box::new(pictures::Pictures::in_directory(directory)?),
            Target::Picture(file) => Box::new(pictures::Pictures::single(file)),
            Target::Y4m(path) => steady(Box::new(y4m::Y4m::file(path, facts.fps))),
            Target::StandardOutput => steady(Box::new(y4m::Y4m::standard_output(facts.fps))),
        }))
    }

    /// For reports.
    pub fn title(&self) -> Option<String> {
        match self {
            Target::Nothing => None,
            Target::Video(path) | Target::Pictures(path) | Target::Picture(path) | Target::Y4m(path) => {
                Some(path.display().to_string())
            }
            Target::StandardOutput => Some("standard output".into()),
        }
    }
}

/// Makes the directory that `-o` names, if it names one.
pub fn make_output_directory(options: &OutputArgs) -> Result<(), Failure> {
    match &options.output {
        Some(text) if text != "-" && names_directory(text) => make_directory(Path::new(text)),
        _ => Ok(()),
    }
}

/// Whether `-o` means a directory: it ends with a slash, is one, or has no extension.
pub fn names_directory(text: &str) -> bool {
    let path = Path::new(text);
    text.ends_with('/') || path.is_dir() || path.extension().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn choose(arguments: &[&str], sharing: Sharing) -> Result<Target, Failure> {
        let all = ["frameserve-client", "stream", "x"].iter().chain(arguments);
        let Command::Stream(stream) = Cli::parse_from(all).command else { panic!("stream") };
        Target::choose(&stream.output, "clip", sharing)
    }

    #[test]
    fn outputs_mean_what_they_say() {
        use Sharing::{Alone, Several};
        for (arguments, sharing, target) in [
            (&[][..], Alone, Target::Nothing),
            (&["-o", "a/out.MP4"], Alone, Target::Video("a/out.MP4".into())),
            (&["-o", "out.y4m"], Alone, Target::Y4m("out.y4m".into())),
            (&["-o", "out.png"], Alone, Target::Picture("out.png".into())),
            (&["-o", "out/"], Alone, Target::Pictures("out/".into())),
            (&["-o", "out"], Alone, Target::Pictures("out".into())),
            (&["-o", "out/"], Several, Target::Video("out/clip.mp4".into())),
            (&["-o", "out/", "--output-kind", "pictures"], Several, Target::Pictures("out/clip".into())),
            (&["-o", "out/", "--output-kind", "video"], Alone, Target::Video("out/clip.mp4".into())),
            (&["-o", "-"], Alone, Target::StandardOutput),
        ] {
            assert_eq!(choose(arguments, sharing).unwrap(), target, "{arguments:?}");
        }
        for (arguments, sharing) in [
            (["-o", "out.mp4"], Several),
            (["-o", "-"], Several),
            (["-o", "a.txt"], Alone),
            (["-o", "/dev/full"], Alone),
        ] {
            assert!(choose(&arguments, sharing).unwrap_err().message.contains(arguments[1]));
        }
    }
}
