//! The command line, as clap reads it.

mod models;
mod server;
pub mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use frameserve::proto::{Pressure, ReplyFormat};

pub use models::{BenchArgs, InferArgs, ModelsAction, ModelsArgs, OneModel};
pub use server::ServerArgs;
use values::{Change, OutputKind, ReplyChoice, Wire};

const EXAMPLES: &str = "\
Examples:
  frameserve-client stream in.mp4 -o out.mp4 --pipeline 'resize=640x360 | canny=50,150'
  frameserve-client stream in.mp4 --contact-sheet sheet.png --pipeline 'canny=50,150'
  frameserve-client stream a.mp4 b.mp4 -o results/
  frameserve-client infer classifier kitten.jpg
  frameserve-client models
  frameserve-client pipelines
  frameserve-client doctor
  frameserve-client doctor --server https://camera.example:50051 --tls-ca ca.crt
  frameserve-client doctor --server unix:/run/frameserve.sock

Exit codes:
  0    every frame or picture came back, or was dropped as --pressure and --max-fps allow
  1    wrong usage, or a file or device could not be read or written
  2    the server could not be reached, or not over TLS
  3    the server refused the stream or ended it, or has no such model, or the connection to it was lost
  4    some frames or pictures failed in the server, or a --change was refused; the others came back
  5    a reply could not be understood
  130  interrupted by Ctrl-C; what had come back until then was written";

const STREAM_EXAMPLES: &str = "\
Sources:
  FILE.mp4, .avi, ...       a video, turned upright as its metadata says
  DIRECTORY, 'GLOB*.jpg'    pictures, in the order of their names
  camera:0 (or just 0)      a camera
  rtsp://..., http://...    a network camera or video
  -                         y4m or MJPEG on standard input
  test:1280x720@30          a moving test pattern with its frame number; 10 s, or --frames

Outputs (-o):
  FILE.mp4, .mkv, .avi ...  a video at the source's average rate; in place of a frame that was
                            dropped or failed the one before it, so that the length stays right
  DIRECTORY/                pictures, in the reply's own bytes; none for a frame that was dropped
                            or failed (of several sources: one video each, see --output-kind)
  FILE.y4m, -               y4m; `-` is standard output
  FILE.png, .jpg ...        the picture that comes back for a source of a single frame
  (none)                    nothing but what --contact-sheet and --detections ask for
A directory that ends with / is made where there is none; the one that a file is to lie in must be there.
A file is made when the first picture for it comes back.

Examples:
  frameserve-client stream in.mp4 -o out.mp4 --pipeline 'resize=640x360 | canny=50,150'
  frameserve-client stream 'photos/*.jpg' -o results/ --pipeline gray
  frameserve-client stream in.mp4 --detections found.jsonl --pipeline faces
  frameserve-client stream rtsp://camera/stream --pressure latest --frames 1000 --json
  frameserve-client stream in.mp4 -o out.mp4 -p gray --change '75:canny' --change '150:'
  ffmpeg -loglevel error -i in.mp4 -f yuv4mpegpipe - | frameserve-client stream - -o - | ffplay -
  frameserve-client stream test:1920x1080@60 --frames 600 --streams 4 --reply none

Frames that fail are counted and the first of them reported, and the program's exit code is then 4.
See also: frameserve-client --help (exit codes), frameserve-client pipelines (stages).";

/// Sends video, pictures and tensors to a frameserve server and collects what comes back.
#[derive(Debug, Parser)]
#[command(name = "frameserve-client", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send videos, pictures or a camera through a pipeline.
    Stream(Box<StreamArgs>),
    /// Run a model on pictures or tensors.
    Infer(Box<InferArgs>),
    /// List a server's models, and load, unload or look at one.
    Models(ModelsArgs),
    /// Measure how many requests a model's server answers, and how soon.
    Bench(Box<BenchArgs>),
    /// List what can stand in --pipeline: the server's stages, with ranges and defaults.
    Pipelines(PipelinesArgs),
    /// Say what this program and the server consist of, and whether they are well.
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub struct PipelinesArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// Only stages and named pipelines with this text in their name.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Don't ask a server: list the stages of a server of this program's version.
    #[arg(long)]
    pub offline: bool,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// Look at this program only.
    #[arg(long)]
    pub offline: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = STREAM_EXAMPLES, after_help = "More, with sources, outputs and examples: --help")]
pub struct StreamArgs {
    /// Videos, pictures, directories, globs, cameras, URLs, `-`, or test:WIDTHxHEIGHT@FPS.
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<String>,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten, next_help_heading = "Input")]
    pub input: InputArgs,
    #[command(flatten, next_help_heading = "Output")]
    pub output: OutputArgs,
    #[command(flatten, next_help_heading = "Stream")]
    pub stream: ConfigArgs,
}

/// What is read, how much of it, and how fast.
#[derive(Debug, Clone, Args)]
pub struct InputArgs {
    /// Begin here: seconds, or [HH:]MM:SS.
    #[arg(long, value_name = "TIME", value_parser = values::time, default_value = "0", hide_default_value = true)]
    pub start: f64,
    /// Send this many frames at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: Option<u64>,
    /// Send a file at its own frame rate, like a live source.
    #[arg(long)]
    pub pace: bool,
    /// Frame rate of pictures and MJPEG, which have none of their own.
    #[arg(long, value_name = "FPS", value_parser = values::fps, default_value = "25")]
    pub source_fps: f64,
    /// Send the source this many times, one after the other, in the same stream.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Send the source on this many streams at once.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub streams: u32,
}

impl InputArgs {
    /// All of a source, once.
    pub fn whole() -> InputArgs {
        InputArgs { start: 0.0, frames: None, pace: false, source_fps: 25.0, repeat: 1, streams: 1 }
    }
}

/// What is done with what comes back.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// Video file, directory, or `-` for y4m on standard output.
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<String>,
    /// What to write into a directory.
    #[arg(long, value_name = "KIND", value_enum)]
    pub output_kind: Option<OutputKind>,
    /// Codec of an output video, as four characters. Otherwise what its container usually has: H.264 (avc1)
    /// in .mp4, or mp4v where there is no H.264 encoder.
    #[arg(long, value_name = "FOURCC", value_parser = values::fourcc)]
    pub codec: Option<[char; 4]>,
    /// Keep the source's sound in an output video (needs the ffmpeg program). Otherwise it is left out.
    #[arg(long)]
    pub copy_audio: bool,
    /// Write a PNG with evenly spaced frames, before and after.
    #[arg(long, value_name = "FILE.png")]
    pub contact_sheet: Option<PathBuf>,
    /// Write what was found in each frame as JSON Lines; `-` is standard output.
    #[arg(long, value_name = "FILE.jsonl")]
    pub detections: Option<PathBuf>,
    /// Print the summary as JSON on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
    /// No progress and no summary; errors only.
    #[arg(short, long)]
    pub quiet: bool,
    /// Say what was granted, and more.
    #[arg(short, long)]
    pub verbose: bool,
}

/// What is asked of the server.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// Stages, or the name of a pipeline (see `frameserve-client pipelines`); '' only decodes and encodes.
    /// Otherwise the server's default.
    #[arg(short, long, value_name = "TEXT")]
    pub pipeline: Option<String>,
    /// Change the pipeline exactly at a frame, counted from 0, or at the next one where that one is dropped; can
    /// be given several times.
    #[arg(long, value_name = "FRAME:PIPELINE")]
    pub change: Vec<Change>,
    /// How frames travel: auto (JPEG, PNG and WebP pictures as they are, everything else as JPEG), jpeg, png,
    /// webp, raw-bgr24, raw-rgb24, raw-gray8, raw-i420 or raw-nv12.
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub wire: Wire,
    /// Quality of JPEG and WebP on the way up.
    #[arg(long, value_name = "1-100", default_value = "90", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub wire_quality: u8,
    /// How replies travel: auto (jpeg; none where only --detections is written), jpeg, png, webp, same (as the
    /// frame came), raw, raw-bgr24, raw-rgb24, raw-gray8, raw-i420, raw-nv12 or none.
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub reply: ReplyChoice,
    /// Quality of JPEG and WebP on the way down.
    #[arg(long, value_name = "1-100", default_value = "90", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub reply_quality: u8,
    /// Frames in flight; 0 is the server's default.
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    pub window: u32,
    /// When frames come faster than they can be processed: lossless (wait), latest (only the newest waits) or
    /// drop-oldest=N (N wait). Otherwise lossless, and latest for live sources.
    #[arg(long, value_name = "MODE", value_parser = values::pressure)]
    pub pressure: Option<Pressure>,
    /// Let the server drop frames, evenly, where it reads them faster than this.
    #[arg(long, value_name = "FPS", value_parser = values::max_fps)]
    pub max_fps: Option<f64>,
    /// What a frame that fails does: report (the stream goes on) or end (it ends with the error).
    #[arg(long, value_name = "WHAT", value_parser = values::bad_frames, default_value = "report")]
    pub bad_frames: frameserve::proto::BadFrames,
}

impl ConfigArgs {
    /// The format asked for, once it is known whether anybody looks at the pictures.
    pub fn reply_format(&self, pictures_wanted: bool) -> ReplyFormat {
        self.reply.format(pictures_wanted, self.reply_quality)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_examples_are_true() {
        let of_models = [models::INFER_EXAMPLES, models::MODELS_EXAMPLES, models::BENCH_EXAMPLES];
        let all = [EXAMPLES, STREAM_EXAMPLES].into_iter().chain(of_models);
        for example in all.flat_map(str::lines) {
            let Some(start) = example.find("frameserve-client ").filter(|_| example.starts_with("  ")) else {
                continue;
            };
            let line = example[start..].split(" | ffplay").next().expect("split gives one");
            if let Err(error) = Cli::try_parse_from(words(line)) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn bad_values_are_named() {
        for (option, value) in [
            ("--frames", "0"),
            ("--max-fps", "2000"),
            ("--wire", "gif"),
            ("--pressure", "drop-oldest=0"),
            ("--change", "x"),
        ] {
            let error = Cli::try_parse_from(["frameserve-client", "stream", "a.mp4", option, value])
                .expect_err(option);
            assert!(error.to_string().contains(value), "{error}");
        }
    }

    #[test]
    fn models_are_listed_without_a_word() {
        let parse = |line: &str| Cli::try_parse_from(words(line)).map(|cli| cli.command);
        let Ok(Command::Models(args)) = parse("frameserve-client models --json --server h:1") else {
            panic!("models")
        };
        assert!(args.action.is_none() && args.json && args.server.server == "h:1");
        let Ok(Command::Models(args)) = parse("frameserve-client models stats m --json --server h:1") else {
            panic!("models stats")
        };
        assert!(args.json && args.server.server == "h:1");
        for bad in
            ["bench m --target http://h:1", "bench m --concurrency 1,0", "infer m --top 0", "models warm"]
        {
            assert!(parse(&format!("frameserve-client {bad}")).is_err(), "{bad}");
        }
    }

    /// A line as a shell would split it, with single quotes only.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for character in line.chars() {
            match character {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                other => words.last_mut().expect("never empty").push(other),
            }
        }
        words
    }
}
